"""Phase 1 without a cluster: what ssh makes of the inventory, what is read from Ansible, what is raised."""

from __future__ import annotations

import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core import documents, layout
from pytest_hpcregistry.core.errors import CommandFailed, Unreachable, UsageError
from pytest_hpcregistry.core.model import Cluster, Controller, Ssh
from pytest_hpcregistry.core.routes import Jump, Route
from pytest_hpcregistry.setup import playbook, transcript, troubles
from pytest_hpcregistry.setup.transcript import HostRecap, Transcript
from pytest_hpcregistry.transports import Command, CommandResult, Transport
from pytest_hpcregistry.transports.local import LocalTransport

ROLE = playbook.PLAYBOOK.parent / "roles" / "container_registry"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file that exists: ssh leaves out one that does not."""
    (tmp_path / "my key").touch()
    return tmp_path / "my key"


def make_cluster(
    *, user: str = "root", jump: Jump | None = None, ssh: Ssh | None = None, key: Path | None = None
) -> Cluster:
    controller = Controller(name="hpc-controller", host="192.0.2.7", port=2222, user=user, key=key, jump=jump)
    return Cluster(controller=controller, ssh=ssh or Ssh(known_hosts=Path("/k/known_hosts")))


def ssh_reads(argv: Sequence[str]) -> dict[str, str]:
    """What ssh itself understands of a command line, asked with `ssh -G`."""
    assert argv[0] == "ssh"
    shown = subprocess.run(["ssh", "-G", *argv[1:]], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)


def connect(cluster: Cluster, group: str, name: str) -> list[str]:
    """The ssh command line that Ansible makes for one host of the inventory."""
    content = playbook.inventory(cluster, ["c001", "c002"])["all"]
    host = content["children"][group]["hosts"][name]
    return ["ssh", *shlex.split(host["ansible_ssh_common_args"]), host.get("ansible_host", name)]


def proxy_of(seen: dict[str, str], host: str) -> list[str]:
    """The ProxyCommand as ssh hands it to the shell: %h and %p filled in, %% made one."""
    command = seen["proxycommand"].replace("%%", "\0").replace("%h", host).replace("%p", "22").replace("\0", "%")
    return shlex.split(command)


def test_the_controller_is_reached_as_its_file_says(key: Path) -> None:
    seen = ssh_reads(connect(make_cluster(key=key), "controller", "hpc-controller"))
    assert (seen["hostname"], seen["port"], seen["identityfile"]) == ("192.0.2.7", "2222", str(key))
    assert (seen["stricthostkeychecking"], seen["batchmode"]) == ("true", "yes")
    assert seen["userknownhostsfile"] == "/k/known_hosts"
    assert "proxycommand" not in seen


def test_a_node_is_reached_through_the_controller_with_the_same_key_and_known_hosts(key: Path) -> None:
    seen = ssh_reads(connect(make_cluster(key=key), "compute", "c001"))
    assert (seen["hostname"], seen["port"], seen["identityfile"]) == ("c001", "22", str(key))
    assert seen["stricthostkeychecking"] == "true"
    proxy = proxy_of(seen, "c001")
    assert proxy[proxy.index("-W") + 1] == "[c001]:22"
    hop = ssh_reads(proxy)
    assert (hop["hostname"], hop["port"], hop["user"]) == ("192.0.2.7", "2222", "root")
    assert (hop["identityfile"], hop["userknownhostsfile"]) == (str(key), "/k/known_hosts")
    assert (hop["stricthostkeychecking"], hop["batchmode"]) == ("true", "yes")


def test_a_jump_host_stands_before_the_controller_only() -> None:
    seen = ssh_reads(connect(make_cluster(jump=Jump("gate", "me", 2022)), "compute", "c001"))
    to_controller = ssh_reads(proxy_of(seen, "c001"))
    assert to_controller["hostname"] == "192.0.2.7"
    to_gate = proxy_of(to_controller, "192.0.2.7")
    assert to_gate[to_gate.index("-W") + 1] == "[192.0.2.7]:22"
    gate = ssh_reads(to_gate)
    assert (gate["hostname"], gate["port"], gate["user"]) == ("gate", "2022", "me")
    assert "proxycommand" not in gate


def test_the_ssh_configuration_of_the_cluster_file_is_used_on_both_ways(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  HostKeyAlias from-this-file\n")
    cluster = make_cluster(ssh=Ssh(config=config))
    seen = ssh_reads(connect(cluster, "compute", "c002"))
    assert seen["hostkeyalias"] == "from-this-file"
    assert ssh_reads(proxy_of(seen, "c002"))["hostkeyalias"] == "from-this-file"


def test_a_node_is_reached_as_the_controller_reaches_it() -> None:
    """Its address and port, by which its host key is looked up as well."""
    routes = {"c001": Route("10.0.0.1", 2200)}
    content = playbook.inventory(make_cluster(), ["c001", "c002"], routes)["all"]["children"]["compute"]["hosts"]
    assert (
        content["c002"] == playbook.inventory(make_cluster(), ["c002"])["all"]["children"]["compute"]["hosts"]["c002"]
    )
    assert (content["c001"]["ansible_host"], content["c001"]["ansible_port"]) == ("10.0.0.1", 2200)
    seen = ssh_reads(["ssh", *shlex.split(content["c001"]["ansible_ssh_common_args"]), "10.0.0.1"])
    assert seen["port"] == "2200"


@pytest.mark.parametrize(("user", "become"), [("root", []), ("ops", ["sudo", "-n"])])
def test_what_the_controller_needs_to_get_to_a_node_is_done_by_the_controller(user: str, become: list[str]) -> None:
    """It has the names, the keys and the host keys for that, and root has its ssh_config."""
    routes = {"c001": Route("10.0.0.1", 2200, proxy="nc -X 5% %h %p 100%%")}
    (host,) = playbook.inventory(make_cluster(user=user), ["c001"], routes)["all"]["children"]["compute"][
        "hosts"
    ].values()
    seen = ssh_reads(["ssh", *shlex.split(host["ansible_ssh_common_args"]), "10.0.0.1"])
    *ssh, remote = proxy_of(seen, "10.0.0.1")
    hop = ssh_reads([*ssh, "x"])
    assert (hop["hostname"], hop["port"], hop["user"]) == ("192.0.2.7", "2222", user)
    assert shlex.split(remote) == [*become, "sh", "-c", "exec nc -X 5% 10.0.0.1 2200 100%"]


def test_who_logs_in_at_a_node_is_another_than_at_the_controller() -> None:
    content = playbook.inventory(make_cluster(), ["c1", "c2"], {"c1": Route(user="ops")})["all"]["children"]["compute"]
    ours = {name: value for name, value in content["hosts"]["c1"].items() if name != "ansible_ssh_common_args"}
    assert ours == {"ansible_user": "ops", "ansible_become": True}
    assert list(content["hosts"]["c2"]) == ["ansible_ssh_common_args"]


@pytest.mark.parametrize(("user", "become"), [("root", False), ("admin", True)])
def test_a_user_other_than_root_becomes_root(user: str, become: bool) -> None:
    variables = playbook.inventory(make_cluster(user=user), ["c001"])["all"]["vars"]
    assert (variables["ansible_user"], variables["ansible_become"]) == (user, become)


def test_paths_that_are_no_settings_are_the_ones_that_the_workstation_knows() -> None:
    fixed = documents.load((ROLE / "vars" / "main.yml").read_text(), "vars")
    assert fixed["container_registry_library_dir"] == str(Path(layout.PROGRAM).parent) == str(Path(layout.AGENT).parent)
    assert fixed["container_registry_sync_command"] == layout.LAUNCHER
    assert fixed["container_registry_sync_known_hosts"] == layout.KNOWN_HOSTS
    assert f" {fixed['container_registry_library_dir']}/container-run " in (ROLE / "templates/oci.conf.j2").read_text()
    settings = documents.load((ROLE / "defaults" / "main.yml").read_text(), "defaults")
    assert not fixed.keys() & settings.keys()


@pytest.mark.parametrize("nodes", [[], ["-oProxyCommand=id"], ["c[1:3]"], ["a b"], ["c001\n"]])
def test_no_node_and_odd_names_are_refused(nodes: list[str]) -> None:
    with pytest.raises(UsageError):
        playbook.inventory(make_cluster(), nodes)


def failed(host: str, task: str, message: str, stderr: str = "", event: str = "failed") -> dict[str, object]:
    return {"event": event, "host": host, "task": task, "message": message, "stderr": stderr}


def ended(host: str, ok: int, changed: int, unreachable: int, failures: int) -> dict[str, object]:
    counts = {"ok": ok, "changed": changed, "unreachable": unreachable, "failures": failures}
    return {"event": "ended", "host": host, **counts, "skipped": 1, "rescued": 0, "ignored": 0}


FINE = [ended("c001", 9, 3, 0, 0), ended("hpc-controller", 15, 8, 0, 0)]
NO_ROUTE = "Failed to connect to the host via ssh: ssh: connect to host c004 port 22: No route to host"
LOST = [failed("c004", "Look for what the machine must have", NO_ROUTE, event="unreachable"), ended("c004", 1, 0, 1, 0)]
MISSING = ("Stop where something is missing", "lacks rsync (package rsync)")
MIXED = [
    *FINE,
    *LOST,
    *(failed(host, *MISSING) for host in ("c002", "c003")),
    failed("c005", "Make the directories", "No space left on device"),
    failed("c006", "Make the directories", "non-zero return code", "a\nb"),
    *(ended(host, 1, 0, 0, 1) for host in ("c002", "c003", "c005", "c006")),
]


SCREEN = ["fatal: [c001]: FAILED! => {}", "c001 : ok=0 changed=0 unreachable=0 failed=1"]
"""What Ansible prints is for people: nothing is read from it."""


class Actor(Transport):
    """A transport that plays Ansible: its callback plugin's events, two lines on the screen, and an exit code."""

    def __init__(self, events: Sequence[dict[str, object]], *, exit_code: int = 0, ssh_error: str = "") -> None:
        self.events = events
        self.exit_code = exit_code
        self.ssh_error = ssh_error
        self.asked: list[list[str]] = []

    def execute(self, command: Command) -> CommandResult:
        self.asked.append(list(command.argv))
        if command.argv[0] == "ssh":
            return CommandResult("here", tuple(command.argv), 255 if self.ssh_error else 0, "", self.ssh_error, 0.1)
        assert command.on_line is not None
        for line in SCREEN:
            command.on_line(line)
        (path,) = (word.partition("=")[2] for word in command.argv if word.startswith("HPCREGISTRY_EVENTS="))
        if self.events:
            Path(path).write_text("".join(json.dumps(event) + "\n" for event in self.events))
        return CommandResult("here", tuple(command.argv), self.exit_code, "", "[ERROR]: last words", 12.5)


