"""What all tests need."""

from __future__ import annotations

import signal

from .lab import turns

pytest_collection_modifyitems = turns.pytest_collection_modifyitems
pytest_report_header = turns.pytest_report_header


def pytest_configure() -> None:
    """A shell that runs the tests in the background has these ignored, and so would be in all that the tests start."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
