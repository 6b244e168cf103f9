"""What becomes of a check, and of an image: nothing is green without a check that was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, CommandTimeout, Unreachable, UsageError
from pytest_hpcregistry.images.definitions.checks import Check
from pytest_hpcregistry.images.running.outcomes import START, Outcome, Place, judge, run_checks
from pytest_hpcregistry.testing.listener import recorder
from pytest_hpcregistry.transports import CommandResult

RUN = Check(run=("a",), output="b c")


def result(code: int = 0, stdout: str = "", stderr: str = "", seconds: float = 0.5) -> CommandResult:
    return CommandResult("here", ("a",), code, stdout, stderr, seconds)


class FakePlace(Place):
    """Answers each command by its first word; `true` starts, unless it is said otherwise."""

    def __init__(self, gpu: bool = False, **answers: Any) -> None:
        self.where, self.limit, self.gpu = "c1", "1 GiB", gpu
        self.answers = {"true": result(), **answers}
        self.asked: list[tuple[str, float, bool]] = []

    def start(self, argv: Sequence[str], timeout: float) -> CommandResult:
        return self.run(argv, timeout=timeout, gpu=False)

    def run(self, argv: Sequence[str], *, timeout: float, gpu: bool, mpi: str = "") -> CommandResult:
        self.asked.append((argv[0], timeout, gpu))
        answer = self.answers[argv[0]]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, CommandResult)
        return answer

    def has_gpu(self) -> bool:
        return self.gpu


def outcome_of(place: Place, *checks: Check) -> Outcome:
    return run_checks("x.sif", "d" * 64, checks, place, lambda event: None)


def states(found: Outcome) -> list[str]:
    return [one.state for one in found.ended]


@pytest.mark.parametrize(
    ("check", "found", "problem"),
    [
        (RUN, result(stdout="a b c d\n"), None),
        (RUN, result(stdout="b\nc"), 'printed "b\\nc", and not "b c"'),
        (RUN, result(), 'printed nothing, and not "b c"'),
        (RUN, result(stderr="b c"), 'printed nothing, and not "b c"'),
        (RUN, result(1, "b c", "first\nlast \x1b[31m"), "exit code 1, not 0: last \\x1b[31m"),
        (RUN, result(1, "out\nput"), "exit code 1, not 0: put"),
        (RUN, result(1), "exit code 1, not 0: it said nothing"),
        (RUN, result(137), "exit code 137 (SIGKILL, as where memory runs out), not 0: it said nothing"),
        (RUN, result(139), "exit code 139 (SIGSEGV), not 0: it said nothing"),
        (RUN, result(255), "exit code 255, not 0: it said nothing"),
        (RUN, result(124, "b c", seconds=120), "was still running after 120 s and was ended"),
        (RUN, result(137, "b c", seconds=126), "was still running after 120 s and was ended"),
        (RUN, result(124), "exit code 124, not 0: it said nothing"),
        (Check(run=("a",), exit=124), result(124), None),
        (Check(run=("a",), exit=124), result(124, seconds=121), "was still running after 120 s and was ended"),
        (Check(run=("a",), exit=3), result(), "exit code 0, not 3: it said nothing"),
        (Check(run=("a",), exit=3), result(3), None),
        (Check(file="/a"), result(), None),
        (Check(file="/a"), result(1), "there is no such file in the image"),
        (Check(file="/a"), result(127, stderr="no test"), "exit code 127, not 0: no test"),
        (Check(imports=("a",)), result(stdout="imported a\n"), None),
        (Check(imports=("a",)), result(), 'printed nothing, and not "imported a"'),
    ],
)
def test_a_result_is_judged(check: Check, found: CommandResult, problem: str | None) -> None:
    assert judge(check, found) == problem


def test_each_check_is_reported_as_it_ends() -> None:
    said: list[Any] = []
    place = FakePlace(a=result(stdout="b c"), f=result(1))
    checks = [RUN, Check(run=("f",), timeout=7)]
    found = run_checks("x.sif", "d" * 64, checks, place, recorder(said))
    assert [(one["check"], one["state"]) for one in said] == [(START.name, "passed"), ("a", "passed"), ("f", "failed")]
    assert place.asked == [("true", 120, False), ("a", 120, False), ("f", 7, False)]
    assert (found.where, found.limit, found.digest) == ("c1", "1 GiB", "d" * 64)


def test_an_image_that_does_not_start_has_no_other_check() -> None:
    found = outcome_of(FakePlace(true=result(255, stderr="no root file system")), RUN)
    assert states(found) == ["failed"]
    with pytest.raises(CheckFailed, match=r"x\.sif: 1 of its checks failed: the container starts"):
        found.check()


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (CommandTimeout("was still running after 180 s"), "failed", "was still running after 120 s and was ended"),
        (CommandFailed("a b: stopped: more than 16 MiB on standard output"), "failed", "more than 16 MiB on standard"),
        (Unreachable("NODE_FAIL", where="c1"), "unknown", "NODE_FAIL"),
    ],
)
def test_what_ends_a_check_otherwise(error: Exception, state: str, detail: str) -> None:
    found = outcome_of(FakePlace(a=error, f=result()), RUN, Check(run=("f",)))
    assert states(found) == ["passed", state, *["passed"] * (state == "failed")]
    assert found.ended[1].detail.startswith(detail)


def test_a_gpu_is_never_claimed() -> None:
    check = Check(run=("a",), gpu=True)
    without, with_one = FakePlace(a=result()), FakePlace(a=result(), gpu=True)
    skipped = outcome_of(without, check)
    assert (states(skipped), skipped.ended[1].detail) == (["passed", "skipped"], "no GPU on c1")
    assert [word for word, *_ in without.asked] == ["true"]
    assert states(outcome_of(with_one, check)) == ["passed", "passed"]
    assert with_one.asked[1] == ("a", 120, True)


SKIPPED = Check(run=("g",), gpu=True)
FAILS = Check(run=("f",))
GONE = Check(run=("u",))


@pytest.mark.parametrize(
    ("checks", "kind", "says"),
    [
        ([RUN], None, ""),
        ([RUN, SKIPPED], None, ""),
        ([RUN, FAILS], CheckFailed, "1 of its checks failed: f"),
        ([FAILS, GONE], CheckFailed, "1 of its checks failed: f"),
        ([RUN, GONE], Unreachable, "1 of its checks could not be done: u"),
        ([SKIPPED], Unreachable, "all of its checks were skipped"),
        ([], UsageError, "has no checks: it starts, and nothing else of it was tested"),
    ],
)
def test_what_an_image_comes_to(checks: list[Check], kind: type[Exception] | None, says: str) -> None:
    place = FakePlace(a=result(stdout="b c"), f=result(1), u=Unreachable("gone"))
    found = outcome_of(place, *checks)
    if kind is None:
        assert found.check() is found
        return
    with pytest.raises(kind, match=says) as caught:
        found.check()
    assert type(caught.value) is kind
    assert getattr(caught.value, "hint", "")


def test_a_check_that_is_called_as_the_first_one_counts() -> None:
    same = Check(run=("a",), name=START.name)
    assert outcome_of(FakePlace(a=result()), same).count("passed") == 1


def test_names_of_strangers_are_shown_escaped() -> None:
    check: Callable[[], Outcome] = run_checks("\x1b[31m.sif", "d" * 64, [], FakePlace(), lambda event: None).check
    with pytest.raises(UsageError) as caught:
        check()
    assert str(caught.value).startswith("\\x1b[31m.sif has no checks")
