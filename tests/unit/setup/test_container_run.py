"""container-run: the command reaches the image as it was typed, although Slurm quotes it wrongly."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_hpcregistry.images.running import container
from tests import ROOT

ROLE = ROOT / "pytest_hpcregistry/setup/roles/container_registry"
PROGRAM = ROLE / "files/container-run"
START = "HPCREGISTRY_COMMAND=$(tr ...) exec /usr/local/lib/hpcregistry/container-run /spool/env /opt/x.sif # "
COMMANDS = [
    ["true"],
    ["python3", "-c", "x['y']"],
    ["python3", "-c", "print('a b')"],
    ["sh", "-c", "echo 'it'\"'\"'s'"],
    ["echo", "'", "''", "'''", "' '", "'x", "x'"],
    ["echo", ""],
    ["echo", "", "", "x"],
    ["sh", "-c", "echo one\necho 'two'\n"],
    ["echo", 'a "b" $c `d` \\ # ; &'],
    ["echo", "a' 'b", "c; exit # 'd'"],
    ["echo", "container-run /spool/env /opt/x.sif # 'other'"],
    ["echo", "é", "漢"],
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("container_run", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def as_slurm_quotes(command: Sequence[str]) -> str:
    """Slurm's _pattern_argv: one quote too many after each quote inside an argument."""
    return " ".join("'" + word.replace("'", "'\"'\"''") + "'" for word in command)


def as_a_shell_quotes(command: Sequence[str]) -> str:
    return " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in command)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("end", ["", " "])
def test_the_command_is_read_as_it_was_typed(program: ModuleType, command: list[str], end: str) -> None:
    text = START + as_slurm_quotes(command) + end
    assert program.read_command(text, "/spool/env", "/opt/x.sif") == command


@pytest.mark.parametrize("command", COMMANDS)
def test_a_slurm_that_quotes_as_the_shell_expects(program: ModuleType, command: list[str]) -> None:
    text = START + as_a_shell_quotes(command)
    assert shlex.split(as_a_shell_quotes(command)) == command
    assert program.read_command(text, "/spool/env", "/opt/x.sif") == command


@pytest.mark.parametrize("text", ["", "/bin/sh -c true", START, START.replace("x.sif", "y.sif") + "'true'"])
def test_no_command_is_an_error_and_runs_nothing(program: ModuleType, text: str) -> None:
    with pytest.raises(SystemExit, match="no command"):
        program.read_command(text, "/spool/env", "/opt/x.sif")


def test_the_environment_file(program: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(
        b"A=1\0SLURM_PROCID=3\0B=x=y\nz\0EMPTY=\0SLURM_CONF=/s\0HPCREGISTRY_COMMAND=c\0L=\xff\0\0nonsense\0"
    )
    assert program.job_environment(str(file)) == {
        "A": "1",
        "SLURM_PROCID": "3",
        "B": "x=y\nz",
        "EMPTY": "",
        "L": "\udcff",
    }


def test_no_environment_file_ends_the_task(program: ModuleType, tmp_path: Path) -> None:
    """Without its rank each task would believe that it is the only one."""
    with pytest.raises(SystemExit, match="CreateEnvFile"):
        program.job_environment(str(tmp_path / "gone"))


def test_a_program_found_on_the_node_is_looked_for_in_the_image(program: ModuleType, tmp_path: Path) -> None:
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
    (tmp_path / "first/python3").mkdir()  # a directory is no program
    (tmp_path / "second/python3").touch()
    path = f"{tmp_path}/first::{tmp_path}/second"
    assert program.undo_path_search(f"{tmp_path}/second/python3", path) == "python3"
    assert program.undo_path_search("/opt/conda/bin/python3", path) == "/opt/conda/bin/python3"
    assert program.undo_path_search("/nowhere/else", path) == "/nowhere/else"


@pytest.mark.parametrize(
    ("environment", "devices", "options"),
    [
        ({}, ["nvidiactl", "kfd"], []),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["nvidiactl"], []),
        ({"SLURM_GPUS_ON_NODE": "0", "SLURM_STEP_GPUS": ""}, ["nvidiactl"], []),
        ({"SLURM_STEP_GPUS": "1,3"}, ["nvidiactl"], ["--nv"]),
        ({"SLURM_STEP_GPUS": "2"}, ["kfd"], ["--rocm"]),
        ({"SLURM_JOB_GPUS": "2"}, ["nvidiactl"], []),  # inherited by a step that was given none
        ({"SLURM_GPUS_ON_NODE": "4"}, ["nvidiactl"], ["--nv"]),
        ({"SLURM_GPUS_ON_NODE": "4"}, [], []),
    ],
)
def test_a_step_gets_the_driver_of_the_gpus_that_it_was_given(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    devices: list[str],
    options: list[str],
) -> None:
    for name in devices:
        (tmp_path / name).touch()
    drivers = {"--nv": str(tmp_path / "nvidiactl"), "--rocm": str(tmp_path / "kfd")}
    monkeypatch.setattr(program, "GPU_DRIVERS", drivers)
    assert program.gpu_options(environment, "auto") == options


