"""What tests of a site ask of every machine beside our own questions, in the same login: the ini option hpc_paths, and
the hook pytest_hpc_request of a conftest.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import pytest

from ..core.errors import UsageError
from ..core.machine import Question
from ..core.names import excerpt

MOST_TEXTS = 20
LONGEST = 4096  # bytes of a path, as the kernel has it
MOST_BYTES = 32 << 10  # of all paths: the question is one argument of a command, which Linux allows 128 KiB


@dataclass
class Request:
    """What is to be asked of every machine: `paths` for `machine.path()`, and `texts` for `machine.text()`, of each the
    first MiB. Both are read as root, and never changed."""

    paths: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@pytest.hookspec
def pytest_hpc_request(request: Request) -> None:
    """Add to `request.paths` and `request.texts` what tests of yours look at.

    Called once, in the process that asks the cluster, before it does. It is seen in a conftest.py beside the ini file.
    """


def add_to(config: pytest.Config, question: Question) -> Question:
    """The question with what this project adds. Raises UsageError for what is no path, or too much."""
    request = Request(paths=[line for line in config.getini("hpc_paths") if line])
    config.hook.pytest_hpc_request(request=request)
    paths, texts = list(map(check, request.paths)), list(map(check, request.texts))
    if len(texts) > MOST_TEXTS:
        raise UsageError(f"pytest_hpc_request: {len(texts)} texts are more than {MOST_TEXTS}")
    if sum(len(path.encode()) for path in (*paths, *texts)) > MOST_BYTES:
        raise UsageError(f"hpc_paths: all paths together are longer than {MOST_BYTES >> 10} KiB")
    return replace(
        question,
        paths=list(dict.fromkeys([*question.paths, *paths])),
        texts=list(dict.fromkeys([*question.texts, *texts])),
    )


def check(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise UsageError(f"hpc_paths: {excerpt(path)} is no absolute path")
    if len(path.encode()) > LONGEST:
        raise UsageError(f"hpc_paths: {excerpt(path, 80)} is longer than {LONGEST} bytes")
    return path.rstrip("/") or "/"
