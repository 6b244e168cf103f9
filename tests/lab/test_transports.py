"""Both ways to the controller, held to one behaviour: OpenSSH and paramiko, on a real sshd."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, Unreachable
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.core.routes import Jump
from pytest_hpcregistry.transports import Transport, open_transport

from .conftest import Cli
from .machines import CONTROLLER, Machines, edit_cluster

pytestmark = pytest.mark.lab
MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["openssh", "paramiko"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def here(cluster: Cluster, way: str) -> Cluster:
    """The lab's cluster, reached in this way."""
    return replace(cluster, ssh=replace(cluster.ssh, transport=way, connect_timeout=5))


@pytest.fixture(scope="module")
def transport(here: Cluster) -> Iterator[Transport]:
    opened = open_transport(here)
    yield opened
    opened.close()


def test_command_and_its_result(transport: Transport) -> None:
    result = transport.run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=20)
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert (result.where, result.argv[0]) == (CONTROLLER, "sh")
    assert 0 < result.seconds < 20
    with pytest.raises(CommandFailed, match=r"hpc-controller: .* exited with 7"):
        result.check()


@pytest.mark.parametrize("code", [0, 1, 126, 254, 255])
def test_exit_code_of_the_command_is_no_fault_of_the_connection(transport: Transport, code: int) -> None:
    assert transport.run(["sh", "-c", f"exit {code}"], timeout=20).exit_code == code


def test_command_ended_by_a_signal_is_no_fault_of_the_connection(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "kill -9 $$"], timeout=20).exit_code == 255


def test_program_that_does_not_exist(transport: Transport) -> None:
    assert transport.run(["no-such-program"], timeout=20).exit_code == 127


def test_what_the_login_prints_is_no_output_of_the_command(machines: Machines, transport: Transport) -> None:
    """bash reads .bashrc for sshd, and sshd runs .ssh/rc: with a line break, and half a line."""
    machines.tell(CONTROLLER, "mv /root/.bashrc /root/.bashrc.kept; echo 'echo c900; printf \"half \"' > /root/.bashrc")
    machines.tell(CONTROLLER, "printf 'echo rc' > /root/.ssh/rc")
    try:
        assert transport.run(["echo", "out"], timeout=20).stdout == "out\n"
    finally:
        machines.tell(CONTROLLER, "rm -f /root/.ssh/rc; mv /root/.bashrc.kept /root/.bashrc")


def test_no_input_is_end_of_file_at_once(transport: Transport) -> None:
    assert transport.run(["cat"], timeout=20).stdout == ""


def test_input_of_all_bytes(transport: Transport) -> None:
    data = bytes(range(256)) * 300
    said = transport.run(["sha256sum"], stdin=data, timeout=20).stdout
    assert said.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_from_a_file_and_output_to_one(transport: Transport, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(hashlib.shake_256(b"twenty").digest(20 * MIB))
    with source.open("rb") as stdin, target.open("wb") as stdout:
        result = transport.run(["cat"], stdin=stdin, stdout=stdout, timeout=60)
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_bytes() == source.read_bytes()


def test_input_that_the_command_does_not_want(transport: Transport) -> None:
    result = transport.run(["sh", "-c", "exit 3"], stdin=io.BytesIO(bytes(8 * MIB)), timeout=30)
    assert result.exit_code == 3


def test_lines_come_while_the_command_runs(transport: Transport) -> None:
    began, seen = time.monotonic(), list[tuple[str, float]]()
    script = "echo first; sleep 1.5; printf 'two words\\nno end'"
    result = transport.run(
        ["sh", "-c", script], timeout=20, on_line=lambda line: seen.append((line, time.monotonic() - began))
    )
    assert [line for line, _ in seen] == ["first", "two words", "no end"]
    assert seen[1][1] - seen[0][1] > 1
    assert result.exit_code == 0


def test_much_on_both_outputs_at_once(transport: Transport) -> None:
    script = f"head -c {5 * MIB} /dev/zero | tr '\\0' e >&2 & head -c {5 * MIB} /dev/zero | tr '\\0' o; wait"
    result = transport.run(["sh", "-c", script], timeout=60)
    assert (result.stdout, result.stderr) == ("o" * 5 * MIB, "e" * 5 * MIB)


def test_output_without_an_end_is_stopped(transport: Transport) -> None:
    with pytest.raises(CommandFailed, match="more than 16 MiB on standard output"):
        transport.run(["cat", "/dev/zero"], timeout=60)


def test_deadline(transport: Transport) -> None:
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match="hpc-controller: sleep 30"):
        transport.run(["sleep", "30"], timeout=1)
    assert time.monotonic() - began < 6
    assert transport.run(["echo", "still here"], timeout=20).stdout == "still here\n"


HOSTILE = ["a b", "", "'", '"', "\\", "two\nlines", "$(id)", "`id`", ";id", "&", "|", "*", "~", "-n", "#", "ü€", "\t"]


def test_nothing_reaches_a_shell_unquoted(transport: Transport) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    result = transport.run(["python3", "-c", code, *HOSTILE], timeout=20).check()
    assert json.loads(result.stdout) == HOSTILE


# --- controllers that cannot be asked ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=30)
    return path


def with_known_hosts(cluster: Cluster, directory: Path, text: str) -> Cluster:
    path = directory / "known_hosts"
    path.write_text(text)
    return replace(cluster, ssh=replace(cluster.ssh, known_hosts=path))


