"""look.sh, with which phase 1 looks at a machine before it changes anything; and how the role reads addresses."""

from __future__ import annotations

import grp
import os
import pwd
import re
import runpy
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest

from pytest_hpcregistry.setup import playbook

ROLE = playbook.PLAYBOOK.parent / "roles" / "container_registry"
ADDRESSES = runpy.run_path(str(ROLE / "filter_plugins" / "addresses.py"))
SETTINGS = runpy.run_path(str(ROLE / "filter_plugins" / "settings.py"))
OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
as_root = pytest.mark.skipif(os.getuid() != 0, reason="who owns a directory can only be tried as root")


def look(registry: Path, *items: str, path: str = os.environ["PATH"]) -> list[str]:
    """What look.sh says of *items*, without what it says of every machine."""
    argv = ["/bin/sh", str(ROLE / "files" / "look.sh"), OWNER, GROUP, "0755", "3, 6", "", "", "", str(registry), *items]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": path})
    assert done.stderr == ""
    general = ("address ", "problem missing: ")
    return [line for line in done.stdout.splitlines() if not line.startswith(general)]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Where a registry could be, in a directory that only this user may write to."""
    place = tmp_path / "containers"
    (place / ".registry").mkdir(parents=True)
    place.chmod(0o755)
    return place


@pytest.fixture
def private() -> Iterator[Path]:
    """Below a directory that is only root's: pytest's own lies in /tmp, which is everybody's."""
    with tempfile.TemporaryDirectory(dir=Path("~root").expanduser()) as place:
        yield Path(place)


def ours(path: Path, mode: str = "0755") -> str:
    return f"ours {mode} {OWNER} {GROUP} {path}"


def test_what_is_missing_is_to_be_made_and_what_is_right_is_left(registry: Path) -> None:
    right, missing = ours(registry), ours(registry / "ml-frameworks")
    parent = f"parent 0700 root root {registry / '.ssh'}"
    assert look(registry, right, missing, parent) == [f"todo {missing}", f"todo {parent}"]


