"""Which of the slow lab tests are run today. `make lab-test` takes a part of them each day, so that all are seen within
some days; `make lab-test TURN=` and `pytest -m lab` take all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

VARIABLE = "HPCREG_TURN"
"""A number, such as that of the day. Without it all tests are run."""
PARTS = (
    (
        *("test_setup_stopped", "test_image_signatures", "test_gpu", "test_mpi", "test_transports", "test_node_user"),
        *("test_remove", "test_use"),
    ),
    (
        *("test_history", "test_lab", "test_mpich", "test_examples", "test_wheel", "test_inventory", "test_liars"),
        "test_day",
    ),
    (
        *("test_relay", "test_training", "test_network", "test_signatures", "test_routes", "test_stolen_key"),
        *("test_update", "test_out_of_service", "test_shared"),
    ),
    (
        *("test_setup", "test_reproducible", "test_limits", "test_thousands", "test_running", "test_drift"),
        *("test_faults", "test_container_run"),
    ),
)
"""Files that set up labs anew or wait for minutes."""


def left_out(turn: int) -> list[str]:
    """The files of the parts that have not that turn."""
    return [file for number, part in enumerate(PARTS) if number != turn % len(PARTS) for file in part]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    turn = os.environ.get(VARIABLE)
    if not turn:
        return
    names = left_out(int(turn))
    not_today = [item for item in items if is_in(item.path, names)]
    items[:] = [item for item in items if not is_in(item.path, names)]
    config.hook.pytest_deselected(items=not_today)


def is_in(path: Path, names: Sequence[str]) -> bool:
    return path.parent == Path(__file__).parent and path.stem in names


def pytest_report_header() -> str:
    turn = os.environ.get(VARIABLE)
    return f"lab: not in turn today: {', '.join(left_out(int(turn)))} (all: TURN=)" if turn else "lab: all tests"
