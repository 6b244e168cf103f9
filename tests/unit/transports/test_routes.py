"""How the controller reaches its nodes: what the script finds by ssh, Slurm and the name service, and who wins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.core.routes import Jump, NodeRoute, Route, configured_route, read_jump
from pytest_hpcregistry.transports import CommandResult, routes
from pytest_hpcregistry.transports.process import run_process
from pytest_hpcregistry.transports.routes import Seen
from pytest_hpcregistry.transports.ssh import STRICT, ssh_to_node

SSH_CONFIG = """\
Host c1
    Port 2200
Host c2
    HostName 10.0.0.2
    ProxyJump ops@gate:2022
Host c3
    ProxyJump one,ssh://two:23
Host c4
    ProxyCommand nc --proxy %n %h %p
"""
SCONTROL = r"""#!/bin/sh
printf '%s\n' "$*" >> "$0.asked"
cat <<'END'
NodeName=c1 Arch=x86_64 CoresPerSocket=1 NodeAddr=c1 NodeHostName=c1 Version=24.11 Reason=NodeAddr=evil [root@2026]
NodeName=rack7-01 NodeAddr=node01 NodeHostName=node01 State=IDLE
NodeName=rack7-02 NodeAddr=rack7-02 NodeHostName=node02 State=IDLE
NodeName=rack7-03 NodeAddr=-oProxyCommand=id NodeHostName=$(id) State=IDLE
   and more of a reason NodeAddr=evil
END
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A controller with that ssh_config, that Slurm, and names that only c1 and x of resolve."""
    programs = {
        "ssh": f'#!/bin/sh\nexec /usr/bin/ssh -F {tmp_path}/ssh_config "$@"\n',
        "scontrol": SCONTROL,
        "getent": "#!/bin/sh\ncase $2 in c1 | X) echo 10.0.0.1 ;; *) exit 2 ;; esac\n",
    }
    (tmp_path / "ssh_config").write_text(SSH_CONFIG)
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def run(argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
    return run_process("controller", argv, stdin=stdin, timeout=timeout)


def find(*nodes: str, wanted: Sequence[NodeRoute] = ()) -> dict[str, Route]:
    return routes.find_routes(run, nodes, wanted)


def test_a_cluster_that_says_nothing_needs_no_route(machine: Path) -> None:
    assert find("X") == {"X": Route()}, "also not by its name in small letters, as ssh prints it"


def test_the_controllers_own_ssh_config_is_followed(machine: Path) -> None:
    strict = "ssh -T -o BatchMode=yes -o StrictHostKeyChecking=yes"
    assert find("c1", "c2", "c3", "c4") == {
        "c1": Route(port=2200),
        "c2": Route("10.0.0.2", proxy=f"{strict} -W '[%h]:%p' ssh://ops@gate:2022"),
        "c3": Route(proxy=f"{strict} -J ssh://one -W '[%h]:%p' ssh://two:23"),
        "c4": Route(proxy="nc --proxy %n %h %p"),
    }


def test_slurm_knows_where_a_name_is_that_nobody_else_knows(machine: Path) -> None:
    found = find("rack7-01", "rack7-02", "rack7-03", "rack7-04")
    assert found == {
        "rack7-01": Route("node01"),
        "rack7-02": Route("node02"),
        "rack7-03": Route(),  # what it says is no name
        "rack7-04": Route(),
    }
    assert (machine / "scontrol.asked").read_text() == "--oneliner show nodes\n", "once, for all of them"


def test_a_name_that_resolves_is_better_than_slurms_address() -> None:
    """As before there were routes: NodeAddr may be an address of the fast network, where no sshd listens."""
    seen = Seen({"hostname": "c1", "port": "22"}, True, ("10.9.9.9", "c1"))
    assert routes.route("c1", Route(), seen) == Route()
    assert routes.route("c1", Route(), Seen({}, False, ("10.9.9.9", "c1"))) == Route("10.9.9.9")


def test_the_cluster_file_wins_key_by_key(machine: Path) -> None:
    wanted = [
        NodeRoute(nodes="c2", port=2222),
        NodeRoute(nodes="c1", address="10.1.1.1"),
        NodeRoute(nodes="c4", jump=Jump("gate", "me", 24)),
    ]
    found = find("c1", "c2", "c4", wanted=wanted)
    assert found["c1"] == Route("10.1.1.1", 2200)
    assert (found["c2"].address, found["c2"].port) == ("10.0.0.2", 2222)
    assert found["c4"].proxy == f'{" ".join(STRICT)} -o ControlPath=none -p 24 -W "[%h]:%p" me@gate'


def test_a_machine_without_slurm_or_ssh_says_nothing(machine: Path) -> None:
    for name in ("scontrol", "ssh"):
        (machine / name).write_text("#!/bin/sh\nexit 127\n")
    assert find("c1", "rack7-01") == {"c1": Route(), "rack7-01": Route()}


def test_a_command_that_fails_is_no_answer() -> None:
    with pytest.raises(CommandFailed):
        routes.find_routes(lambda argv, *_: CommandResult("c", tuple(argv), 1, "", "sudo: no", 0.0), ["c1"])


def test_what_the_shell_prints_beside_is_no_node() -> None:
    lines = [
        "slurm c1 10.0.0.1",
        "hostname x",
        "node c1",
        "hostname c1",
        "hostname y",
        "port 2200",
        "resolves",
        "Welcome!",
    ]
    seen = routes.read_seen(lines, routes.read_slurm(lines))
    assert routes.route("c1", Route(), seen["c1"]) == Route(port=2200)
    assert routes.read_slurm(lines) == {}, "a line of another form"


@pytest.mark.parametrize("port", ["0", "70000", "x", "22", ""])
def test_a_port_that_is_none_or_the_usual_one_is_not_named(port: str) -> None:
    assert routes.route("c1", Route(), Seen({"port": port}, True, ())).port is None


def test_a_thousand_nodes_are_one_entry() -> None:
    one = (NodeRoute("10.0.[0-3].[0-249]", 2222, nodes="c[0000-0999]"),)
    assert configured_route("c0999", one) == Route("10.0.3.249", 2222)
    assert configured_route("c0000", one) == Route("10.0.0.0", 2222)


@pytest.mark.parametrize("text", ["gate", "me@gate", "gate:22", "me@[fd00::1]:2222", "[fd00::1]"])
def test_a_jump_is_written_as_it_is_read(text: str) -> None:
    assert str(read_jump(text)) == text


def test_ssh_reads_a_route_as_it_is_meant(tmp_path: Path) -> None:
    """The name stays the one that ssh_config has its words for."""
    (tmp_path / "ssh_config").write_text("Host c1\n    Port 9\n    HostName wrong\n    Ciphers aes256-ctr\n")
    argv = ssh_to_node("c1", Route("fd00::7", 2222, Jump("gate", "me", 24)), 5)
    assert argv[-1] == "root@c1"
    shown = (
        run_process("here", [argv[0], "-G", "-F", str(tmp_path / "ssh_config"), *argv[1:]], timeout=10).check().stdout
    )
    words = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    assert (words["hostname"], words["port"], words["user"], words["ciphers"]) == (
        "fd00::7",
        "2222",
        "root",
        "aes256-ctr",
    )
    assert words["proxycommand"].endswith('-p 24 -W "[%h]:%p" me@gate')
