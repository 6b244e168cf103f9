"""What all tests of the controller program need."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.controller import routes


@pytest.fixture(autouse=True)
def every_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a name service for its nodes, nor ssh and Slurm about those that it lacks."""
    monkeypatch.setattr(routes, "resolves", lambda name: True)
