"""How the controller finds its nodes, and the words that ssh to them is called with."""

from __future__ import annotations

import os
import pkgutil
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import nodes
from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, HpcRegistryError, Unreachable, UsageError
from pytest_hpcregistry.core.machine import SlurmFacts
from pytest_hpcregistry.core.nodeset import Choice
from pytest_hpcregistry.core.routes import NodeRoute, Route
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.core.slurm_states import ASK_SLURM, out_of_service
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.frame import for_any_shell
from pytest_hpcregistry.transports.ssh import ssh_to_node
from tests.fakes.settings import change, make_settings

ORDINARY = [
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ControlPath=none"),
    *("-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
]
SETUP = "hpc-container-manager registry setup"


class Ran:
    """In the place of run_process: what it was asked, and one answer."""

    def __init__(self, stdout: str = "", code: int = 0, stderr: str = "") -> None:
        self.said, self.code, self.stderr = stdout, code, stderr
        self.where, self.argv, self.how = "", list[str](), dict[str, Any]()

    def __call__(self, where: str, argv: Sequence[str], **how: Any) -> CommandResult:
        self.where, self.argv, self.how = where, list(argv), how
        if self.code == -1:
            raise CommandTimeout("was still running")
        return CommandResult(where, tuple(argv), self.code, self.said, self.stderr, 0.0)


def ran(monkeypatch: pytest.MonkeyPatch, *answer: Any) -> Ran:
    found = Ran(*answer)
    monkeypatch.setattr(nodes, "run_process", found)
    return found


# --- which there are


def test_slurm_is_asked_for_every_node_and_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = "c2 idle Unknown|Unknown|none\n"
    drained = 'c3 drained root|2026-01-30T17:05:59|disk "1" swap | by hand\n'
    asked = ran(monkeypatch, f"{idle}\n  \nc1 down* slurm|Unknown|Not responding\n{idle}{drained}")
    assert nodes.slurm_view() == SlurmFacts(
        nodes={"c2": "idle", "c1": "down*", "c3": "drained"},
        reasons={"c1": '"Not responding" (slurm)', "c3": '"disk "1" swap | by hand" (root, since 2026-01-30)'},
    )
    assert (asked.where, asked.argv) == ("controller", list(ASK_SLURM))
    assert asked.how == {"timeout": 20}
    assert nodes.list_nodes(None) == ["c1", "c2", "c3"]


def test_a_node_in_no_partition_is_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sinfo(1) knows only those of partitions."""
    (tmp_path / "sinfo").write_text('#!/bin/sh\necho "c1 drained root|2026-01-30T17:05:59|disk"\n')
    shown = "NodeName={} Arch=x86_64 CoresPerSocket=1 State={} ThreadsPerCore=1 Reason=a State=b "
    lines = "\n".join(shown.format(*one) for one in (("c1", "IDLE+DRAIN"), ("c2", "IDLE"), ("c3", "DOWN*+DRAIN")))
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\ncat <<'EOF'\n{lines}\nEOF\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    view = nodes.slurm_view()
    assert out_of_service(view) == {
        "c1": 'drained "disk" (root, since 2026-01-30)',
        "c3": "down, drained, not responding",
    }
    assert nodes.list_nodes(None) == ["c1", "c2", "c3"]
    (tmp_path / "scontrol").unlink()
    assert nodes.list_nodes(None) == ["c1"]


SINFO = """\
#!/bin/sh
case " $* " in
    *" --help "*) echo '  -e, --exact'; [ {future} = no ] || echo '  -F, --future'; exit ;;
    *" --future "*) [ {future} = yes ] || {{ echo 'Try "sinfo --help" for more information' >&2; exit 1; }} ;;
    *) [ {future} = no ] || exit 1 ;;
