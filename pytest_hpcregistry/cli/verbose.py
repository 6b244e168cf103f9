"""What the library logs, on standard error: --verbose."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from ..core.names import printable

LIBRARY = logging.getLogger("pytest_hpcregistry")


class Shower(logging.Handler):
    """Lines for people; a standard error that cannot be written stops nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # sys.stderr is looked up anew: bars put one of their own there
            sys.stderr.write(printable(self.format(record)) + "\n")
            sys.stderr.flush()


HANDLER = Shower()
HANDLER.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%H:%M:%S"))


def begin(verbosity: int) -> None:
    """Show the remote commands (1), or all that is logged (2)."""
    LIBRARY.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    LIBRARY.addHandler(HANDLER)


def end() -> None:
    """Show nothing any more."""
    LIBRARY.removeHandler(HANDLER)
    LIBRARY.setLevel(logging.NOTSET)
