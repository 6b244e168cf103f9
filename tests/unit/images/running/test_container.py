"""A container of a SIF: the words that Apptainer is given, and limits that hold. A stand-in runs the command itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.errors import CheckFailed, ConfigError, UsageError
from pytest_hpcregistry.core.events import CheckEnded, Event
from pytest_hpcregistry.images.definitions.checks import LABEL, Check, to_label
from pytest_hpcregistry.images.running import container as module
from pytest_hpcregistry.images.running.container import Container, check_file
from pytest_hpcregistry.images.running.outcomes import Outcome
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.local import LocalTransport


def sif(path: Path, *checks: Check, **labels: str) -> Path:
    found = {**labels, LABEL: to_label(checks)} if checks else labels
    path.write_bytes(Sif(parts=(label_object(found), system_partition())).to_bytes())
    return path


def nobody(event: Event) -> None:
    pass


def ended(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.state, one.detail) for one in outcome.ended[1:]]


PRINTS = Check(run=("printf", "%s", "a b"), output="a b")


def test_the_checks_in_the_label_are_run(apptainer: Path, tmp_path: Path) -> None:
    path = sif(tmp_path / "x.sif", PRINTS, Check(file=str(tmp_path)), Check(file="/no/such/file"))
    said: list[Event] = []
    outcome = check_file(path, said.append)
    assert ended(outcome) == [("passed", ""), ("passed", ""), ("failed", "there is no such file in the image")]
    titles = [one.check for one in said if isinstance(one, CheckEnded)]
    assert titles == ["the container starts", "printf %s 'a b'", f"file {tmp_path}", "file /no/such/file"]
    assert (outcome.image, outcome.digest, outcome.where) == ("x.sif", hash_file(path), "this machine")
    with pytest.raises(CheckFailed):
        outcome.check()


def test_the_words_that_apptainer_is_given(apptainer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORBIDDING", {str(tmp_path / "none"): "0"})
    path = sif(tmp_path / "x.sif", PRINTS)
    check_file(path, nobody, memory=3 << 30).check()
    first, second, third = [line.split() for line in (apptainer / "asked").read_text().splitlines()]
    closed = ["--containall", "--no-home", "--cleanenv", "--pwd=/", "--userns"]
    limits = ["--memory=3221225472", "--pids-limit=1024"]
    assert first == ["--quiet", "exec", *closed, *limits, str(path), "true"]
    assert second == ["--quiet", "exec", *closed, str(path), "true"]
    assert third == ["--quiet", "exec", *closed, str(path), "printf", "%s", "a", "b"]


def test_tasks_of_one_program_are_only_for_slurm_to_start(apptainer: Path, tmp_path: Path) -> None:
    outcome = check_file(sif(tmp_path / "x.sif", Check(run=("true",), mpi="pmix"), PRINTS), nobody).check()
    assert ended(outcome) == [("skipped", "only Slurm starts its tasks together: --on NODE"), ("passed", "")]


def test_which_limit_of_memory_holds(apptainer: Path, tmp_path: Path) -> None:
    path = sif(tmp_path / "x.sif", PRINTS)
    assert check_file(path, nobody, memory=3 << 30).limit == "memory: 3.0 GiB for each process (RLIMIT_AS)"
    (apptainer / "cgroups").touch()
    assert check_file(path, nobody, memory=3 << 30).limit == "memory: 3.0 GiB for all processes (cgroup)"


def test_a_process_gets_no_more_memory(apptainer: Path, tmp_path: Path) -> None:
    takes = Check(run=(sys.executable, "-c", "print(len(bytes(600 << 20)))"), output="629145600")
    path = sif(tmp_path / "x.sif", takes)
    check_file(path, nobody, memory=4 << 30).check()
    ((state, detail),) = ended(check_file(path, nobody, memory=512 << 20))
    assert (state, detail) == ("failed", "exit code 1, not 0: MemoryError")


def test_a_check_that_hangs_is_ended_with_what_it_started(apptainer: Path, tmp_path: Path) -> None:
    mark = f"{tmp_path}/mark"
    hangs = Check(run=("sh", "-c", f"sleep 1000 & echo $! > {mark}; sleep 1000"), timeout=1)
    began = time.monotonic()
    outcome = check_file(sif(tmp_path / "x.sif", hangs, PRINTS), nobody)
    assert ended(outcome) == [("failed", "was still running after 1 s and was ended"), ("passed", "")]
    assert time.monotonic() - began < 8
    assert is_gone(Path("/proc", Path(mark).read_text().strip()))


def test_a_check_that_ignores_signals_is_ended(apptainer: Path, tmp_path: Path) -> None:
    stubborn = Check(run=("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"), timeout=1)
    began = time.monotonic()
    outcome = check_file(sif(tmp_path / "x.sif", stubborn), nobody)
    assert ended(outcome) == [("failed", "was still running after 1 s and was ended")]
    assert time.monotonic() - began < 8


def test_what_apptainer_leaves_is_ended(apptainer: Path, tmp_path: Path) -> None:
    """It starts a process for the image in a process group of its own, which outlives the one that started it."""
    mark = tmp_path / "mark"
    program = apptainer / "apptainer"
    program.write_text(
        program.read_text().replace("shift 2\n", f"set -m; sleep 1000 & echo $! > {mark}; set +m; shift 2\n")
    )
    for check in (Check(run=("true",)), Check(run=("sleep", "1000"), timeout=1), Check(run=("yes",))):
        check_file(sif(tmp_path / "x.sif", check), nobody)
        assert is_gone(Path("/proc", mark.read_text().strip())), check


def is_gone(process: Path) -> bool:
    """Whether it is, a moment after its signal; one that nobody has waited for yet counts as well."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in (process / "status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_check_that_floods_is_stopped(apptainer: Path, tmp_path: Path) -> None:
    for where in ("", " >&2"):
        outcome = check_file(sif(tmp_path / "x.sif", Check(run=("sh", "-c", f"yes{where}"), timeout=60)), nobody)
        ((state, detail),) = ended(outcome)
        assert state == "failed"
        assert detail.startswith("more than 16 MiB on standard")


