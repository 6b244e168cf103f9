"""Where a command's own output begins: a login prints more, by .bashrc or .ssh/rc, with a line break or without."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence

from ..core.layout import MORE_PATH

BEGIN = f'PATH="$PATH:{MORE_PATH}"; export PATH; printf "\\n%s\\n" "$0"; exec "$@"'


def new_mark() -> str:
    """A word that no login prints by itself."""
    return f"hpcregistry-{secrets.token_hex(8)}"


def framed(argv: Sequence[str], mark: str) -> str:
    """The command as one line for a login's shell: it prints *mark* on a line of its own, and then becomes *argv*."""
    return shlex.join(["sh", "-c", BEGIN, mark, *argv])


def printed(mark: str) -> bytes:
    """What goes before the command's own output."""
    return f"\n{mark}\n".encode()