@as_root
def test_a_file_system_that_root_may_not_write_to_is_said_once_and_before_anything_is_done(tmp_path: Path) -> None:
    """Read-only here, as a shared one where root of a node is nobody."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=0755", "none", str(place)], check=True)
    try:
        said = look(place / "containers", ours(place / "containers"), ours(place / "containers" / "base-images"))
    finally:
        subprocess.run(["umount", str(place)], check=True)
    (line,) = [line for line in said if line.startswith("problem ")]
    assert line.startswith(f"problem root may not write to {place}, where {place}/containers shall be (if it is a file")
    assert "set sync.method to shared" in line


def test_a_parent_that_is_there_is_never_to_be_changed(registry: Path) -> None:
    assert look(registry, f"parent 0700 root root {registry}") == []


def test_a_foreign_directory_where_the_registry_shall_be_is_refused(registry: Path) -> None:
    """/opt, /home or a mount point: whose it is, only the administrator knows."""
    registry.chmod(0o711)
    (line,) = look(registry, ours(registry))
    assert line.startswith(f"problem {registry} was there before and is 0711 {OWNER} {GROUP}, not 0755 ")
    assert f"chmod 0755 {registry}; or choose another" in line


def test_a_directory_that_has_a_registry_is_put_right(registry: Path) -> None:
    registry.chmod(0o777)
    (registry / ".registry" / "config.yaml").touch()
    assert look(registry, ours(registry)) == [f"todo {ours(registry)}"]


def test_a_foreign_directory_below_is_refused_as_well(registry: Path) -> None:
    (registry / "local").mkdir(mode=0o700)
    assert [line.split(" was")[0] for line in look(registry, ours(registry / "local"))] == [f"problem {registry}/local"]


def test_the_registry_may_be_a_link_and_nothing_below_it(registry: Path, tmp_path: Path) -> None:
    """No image goes through a link below: every deploy would fail where phase 1 saw nothing."""
    (registry / "ml-frameworks").symlink_to(tmp_path)
    (line,) = look(registry, ours(registry / "ml-frameworks"))
    assert (
        line
        == f"problem {registry}/ml-frameworks is a symbolic link, through which no image goes: only {registry} itself"
        " may be one"
    )
    (tmp_path / "linked").symlink_to(registry)
    assert look(tmp_path / "linked", ours(tmp_path / "linked")) == []


@pytest.mark.parametrize("kind", ["ours", "parent"])
def test_a_file_where_a_directory_shall_be(registry: Path, kind: str) -> None:
    (registry / "x").touch()
    assert look(registry, f"{kind} 0755 {OWNER} {GROUP} {registry / 'x'}") == [f"problem {registry}/x is no directory"]


def test_a_file_where_a_parent_shall_be(registry: Path) -> None:
    (registry / "x").touch()
    said = look(registry, f"root {registry}/x/y/agent.pyz")
    assert said == [f"problem {registry}/x is no directory, and {registry}/x/y/agent.pyz shall lie there"]


def test_owner_and_mode_of_a_file_are_looked_at_each_time(registry: Path) -> None:
    (registry / "catalog.yaml").touch()
    (registry / "catalog.yaml").chmod(0o644)
    item = f"file 0644 {OWNER} {GROUP} {registry}/catalog.yaml"
    assert look(registry, item, f"file 0600 {OWNER} {GROUP} {registry}/lock") == [f"absent {registry}/lock"]
    (registry / "catalog.yaml").chmod(0o666)
    assert look(registry, item) == [f"todo {item}"]


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_is_no_regular_file_gets_no_mode(registry: Path, kind: str) -> None:
    if kind == "link":
        (registry / "log").symlink_to("/etc/passwd")
    else:
        (registry / "log").mkdir()
    (line,) = look(registry, f"file 0640 root root {registry}/log")
    assert line.startswith(f"problem {registry}/log is ")


def test_objects_are_put_right_too(registry: Path) -> None:
    objects = registry / ".registry" / "objects" / "sha256"
    objects.mkdir(parents=True)
    for name, mode in (("a" * 64, 0o755), ("b" * 64, 0o777)):
        (objects / name).touch()
        (objects / name).chmod(mode)
    assert look(registry) == [f"todo file 0755 {OWNER} {GROUP} {objects}/{'b' * 64}"]


@as_root
@pytest.mark.parametrize(
    ("kind", "mode", "group", "refused"),
    [
        ("key", 0o777, 0, True),
        ("key", 0o1777, 0, True),
        ("key", 0o775, 50, True),
        ("key", 0o755, 0, False),
        ("root", 0o777, 0, True),
        ("root", 0o1777, 0, False),
        ("root", 0o775, 50, False),  # root:staff, as Debian's /usr/local; root:syslog, as Ubuntu's /var/log
        ("root", 0o775, 1234, True),
        ("root", 0o775, 100, True),  # users, everybody's own group on some
        ("registry", 0o775, 1234, True),
        ("registry", 0o777, 0, True),
        ("slurm", 0o777, 0, True),
        ("slurm", 0o775, 1234, False),
    ],
)
def test_what_others_may_write_to_is_refused(private: Path, kind: str, mode: int, group: int, refused: bool) -> None:
    """However far above: here it is the directory above the one that the file lies in."""
    (private / "above" / "in").mkdir(parents=True)
    os.chown(private / "above", 0, group)
    (private / "above").chmod(mode)
    said = look(private, f"{kind} {private}/above/in/not-yet/file")
    assert [f" may write to {private}/above, " in line for line in said] == [True] * refused


@as_root
@pytest.mark.parametrize(("kind", "refused"), [("key", True), ("root", True), ("registry", True), ("slurm", False)])
def test_what_belongs_to_another_user_is_refused(private: Path, kind: str, refused: bool) -> None:
    os.chown(private, 12345, 0)
    said = look(private, f"{kind} {private}/file")
    assert [line.startswith(f"problem {private} belongs to UNKNOWN") for line in said] == [True] * refused


@as_root
def test_where_a_link_leads_is_looked_at(private: Path) -> None:
    (private / "open" / "ssh").mkdir(parents=True)
    (private / "open").chmod(0o777)
    (private / "link").symlink_to(private / "open" / "ssh")
    assert len(look(private, f"key {private}/link/id")) == 1


@as_root
@pytest.mark.parametrize(("mode", "uid", "refused"), [(0o600, 0, 0), (0o644, 0, 0), (0o664, 0, 1), (0o606, 12345, 2)])
def test_authorized_keys_is_looked_at_and_left(private: Path, mode: int, uid: int, refused: int) -> None:
    (private / "keys").touch()
    (private / "keys").chmod(mode)
    os.chown(private / "keys", uid, 0)
    said = look(private, f"authorized {private}/keys")
    assert [line.split()[0] for line in said] == ["problem"] * refused


def test_a_registry_on_two_file_systems_is_refused(tmp_path: Path) -> None:
    (line,) = [line for line in look(tmp_path, ours(Path("/dev/shm"))) if "file system" in line]  # noqa: S108
    assert line.startswith(f"problem /dev/shm lies on another file system than {tmp_path}: ")


def test_addresses_are_told_without_ip(tmp_path: Path) -> None:
    for name in ("getent", "awk", "stat", "find", "id", "sed", "cut", "readlink"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "hostname").write_text('#!/bin/sh\necho "192.0.2.1 2001:db8::1 "\n')
    (tmp_path / "hostname").chmod(0o755)
    argv = ["/bin/sh", str(ROLE / "files" / "look.sh"), OWNER, GROUP, "0755", "3, 6", "", "", "yes", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": str(tmp_path)})
    assert [line for line in done.stdout.splitlines() if line.startswith("address ")] == [
        "address 192.0.2.1",
        "address 2001:db8::1",
    ]


@pytest.mark.parametrize(("relay", "named"), [("yes", True), ("", False)])
def test_a_controller_needs_openssl_for_relay(tmp_path: Path, relay: str, named: bool) -> None:
    argv = ["/bin/sh", str(ROLE / "files" / "look.sh"), OWNER, GROUP, "0755", "3, 6", "", "", relay, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": str(tmp_path)})
    wanted = "problem missing: openssl (package openssl, or set container_registry_sync_method to star)"
    assert (wanted in done.stdout.splitlines()) == named


@pytest.mark.parametrize(("there", "said"), [(True, []), (False, ["apptainer (package apptainer, or leave it empty)"])])
def test_a_controller_needs_apptainer_for_keys_of_images(registry: Path, there: bool, said: list[str]) -> None:
    program = registry / "apptainer"
    program.touch()
    program.chmod(0o755 if there else 0o644)
    argv = ["/bin/sh", str(ROLE / "files" / "look.sh"), OWNER, GROUP, "0755", "3, 6", "", "", "", str(registry)]
    done = subprocess.run(
        [*argv, "needs apptainer it"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"/usr/bin:/bin:{registry}"},
    )
    assert [line for line in done.stdout.splitlines() if "apptainer" in line] == [
        f"problem missing: {one}" for one in said
    ]


def test_only_addresses_that_others_can_reach_are_taken() -> None:
    told = ["10.0.0.10", "10.0.0.9", "10.0.0.9", "2001:DB8::1", "fd00::5", "127.0.0.1", "::1", "fe80::1", "169.254.7.7"]
    told += [
        "224.0.0.1",
        "0.0.0.0",  # noqa: S104
        "::",
        "10.0.0.0/24",
        "2001:db8::1%eth0",
        "c001",
        "",
        '1.2.3.4",x="',
        "1.2.3",
        "٣.1.1.1",
    ]
    assert ADDRESSES["reachable"](told) == ["10.0.0.9", "10.0.0.10", "2001:db8::1", "fd00::5"]


def render(template: str, told: dict[str, list[str]], controller: list[str], **variables: object) -> list[str]:
    """The lines of a template, by what each machine's look.sh told; a node that was not seen told nothing.

    *variables* are the inventory's of every node.
    """
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)  # noqa: S701
    environment.filters["hpcregistry_reachable"] = ADDRESSES["reachable"]
    environment.tests["match"] = lambda text, pattern: bool(re.match(pattern, text))
    environment.filters["regex_replace"] = lambda text, pattern, new: re.sub(pattern, new, text)
    hosts: dict[str, dict[str, object]] = {
        name: {**variables, **({"container_registry_machine": {"stdout_lines": lines}} if lines else {})}
        for name, lines in told.items()
    }
    text = environment.from_string((ROLE / "templates" / template).read_text()).render(
        container_registry_compute=list(told), hostvars=hosts, container_registry_controller_told=controller
    )
    return text.splitlines()


def test_who_logs_in_in_place_of_root_is_looked_up_on_the_node(registry: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    fake_program(bin_, "getent", f"ops:x:7:7::{home}:/bin/sh")
    fake_program(bin_, "visudo", "x")
    path = f"{bin_}:{os.environ['PATH']}"
    assert look(registry, "login ops", path=path) == [f"home {home}", f"absent {home}/.ssh/authorized_keys"]
    (home / ".ssh" / "authorized_keys").touch()
    assert look(registry, "login ops", path=path) == [f"home {home}"]


@pytest.mark.parametrize(
    ("nodes", "login"),
    [
        ("slurm", "root"),
        (["c1"], "root"),
        ({"slurm": {"user": "ops"}}, "ops"),
        ({"slurm": {"user": "ops"}, "c[1-2]": {"port": 22}}, "root"),
        ({"c[1-2]": {"user": "ops"}, "c3": None}, "ops"),
        ({"c1": {"user": "-x"}}, "root"),
    ],
)
def test_who_logs_in_is_what_the_cluster_file_says_of_that_node(nodes: object, login: str) -> None:
    assert SETTINGS["login_of"](nodes, "c1") == login


def test_peers_are_the_addresses_that_each_node_told() -> None:
    told = {
        "c2": ["address 10.0.0.2", "address fd00::2", "address 127.0.0.1", "slurm 24.11"],
        "c1": ["address 10.0.0.1"],
    }
    assert render("peers.j2", told, []) == ["c1 10.0.0.1", "c2 10.0.0.2 fd00::2"]


def test_peers_that_were_not_seen_keep_their_line() -> None:
    told = {"c2": [], "c1": ["address 10.0.0.1"]}
    controller = ["address 10.9.9.9", "peer c2 10.0.0.2", "peer c1 10.7.7.7", "peer hidden 10.0.0.7 fd00::7"]
    assert render("peers.j2", told, controller) == ["c1 10.0.0.1", "c2 10.0.0.2", "hidden 10.0.0.7 fd00::7"]


def test_host_keys_that_were_not_seen_keep_their_lines() -> None:
    told = {"c2": [], "c1": ["key ssh-ed25519 NEW"]}
    kept = ["c2 ssh-ed25519 TWO", "hidden,10.0.0.7 ssh-rsa H", "|1|abc|def ssh-rsa X", "# by hand"]
    controller = [f"known {line}" for line in [*kept, "c1 ssh-ed25519 OLD"]]
    assert render("known_hosts.j2", told, controller) == sorted([*kept, "c1 ssh-ed25519 NEW"])
    assert render("known_hosts.j2", {"c1": []}, controller) == sorted([*kept, "c1 ssh-ed25519 OLD"])


def test_a_host_key_is_known_by_every_name_that_is_looked_up() -> None:
    """ssh looks for the port as well, rsync's ssh for the plain name (HostKeyAlias)."""
    told = {"c1": ["key ssh-ed25519 ONE"]}
    (line,) = render("known_hosts.j2", told, [], ansible_port=2200, ansible_host="10.0.0.1")
    assert line == "c1,[c1]:2200,[10.0.0.1]:2200 ssh-ed25519 ONE"
    (line,) = render("known_hosts.j2", told, [], ansible_host="10.0.0.1")
    assert line == "c1,10.0.0.1 ssh-ed25519 ONE"


