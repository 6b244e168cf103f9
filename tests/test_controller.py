"""The controller program's own decisions: what a node's answer is taken for, and who may stop listening."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import log, nodes
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller.settings import Settings
from pytest_hpcregistry.controller.sync import choose_images
from pytest_hpcregistry.core.catalog import Catalog, Entry, from_data
from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, ConfigError, Unreachable, UsageError
from pytest_hpcregistry.transports import ssh
from tests.sif_writer import Sif

DIGEST = "0" * 64


def read(stdout: str, exit_code: int = 0, stderr: str = "") -> object:
    return nodes.read_answer("c001", "n1", exit_code, stdout, stderr)


def test_answer_is_found_among_what_a_login_prints() -> None:
    assert read('Welcome!\nhpcregistry n0 {"old": 1}\nhpcregistry n1 {"a": 1}\nbye\n') == {"a": 1}


@pytest.mark.parametrize(
    ("stdout", "exit_code", "stderr", "kind", "says"),
    [
        ('hpcregistry n1 {"error": "no"}\n', 0, "", CommandFailed, "c001: no"),
        ('hpcregistry n1 {"a": ', 255, "", CommandFailed, "c001: the agent's answer was cut off"),
        ("", 255, "ssh: connect to host c001 port 22: Connection refused\n", Unreachable, "c001: connection refused"),
        ("", 255, "Timeout, server c001 not responding.\n", Unreachable, "c001: no answer in time"),
        ("", 255, "", Unreachable, "c001: ssh failed and said nothing"),
        ("Welcome!\n", 127, "sh: python3: not found\n", CommandFailed, "c001: the agent did not answer (exit 127)"),
    ],
)
def test_what_is_no_answer(stdout: str, exit_code: int, stderr: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as caught:
        read(stdout, exit_code, stderr)
    assert str(caught.value).startswith(says)


def test_an_address_is_one_that_phase_1_found(settings: Settings) -> None:
    Path(settings.registry, agent.PEERS).write_text("c1 10.1.2.3 fd00::7\nc2 10.1.2.4\n")
    assert nodes.check_address("c1", "10.1.2.3", settings) == "10.1.2.3"
    assert nodes.check_address("c1", "fd00::7", replace(settings, network="fd00::/64")) == "fd00::7"
    with pytest.raises(CommandFailed, match=r"^c1: 10\.1\.2\.3 is no address in fd00::/64$"):
        nodes.check_address("c1", "10.1.2.3", replace(settings, network="fd00::/64"))


@pytest.mark.parametrize("address", ["10.1.2.4", "127.0.0.1", "-oProxyCommand=id", "c1", "", "10.1.2.3:22", "\x1b[31m"])
def test_whatever_else_a_node_calls_its_address_is_refused(address: str, settings: Settings) -> None:
    """It would become a word of ssh's command line, and a place that the controller connects to."""
    Path(settings.registry, agent.PEERS).write_text("c1 10.1.2.3 fd00::7\nc2 10.1.2.4\n")
    with pytest.raises(
        CommandFailed, match=r"^c1: gives .* as its address, where phase 1 found 10\.1\.2\.3, fd00::7$"
    ) as it:
        nodes.check_address("c1", address, settings)
    assert "\x1b" not in str(it.value)


def test_node_that_hangs_where_ssh_cannot_see_it_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"^c001: no answer in time$"):
        nodes.converse("c001", ["sleep", "30"], "n1", None, 0)


@pytest.mark.parametrize(("connect_timeout", "interval"), [(10, 5), (2, 1), (1, 1)])
def test_one_setting_bounds_every_wait(connect_timeout: int, interval: int) -> None:
    argv = ssh.ssh_to_node(connect_timeout)
    assert f"ServerAliveInterval={interval}" in argv
    assert "ServerAliveCountMax=3" in argv
    assert f"ConnectTimeout={connect_timeout}" in argv
    assert "StrictHostKeyChecking=yes" in argv


class Gone(io.StringIO):
    """A pipe that nobody reads, or a terminal that was closed."""

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_listener_that_went_away_does_not_stop_the_work() -> None:
    event = {"event": "failed", "message": "x"}
    for listener in (log.plain_lines(Gone()), log.json_lines(Gone())):
        listener(event)


@pytest.mark.parametrize("images", [["one"], "text"])
def test_catalog_whose_images_are_no_mapping(images: object) -> None:
    with pytest.raises(ConfigError, match="images must be a mapping"):
        from_data({"version": "1", "images": images}, "catalog.yaml")


# --- the controller's own registry ---------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for directory in ("ml-frameworks", agent.OBJECTS, agent.STAGING):
        (tmp_path / directory).mkdir(parents=True, mode=0o700 if directory == agent.STAGING else 0o755)
    (tmp_path / agent.CATALOG).write_text("version: 1\nimages: {}\n")
    return Settings(str(tmp_path), ("ml-frameworks",), "0755", "auto", None, 4, 60, 5, "key", "known", "log")


def request(data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    words = {"by": "", "architecture": "amd64", "source": "", "labels": {}}
    return {"name": "ml-frameworks/x.sif", "digest": digest, "size": len(data), **words}


def receive(settings: Settings, data: bytes) -> Path:
    digest = str(request(data)["digest"])
    registry.receive(settings.registry, digest, len(data), io.BytesIO(data))
    return Path(settings.registry, agent.STAGING, digest)


def test_bytes_that_are_refused_are_not_kept(settings: Settings) -> None:
    staged = receive(settings, b"no SIF at all")
    assert staged.exists()
    with pytest.raises(CheckFailed):
        registry.publish(settings, request(b"no SIF at all"))
    assert not staged.exists()


def test_bytes_are_not_kept_when_the_catalog_is_broken(settings: Settings) -> None:
    data = Sif().to_bytes()
    staged = receive(settings, data)
    Path(settings.registry, agent.CATALOG).write_text("images: [oops")
    with pytest.raises(ConfigError):
        registry.publish(settings, request(data))
    assert not staged.exists()
    assert list(Path(settings.registry, agent.OBJECTS).iterdir()) == []


def test_bytes_that_were_sent_twice_at_once_are_not_kept(settings: Settings) -> None:
    data = Sif().to_bytes()
    receive(settings, data)
    assert registry.publish(settings, request(data))[1]
    staged = receive(settings, data)
    assert not registry.publish(settings, request(data))[1]
    assert not staged.exists()


def test_images_are_chosen_by_directory_or_by_name() -> None:
    entry = Entry(DIGEST, 1, "", "", "amd64")
    catalog = Catalog({"ml-frameworks/a.sif": entry, "custom-images/b.sif": entry})
    settings = Settings("/r", ("ml-frameworks", "custom-images"), "0755", "auto", None, 4, 60, 5, "k", "h", "l")
    assert list(choose_images(catalog, settings, "custom-images", None)) == ["custom-images/b.sif"]
    assert list(choose_images(catalog, settings, None, ["ml-frameworks/a.sif"])) == ["ml-frameworks/a.sif"]
    assert len(choose_images(catalog, settings, None, None)) == 2
    for subdirectory, names in ((None, ["ml-frameworks/c.sif"]), ("base-images", None)):
        with pytest.raises(UsageError):
            choose_images(catalog, settings, subdirectory, names)