def test_a_check_that_is_killed_failed(apptainer: Path, tmp_path: Path) -> None:
    outcome = check_file(sif(tmp_path / "x.sif", Check(run=("sh", "-c", "kill -9 $$"))), nobody)
    assert ended(outcome)[0][1].startswith("exit code 137 (SIGKILL")


def test_the_checks_can_be_given(apptainer: Path, tmp_path: Path) -> None:
    path = sif(tmp_path / "x.sif", Check(run=("false",)))
    assert check_file(path, nobody, checks=[PRINTS]).check().count("passed") == 1


def test_an_image_without_checks_is_started_only(apptainer: Path, tmp_path: Path) -> None:
    outcome = check_file(sif(tmp_path / "x.sif", a="b"), nobody)
    assert [one.state for one in outcome.ended] == ["passed"]
    with pytest.raises(UsageError, match="has no checks"):
        outcome.check()


def test_a_label_of_another_form_is_not_run(apptainer: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a program"):
        check_file(sif(tmp_path / "x.sif", **{LABEL: '[{"run": ["--nv"]}]'}), nobody)
    assert not (apptainer / "asked").exists()


def test_what_is_no_image_is_not_run(apptainer: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(UsageError):
        check_file(path, nobody)
    assert not (apptainer / "asked").exists()


def test_a_file_that_changes_meanwhile_proves_nothing(apptainer: Path, tmp_path: Path) -> None:
    path = sif(tmp_path / "x.sif", Check(run=("touch", str(tmp_path / "x.sif"))))
    os.utime(path, (1, 1))
    with pytest.raises(UsageError, match="has changed while it was tested"):
        check_file(path, nobody)


def test_without_apptainer_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no Apptainer on this machine") as caught:
        check_file(sif(tmp_path / "x.sif", PRINTS), nobody)
    assert "--on NODE" in caught.value.hint


def test_singularity_by_its_own_name(apptainer: Path, tmp_path: Path) -> None:
    (apptainer / "apptainer").rename(apptainer / "singularity")
    check_file(sif(tmp_path / "x.sif", PRINTS), nobody).check()


@pytest.mark.parametrize(("device", "option"), [("/dev/nvidiactl", "--nv"), ("/dev/kfd", "--rocm"), ("", "")])
def test_a_check_with_a_gpu_gets_its_driver(device: str, option: str) -> None:
    """And no limit of address space, of which CUDA takes more than there is memory."""
    asked: list[list[str]] = []

    def run(argv: list[str], *, timeout: float) -> CommandResult:
        asked.append(argv)
        code = int(argv[0] == "test" and argv[-1] != device) or int("--memory" in " ".join(argv))
        return CommandResult("hpc", tuple(argv), code, "", "", 0.0)

    place = Container(run, "/x.sif", 1 << 30, "controller")  # type: ignore[arg-type]
    place.start(["true"], 5)
    assert place.has_gpu() == bool(option)
    place.run(["a"], timeout=5, gpu=False)
    assert "prlimit" in asked[-1]
    assert "--nv" not in asked[-1]
    place.run(["a"], timeout=5, gpu=True)
    assert "prlimit" not in asked[-1]
    assert asked[-1][:5] == ["sh", "-c", module.LIMITED, "5", "apptainer"]
    assert [word for word in asked[-1] if re.fullmatch("--nv|--rocm", word)] == [option] * bool(option)


@pytest.mark.parametrize(
    ("told", "given"), [("1 1 0", True), ("0 1 0", False), ("1 0 0", False), ("1 1 1", False), ("1", True)]
)
def test_no_user_namespace_where_the_machine_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, given: bool
) -> None:
    """The last one, AppArmor's, forbids where it is 1; not every machine has all three."""
    sysctls = {str(tmp_path / name): value for name, value in (("a", "0"), ("b", "0"), ("c", "1"))}
    for path, value in zip(sysctls, told.split(), strict=False):
        Path(path).write_text(f"{value}\n")
    monkeypatch.setattr(module, "FORBIDDING", sysctls)

    def run(argv: list[str], *, timeout: float) -> CommandResult:
        return LocalTransport().run(argv if argv[0] == "grep" else ["true"], timeout=timeout)

    assert ("--userns" in Container(run, "/x.sif", 1, "hpc").options) == given  # type: ignore[arg-type]


def test_timeout_and_prlimit_are_this_machines() -> None:
    """What the tests above count on, and every Debian and Red Hat has (coreutils, util-linux)."""
    for program in ("timeout", "prlimit"):
        assert subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    assert LocalTransport().run(["timeout", "1", "sleep", "9"], timeout=9).exit_code == 124
