"""`make mutants ONLY=agent/publish.py`: one small fault after the other, and does a test notice?

Works on copies of the tree, one for each worker, in a directory that is removed at the end. A mutant is a file there,
so it also reaches an agent that a test packs and starts as a program of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "pytest_hpcregistry"
REPORT = ROOT / "reports" / "mutants.md"
WORKERS = 2
PATIENCE = 4  # times what the tests take on the module as it is: a mutant may be slower, and some never end
SLOW = (
    "tests/unit/controller/test_gc.py::test_deploys_and_syncs_lose_nothing_to_gcs",
)  # longer than all else together

SCOPE = ("agent/*.py", "controller/**/*.py", "core/sif*.py", "core/squashfs.py", "core/catalog.py", "core/names.py")
SYNC = ("controller/engines/star", "controller/engines/shared", "controller/rollout")
# Module -> the test files that are there for it, where that is not just the one of its own name: agent/gc is
# tests/unit/agent/test_gc.py. Few, so that a mutant costs seconds, and those that fail soonest come first. A
# survivor may thus be one that a test elsewhere would notice.
TESTS = {
    "agent/__init__.py": ("agent/agent",),
    "agent/__main__.py": ("agent/agent", "agent/gc"),
    "agent/address.py": ("agent/address", "controller/engines/relay"),
    "agent/facts.py": (
        "agent/facts",
        "core/names",
        "agent/agent",
        "agent/gc",
        "setup/container_run",
    ),
    "agent/forms.py": ("agent/forms", "agent/sync_key", "controller/liars"),
    "agent/gc.py": ("agent/gc", "agent/agent"),
    "agent/in_use.py": ("agent/in_use", "agent/gc"),
    "agent/pieces.py": ("agent/pieces", "controller/engines/relay"),
    "agent/publish.py": ("agent/publish", "agent/agent"),
    "agent/relay.py": ("agent/relay", "controller/engines/relay", "controller/liars"),
    "agent/requests.py": ("agent/sync_key",),
    "agent/serve.py": ("agent/sync_key",),
    "agent/session.py": (
        "agent/session",
        "agent/agent",
        "agent/gc",
        "controller/engines/shared",
        "controller/engines/star",
    ),
    "controller/__init__.py": ("floors",),
    "controller/__main__.py": ("controller/main", "controller/rollout", "controller/gc", "floors"),
    "controller/cancel.py": ("controller/running",),
    "controller/command.py": ("controller/running",),
    "controller/ending.py": ("controller/running",),
    "controller/follow.py": ("controller/half_published", "controller/remove"),
    "controller/open_objects.py": ("controller/rollout",),
    "controller/outcome.py": ("controller/rollout",),
    "controller/plan.py": ("controller/remove",),
    "controller/removed.py": ("controller/remove",),
    "controller/commands.py": ("controller/main", "controller/rollout", "controller/gc"),
    "controller/answers.py": ("controller/answers", "controller/liars"),
    "controller/arguments.py": ("controller/main",),
    "controller/catalog.py": ("controller/publish", "controller/gc"),
    "controller/log.py": ("controller/log", "controller/rollout"),
    "controller/facts.py": ("controller/facts", "controller/lock", "controller/rollout"),
    "controller/gc.py": ("controller/gc", "controller/liars"),
    "controller/lock.py": ("controller/lock", "cluster/verify"),
    "controller/meter.py": (
        "controller/meter",
        "controller/engines/star",
        "controller/engines/relay",
        "controller/rollout",
    ),
    "controller/nodes.py": ("controller/nodes", "controller/rollout"),
    "controller/note.py": ("controller/history",),
    "controller/recall.py": ("controller/history",),
    "controller/probe.py": ("controller/engines/shared", "controller/gc"),
    "controller/publish.py": ("controller/publish", "controller/gc"),
    "controller/session.py": ("controller/session", "controller/liars"),
    "controller/settings.py": ("controller/settings", "core/settings"),
    "controller/sync.py": ("controller/sync", *SYNC),
    "controller/rollout.py": SYNC,
    "controller/engines/__init__.py": (*SYNC, "controller/engines/relay"),
    "controller/engines/relay.py": ("controller/engines/relay", "controller/liars"),
    "controller/engines/star.py": ("controller/engines/star", "controller/rollout"),
    "core/catalog.py": ("core/catalog", "controller/publish"),
    "core/names.py": ("core/names", "core/catalog"),
    "core/sif_format.py": ("core/sif",),
    "core/sif_labels.py": ("core/sif",),
    "core/sif_signatures.py": ("core/sif",),
    "core/squashfs.py": ("core/squashfs", "core/sif"),
}
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "ran out of time"


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant. One that never ends was noticed as well."""

    state: str
    seconds: float
    diff: str


class Stopped(Exception):
    """The run was interrupted while a mutant was being tried."""


