"""Paths on a machine: one home, and the agent's copy of it."""

from __future__ import annotations

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import facts
from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.errors import RUN_SETUP, UsageError


def test_objects_and_what_is_beside_them_are_named_by_their_digest() -> None:
    assert layout.object_path("/r", "0" * 64) == "/r/.registry/objects/sha256/" + "0" * 64
    assert layout.attachment_path("/r", layout.SBOMS, "0" * 64) == "/r/.registry/sbom/" + "0" * 64 + ".json"
    for wrong in ("", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "../" + "0" * 61):
        with pytest.raises(UsageError, match="SHA-256"):
            layout.object_path("/r", wrong)
        with pytest.raises(UsageError, match="SHA-256"):
            layout.attachment_path("/r", layout.SBOMS, wrong)


@pytest.mark.parametrize(
    "name", ["CATALOG", "PEERS", "SIGNERS", "LOCK", "OBJECTS", "STAGING", "BASES", "SBOMS", "SCANS"]
)
def test_the_agent_has_the_same_paths(name: str) -> None:
    assert getattr(agent, name) == getattr(layout, name)


def test_the_agent_has_the_same_words_for_phase_1() -> None:
    assert facts.RUN_SETUP == RUN_SETUP


def test_a_path_in_a_registry() -> None:
    assert layout.inside("/opt/containers/", layout.CONFIG) == "/opt/containers/.registry/config.yaml"