def test_the_recap_is_read_and_every_line_is_handed_on() -> None:
    actor, lines = Actor(FINE), list[str]()
    recap = playbook.set_up(make_cluster(), ["c001"], on_line=lines.append, transport=actor)
    assert recap.hosts == {"c001": HostRecap(9, 3, 0, 0), "hpc-controller": HostRecap(15, 8, 0, 0)}
    assert (recap.changed, recap.seconds, lines) == (11, 12.5, SCREEN)


def test_a_connection_that_the_user_has_open_is_the_way_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No login that could ask for a second factor; the nodes' own connections are none of the user's."""
    monkeypatch.setattr(playbook, "find_open_connection", lambda *_: "/home/me/.ssh/cm-1")
    actor = Actor(FINE)
    playbook.set_up(make_cluster(), ["c001"], transport=actor)
    assert [argv[0] for argv in actor.asked] == ["env"], "no connection is opened, and none is closed"
    content = playbook.inventory(make_cluster(), ["c001"], control_path="/s/%C", shared="/home/me/.ssh/cm-1")["all"]
    seen = ssh_reads(
        ["ssh", *shlex.split(content["children"]["compute"]["hosts"]["c001"]["ansible_ssh_common_args"]), "x"]
    )
    assert seen["controlpath"].startswith("/s/")
    assert ssh_reads(proxy_of(seen, "c001"))["controlpath"] == "/home/me/.ssh/cm-1"
    (front,) = content["children"]["controller"]["hosts"].values()
    assert "ControlPath=/home/me/.ssh/cm-1" in front["ansible_ssh_common_args"]


def test_failed_tasks_are_named_with_their_nodes_folded_and_so_are_lost_nodes() -> None:
    with pytest.raises(CommandFailed) as caught:
        playbook.set_up(make_cluster(), ["c001"], transport=Actor(MIXED, exit_code=2))
    assert str(caught.value).splitlines() == [
        "c005: Make the directories: No space left on device",
        "c006: Make the directories: non-zero return code: b",
        "c[002-003]: Stop where something is missing: lacks rsync (package rsync)",
        "c004: Look for what the machine must have: no route",
    ]


def test_a_node_that_could_not_be_asked_is_unreachable_not_failed() -> None:
    with pytest.raises(Unreachable, match=r"^c004: .*: no route$"):
        playbook.set_up(make_cluster(), ["c004"], transport=Actor(LOST, exit_code=4))


def test_what_follows_from_others_comes_last_and_is_no_failure_of_its_own() -> None:
    follows, said = troubles.FOLLOWS[1], "nothing was changed here"
    stopped = [failed("hpc-controller", follows, said), ended("hpc-controller", 4, 0, 0, 1)]
    with pytest.raises(Unreachable, match=rf"^c004: .*: no route\nhpc-controller: {follows}: {said}$"):
        playbook.set_up(make_cluster(), ["c004"], transport=Actor([*LOST, *stopped], exit_code=4))
    odd = [failed("c004", *MISSING), ended("c004", 1, 0, 0, 1)]
    with pytest.raises(CommandFailed, match=rf"^c004: Stop where something.*\nhpc-controller: {follows}: {said}$"):
        playbook.set_up(make_cluster(), ["c004"], transport=Actor([*odd, *stopped], exit_code=2))


def test_the_tasks_that_follow_from_others_are_the_roles() -> None:
    files = [ROLE / "tasks" / name for name in ("check.yml", "trust.yml")]
    names = {task["name"] for file in files for task in documents.parse(file.read_text(), file.name).data}
    assert names >= set(troubles.FOLLOWS)


def test_the_controller_is_asked_why_it_passes_nothing_on() -> None:
    said = "Connection closed by UNKNOWN port 65535"
    events = [failed("c004", "Look", said, event="unreachable"), ended("c004", 0, 0, 1, 0), *LOST[:-1], *FINE]
    asked: dict[str, Route] = {}

    def look(routes: Mapping[str, Route]) -> dict[str, str]:
        asked.update(routes)
        return {"c004": "connection refused by the port 2200"}

    how: dict[str, Any] = {"routes": {"c004": Route(port=2200)}, "look": look, "transport": Actor(events, exit_code=4)}
    with pytest.raises(Unreachable, match=r"^c004: Look: connection refused by the port 2200$"):
        playbook.set_up(make_cluster(), ["c004"], **how)
    assert asked == {"c004": Route(port=2200)}
    with pytest.raises(Unreachable, match="the machine in front cannot reach it"):
        playbook.set_up(make_cluster(), ["c004"], transport=Actor(events, exit_code=4))


def test_an_unreachable_controller_ends_it_before_ansible_begins() -> None:
    actor = Actor(FINE, ssh_error="Host key verification failed.")
    with pytest.raises(Unreachable, match="hpc-controller: host key is not known"):
        playbook.set_up(make_cluster(), ["c001"], transport=actor)
    assert {argv[0] for argv in actor.asked} == {"ssh"}


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_run_that_touched_no_machine_is_never_green(exit_code: int) -> None:
    with pytest.raises(CommandFailed):
        playbook.set_up(make_cluster(), ["c001"], transport=Actor([], exit_code=exit_code))


def test_the_command_line_and_the_end_of_the_shared_connection() -> None:
    actor = Actor(FINE)
    playbook.set_up(make_cluster(), ["c001"], check=True, diff=True, extra_vars=["packer_build=true"], transport=actor)
    *_, play, last = actor.asked
    assert "ANSIBLE_HOST_KEY_CHECKING=True" in play
    assert {"--check", "--diff", "packer_build=true"} <= set(play)
    assert play[play.index("--forks") + 1] == "2"
    assert last[-3:-1] == ["-O", "exit"]


def test_a_failure_after_the_run_still_ends_the_shared_connection() -> None:
    actor = Actor(LOST, exit_code=4)
    with pytest.raises(Unreachable):
        playbook.set_up(make_cluster(), ["c004"], transport=actor)
    assert "exit" in actor.asked[-1]


HOSTILE = {
    "ANSIBLE_INVENTORY_ENABLED": "host_list",
    "ANSIBLE_TRANSPORT": "local",
    "ANSIBLE_REMOTE_PORT": "2",
    "ANSIBLE_REMOTE_USER": "nobody",
    "ANSIBLE_PRIVATE_KEY_FILE": "/no/such",
    "ANSIBLE_SSH_ARGS": "-J nowhere",
    "ANSIBLE_SSH_EXECUTABLE": "/bin/false",
    "ANSIBLE_BECOME_METHOD": "su",
    "ANSIBLE_ANY_ERRORS_FATAL": "True",
    "ANSIBLE_ENABLE_TASK_DEBUGGER": "True",
    "ANSIBLE_ROLES_PATH": "/no/such",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_HASH_BEHAVIOUR": "merge",
    "ANSIBLE_STDOUT_CALLBACK": "minimal",
}


def test_the_users_own_settings_of_ansible_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ansible itself says is not at its default, with such an environment and without."""

    def changed() -> str:
        words = playbook.environment(str(tmp_path), 5)
        argv = ["env", *words, sys.executable, "-m", "ansible", "config", "dump", "--only-changed", "--type", "all"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    before = changed()
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    assert changed() == before
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(tmp_path / "log"))
    assert "DEFAULT_LOG_PATH" in changed()


