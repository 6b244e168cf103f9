"""Nothing here may open a connection, or take a cluster from the environment."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.testing.facts import gathered
from tests.unit.plugin.runs import THREE, answer

VARIABLES = ("HPC_CLUSTER", "HPC_USER", "HPC_KEY", "TEST_CONTROLLER", "TEST_IMAGE", "SSH_USER", "SSH_KEY_PATH",
             "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")  # fmt: skip


class NoTransport:
    """Whoever runs anything through it fails."""

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def never_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "open_transport", lambda cluster: NoTransport())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every trip to the cluster, which has three nodes: what was asked for."""
    return answer(monkeypatch, gathered(THREE))