esac
echo 'c1 idle Unknown|Unknown|none'
"""


@pytest.mark.parametrize("future", ["yes", "no"])
def test_slurm_before_23_02_is_not_asked_for_the_future(
    future: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sinfo").write_text(SINFO.format(future=future))
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert nodes.slurm_view() == SlurmFacts(nodes={"c1": "idle"})


def test_a_reason_is_bounded_and_visible_and_makes_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(monkeypatch, f"c1 drained ro\x1bot|Unknown|\x1b[31m{'x' * 500}\nc9 idle\nand more\n")
    found = nodes.slurm_view()
    assert list(found.nodes) == ["c1"]
    assert found.reasons["c1"].startswith('"\\x1b[31mxxx')
    assert found.reasons["c1"].endswith('x…" (ro\\x1bot)')
    assert len(found.reasons["c1"]) < 120


def test_nodes_of_the_future_are_no_nodes_yet_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    view = SlurmFacts(nodes={"c1": "idle", "c2": "future*"})
    assert nodes.list_nodes(None, view) == ["c1"]
    assert nodes.list_nodes(["c2"], view) == ["c2"]


def test_slurm_that_gave_no_view_names_no_nodes() -> None:
    with pytest.raises(Unreachable, match="no slurmctld"):
        nodes.choose_nodes(None, Choice(), SlurmFacts(error="no slurmctld"))
    assert nodes.choose_nodes(["c1"], Choice(), SlurmFacts(error="no slurmctld")) == ["c1"]


@pytest.mark.parametrize(
    ("answer", "says", "hint"),
    [
        (("", -1), "Slurm does not say which nodes there are: no answer in 20 s", "scontrol ping"),
        (("", 1, "sinfo: one\nsinfo: two\n"), "Slurm does not say which nodes there are: sinfo: two", "scontrol ping"),
        (("c1 idle Unknown|Unknown|none\n", 1), "Slurm does not say which nodes there are: no answer", "scontrol ping"),
        (("\n",), "Slurm knows no nodes", "see `sinfo`"),
    ],
)
def test_slurm_that_does_not_tell_is_unreachable(
    answer: tuple[Any, ...], says: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(monkeypatch, *answer)
    with pytest.raises(Unreachable) as caught:
        nodes.list_nodes(None)
    assert str(caught.value) == says
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("only", "exclude", "left"),
    [
        ("", "", ["c1", "c2", "c3", "gpu1"]),
        ("c[1-2]", "", ["c1", "c2"]),
        ("gpu1,c3", "", ["c3", "gpu1"]),
        ("", "c[1-3]", ["gpu1"]),
        ("c[1-3]", "c2", ["c1", "c3"]),
        ("c[1-3]!c1", "", ["c2", "c3"]),
    ],
)
def test_the_nodes_that_are_chosen(only: str, exclude: str, left: list[str]) -> None:
    assert nodes.choose_nodes(["gpu1", "c3", "c2", "c1"], Choice(only, exclude)) == left


@pytest.mark.parametrize(
    ("only", "exclude", "says"),
    [
        ("c[1-9]", "", r"c\[4-9\]: no such node in this cluster"),
        ("", "c4", "c4: no such node in this cluster"),
        ("c1", "c[1-2]", "no node is left to be asked"),
        ("c[1-", "", "is not a node set"),
        ("@gone", "", "@gone means no node: a group there is not known, or has none"),
        ("", "@gone", "@gone means no node"),
        ("c[1-999999999]", "", "means more than 100000 nodes"),
        ("", "c[1-9999]x[1-9999]", "means more than 100000 nodes"),
    ],
)
def test_a_choice_that_cannot_be(only: str, exclude: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        nodes.choose_nodes(["c1", "c2", "c3"], Choice(only, exclude))


def test_groups_are_those_of_clustershell_on_this_machine(tmp_path: Path) -> None:
    """As clush -w @gpu has them: groups.conf(5)."""
    (tmp_path / "groups.conf").write_text("[Main]\ndefault: mine\n[mine]\nmap: echo c[2-3]\nall: echo c[1-3]\n")
    code = (
        "from pytest_hpcregistry.controller.nodes import choose_nodes\n"
        "from pytest_hpcregistry.core.nodeset import Choice\n"
        "print(*choose_nodes(['c1', 'c2', 'c3'], Choice('@gpu')))\n"
        "print(*choose_nodes(['c1', 'c2', 'c3'], Choice(exclude='@gpu')))\n"
    )
    environment = {**os.environ, "CLUSTERSHELL_CFGDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["c2 c3", "c1"]


def test_configured_nodes_are_all_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ran(monkeypatch, "c9 idle\n")
    assert nodes.list_nodes(["c2", "C-1.x", "c2"]) == ["C-1.x", "c2"]
    assert asked.argv == []


NODES = """\
NodeName=c1 Arch=x86_64 CoresPerSocket=1 Comment=Arch=fake State=IDLE
NodeName=c2 CoresPerSocket=1 State=DOWN
NodeName=c3 Comment=a note Arch=aarch64 CoresPerSocket=1
"""


@pytest.mark.parametrize(
    ("configured", "machines"),
    [(None, ["aarch64", "x86_64"]), (["c1", "c2"], ["x86_64"]), (["c3"], ["aarch64"]), (["c2"], ["mine"])],
)
def test_slurm_knows_what_machines_the_nodes_are(
    configured: list[str] | None, machines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "mine")
    asked = ran(monkeypatch, NODES)
    assert nodes.machines(configured) == machines
    assert (asked.argv, asked.how) == (["scontrol", "show", "nodes", "--oneliner"], {"timeout": 20})


@pytest.mark.parametrize("answer", [("", -1), ("", 1, "slurm_load_node error"), ("",)])
def test_where_slurm_does_not_tell_it_is_the_controllers_own(
    answer: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "mine")
    ran(monkeypatch, *answer)
    assert nodes.machines(None) == ["mine"]


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "", ".c1", "c1\n", "c1;id", "root@c1", "_c1", "é", "c1 c2"])
def test_what_cannot_be_a_nodes_name_is_refused(name: str) -> None:
    with pytest.raises(HpcRegistryError) as caught:
        nodes.list_nodes(["c1", name])
    assert str(caught.value) == f"{name!r} is not a node name"


def test_no_node_takes_the_controllers_place_in_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(monkeypatch, "c1 idle Unknown|Unknown|none\ncontroller idle Unknown|Unknown|none\n")
    with pytest.raises(HpcRegistryError, match=r"^controller is what reports call the controller") as caught:
        nodes.list_nodes(None)
    assert "its full name" in caught.value.hint
    assert nodes.list_nodes(["controller.cluster"]) == ["controller.cluster"]


def test_there_is_at_least_one_node() -> None:
    with pytest.raises(HpcRegistryError, match=r"^the list of nodes is empty$"):
        nodes.list_nodes([])


# --- how one is asked


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / ".registry").mkdir()
    return make_settings(tmp_path, key="/root/the key")


def test_the_words_of_ssh(settings: Settings) -> None:
    assert ssh_to_node("c1", Route(), 10) == [*ORDINARY, "root@c1"]
    assert nodes.sync_ssh("c1", settings) == [
        *ORDINARY,
        *("-o", "UserKnownHostsFile=/root/.ssh/known_hosts_registry_sync", "-o", "GlobalKnownHostsFile=none"),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", "/root/the key"),
        *("-o", "HostKeyAlias=c1", "root@c1"),
    ]


def test_the_agent_is_piped_to_a_node_and_its_request_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "n" * count)
    asked = ran(monkeypatch, f'hpcregistry {"n" * 8} {{"a": 1}}\n')
    assert nodes.ask_facts("c1", {"x": "a 'b' $(id)"}, route=Route(), connect_timeout=10, timeout=77) == {"a": 1}
    start = f'PATH="$PATH:{layout.MORE_PATH}" exec python3 - facts "$@"'
    remote = for_any_shell(["sh", "-c", start, "sh", "n" * 8, '{"x": "a \'b\' $(id)"}'])
    assert (asked.where, asked.argv) == ("c1", [*ORDINARY, "root@c1", remote])
    assert asked.how == {"stdin": pkgutil.get_data("pytest_hpcregistry", "agent/facts.py"), "timeout": 77}


def test_who_is_not_root_becomes_root_there(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "n" * count)
    asked = ran(monkeypatch, f'hpcregistry {"n" * 8} {{"a": 1}}\n')
    nodes.ask_facts("c1", {}, route=Route(user="ops"), connect_timeout=10, timeout=77)
    assert asked.argv[len(ORDINARY) :][:3] == ["ops@c1", "sudo", "-n"]
    assert asked.argv[-1].startswith("sh -c ")
    settings = change(settings, routes=(NodeRoute(nodes="slurm", user="ops"),))
    assert nodes.sync_ssh("c1", settings)[-1] == "ops@c1", "what it may do there, its line says"


def test_sudo_that_says_no_is_told_from_an_agent_that_is_not_there() -> None:
    error = nodes.no_answer("c1", 1, "sudo: a password is required\n")
    assert str(error) == "c1: the agent did not answer (exit 1): sudo: a password is required"
    assert "sudo -n" in error.hint


def test_the_last_of_several_answers_counts() -> None:
    said = 'hpcregistry n1 {"a": 1}\nhpcregistry n2 {"a": 2}\n hpcregistry n1 {"a": 3}\nhpcregistry n1 {"a": 4}\nbye'
    assert nodes.read_answer("c1", "n1", 255, said, "") == {"a": 4}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("[1]", "c1: the agent's answer is malformed: it is not an object"),
        ("[" * 100_000, "c1: the agent's answer is malformed: it is too deep"),
        ("{", "c1: the agent's answer was cut off"),
        ('{"error": "a\\nb"}', "c1: a\\nb"),
    ],
)
def test_an_answer_that_is_none_or_an_error(said: str, says: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        nodes.read_answer("c1", "n1", 0, f"hpcregistry n1 {said}\n", "")
    assert str(caught.value) == says


def test_a_node_without_the_agent() -> None:
    for stderr, last in (("one\nsh: python3: not found\n", "sh: python3: not found"), ("", "nothing")):
        found = nodes.no_answer("c1", 127, stderr)
        assert type(found) is CommandFailed
        assert str(found) == f"c1: the agent did not answer (exit 127): {last}"
        assert SETUP in found.hint


def test_an_address_of_a_node_that_phase_1_has_not_seen(settings: Settings) -> None:
    Path(settings.registry.path, agent.PEERS).write_text("c1 10.1.2.3\n")
    with pytest.raises(CommandFailed) as caught:
        nodes.check_address("c2", "x" * 100, settings)
    assert str(caught.value) == f"c2: gives {'x' * 60} as its address, where phase 1 found none"
    assert SETUP in caught.value.hint


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
        ('hpcregistry n2 {"a": 1}\n', 255, "", Unreachable, "c001: ssh failed and said nothing"),
        ("Welcome!\n", 127, "sh: python3: not found\n", CommandFailed, "c001: the agent did not answer (exit 127)"),
    ],
)
def test_what_is_no_answer(stdout: str, exit_code: int, stderr: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as caught:
        read(stdout, exit_code, stderr)
    assert str(caught.value).startswith(says)


def test_an_address_is_one_that_phase_1_found(settings: Settings) -> None:
    Path(settings.registry.path, agent.PEERS).write_text("c1 10.1.2.3 fd00::7\nc2 10.1.2.4\n")
    assert nodes.check_address("c1", "10.1.2.3", settings) == "10.1.2.3"
    assert nodes.check_address("c1", "fd00::7", change(settings, network="fd00::/64")) == "fd00::7"
    with pytest.raises(CommandFailed, match=r"^c1: 10\.1\.2\.3 is not an address in fd00::/64$"):
        nodes.check_address("c1", "10.1.2.3", change(settings, network="fd00::/64"))


@pytest.mark.parametrize("address", ["10.1.2.4", "127.0.0.1", "-oProxyCommand=id", "c1", "", "10.1.2.3:22", "\x1b[31m"])
def test_whatever_else_a_node_calls_its_address_is_refused(address: str, settings: Settings) -> None:
    """It would become a word of ssh's command line, and a place that the controller connects to."""
    Path(settings.registry.path, agent.PEERS).write_text("c1 10.1.2.3 fd00::7\nc2 10.1.2.4\n")
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
    argv = ssh_to_node("c1", Route(), connect_timeout)
    assert f"ServerAliveInterval={interval}" in argv
    assert "ServerAliveCountMax=3" in argv
    assert f"ConnectTimeout={connect_timeout}" in argv
    assert "StrictHostKeyChecking=yes" in argv


