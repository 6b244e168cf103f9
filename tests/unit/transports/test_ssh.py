"""The ssh command line: host keys are always checked, and what the cluster file says is what ssh is given."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.core.model import Cluster, Controller, Ssh
from pytest_hpcregistry.core.routes import Jump, Route, read_jump
from pytest_hpcregistry.transports import CommandResult, openssh
from pytest_hpcregistry.transports.openssh import OpensshTransport
from pytest_hpcregistry.transports.ssh import STRICT, destination, ssh_options, ssh_to_node, unreachable_reason
from tests import ROOT

# Spelled so that this file does not find itself.
NEVER = ["StrictHostKeyChecking" + sign + "no" for sign in ("=", " ")] + ["AutoAdd" + "Policy", "Warning" + "Policy"]
NEVER += ["StrictHostKeyChecking" + "=accept-new", "host_key_checking" + " = False", "HOST_KEY_CHECKING" + "=False"]


def cluster(ssh: Ssh | None = None, **controller: Any) -> Cluster:
    return Cluster(controller=Controller(name="hpc", host="10.0.0.1", **controller), ssh=ssh or Ssh())


def settings(words: Sequence[str]) -> dict[str, str]:
    """The -o options, as ssh reads them."""
    return dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-o")


def test_host_keys_are_always_checked() -> None:
    everything = Ssh(known_hosts=Path("/k"), config=Path("/c"), connect_timeout=7)
    for one in (cluster(), cluster(everything, key=Path("/i"), jump=Jump("login", "me", 2222), port=22022, user="me")):
        options = settings(ssh_options(one))
        assert options["StrictHostKeyChecking"] == "yes"
        assert options["BatchMode"] == "yes"
        assert options["ConnectTimeout"] == str(one.ssh.connect_timeout)
        assert int(options["ServerAliveInterval"]) * int(options["ServerAliveCountMax"]) <= 30


def test_the_controllers_own_ssh_checks_host_keys_too() -> None:
    assert ssh_to_node("c1", Route(), 5)[: len(STRICT)] == STRICT


def test_what_is_not_given_is_left_to_the_users_ssh_config() -> None:
    words = ssh_options(cluster())
    assert not {"-i", "-F", "-J"} & set(words)
    assert not {"UserKnownHostsFile", "IdentitiesOnly", "ProxyCommand"} & set(settings(words))


def test_key_known_hosts_config_and_port() -> None:
    words = ssh_options(cluster(Ssh(known_hosts=Path("/k h"), config=Path("/c")), key=Path("/i"), port=2022))
    assert words[words.index("-i") + 1] == "/i"
    assert words[words.index("-F") + 1] == "/c"
    assert words[words.index("-p") + 1] == "2022"
    options = settings(words)
    assert (options["UserKnownHostsFile"], options["GlobalKnownHostsFile"]) == ("/k h", "none")
    assert options["IdentitiesOnly"] == "yes"


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("me@login", ["-W", "[%h]:%p", "me@login"]),
        ("login", ["-W", "[%h]:%p", "login"]),
        ("me@login:2222", ["-p", "2222", "-W", "[%h]:%p", "me@login"]),
        ("root@[fd00::1]:2222", ["-p", "2222", "-W", "[%h]:%p", "root@fd00::1"]),
        ("[fd00::1]", ["-W", "[%h]:%p", "fd00::1"]),
    ],
)
def test_the_jump_is_as_strict_as_the_last_hop(written: str, end: list[str]) -> None:
    jump = read_jump(written)
    words = ssh_options(cluster(Ssh(known_hosts=Path("/k")), jump=jump, port=2022, key=Path("/with a space")))
    hop = shlex.split(settings(words)["ProxyCommand"])
    assert hop[-len(end) :] == end
    assert ("-p" in hop) == ("-p" in end)
    assert hop[hop.index("-i") + 1] == "/with a space"
    assert settings(hop)["StrictHostKeyChecking"] == "yes"
    assert settings(hop)["UserKnownHostsFile"] == "/k"
    assert words[-2:] == ["-p", "2022"]


def test_destination() -> None:
    assert destination(cluster(user="me")) == "me@10.0.0.1"


class Ran:
    """In the place of what starts a program: keeps every argv, and answers with the exit codes that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *codes: int) -> None:
        self.codes = list(codes)
        self.argv: list[Sequence[str]] = []
        monkeypatch.setattr(openssh, "run_process", self.run)
        monkeypatch.setattr(openssh, "run_command", lambda where, command, **_: self.run(where, command.argv))

    def run(self, where: str, argv: Sequence[str], **more: Any) -> CommandResult:
        self.argv.append(argv)
        code = self.codes.pop(0) if self.codes else 0
        return CommandResult(where, tuple(argv), code, "", "ssh: Permission denied", 0.0)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> OpensshTransport:
    Ran(monkeypatch)
    return OpensshTransport(cluster(user="me"))


