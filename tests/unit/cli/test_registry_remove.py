"""registry remove, as it is typed: what it asks before, and what it hands to Ansible."""

from __future__ import annotations

from typing import Any

import click
import pytest

from pytest_hpcregistry.cli import registry
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.core.events import InUse, Planned
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.setup.transcript import HostRecap, Recap
from pytest_hpcregistry.testing.facts import NAME, entry
from tests.unit.cli.test_commands import raised, run

WHERE = ("--controller", "hpc")
PATH = "/opt/containers"


@pytest.fixture
def taken_back(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ansible was asked for, on two nodes, with one image that somebody uses."""
    asked: list[dict[str, Any]] = []

    def take_back(cluster: Any, nodes: list[str], **how: Any) -> Recap:
        del how["on_line"], how["routes"], how["look"]
        asked.append({"nodes": nodes, **how})
        return Recap({name: HostRecap(1, 2, 0, 0) for name in nodes}, 3.0)

    def remove(client: ControllerClient, names: list[str], after: int, listener: Any, *, dry_run: bool) -> None:
        assert (names, dry_run) == ([NAME], True)
        listener(Planned("would go"))
        listener(InUse(NAME, ["c1"], "alice", "8812"))

    monkeypatch.setattr(playbook, "take_back", take_back)
    monkeypatch.setattr(registry, "routes_to", lambda nodes, client: {})
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: ["c1", "c2"])
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: Catalog({NAME: entry()}))
    monkeypatch.setattr(ControllerClient, "remove", remove)
    return asked


def test_who_uses_an_image_is_named_and_images_stay(taken_back: list[dict[str, Any]]) -> None:
    done = run("registry", "remove", *WHERE, "--check", "-e", "a=b")
    in_use, end, warning = done.output.splitlines()
    assert in_use == f"! {NAME}: job 8812 (alice) runs from it on c1; it keeps its bytes"
    assert end == "✓ phase 1 taken back, only looked at: would change on c[1-2] (3 s)"
    assert warning.startswith("! without phase 1 Slurm runs a step with --container on the node itself")
    assert taken_back == [{"nodes": ["c1", "c2"], "tree": False, "check": True, "diff": False, "extra_vars": ("a=b",)}]


def test_where_phase_1_has_gone_it_goes_on(taken_back: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def catalog(client: ControllerClient) -> Catalog:
        raise Unreachable("no program", where="hpc")

    monkeypatch.setattr(ControllerClient, "catalog", catalog)
    assert "is not known: hpc: no program" in run("registry", "remove", *WHERE).output
    assert len(taken_back) == 1


def test_the_tree_goes_only_after_its_path_was_typed(
    taken_back: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = raised(run("registry", "remove", *WHERE, "--tree"))
    assert (failure.exit_code, failure.hint) == (2, "--yes does not ask")
    monkeypatch.setattr(registry, "is_asked", lambda: True)
    answers = iter(["/opt", PATH])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(answers))
    assert raised(run("registry", "remove", *WHERE, "--tree")).exit_code == 2
    assert taken_back == []
    assert "with all images will be removed" in run("registry", "remove", *WHERE, "--tree").output
    run("registry", "remove", *WHERE, "--tree", "--yes")
    run("registry", "remove", *WHERE, "--tree", "--check")
    assert [(one["tree"], one["check"]) for one in taken_back] == [(True, False), (True, False), (True, True)]
