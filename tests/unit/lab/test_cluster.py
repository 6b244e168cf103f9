"""A lab's files and decisions, with no container anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import HpcRegistryError, UsageError
from pytest_hpcregistry.lab import cluster, configuration, site, state
from pytest_hpcregistry.lab.state import LabState
from pytest_hpcregistry.transports import CommandResult

DEMO = site.load(site.DEMO)
Calls = list[tuple[str, ...]]


def answer(stdout: str = "", exit_code: int = 0) -> CommandResult:
    return CommandResult(where="podman", argv=("podman",), exit_code=exit_code, stdout=stdout, stderr="", seconds=0.0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(cluster, "READY_TIMEOUT", 0)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Podman, which knows two labs, `a` and `a-2`, and the addresses of a network."""
    made: Calls = []

    def podman(*words: str) -> CommandResult:
        made.append(words)
        if words[0] == "ps":
            return answer("f00d\nbeef\n" if "label=hpcregistry.lab=a" in words else "cafe\n")
        return answer("10.0.0.0/24\n" if words[:2] == ("network", "inspect") else "")

    monkeypatch.setattr(cluster, "podman", podman)
    return made


@pytest.fixture
def written(home: Path, calls: Calls) -> LabState:
    """A lab's files, as they are when its containers run."""
    return write(state.new("a", 2, DEMO))


def write(made: LabState) -> LabState:
    configuration.write_files(made)
    configuration.write_cluster_file(made, cluster.create_network(made))
    return made


def test_the_cluster_file_is_an_ordinary_one(written: LabState) -> None:
    loaded = load_cluster(written.cluster_file, environ={})
    assert (loaded.controller.name, loaded.controller.host) == ("hpc-controller", "10.0.0.2")
    assert loaded.nodes is None
    assert loaded.slurm.run_as == "alice"
    assert loaded.ssh.known_hosts == written.directory / "known_hosts"


def test_every_host_key_is_known_by_every_name_that_it_is_reached_by(written: LabState) -> None:
    lines = [line.split() for line in (written.directory / "known_hosts").read_text().splitlines()]
    keys = {line[0]: line[2] for line in lines}
    assert list(keys) == ["hpc-controller", "c001", "c002", "10.0.0.2"]
    assert keys["10.0.0.2"] == keys["hpc-controller"]
    assert len(set(keys.values())) == 3


def test_every_machine_has_an_address_of_its_own(home: Path, calls: Calls) -> None:
    addresses = cluster.create_network(state.new("a", 2, DEMO))
    assert addresses == {"hpc-controller": "10.0.0.2", "c001": "10.0.0.3", "c002": "10.0.0.4"}  # .1 is the gateway
    cluster.run_container(state.new("a", 2, DEMO), "c001", addresses)
    assert "--ip=10.0.0.3" in calls[-1]
    assert {"--add-host=hpc-controller:10.0.0.2", "--add-host=c002:10.0.0.4"} < set(calls[-1])
    assert len(set(cluster.create_network(state.new("b", 64, DEMO)).values())) == 65


def test_no_key_lies_open(written: LabState) -> None:
    private = [path for path in written.directory.rglob("*ed25519*") if path.suffix != ".pub"]
    assert len(private) == 6  # the lab's, root@controller's and its copy, three host keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    assert written.directory.stat().st_mode & 0o077 == 0


def test_the_controllers_key_opens_the_nodes_and_not_the_controller(written: LabState) -> None:
    def count(machine: str) -> int:
        return (written.directory / "machines" / machine / "authorized_keys").read_text().count("ssh-ed25519")

    assert [count(machine) for machine in written.machines] == [1, 2, 2]


