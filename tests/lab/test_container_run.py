"""`srun --container` and `#SBATCH --container` beyond the suites: arguments, interpreter, signals, leftovers."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from pytest_hpcregistry.transports import CommandResult

pytestmark = pytest.mark.lab
On = Callable[..., CommandResult]
ALICE = "alice@hpc-controller"
PROCESSES = "ps -eo user:20,args | grep '^alice ' || true"


@pytest.fixture
def image(deployed: str) -> str:
    return f"/opt/containers/{deployed}"


def srun(image: str, *words: str, options: str = "") -> str:
    return shlex.join(["srun", *options.split(), f"--container={image}", *words])


@pytest.mark.parametrize("user", [ALICE, "hpc-controller"])
def test_every_argument_arrives(on: On, image: str, user: str) -> None:
    words = ["a b", 'it "q" $HOME', "it's", "''", "", "tail\\", "x\ny; echo 'z' # no", "$(id)"]
    shown = on(user, srun(image, "python3", "-c", "import sys; print(sys.argv[1:])", *words)).check().stdout
    assert shown == f"{words}\n"


def test_the_environment_of_every_task_is_its_own(on: On, image: str) -> None:
    code = "import os; e = os.environ; print(e['SLURM_PROCID'], e['NL'] == 'a\\nb', 'SLURM_CONF' in e, e['PWD'])"
    script = "mkdir -p ~/work && cd ~/work && export NL='a\nb' && " + srun(
        image, "python3", "-c", code, options="-N2 --ntasks-per-node=4"
    )
    lines = sorted(on(ALICE, script).check().stdout.splitlines())
    assert lines == [f"{rank} True False /home/alice/work" for rank in range(8)]


def test_the_images_own_interpreter_runs_whatever_the_node_has(on: On, image: str) -> None:
    """slurmstepd finds the node's python3 first: here /usr/local/bin/python3, which the image has not."""
    on(
        "c001", "printf '#!/bin/sh\\necho the node\\n' > /usr/local/bin/python3; chmod 755 /usr/local/bin/python3"
    ).check()
    try:
        where = "import os, sys; print(sys.executable, 'APPTAINER_CONTAINER' in os.environ)"
        shown = on(ALICE, srun(image, "python3", "-c", where, options="-w c001"))
    finally:
        on("c001", "rm /usr/local/bin/python3").check()
    assert shown.check().stdout == "/usr/bin/python3 True\n"


@pytest.mark.parametrize(
    ("command", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("no-such-program", 127)]
)
def test_the_exit_code_is_the_jobs(on: On, image: str, command: str, code: int) -> None:
    assert on(ALICE, srun(image, "/bin/sh", "-c", command)).exit_code == code


def test_the_standard_input_reaches_the_image(on: On, image: str) -> None:
    assert on(ALICE, f"echo hello | {srun(image, 'cat')}").check().stdout == "hello\n"


def test_a_step_with_pty_has_a_terminal(on: On, image: str) -> None:
    code = "import os, sys; print('a terminal:', os.isatty(0) and os.isatty(1)); sys.exit(3)"
    terminal = ["python3", "-c", "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"]
    shown = on(ALICE, f"{shlex.join(terminal)} {srun(image, 'python3', '-c', code, options='--pty')} < /dev/null")
    assert (shown.exit_code, "a terminal: True" in shown.stdout) == (3, True), shown


def test_a_path_is_relative_to_the_jobs_directory(on: On, image: str) -> None:
    directory, _, name = image.rpartition("/")
    where = f"cd {directory} && {srun(f'./{name}', 'pwd')}"
    assert on(ALICE, where).check().stdout == f"{directory}\n"


def test_another_directory_and_one_more_variable(on: On, image: str) -> None:
    words = srun(image, "sh", "-c", "echo $FOO $PWD", options="--export=ALL,FOO=bar --chdir=/var/tmp")
    assert on(ALICE, words).check().stdout == "bar /var/tmp\n"


def test_what_mpi_talks_to_slurm_by_is_in_the_image(on: On, image: str) -> None:
    code = "import os; print(os.access(os.environ['PMIX_SERVER_TMPDIR'], os.W_OK), os.environ['PMIX_RANK'])"
    shown = on(ALICE, srun(image, "python3", "-c", code, options="--mpi=pmix -N2 --ntasks-per-node=2")).check().stdout
    assert sorted(shown.splitlines()) == [f"True {rank}" for rank in range(4)]


def test_the_jobs_own_scratch_directory_is_in_the_image(on: On, image: str) -> None:
    code = "import os, tempfile; print(tempfile.mkdtemp().startswith('/srv/job/'))"
    on("c001", "mkdir -m 1777 /srv/job").check()
    try:
        script = "TMPDIR=/srv/job " + srun(image, "python3", "-c", code, options="-w c001")
        assert on(ALICE, script).check().stdout == "True\n"
    finally:
        on("c001", "rm -r /srv/job").check()


def test_an_image_that_is_not_there_is_named_with_the_node(on: On, image: str) -> None:
    result = on(ALICE, srun("/opt/containers/gone.sif", "true", options="-w c002"))
    assert result.exit_code == 1
    assert "container-run: /opt/containers/gone.sif: there is no such image on c002" in result.stderr


@pytest.mark.parametrize("name", ["a b.sif", "a;touch pwned.sif"])
def test_an_image_path_that_the_shell_would_cut_runs_nothing(on: On, image: str, name: str) -> None:
    """Slurm puts the path into the shell's text as it is."""
    path = f"/home/alice/{name}"
    on(ALICE, shlex.join(["cp", image, path])).check()
    try:
        assert on(ALICE, f"cd ~ && {srun(path, 'touch', 'ran')}").exit_code == 1
        assert on(ALICE, "ls -d ~/ran ~/pwned*").stdout == ""
    finally:
        on(ALICE, shlex.join(["rm", path])).check()


def test_a_job_that_outlives_sigterm_is_ended_all_the_same(on: On, image: str) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    script = (
        f"{srun(image, 'python3', '-c', code, options='-N2 -J stubborn')} > ~/stubborn.out 2>&1 & "
        "until [ $(grep -c ^up ~/stubborn.out) = 2 ]; do sleep 0.2; done; scancel -n stubborn; "
        "while squeue -h -n stubborn | grep -q .; do sleep 0.5; done"  # after KillWait
    )
    on(ALICE, script, timeout=60).check()
    for node in ("c001", "c002"):
        assert on(node, PROCESSES).stdout == ""


def test_a_batch_script_in_the_image_takes_its_signal(on: On, image: str) -> None:
    """As a training job that saves its work before its time is over."""
    program = (
        "import signal, sys, time\nseen = []\nsignal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\n"
        "print('up', flush=True)\nwhile not seen: time.sleep(0.1)\n"
        "time.sleep(2)\nimport csv\nprint('saved')\nsys.exit(3)\n"
    )
    lines = ["#!/bin/bash", f"#SBATCH --container={image}", "exec python3 save.py", ""]
    script = (
        f"cd ~; printf %s {shlex.quote(program)} > save.py; printf %s {shlex.quote(chr(10).join(lines))} > save.sh; "
        "rm -f save.out; sbatch --wait -J save -o save.out save.sh & "
        "until grep -q ^up save.out; do sleep 0.2; done 2>/dev/null; scancel -b -s USR1 -n save; wait $!; "
        "echo code $?; cat save.out"
    )
    assert on(ALICE, script).check().stdout.splitlines()[-3:] == ["code 3", "up", "saved"]