def play(tmp_path: Path, *words: str, plain: bool = False, **variables: object) -> tuple[int, Transcript, str]:
    """Run the real playbook with Ansible's local connection, on hosts that are this machine.

    *plain*: as an operator's own ansible-playbook does, which does not ask for events.
    """
    hosts = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    groups: dict[str, object] = {
        "controller": {"hosts": {"ctl": {}}},
        "hpc_compute_nodes": {"hosts": {"n1": {}, "n2": {}}},
    }
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"vars": hosts, "children": groups}}))
    lines: list[str] = []
    settings = playbook.environment(str(tmp_path), 5)
    settings = [setting for setting in settings if not (plain and setting.startswith("HPCREGISTRY_"))]
    argv = ["env", *settings, playbook.ansible_playbook(), "-i", str(inventory)]
    result = LocalTransport().run([*argv, str(playbook.PLAYBOOK), *words], timeout=60, on_line=lines.append)
    said = transcript.read(tmp_path / playbook.EVENTS)
    return result.exit_code, said, "\n".join(lines) + result.stderr


def test_a_packer_build_skips_the_role_says_why_and_changes_nothing(tmp_path: Path) -> None:
    registry = tmp_path / "containers"
    code, recap, said = play(tmp_path, "-e", "packer_build=true", container_registry_path=str(registry))
    assert code == 0, said
    assert recap.hosts == dict.fromkeys(["ctl", "n1", "n2"], HostRecap(1, 0, 0, 0))
    assert "TASK [container_registry : Verify not running in Packer build mode]" in said
    assert said.count("packer_build=true") == 3
    assert not registry.exists()


