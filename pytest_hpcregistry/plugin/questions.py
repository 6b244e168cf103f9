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

MOST = {"paths": 1000, "texts": 20}
LONGEST = 4096  # bytes of a path, as the kernel has it


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
    """The question with what this project adds. Raises UsageError for what is no path."""
    request = Request(paths=[line for line in config.getini("hpc_paths") if line])
    config.hook.pytest_hpc_request(request=request)
    paths, texts = check(request.paths, "paths"), check(request.texts, "texts")
    return replace(
        question,
        paths=list(dict.fromkeys([*question.paths, *paths])),
        texts=list(dict.fromkeys([*question.texts, *texts])),
    )


def check(paths: list[str], kind: str) -> list[str]:
    for path in paths:
        if not path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
            raise UsageError(f"hpc_{kind}: {excerpt(path)} is no absolute path")
        if len(path.encode()) > LONGEST:
            raise UsageError(f"hpc_{kind}: {excerpt(path, 80)} is longer than {LONGEST} bytes")
    if len(paths) > MOST[kind]:
        raise UsageError(f"hpc_{kind}: {len(paths)} are more than the {MOST[kind]} that can be asked for at once")
    return [path.rstrip("/") or "/" for path in paths]