class Workshop:
    """Copies of the tree that mutants are tried in."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()
        self.stopped = False
        self.free: Queue[Path] = Queue()
        for number in range(workers):
            self.free.put(copy_tree(directory / str(number)))

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        tree = self.free.get()
        try:
            yield tree
        finally:
            self.free.put(tree)

    def check(self, module: str, tests: list[str]) -> float:
        """The seconds that the tests take on the module as it is; they must pass, and on the copy."""
        with self.place() as tree:
            source = (
                f"import {PACKAGE}; raise SystemExit({PACKAGE}.__file__ != {str(tree / PACKAGE / '__init__.py')!r})"
            )
            if self.run(tree, ["-c", source], 60) != 0:
                sys.exit("the copy is not what would be tested")
            started = time.monotonic()
            if self.run(tree, pytest(tree, tests), 600, show=True) != 0:
                sys.exit(f"{module}: its tests fail without a mutant: {' '.join(tests)}")
            return time.monotonic() - started

    def examine(self, module: str, code: str, tests: list[str], limit: float) -> Verdict:
        """Try one mutant."""
        with self.place() as tree:
            path = tree / PACKAGE / module
            original = path.read_text()
            started = time.monotonic()
            try:
                path.write_text(code)
                ended = self.run(tree, pytest(tree, tests), limit)
            finally:
                path.write_text(original)
            state = {None: TIMEOUT, 0: SURVIVED}.get(ended, KILLED)
            lines = difflib.unified_diff(original.splitlines(), code.splitlines(), module, module, lineterm="", n=2)
            return Verdict(state, time.monotonic() - started, "\n".join(lines))

    def run(self, tree: Path, words: list[str], limit: float, *, show: bool = False) -> int | None:
        """The exit code of Python in *tree*, None if it did not end in time. All that it started ends with it."""
        # The copy comes before the installed package, which is the user's tree; no compiled file may outlive a mutant.
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(tree.parent),
        }
        output = None if show else subprocess.DEVNULL
        with self.lock:
            if self.stopped:
                raise Stopped
            process = subprocess.Popen(
                [sys.executable, *words], cwd=tree, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            self.running.add(process)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        else:
            if self.stopped:
                raise Stopped
            return code
        finally:
            kill(process)
            with self.lock:
                self.running.discard(process)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def copy_tree(to: Path) -> Path:
    """Everything that git tracks, or would."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def pytest(tree: Path, tests: list[str]) -> list[str]:
    quiet = [
        "-q",
        "--no-header",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(tree.parent / f"tmp-{tree.name}"),
    ]
    return ["-m", "pytest", "-x", *quiet, *(f"--deselect={test}" for test in SLOW), *tests]


def test_file(name: str) -> str:
    """`agent/gc` -> tests/unit/agent/test_gc.py."""
    directory, _, last = name.rpartition("/")
    return "/".join(filter(None, ["tests/unit", directory, f"test_{last}.py"]))


def choose(only: str) -> list[str]:
    """The modules of SCOPE that *only* names: a module, a directory, or nothing for all."""
    wanted = only.removeprefix(f"{PACKAGE}/").rstrip("/")
    package = ROOT / PACKAGE
    known = sorted(str(path.relative_to(package)) for pattern in SCOPE for path in package.glob(pattern))
    modules = [name for name in known if not wanted or name == wanted or name.startswith(f"{wanted}/")]
    if not modules:
        sys.exit(f"{only}: no module of {' '.join(SCOPE)}")
    return modules


def tests_of(module: str) -> list[str]:
    """The test files that are tried on a module's mutants."""
    return [test_file(name) for name in TESTS.get(module, (module.removesuffix(".py"),))]


def examine_module(workshop: Workshop, executor: ThreadPoolExecutor, module: str, every: int) -> Iterator[Verdict]:
    """Mutants of *module*, one of *every* N, in their order in the file."""
    from .operators import find_mutants

    tests = tests_of(module)
    limit = workshop.check(module, tests) * PATIENCE + 10
    tried: list[Future[Verdict]] = [
        executor.submit(workshop.examine, module, code, tests, limit)
        for code in itertools.islice(find_mutants((ROOT / PACKAGE / module).read_text()), 0, None, every)
    ]
    for number, future in enumerate(tried, 1):
        verdict = future.result()
        say(f"{module} {number}/{len(tried)} {verdict.state}, {verdict.seconds:.1f} s")
        yield verdict


def describe(module: str, verdicts: list[Verdict]) -> str:
    """A module's part of the report."""
    count = {state: sum(verdict.state == state for verdict in verdicts) for state in (KILLED, TIMEOUT, SURVIVED)}
    noticed, seconds = count[KILLED] + count[TIMEOUT], sum(verdict.seconds for verdict in verdicts)
    if not verdicts:
        return f"## {module}\n\nno mutants\n"
    score = (
        f"{noticed} of {len(verdicts)} noticed ({noticed / len(verdicts):.0%}; {count[TIMEOUT]} by running out of time)"
    )
    shown = [f"```diff\n{verdict.diff}\n```\n" for verdict in verdicts if verdict.state == SURVIVED]
    return "\n".join([f"## {module}\n", f"{score}, {seconds / len(verdicts):.1f} s each\n", *shown])


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script for people


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Removed by rm: a mutant may leave a tree that is too deep for shutil, which recurses."""
    directory = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        yield directory
    finally:
        subprocess.run(["rm", "-rf", directory], check=False)


def interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("only", nargs="?", default="")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try only one of N mutants")
    asked = parser.parse_args()
    modules = choose(asked.only)
    signal.signal(signal.SIGTERM, interrupt)
    found: dict[str, list[Verdict]] = {module: [] for module in modules}
    finished = False
    with scratch_directory() as directory, ThreadPoolExecutor(WORKERS) as executor:
        workshop = Workshop(directory, WORKERS)
        try:
            for module in modules:
                for verdict in examine_module(workshop, executor, module, asked.every):
                    found[module].append(verdict)
            finished = True
        except KeyboardInterrupt:
            say("interrupted")
        finally:
            workshop.stop()
            executor.shutdown(cancel_futures=True)
    REPORT.parent.mkdir(exist_ok=True)
    heading = "# Mutants\n" + f"\nOne of {asked.every} was tried.\n" * (asked.every > 1)
    heading += "" if finished else "\nInterrupted: not all were tried.\n"
    parts = [describe(module, verdicts) for module, verdicts in found.items() if verdicts or finished]
    REPORT.write_text("\n".join([heading, *parts]))
    for part in parts:
        say(" ".join(part.splitlines()[:3]))
    say(f"report: {REPORT}")
    return 0 if finished else 130


if __name__ == "__main__":
    sys.exit(main())