def test_slurm_offers_more_than_this_machine_has(written: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    text = configuration.slurm_conf(written)
    assert "NodeName=c[001-002] CPUs=8 RealMemory=65536 Gres=gpu:4 " in text
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert " CPUs=36 " in configuration.slurm_conf(written)


def test_ssh_to_a_machine_of_the_lab(written: LabState) -> None:
    with pytest.raises(UsageError, match="no lab 'a'"):
        lab.ssh_argv("a", "c001")
    state.save(written)
    argv = ["ssh", "-F", str(written.directory / "ssh_config")]
    assert lab.ssh_argv("a", "alice@hpc-controller") == [*argv, "alice@hpc-controller"]
    with pytest.raises(UsageError, match="c003"):
        lab.ssh_argv("a", "c003")
    text = (written.directory / "ssh_config").read_text()
    assert "Host hpc-controller\n    HostName 10.0.0.2\n" in text
    assert "Host c001\n    ProxyJump hpc-controller\n" in text


def test_down_takes_no_other_labs_machines(written: LabState, calls: Calls) -> None:
    calls.clear()
    lab.down("a")
    removed = next(words for words in calls if words[0] == "rm")
    assert [word for word in removed if not word.startswith("-")] == [
        "rm",
        "0",
        "f00d",
        "beef",
    ]
    assert not written.directory.exists()
    lab.down("a")


def test_a_lab_of_another_size_must_be_taken_down_first(written: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save(written)
    monkeypatch.setattr(cluster, "is_running", lambda _: True)
    with pytest.raises(UsageError, match="2 nodes, not 3") as caught:
        lab.up("a", 3, on_step=lambda *_: None)
    assert "lab down --name a" in caught.value.hint
    assert written.cluster_file.exists()


def sinfo_says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def execute(container: str, argv: list[str]) -> CommandResult:
        return answer(text if argv[0] == "sinfo" else f"<{container} {argv[-1]}>\n")

    monkeypatch.setattr(cluster, "execute", execute)


def test_a_lab_where_jobs_run_is_found_running(written: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save(written)
    monkeypatch.setattr(cluster, "is_running", lambda _: True)
    sinfo_says(monkeypatch, "c001 alloc\nc002 mix\n")
    said: list[str] = []
    assert lab.up("a", 2, on_step=lambda text, _: said.append(text)) == written
    assert len(said) == 1


@pytest.mark.parametrize("text", ["c001 idle\nc002 down*\n", "c001 idle\nc002 alloc\n", "c001 idle\n"])
def test_a_node_that_is_late_is_named_with_its_log(
    written: LabState, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    sinfo_says(monkeypatch, text)
    with pytest.raises(HpcRegistryError, match="c002 ") as caught:
        cluster.wait_until_ready(written, {"idle"})
    assert "<hpcregistry-a-hpc-controller /var/log/slurm/slurmctld.log>" in str(caught.value)
    assert "<hpcregistry-a-c002 /var/log/slurm/slurmd.log>" in str(caught.value)


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "-a", "a\n", "a" * 32])
def test_a_name_that_names_no_container_is_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError):
        state.new(name, 1, DEMO)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": null}', '{"nodes": 3}'])
def test_a_broken_record_is_no_lab(home: Path, text: str) -> None:
    directory = state.state_directory("a")
    directory.mkdir(parents=True)
    (directory / "lab.json").write_text(text)
    assert state.load("a") is None


def test_a_lab_of_another_site_must_be_taken_down_first(written: LabState, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save(written)
    monkeypatch.setattr(cluster, "is_running", lambda _: True)
    sinfo_says(monkeypatch, "c001 idle\nc002 idle\n")
    with pytest.raises(UsageError, match="runs as the site demo, not ports") as caught:
        lab.up("a", on_step=lambda *_: None, site_name="ports")
    assert "lab down --name a" in caught.value.hint
    assert lab.up("a", 2, on_step=lambda *_: None).site.name == "demo"  # no word about the site: the one that it has


def test_a_site_that_keeps_its_nodes_busy_is_found_running(
    home: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write(state.new("a", None, site.load("full")))
    state.save(made)
    monkeypatch.setattr(cluster, "is_running", lambda _: True)
    sinfo_says(monkeypatch, "c001 drain\n")
    assert lab.up("a", on_step=lambda *_: None) == made
