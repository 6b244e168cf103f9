"""The agent in a session, and what it gathers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import __version__, agent
from pytest_hpcregistry.agent import __main__ as main
from pytest_hpcregistry.agent import facts
from tests import AGENT_PYTHON
from tests.fakes.registry import (
    NAME,
    NEW,
    OLD,
    converse,
    digest,
    make_program,
    make_registry,
    names_in,
    publish,
    request,
    stage,
    talk,
)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_program(tmp_path_factory.mktemp("agent"))


def test_a_session_answers_each_request(program: Path, registry: Path) -> None:
    publish(registry, OLD)
    stage(registry, NEW)
    (registry / "ml-frameworks" / "by-hand.sif").write_bytes(b"x")
    first, second, third = converse(
        program, registry, {"do": "have", "id": 1}, {"do": "publish", "id": 2, **request(NEW)}, {"do": "have", "id": 3}
    )
    assert first["objects"] == {digest(OLD): len(OLD)}
    assert first["names"] == {NAME: digest(OLD), "ml-frameworks/by-hand.sif": None}
    assert (second["id"], second["changed"]) == (2, [NAME])
    assert third["names"][NAME] == digest(NEW)


def test_a_session_reports_a_refusal_as_an_error_and_goes_on(program: Path, registry: Path) -> None:
    answers = converse(
        program,
        registry,
        {"do": "publish", "id": 1, **request(NEW)},
        {"do": "gossip", "id": 2},
        {"do": "have", "id": 3},
    )
    assert "did not arrive" in answers[0]["error"]
    assert "does not understand" in answers[1]["error"]
    assert answers[2]["objects"] == {}


def test_a_session_that_nobody_speaks_to_ends(program: Path, registry: Path) -> None:
    argv = [AGENT_PYTHON, str(program), "serve", "--registry", str(registry)]
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": "session"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b'{"nonce": "n", "seconds": 1}\n')
        process.stdin.flush()
        assert process.wait(20) == 1
        assert b"session closed" in process.stderr.read()


def test_the_version_before_never_lies_where_rsync_writes(program: Path, registry: Path) -> None:
    publish(registry, OLD)
    bases = registry / agent.BASES
    with talk(program, registry) as ask:
        assert ask({"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}})["id"] == 1
        assert (bases / digest(NEW)).read_bytes() == OLD
        assert oct(bases.stat().st_mode)[-4:] == "0700"
        assert names_in(registry / agent.STAGING) == []
        assert "did not arrive" in ask({"do": "publish", "id": 2, **request(NEW)})["error"]
        assert "is not in its form" in ask({"do": "prepare", "id": 3, "bases": {digest(NEW): "../../x"}})["error"]
    assert names_in(bases) == [], "the session's end takes it away"
    assert (registry / NAME).read_bytes() == OLD
    bases.chmod(0o777)
    with talk(program, registry) as ask:
        assert "it must be root's own" in ask({"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}})["error"]


@pytest.mark.parametrize(("probe", "seen"), [(".probe-1", 4711), (".probe-2", None), (None, None)])
def test_a_registry_that_is_the_controllers_own_shows_the_time_of_its_probe(
    program: Path, registry: Path, probe: str | None, seen: int | None
) -> None:
    (registry / ".registry" / ".probe-1").touch()
    os.utime(registry / ".registry" / ".probe-1", (4711, 4711))
    (answer,) = converse(program, registry, {"do": "have", "id": 1, "probe": probe})
    assert answer["probe"] == seen


def test_gather_tells_what_is_there(registry: Path) -> None:
    publish(registry, OLD)
    (registry / "ml-frameworks" / "gone.sif").symlink_to("/nowhere")
    facts = agent.gather({"registry": str(registry), "directories": ["ml-frameworks"], "content": True, "host": True})
    images = {image["name"]: image for image in facts["images"]}
    assert images[NAME]["sha256"] == images[NAME]["object"] == digest(OLD)
    assert images["ml-frameworks/gone.sif"]["type"] == "link"
    assert facts["host"]["paths"][str(registry)]["type"] == "directory"
    assert facts["host"]["paths"][f"{registry}/README.md"] is None


def test_gather_reads_the_bytes_not_the_name(registry: Path) -> None:
    """A flipped bit with the same size and time is found by content, and only by content."""
    publish(registry, OLD)
    path = registry / NAME
    before = path.stat()
    path.write_bytes(OLD.replace(b"o", b"0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked = {"registry": str(registry), "directories": ["ml-frameworks"]}
    assert agent.gather({**asked, "content": True})["images"][0]["sha256"] != digest(OLD)


def test_the_agent_runs_when_piped(registry: Path) -> None:
    body = json.dumps({"registry": str(registry), "directories": [], "host": True})
    with (Path(agent.__file__).parent / "facts.py").open() as source:
        done = subprocess.run(
            [AGENT_PYTHON, "-", "facts", "n3", body], stdin=source, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout.split("hpcregistry n3 ", 1)[1])["host"]["uid"] == os.getuid()


def test_a_crowd_in_staging_hides_nothing_else(registry: Path) -> None:
    for number in range(1005):
        (registry / agent.STAGING / f"{number:05d}").touch()
    publish(registry, OLD)
    told = facts.gather({"registry": str(registry), "directories": ["ml-frameworks"], "host": True})
    assert len(told["host"]["staging"]) == 1000
    assert [image["name"] for image in told["images"]] == [NAME]


def test_what_goes_away_while_it_is_looked_at_is_passed_over(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)
    lstat = os.lstat

    def vanish(path: str) -> os.stat_result:
        if str(path).startswith(str(registry / agent.STAGING)):
            raise FileNotFoundError(path)
        return lstat(path)

    (registry / agent.STAGING / "a").touch()
    monkeypatch.setattr(os, "lstat", vanish)
    assert facts.list_staging(str(registry)) == []
    assert list(facts.list_objects(str(registry), None)) == [digest(OLD)]


# --- the program


class Left(BaseException):
    """In the place of the end of the process."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the program asks of the system, in order."""
    done: list[Any] = []

    def leave(code: int) -> None:
        done.append(("exit", code))
        raise Left

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(os, "umask", lambda mask: done.append(("umask", mask)))
    monkeypatch.setattr(main, "serve", lambda *words: done.append(("serve", *words)))
    for name in ("SSH_ORIGINAL_COMMAND", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    return done


def start(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", ["agent.pyz", *argv])
    main.main()


@pytest.mark.parametrize("command", [None, "session"])
def test_what_it_writes_is_the_owners_alone(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, command: str | None
) -> None:
    if command:
        monkeypatch.setenv("SSH_ORIGINAL_COMMAND", command)
    with pytest.raises(Left):
        start(monkeypatch, "serve", "--registry", "/r")
    assert started == [("umask", 0o077), ("serve", "/r", command or ""), ("exit", 0)]


def test_sudo_that_takes_the_request_away_is_named(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else it would seem that the key may do nothing."""
    monkeypatch.setenv("SUDO_USER", "ops")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    with pytest.raises(Left):
        start(monkeypatch, "serve", "--registry", "/r")
    assert started == [("umask", 0o077), ("exit", 1)]
    assert "/etc/sudoers.d/zz-hpcregistry" in capsys.readouterr().err
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    with pytest.raises(Left):
        start(monkeypatch, "serve", "--registry", "/r")
    assert started[-2:] == [("serve", "/r", ""), ("exit", 0)], "a login without a command is refused by it"


def test_a_refusal_is_said_and_ends_it_at_once(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: str) -> None:
        raise SystemExit("hpcregistry: no")

    monkeypatch.setattr(main, "serve", refuse)
    with pytest.raises(Left):
        start(monkeypatch, "serve", "--registry", "/r")
    assert started == [("umask", 0o077), ("exit", 1)]
    assert capsys.readouterr().err == "hpcregistry: no\n"


def test_phase_1_asks_for_its_version(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(monkeypatch, "--version")
    assert capsys.readouterr().out == f"{__version__}\n"
    assert started == [("umask", 0o077)]


@pytest.mark.parametrize(
    "argv",
    [[], ["serve"], ["serve", "--registry"], ["serve", "/r", "--registry"], ["serve", "--registry", "/r", "more"],
     ["--version", "more"], ["session", "--registry", "/r"]],
)  # fmt: skip
def test_it_is_started_as_phase_1_wrote_it_down(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    with pytest.raises(SystemExit, match="usage: "):
        start(monkeypatch, *argv)
    assert started == [("umask", 0o077)]
