"""Which packages differ between two images."""

from __future__ import annotations

from pytest_hpcregistry.images.inventory.difference import Change, compare
from pytest_hpcregistry.images.inventory.packages import Package


def packages(*words: str) -> list[Package]:
    return [Package(kind, name, version) for kind, name, version in (word.split(" ") for word in words)]


def test_what_was_added_removed_and_changed() -> None:
    old = packages("deb tar 1", "deb xz 5.4", "pypi numpy 1", "pypi six 1")
    new = packages("pypi six 1", "deb xz 5.6", "pypi numpy 1", "pypi torch 2", "deb numpy 1")
    assert [(one.state, one) for one in compare(old, new)] == [
        ("added", Change("deb", "numpy", (), ("1",))),
        ("removed", Change("deb", "tar", ("1",), ())),
        ("changed", Change("deb", "xz", ("5.4",), ("5.6",))),
        ("added", Change("pypi", "torch", (), ("2",))),
    ]


def test_several_versions_of_one_package() -> None:
    old = packages("pypi six 2", "pypi six 1", "pypi six 1")
    assert compare(old, packages("pypi six 1", "pypi six 2")) == []
    assert compare(old, packages("pypi six 3", "pypi six 1")) == [Change("pypi", "six", ("1", "2"), ("1", "3"))]


def test_the_same() -> None:
    assert compare([], []) == []
    assert compare(packages("deb a 1"), packages("deb a 1")) == []
