"""`make mutants`: its table, and that it judges rightly, ends in time, and leaves the tree as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import mutants

GOOD = "def double(x):\n    return x * 2\n"
# A mutant may be as long as the module and written in the same second: a compiled file would hide it.
TEST = (
    "import sys\nfrom tiny.x import double\n\n\ndef test_it():\n    assert double(3) == 6 * sys.dont_write_bytecode\n"
)


def test_every_module_has_its_tests() -> None:
    modules = mutants.choose("")
    assert len(modules) > 30
    assert set(mutants.TESTS) <= set(modules)
    tests = {test for module in modules for test in mutants.tests_of(module)}
    assert [test for test in tests if not (mutants.ROOT / test).exists()] == []
    for test in mutants.SLOW:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (mutants.ROOT / file).read_text()


def test_what_is_chosen() -> None:
    assert mutants.choose("agent/gc.py") == mutants.choose("pytest_hpcregistry/agent/gc.py") == ["agent/gc.py"]
    assert {"controller/engines/star.py", "controller/engines/chain.py"} <= set(mutants.choose("controller/engines"))
    with pytest.raises(SystemExit, match="nothing: no module of agent/"):
        mutants.choose("nothing")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of one module and one test of it, in place of this one."""
    root = tmp_path / "project"
    for name, text in {
        "tiny/__init__.py": "",
        "tiny/x.py": GOOD,
        "tests/unit/test_x.py": TEST,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(mutants, "ROOT", root)
    monkeypatch.setattr(mutants, "PACKAGE", "tiny")
    monkeypatch.setattr(mutants, "SCOPE", ("x.py",))
    monkeypatch.setattr(mutants, "REPORT", tmp_path / "reports" / "mutants.md")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(sys, "argv", ["mutants"])
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert (root / "tiny" / "x.py").read_text() == GOOD


def use(monkeypatch: pytest.MonkeyPatch, *codes: str) -> None:
    """The mutants to try. The real operators are installed by `make mutants` only."""
    operators = types.ModuleType("tools.operators")
    operators.find_mutants = lambda code: iter(codes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tools.operators", operators)


def test_what_is_noticed_and_what_is_not(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "PATIENCE", 1)
    endless = "while True:\n    pass\n"
    use(monkeypatch, GOOD.replace("* 2", "+ 3"), GOOD.replace("* 2", "* 3"), GOOD.replace("* 2", "- 2"), endless)
    assert mutants.main() == 0
    report = (tiny / "reports" / "mutants.md").read_text()
    assert "3 of 4 noticed (75%; 1 by running out of time)" in report
    assert report.count("```diff") == 1
    assert "-    return x * 2\n+    return x + 3\n```" in report


def test_tests_that_fail_without_a_mutant_are_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    (tiny / "project" / "tests" / "unit" / "test_x.py").write_text("def test_it():\n    assert False\n")
    with pytest.raises(SystemExit, match="its tests fail without a mutant: tests/unit/test_x"):
        mutants.main()


def test_what_is_stopped_leaves_nothing_behind(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tiny / "pid"
    monkeypatch.setattr(mutants, "PATIENCE", 1000)
    use(
        monkeypatch,
        f"import os, time\nopen({str(pid)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(60)\n",
        *[GOOD] * 50,
    )

    def stop() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (pid.exists() and pid.read_text().endswith(" ")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    started = time.monotonic()
    assert mutants.main() == 130
    assert time.monotonic() - started < 50, "it was waited for"
    assert "Interrupted: not all were tried." in (tiny / "reports" / "mutants.md").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
