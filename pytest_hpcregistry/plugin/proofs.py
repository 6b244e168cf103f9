"""What the jobs of a run did not prove, said once at its end."""

from __future__ import annotations

from typing import Any

import pytest

from ..cluster.kinds import NOT_PROVEN
from ..core.names import printable


class NotProven:
    """In the main process: collects these properties, of xdist's workers too."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.lines.update(dict.fromkeys(str(value) for key, value in report.user_properties if key == NOT_PROVEN))

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for line in self.lines:
            terminalreporter.write_line(printable(f"hpc: not proven: {line}"))
