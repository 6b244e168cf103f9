"""What is chosen to be removed, and what that frees."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.images.caches import DAY, choose, clean, would_free
from pytest_hpcregistry.images.caches.entry import Cache, Entry, measure, size_of
from pytest_hpcregistry.transports.local import LocalTransport


def entry(name: str, days: float, parts: dict[str, int], remove: Callable[[int | None], None] | None = None) -> Entry:
    return Entry(name, time.time() - days * DAY, parts, remove or (lambda days: None))


CACHES = [
    Cache("podman", "/p", [entry("new", 1, {"/a": 10, "/b": 5}), entry("old", 40, {"/a": 10})]),
    Cache("docker", missing="no docker"),
    Cache("hpcregistry", "/h", [entry("middle", 20, {"/c": 7})]),
]


@pytest.mark.parametrize(
    ("days", "keep_below", "names"),
    [
        (None, None, ["old", "middle", "new"]),
        (30, None, ["old"]),
        (10, None, ["old", "middle"]),
        (0, None, ["old", "middle", "new"]),
        (50, None, []),
        (None, 22, []),  # 10 + 5 + 7: the shared part counts once
        (None, 21, ["old", "middle"]),  # old frees nothing, as new needs its part too
        (None, 15, ["old", "middle"]),
        (None, 14, ["old", "middle", "new"]),
        (None, 0, ["old", "middle", "new"]),
        (30, 14, ["old"]),
        (10, 22, []),
    ],
)
def test_what_is_chosen(days: int | None, keep_below: int | None, names: list[str]) -> None:
    assert [one.name for _, one in choose(CACHES, days, keep_below)] == names


def test_what_that_would_free() -> None:
    assert would_free(CACHES, choose(CACHES, 30, None)) == 0
    assert would_free(CACHES, choose(CACHES, 10, None)) == 7
    assert would_free(CACHES, choose(CACHES, None, None)) == size_of(CACHES[0].entries) + 7 == 22


def test_what_is_freed_is_measured(tmp_path: Path) -> None:
    """Not taken from what was said before, nor from a removal that says that it has been done."""
    for name in ("goes", "stays", "half"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 100_000)
    sizes = measure((str(tmp_path / name) for name in ("goes", "stays", "half")), LocalTransport())
    empty = measure([str(tmp_path)], LocalTransport())[str(tmp_path)] - sum(sizes.values())
    assert 4096 <= empty < 100_000

    def of(name: str) -> dict[str, int]:
        return {str(tmp_path / name): sizes[str(tmp_path / name)]}

    def refuse(days: int | None) -> None:
        raise CommandFailed("no")

    asked: list[int | None] = []

    def goes(days: int | None) -> None:
        asked.append(days)
        (tmp_path / "goes" / "file").unlink()
        (tmp_path / "goes").rmdir()

    entries = [
        entry("goes", 9, of("goes"), goes),
        entry("stays", 8, of("stays")),
        entry("half", 7, of("half"), lambda days: (tmp_path / "half" / "file").unlink()),
        entry("refused", 6, of("stays"), refuse),
        entry("said", 5, {"0123": 50}),
        entry("said and refused", 4, {"0123": 50}, refuse),
    ]
    done = list(clean(choose([Cache("c", "/c", entries)], 3, None), 3))
    assert asked == [3]
    file = sizes[str(tmp_path / "half")] - measure([str(tmp_path / "half")], LocalTransport())[str(tmp_path / "half")]
    assert file >= 100_000
    assert [(one.name, one.freed, one.left) for one in done] == [
        ("goes", sizes[str(tmp_path / "goes")], ""),
        ("stays", 0, ""),
        ("half", file, ""),
        ("refused", 0, "no"),
        ("said", 50, ""),
        ("said and refused", 0, "no"),
    ]


@pytest.mark.parametrize(
    ("left", "failed"),
    [
        ("", False),
        ("Error: image used by 0123: image is in use by a container", False),
        ("conflict: unable to delete 0123 - image is being used by running container 4567", False),
        ("in use: demo.lock is held", False),
        ("permission denied", True),
    ],
)
def test_what_is_in_use_is_no_failure(left: str, failed: bool) -> None:
    def remove(days: int | None) -> None:
        if left:
            raise CommandFailed(left)

    (done,) = clean([(Cache("c", "/c"), entry("x", 1, {}, remove))], None)
    assert done.failed == failed


def test_names_that_would_mislead_du(tmp_path: Path) -> None:
    odd = tmp_path / "a\tb\nc"
    odd.write_bytes(b"x" * 5000)
    assert measure([str(odd), str(tmp_path / "gone"), "relative"], LocalTransport()) == {str(odd): 8192}
