"""What tests of several files use."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.fakes.apptainer import apptainer  # noqa: F401 - a fixture
from tests.fakes.podman import stand  # noqa: F401 - a fixture
from tests.fakes.signer import alice, mallory  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def not_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest cuts its summary to a terminal's width, but not where one of these is set."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, though a shell that starts a job in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