def test_a_packer_build_of_neither_true_nor_false_is_refused(tmp_path: Path) -> None:
    code, recap, said = play(tmp_path, "-e", "packer_build=maybe")
    assert code == 2, said
    assert recap.troubles["n1"].message == "packer_build must be true or false, not maybe"


def test_settings_that_could_hurt_or_that_no_sync_would_take_are_refused_all_at_once(tmp_path: Path) -> None:
    code, recap, said = play(
        tmp_path,
        container_registry_path='/opt/x" ssh',
        container_registry_directories=["..", "a"],
        container_registry_directory_mode="0555",
        container_registry_nodes=["n1", "n1"],
        container_registry_sync_key_from=["10.0.0.1", '10.0.0.2",command="id'],
        container_registry_sync_key="/root/../etc/key",
        container_registry_sync_log="/var/a b",
        container_registry_sync_window=0,
        container_registry_authorized_keys="/root/a b",
        packer_build="false",
    )
    assert code == 2, said
    assert "Running in live VM deployment mode (packer_build=false) ✓" in said
    assert {trouble.task for trouble in recap.troubles.values()} == {"Check the settings"}
    (trouble,) = {trouble.message for trouble in recap.troubles.values()}
    mistakes = trouble.split("; ")
    for beginning in (
        "container_registry_path must be an absolute path",
        "container_registry_directories: '..' ",
        "container_registry_directory_mode: '0555' shuts the owner out",
        "container_registry_nodes: listed twice: n1",
        "container_registry_sync_key_from: '10.0.0.2\",command=",
        "container_registry_sync_key: '/root/../etc/key' must be written as '/etc/key'",
        "container_registry_sync_log: '/var/a b' must hold only",
        "container_registry_sync_window: '0' is not a whole number above 0",
        "these must be absolute paths of letters, digits and . _ + - only: /root/a b",
    ):
        assert [mistake for mistake in mistakes if mistake.startswith(beginning)], (beginning, mistakes)