@pytest.mark.parametrize(
    ("said", "hint"), [('{"error": "no", "hint": "do\\nthis"}', "do\\nthis"), ('{"error": "no"}', "")]
)
def test_what_the_agent_says_is_to_be_done_is_kept(said: str, hint: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        read(f"hpcregistry n1 {said}\n")
    assert caught.value.hint == hint


@pytest.mark.parametrize(("stderr", "hint"), [("Host key verification failed.\n", SETUP), ("Connection refused\n", "")])
def test_what_to_do_about_a_login_that_failed(stderr: str, hint: str) -> None:
    found = nodes.no_answer("c1", 255, stderr)
    assert hint in found.hint
    assert bool(found.hint) == bool(hint)


def test_slurm_that_says_nothing_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(monkeypatch, "", 1, "Slurm:\x1bno\n")
    assert nodes.ask_slurm() == SlurmFacts("Slurm does not say which nodes there are: Slurm:\\x1bno")


def test_a_group_of_nodes_that_there_are_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "expand", lambda text, groups=False: ["c8", "c9"] if "@" in text else [text])
    with pytest.raises(UsageError) as caught:
        nodes.choose_nodes(["c1"], Choice("@gpu", "c1"))
    said = "c[8-9]: no such node in this cluster (@gpu is c[8-9] by the controller's groups.conf)"
    assert (str(caught.value), caught.value.hint) == (said, "it has c1")