def no_such_name(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    return replace(cluster, controller=replace(cluster.controller, host="no-such-host.invalid"))


def closed_port(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    return replace(cluster, controller=replace(cluster.controller, port=1))


def wrong_key(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    return replace(cluster, controller=replace(cluster.controller, key=key))


def unknown_host_key(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    return with_known_hosts(cluster, directory, "")


def changed_host_key(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    return with_known_hosts(cluster, directory, f"{cluster.controller.host} {public}\n")


def wrong_user(cluster: Cluster, key: Path, directory: Path) -> Cluster:
    return replace(cluster, controller=replace(cluster.controller, user="nobody"))


Fault = Callable[[Cluster, Path, Path], Cluster]
REASONS: dict[Fault, str] = {
    no_such_name: "name is not known",
    closed_port: "connection refused",
    wrong_key: "login refused",
    wrong_user: "login refused",
    unknown_host_key: "host key is not known",
    changed_host_key: "host key changed",
}


@pytest.mark.parametrize("fault", REASONS, ids=lambda fault: fault.__name__)
def test_unreachable_for_the_same_reason_in_the_same_words(
    fault: Fault, here: Cluster, other_key: Path, tmp_path: Path
) -> None:
    unreachable = open_transport(fault(here, other_key, tmp_path))
    try:
        with pytest.raises(Unreachable) as caught:
            unreachable.run(["true"], timeout=20)
    finally:
        unreachable.close()
    assert str(caught.value) == f"hpc-controller: {REASONS[fault]}"
    assert caught.value.hint


def test_silent_machine_is_given_up(here: Cluster) -> None:
    """TEST-NET-1 has no machines: RFC 5737. Some networks answer for it at once that there is no route."""
    silent = replace(here, controller=replace(here.controller, host="192.0.2.1"))
    transport = open_transport(replace(silent, ssh=replace(silent.ssh, connect_timeout=1)))
    began = time.monotonic()
    with pytest.raises(Unreachable):
        transport.run(["true"], timeout=20)
    transport.close()
    assert time.monotonic() - began < 8


# --- other ways in -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jump_address(set_up_lab: lab.LabState) -> str:
    return Machines(set_up_lab).tell("c001", "hostname -i").split()[0]


def test_through_a_jump_host(here: Cluster, jump_address: str, tmp_path: Path) -> None:
    """From c001 the controller is known by its name only: nothing but c001 could have resolved it."""
    assert here.ssh.known_hosts
    keys = here.ssh.known_hosts.read_text().splitlines()
    of_jump = next(line for line in keys if line.startswith("c001 ")).replace("c001", jump_address, 1)
    through = replace(here.controller, host=CONTROLLER, jump=Jump(jump_address, "root"))
    known = with_known_hosts(replace(here, controller=through), tmp_path, "\n".join([*keys, of_jump]) + "\n")
    transport = open_transport(known)
    try:
        said = transport.run(["sh", "-c", "hostname; echo $SSH_CLIENT"], timeout=20).check().stdout.split()
    finally:
        transport.close()
    assert said[:2] == [CONTROLLER, jump_address]


def test_jump_host_with_an_unknown_key_is_refused(here: Cluster, jump_address: str) -> None:
    through = replace(here.controller, host=CONTROLLER, jump=Jump(jump_address, "root"))
    transport = open_transport(replace(here, controller=through))
    try:
        with pytest.raises(Unreachable, match="host key is not known"):
            transport.run(["true"], timeout=20)
    finally:
        transport.close()


def test_jump_host_that_does_not_get_there(here: Cluster, jump_address: str, tmp_path: Path) -> None:
    assert here.ssh.known_hosts
    of_jump = here.ssh.known_hosts.read_text().replace("c001 ", f"{jump_address} ", 1)
    through = replace(here.controller, port=1, jump=Jump(jump_address, "root"))
    transport = open_transport(with_known_hosts(replace(here, controller=through), tmp_path, of_jump))
    try:
        with pytest.raises(Unreachable):
            transport.run(["true"], timeout=20)
    finally:
        transport.close()


def test_whole_deployment_in_this_way(
    way: str, cli: Cli, machines: Machines, set_up_lab: lab.LabState, sif: Callable[..., Path], tmp_path: Path
) -> None:
    cluster = edit_cluster(set_up_lab.cluster_file, tmp_path / "cluster.yaml", ssh={"transport": way})
    done = cli("deploy", "single", "-s", "-v", sif(f"by-{way}", 2048), cluster=cluster).check()
    assert f"✓ ml-frameworks/by-{way}.sif: same bytes on controller,c[001-003]" in done.stdout
    cli("status", cluster=cluster).check()


def test_ordinary_user_with_sudo(
    way: str, cli: Cli, machines: Machines, set_up_lab: lab.LabState, sif: Callable[..., Path], tmp_path: Path
) -> None:
    cluster = edit_cluster(
        set_up_lab.cluster_file, tmp_path / "cluster.yaml", ssh={"transport": way}, controller={"user": "admin"}
    )
    cli("deploy", "single", "-s", "-v", sif(f"admin-{way}"), cluster=cluster).check()
    cli("status", cluster=cluster).check()
    assert f"ml-frameworks/admin-{way}.sif" in cli("catalog", "list", cluster=cluster).check().stdout


def test_user_without_sudo_is_told_so(way: str, cli: Cli, set_up_lab: lab.LabState, tmp_path: Path) -> None:
    cluster = edit_cluster(
        set_up_lab.cluster_file, tmp_path / "cluster.yaml", ssh={"transport": way}, controller={"user": "alice"}
    )
    result = cli("status", cluster=cluster)
    assert result.exit_code == 2, result.stderr
    assert "sudo" in result.stderr
    assert "Traceback" not in result.stderr