@pytest.mark.parametrize(("driver", "options"), [("nv", ["--nv"]), ("rocm", ["--rocm"]), ("none", [])])
def test_the_site_may_say_which_driver(program: ModuleType, driver: str, options: list[str]) -> None:
    assert program.gpu_options({"SLURM_STEP_GPUS": "1"}, driver) == options
    assert program.gpu_options({}, driver) == []


def test_what_the_jobs_variables_name_is_bound(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.isdir", lambda path: path != "/gone")
    home = {"HOME": "/home/alice"}
    pmix = {**home, "PMIX_SERVER_TMPDIR": "/var/spool/slurmd/pmix.7.0/"}
    assert program.bind_options(pmix) == ["--bind", "/var/spool/slurmd/pmix.7.0"]
    assert program.bind_options({**home, "TMPDIR": "/scratch/job7"}) == ["--bind", "/scratch/job7"]
    for path in "/ /tmp /tmp/x /var/tmp /dev/shm /home/alice/t /gone /a:/b /a,b rel".split():  # noqa: SIM905
        assert program.bind_options({**home, "TMPDIR": path}) == [], path
    assert program.bind_options({"TMPDIR": "/home/alice/t"}) == ["--bind", "/home/alice/t"]


def test_what_open_mpi_keeps_beside_pmixs_directory_is_bound(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPI_Init ends the job where it cannot make its session directory there."""
    spool = tmp_path / "oci-job7-0"
    for name in ("pmix.7.0", "spmix_appdir_2001_7.0", "other"):
        (spool / name).mkdir(parents=True)
    monkeypatch.setattr(program, "SEEN", ("/dev",))
    found = program.bind_options({"HOME": "/home/alice", "PMIX_SERVER_TMPDIR": f"{spool}//pmix.7.0/"})
    assert found == ["--bind", f"{spool}/pmix.7.0", "--bind", f"{spool}/spmix_appdir_2001_7.0"]


MAX, CLONE, APPARMOR = (
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",
    ("kernel/apparmor_restrict_unprivileged_userns"),
)


class Node:
    """A node's sysctls, and its apptainer, as a shell script that says how it was built."""

    def __init__(self, program: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program, self.place, self.runtime = program, place, place / "apptainer"
        self.name = os.uname().nodename
        monkeypatch.setattr(program, "SYSCTLS", str(place / "sys"))
        monkeypatch.setattr(program, "PROFILES", (str(place / "apparmor.d" / "apptainer*"),))

    def tells(self, **sysctls: str) -> Node:
        for name, value in sysctls.items():
            path = self.place / "sys" / {"most": MAX, "clone": CLONE, "apparmor": APPARMOR}[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        return self

    def builds(self, prefix: str = "APPTAINER", suid: int = 1, mode: int | None = 0o4755, conf: str = "") -> Node:
        """A runtime with a starter of this *mode*, or with none."""
        (self.place / "runtime.conf").write_text(conf)
        starter = self.place / "lib" / prefix.lower() / "bin" / "starter-suid"
        if mode is not None:
            starter.parent.mkdir(parents=True)
            starter.touch()
            starter.chmod(mode)
        lines = [f"{prefix}_SUID_INSTALL={suid}", f"LIBEXECDIR={self.place}/lib", "PACKAGE_NAME=x"]
        lines += [f"{prefix}_CONF_FILE={self.place}/runtime.conf"]
        says = "\n".join(f"echo {line}" for line in lines)
        self.runtime.write_text(f'#!/bin/sh\n[ "$1" = buildcfg ] || exit 9\n{says}\n')
        self.runtime.chmod(0o755)
        return self

    def options(self, root: bool = False) -> list[str]:
        return list(self.program.namespace_options(str(self.runtime), root))


@pytest.fixture
def node(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(program, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "sysctls", [{}, {"most": "63000", "clone": "1", "apparmor": "0"}, {"most": "1"}, {"clone": "1"}, {"apparmor": "0"}]
)
def test_where_users_may_have_a_namespace_each_job_gets_one(node: Node, sysctls: dict[str, str]) -> None:
    """Nothing is asked of the runtime there: there is none here."""
    assert node.tells(**sysctls).options() == ["--userns"]


FORBIDDEN = [
    ({"most": "0"}, "user.max_user_namespaces=0"),
    ({"most": "63000", "clone": "0"}, "kernel.unprivileged_userns_clone=0"),
    ({"most": "63000", "apparmor": "1"}, "kernel.apparmor_restrict_unprivileged_userns=1"),
]
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file setuid root")


def test_the_workstation_goes_by_the_same_sysctls(program: ModuleType) -> None:
    paths = {f"/proc/sys/{name.replace('.', '/')}": value for name, value in program.FORBIDDING.items()}
    assert paths == container.FORBIDDING


@root_only
@pytest.mark.parametrize("sysctls", [sysctls for sysctls, _ in FORBIDDEN])
@pytest.mark.parametrize("prefix", ["APPTAINER", "SINGULARITY"])
def test_where_namespaces_are_forbidden_a_setuid_installation_starts_the_image(
    node: Node, sysctls: dict[str, str], prefix: str
) -> None:
    assert node.tells(**sysctls).builds(prefix, conf="# allow setuid = no\nallow setuid = yes\n").options() == []


@root_only
@pytest.mark.parametrize(("sysctls", "name"), FORBIDDEN)
@pytest.mark.parametrize(
    ("built", "why"),
    [
        ({"suid": 0, "mode": None}, "{0}/apptainer is no setuid installation"),
        ({"mode": None}, "{0}/apptainer is no setuid installation"),
        ({"mode": 0o755}, "{0}/lib/apptainer/bin/starter-suid is not setuid root"),
        ({"conf": "allow setuid = no\n"}, "{0}/runtime.conf says allow setuid = no"),
    ],
)
def test_where_neither_works_the_job_ends_and_says_why(
    node: Node, sysctls: dict[str, str], name: str, built: dict[str, Any], why: str
) -> None:
    node.tells(**sysctls).builds(**built)
    with pytest.raises(SystemExit) as caught:
        node.options()
    assert str(caught.value) == (
        f"container-run: no image can be started on {node.name}: {name} forbids user namespaces, and "
        f"{why.format(node.place)} (package apptainer-suid)"
    )
    assert node.options(root=True) == [], "root needs neither"


def test_apparmor_lets_a_program_with_a_profile_of_its_own_have_namespaces(node: Node) -> None:
    node.tells(apparmor="1").builds(mode=None)
    (node.place / "apparmor.d").mkdir()
    (node.place / "apparmor.d" / "apptainer").touch()
    assert node.options() == ["--userns"]
    node.tells(most="0")
    with pytest.raises(SystemExit, match=r"user\.max_user_namespaces=0 forbids"):
        node.options()


def test_singularity_reads_apptainers_variables_by_its_own_names(program: ModuleType) -> None:
    given = {"APPTAINER_BIND": "/a", "APPTAINERENV_X": "1", "APPTAINER_NV": "1", "SINGULARITY_NV": "0", "A": "b"}
    named = {**given, "SINGULARITY_BIND": "/a", "SINGULARITYENV_X": "1"}
    assert program.named_for("/usr/bin/singularity", given) == named
    assert program.named_for("/usr/bin/apptainer", given) == given


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A directory that nobody can look into, too: tmp_path is its owner's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def write_runtime(path: Path, script: str = "") -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_it_says_whether_jobs_could_start_an_image(for_all: Path) -> None:
    """What the infrastructure suite asks each node."""
    program = install(for_all)

    def ask() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-I", str(program), "--check"]
        return subprocess.run(argv, env={"PATH": str(for_all)}, capture_output=True, text=True, check=False, timeout=20)

    write_runtime(for_all / "singularity")
    if not shutil.which("apptainer", path="/usr/local/bin:/usr/bin:/bin"):  # where one is, it comes first
        assert ask().stdout == f"{for_all}/singularity with user namespaces\n"
    write_runtime(for_all / "apptainer")
    done = ask()
    assert (done.returncode, done.stdout) == (0, f"{for_all}/apptainer with user namespaces\n")
    write_runtime(for_all / "apptainer", "echo 'no fuse' >&2; exit 255")
    done = ask()
    assert (done.returncode, done.stderr.endswith(": no fuse\n")) == (1, True)
    (for_all / "container-run.json").unlink()
    assert (ask().returncode, ask().stderr.endswith("; run phase 1 again\n")) == (1, True)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('for root; do [ -L "$root/bin" ] && break; done; [ "$(id -u)" != 0 ] && ls "$root/var/tmp"', None),
        ("echo 'ERROR  : Failed to create user namespace: not allowed' >&2; exit 1", "user namespace: not allowed"),
        ("echo 'FATAL: configuration disallows users from running sandbox containers' >&2; exit 255", None),
        ("exit 3", "ended with 3"),
        ("exec sleep 60", "was still at it after 1 s"),
    ],
)
@pytest.mark.skipif(os.getuid() != 0, reason="root becomes nobody")
def test_an_ordinary_user_tries_to_start_a_container(
    program: ModuleType, for_all: Path, script: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sysctls are not all that forbids it. The container is made of this machine's own programs."""
    monkeypatch.setattr(tempfile, "tempdir", str(for_all))
    if "sleep" in script:
        monkeypatch.setattr(program, "TRIAL", 1)
    runtime = write_runtime(for_all / "apptainer", script)
    before = os.umask(0o077)  # as root's may be
    try:
        why = program.why_not_started(str(runtime))
    finally:
        os.umask(before)
    assert (why is None) if said is None else said in str(why)
    assert not [path for path in Path(tempfile.gettempdir()).glob("hpcregistry-*") if (path / "usr").exists()]


def test_what_cannot_be_tried_is_no_failure(
    program: ModuleType, for_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = str(write_runtime(for_all / "apptainer", "exit 3"))
    monkeypatch.setattr(tempfile, "tempdir", str(for_all / "none"))
    assert program.why_not_started(runtime) is None
    monkeypatch.setattr(tempfile, "tempdir", str(for_all))
    assert program.why_not_started(runtime) == f"{runtime} ended with 3"
    if os.getuid() == 0:
        monkeypatch.setattr(program.pwd, "getpwnam", {}.__getitem__)
        assert program.why_not_started(runtime) is None


def test_a_runtime_that_is_roots_alone_starts_nothing(program: ModuleType, for_all: Path) -> None:
    runtime = write_runtime(for_all / "apptainer")
    runtime.chmod(0o600)
    assert "Permission denied" in program.why_not_started(str(runtime))


@pytest.mark.parametrize("bare", [True, False])
def test_an_image_that_is_not_there_is_named_with_the_node(tmp_path: Path, bare: bool) -> None:
    """Slurm takes a bare name for one in the directory that the job was submitted in."""
    (tmp_path / "env").write_bytes(b"A=1\0")
    submitted = "/gone" if bare else "/home"
    (tmp_path / "env").write_bytes(f"A=1\0SLURM_SUBMIT_DIR={submitted}\0".encode())
    text = START.replace("/spool/env", f"{tmp_path}/env").replace("/opt/x.sif", "/gone/x.sif") + "'true'"
    (tmp_path / "apptainer").touch(mode=0o755)
    done = subprocess.run(
        [sys.executable, str(install(tmp_path)), str(tmp_path / "env"), "/gone/x.sif"],
        env={"PATH": str(tmp_path), "HPCREGISTRY_COMMAND": text, "SLURM_SUBMIT_DIR": submitted},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    words = f"container-run: /gone/x.sif: there is no such image on {os.uname().nodename}"
    assert done.stderr == words + ("; --container takes the whole path of an image\n" if bare else "\n")


NO_SETTINGS = {"gpus": "auto", "binds": [], "environment": [], "options": []}


def install(directory: Path, settings: Any = NO_SETTINGS) -> Path:
    """The program with its settings beside it, as phase 1 has it."""
    (directory / "container-run.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return Path(shutil.copy(PROGRAM, directory))


def run_as_slurm_would(tmp_path: Path, command: Sequence[str], variables: dict[str, str], **settings: Any) -> Any:
    """Through a real shell, with an apptainer that tells how it was called."""
    program = install(tmp_path, {**NO_SETTINGS, **settings})
    runtime = tmp_path / "apptainer"
    runtime.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))\nsys.exit(7)\n"
    )
    runtime.chmod(0o755)
    spool = tmp_path / "spool"
    spool.mkdir()
    image = tmp_path / "x.sif"
    image.touch()
    file = spool / "env"
    file.write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in variables.items()))
    start = f"HPCREGISTRY_COMMAND=$(tr '\\0' '\\n' </proc/$$/cmdline) exec {sys.executable} {program} {file} {image} # "
    done = subprocess.run(
        ["/bin/sh", "-c", start + as_slurm_quotes(command)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "OF": "slurmstepd"},
        cwd=spool,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 7, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", [["python3", "-c", "x['y']"], ["sh", "-c", "echo 'one'\necho two\n"]])
def test_the_whole_way_through_a_shell(tmp_path: Path, command: list[str]) -> None:
    submitted = tmp_path / "home"
    submitted.mkdir()
    given = {"SLURM_PROCID": "1", "SLURM_SUBMIT_DIR": str(submitted), "PATH": "/bin"}
    words, environment, directory = run_as_slurm_would(tmp_path, command, given)
    assert words == ["--quiet", "exec", "--userns", f"{tmp_path}/x.sif", *command]
    ours = {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "UCX_POSIX_USE_PROC_LINK": "n"}
    assert {name: value for name, value in environment.items() if name not in ("PWD", "LC_CTYPE")} == {**ours, **given}
    assert directory == str(submitted)


def test_a_batch_script_is_made_visible(tmp_path: Path) -> None:
    words, _, directory = run_as_slurm_would(tmp_path, ["/var/spool/job7/slurm_script", "a"], {"A": "1"})
    assert words == [
        "--quiet", "exec", "--userns", "--bind", "/var/spool/job7:/var/spool/job7:ro",
        f"{tmp_path}/x.sif",
        "/var/spool/job7/slurm_script", "a",
    ]  # fmt: skip
    assert directory == "/"


def test_what_the_site_says_of_every_image(tmp_path: Path) -> None:
    """A job's own variables win, and the command comes last."""
    words, environment, _ = run_as_slurm_would(
        tmp_path, ["true", "--x"], {"A": "mine"}, binds=["/scratch", "/a:/b:ro"], environment=["A=site", "B=1=2"],
        options=["--no-home"],
    )  # fmt: skip
    image = f"{tmp_path}/x.sif"
    expected = ["--quiet", "exec", "--userns", "--bind", "/scratch", "--bind", "/a:/b:ro", "--no-home", image]
    assert words == [*expected, "true", "--x"]
    assert (environment["A"], environment["B"]) == ("mine", "1=2")


@pytest.mark.parametrize("settings", ["", "{", "{}", "[]", None])
def test_without_its_settings_nothing_is_run(tmp_path: Path, settings: str | None) -> None:
    """A job without the site's directories could compute something else."""
    program = install(tmp_path, settings or "")
    if settings is None:
        (tmp_path / "container-run.json").unlink()
    (tmp_path / "env").write_bytes(b"A=1\0")
    (tmp_path / "apptainer").touch(mode=0o755)
    text = START.replace("/spool/env", f"{tmp_path}/env") + "'true'"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "env"), "/opt/x.sif"],
        env={"PATH": str(tmp_path), "HPCREGISTRY_COMMAND": text},
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"container-run: {tmp_path}/container-run.json on {os.uname().nodename}: ")
    assert done.stderr.endswith("; run phase 1 again\n")


def test_slurm_is_told_what_this_reads() -> None:
    """The template and the program must agree on the variable and on the comment."""
    line = next(line for line in (ROLE / "templates/oci.conf.j2").read_text().splitlines() if "RunTimeRun=" in line)
    assert line.startswith('RunTimeRun="HPCREGISTRY_COMMAND=$(')
    assert line.endswith('/container-run %e %r \\# %@"')