def test_every_command_shares_one_connection_and_is_one_quoted_word(
    transport: OpensshTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Ran(monkeypatch)
    transport.run(["echo", "a b", "$(id)", "'; id"], timeout=5)
    *options, target, dashes, command = ran.argv[0]
    assert (target, dashes) == ("me@10.0.0.1", "--")
    assert shlex.split(command)[4:] == ["echo", "a b", "$(id)", "'; id"]
    assert " echo 'a b' '$(id)' " in command
    shared = settings(options)
    assert shared["ControlMaster"] == "auto"
    assert shared["ControlPath"] == f"{transport.directory}/%C"
    assert len(shared["ControlPath"]) < 60, "a socket's path has a limit, unix(7)"
    assert oct(Path(transport.directory).stat().st_mode)[-3:] == "700"
    transport.close()
    assert ran.argv[-1][-3:] == ["-O", "exit", "me@10.0.0.1"]
    assert not Path(transport.directory).exists()


class Agent:
    """ssh of a user who has a connection open, or not any more: what it is called with."""

    def __init__(self, path: str, code: int) -> None:
        self.path, self.code, self.asked = path, code, list[list[str]]()

    def __call__(self, argv: list[str]) -> CommandResult:
        self.asked.append(argv)
        said = f"user me\n{self.path}port 22\n" if "-G" in argv else ""
        return CommandResult("here", tuple(argv), 0 if "-G" in argv else self.code, said, "", 0.0)


@pytest.mark.parametrize(
    ("path", "code", "found"),
    [
        ("controlpath /home/me/.ssh/cm-1\n", 0, "/home/me/.ssh/cm-1"),
        ("controlpath /home/me/.ssh/cm-1\n", 255, None),
        ("controlpath none\n", 0, None),
        ("", 0, None),
    ],
)
def test_a_connection_that_the_user_has_open_is_found(path: str, code: int, found: str | None) -> None:
    assert openssh.find_open_connection(cluster(user="me"), Agent(path, code)) == found


def test_a_connection_that_the_user_has_open_is_shared_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "find_open_connection", lambda *_: "/home/me/.ssh/cm-1")
    ran = Ran(monkeypatch)
    transport = OpensshTransport(cluster(user="me"))
    transport.run(["true"], timeout=5)
    shared = settings(ran.argv[0])
    assert (shared["ControlMaster"], shared["ControlPath"]) == ("no", "/home/me/.ssh/cm-1")
    transport.close()
    assert [argv for argv in ran.argv if "exit" in argv] == []


def test_255_is_the_commands_own_while_the_connection_lives(
    transport: OpensshTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ran(monkeypatch, 255, 0)
    assert transport.run(["apptainer"], timeout=5).exit_code == 255
    Ran(monkeypatch, 255, 255)
    with pytest.raises(Unreachable, match="hpc: login refused") as caught:
        transport.run(["apptainer"], timeout=5)
    assert "authorized_keys" in caught.value.hint
    transport.close()


def test_a_machine_that_the_one_in_front_cannot_reach_is_said_to_be_that() -> None:
    """ssh itself says only this of it, whether the name, the port or the machine is wrong."""
    stderr = "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535"
    assert unreachable_reason(stderr).startswith("the machine in front cannot reach it")


def test_nothing_in_the_repository_turns_the_check_off() -> None:
    places = (
        "pytest_hpcregistry",
        "suites",
        "tests",
        "fixtures",
        "demo.py",
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
    )
    files = [file for place in places for file in [ROOT / place, *(ROOT / place).rglob("*")] if file.is_file()]
    # What inventories of others say is read, and not obeyed.
    files = [
        file for file in files if file.suffix != ".pyc" and file.name not in ("inventories.py", "test_ssh_words.py")
    ]
    assert len(files) > 100
    texts = {file: file.read_text(errors="replace").replace("'", "").replace('"', "") for file in files}
    assert [(str(file), words) for file, text in texts.items() for words in NEVER if words in text] == []