def test_an_ansible_playbook_of_another_environment_is_refused_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pytest_hpcregistry.core", None)
    filters = runpy.run_path(str(ROLE / "filter_plugins" / "settings.py"))
    (mistake,) = filters["mistakes"]("version: 2\n")
    assert mistake.startswith(f"{sys.executable} has no pytest-hpcregistry")


def test_no_text_for_people_could_become_a_line_of_authorized_keys() -> None:
    """In check mode there may be no key: what is not known then is left out, and never made up."""
    texts = [path.read_text() for path in ROLE.rglob("*") if path.suffix in (".yml", ".j2")]
    assert len(texts) > 10
    assert not [text for text in texts if "the key that would be made" in text]


def test_a_plain_run_of_the_playbook_writes_no_events(tmp_path: Path) -> None:
    """The callback plugin beside the playbook is for this package's own runs."""
    code, recap, said = play(tmp_path, "-e", "packer_build=true", plain=True)
    assert (code, recap) == (0, Transcript())
    assert "ok=1" in said
    assert "callback" not in said.lower()


def test_the_files_that_the_role_copies_are_in_the_package() -> None:
    assert (ROLE / "files" / "container-run").exists()
    assert (ROLE / "templates" / "oci.conf.j2").exists()


def test_only_modules_of_ansible_core_are_used() -> None:
    tasks = [path.read_text() for folder in ("tasks", "handlers") for path in (ROLE / folder).glob("*.yml")]
    used = {line.strip() for text in tasks for line in text.splitlines() if line.strip().startswith("ansible.")}
    assert len(used) > 5
    assert all(line.startswith("ansible.builtin.") for line in used)


def silent_ones(code: int, **unreachable: int) -> tuple[Transcript, CommandResult]:
    hosts = {name: HostRecap(ok=1, changed=0, unreachable=times, failed=0) for name, times in unreachable.items()}
    return Transcript(hosts), CommandResult("here", ("ansible-playbook",), code, "", "what went wrong", 1.0)


def test_a_machine_that_slurm_does_not_count_on_need_not_be_reached() -> None:
    troubles.raise_troubles(*silent_ones(4, c1=0, c2=1), {"c2": "drained"})
    troubles.raise_troubles(*silent_ones(0, c1=0, c2=0), {"c2": "drained"})
    with pytest.raises(Unreachable, match="c3"):
        troubles.raise_troubles(*silent_ones(4, c1=0, c2=1, c3=1), {"c2"})
    with pytest.raises(CommandFailed, match="exited with 4"):
        troubles.raise_troubles(*silent_ones(4, c1=0, c2=0), {"c2"})
    with pytest.raises(CommandFailed, match="exited with 2"):
        troubles.raise_troubles(*silent_ones(2, c1=0, c2=1), {"c2"})