def fake_program(place: Path, name: str, prints: str) -> None:
    place.joinpath(name).write_text(f"#!/bin/sh\nprintf '%s\\n' {prints}\n")
    place.joinpath(name).chmod(0o755)


def test_host_keys_are_those_that_sshd_says_it_has(tmp_path: Path) -> None:
    """A site's may lie anywhere."""
    (tmp_path / "moved.pub").write_text("ecdsa-sha2-nistp256 AAAA root@c001\n")
    fake_program(tmp_path, "sshd", f"'port 22' 'hostkey {tmp_path}/moved' 'hostkey {tmp_path}/gone'")
    argv = ["/bin/sh", str(ROLE / "files" / "look.sh"), OWNER, GROUP, "0755", "3, 6", "", "yes", "", str(tmp_path)]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": path})
    assert [line for line in done.stdout.splitlines() if "key" in line] == ["key ecdsa-sha2-nistp256 AAAA"]
    (tmp_path / "moved.pub").unlink()
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": path})
    assert "problem missing: the public half of a host key (sshd -T" in done.stdout


@pytest.mark.parametrize(
    ("allowed", "kind"),
    [
        ("ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512", "ssh-ed25519"),
        ("ecdsa-sha2-nistp256,rsa-sha2-512", "ecdsa-sha2-nistp256"),
        ("rsa-sha2-512,rsa-sha2-256", "ssh-rsa"),
        ("", "ssh-ed25519"),  # an ssh that does not say
    ],
)
def test_the_sync_key_is_of_a_type_that_the_crypto_policy_allows(tmp_path: Path, allowed: str, kind: str) -> None:
    fake_program(tmp_path, "ssh", f"'user root' 'pubkeyacceptedalgorithms {allowed}'" if allowed else "'user root'")
    argv = ["/bin/sh", str(ROLE / "files" / "make-key.sh"), str(tmp_path / "key"), "hpcregistry-sync"]
    subprocess.run(argv, check=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (tmp_path / "key.pub").read_text().split()[0] == kind
    assert (tmp_path / "key.pub").read_text().split()[2] == "hpcregistry-sync"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.pub", "ssh"]
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_a_hard_link_is_tried_in_each_directory_and_nothing_is_left(tmp_path: Path) -> None:
    for name in (".registry/staging", ".registry/objects/sha256", "a", "b"):
        (tmp_path / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    argv = ["/bin/sh", str(ROLE / "files" / "try-links.sh"), str(tmp_path)]
    assert subprocess.run([*argv, "a", "b"], check=False).returncode == 0
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "c").symlink_to("/dev/shm")  # noqa: S108
    done = subprocess.run([*argv, "a", "c", "b"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ross-device link" in done.stderr
    assert f"{tmp_path}: an image is a hard link to an object, and this file system (" in done.stderr
    assert ") makes none from .registry/ into c: choose a path on one that does (registry.path)" in done.stderr
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "c"])
