"""Where a command's own output begins: a login prints more, by .bashrc or .ssh/rc, with a line break or without."""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Sequence

from ..core.layout import MORE_PATH

BEGIN = f'PATH="$PATH:{MORE_PATH}"; export PATH; printf "\\n%s\\n" "$0"; exec "$@"'

NOT_THE_SAME = re.compile(r"\\[\\']|[!]|[^ -~]")
TO_BE_WRITTEN = re.compile(r"[\\'!]|[^ -~]+")


def new_mark() -> str:
    """A word that no login prints by itself."""
    return f"hpcregistry-{secrets.token_hex(8)}"


def framed(argv: Sequence[str], mark: str) -> str:
    """The command as one line for a login's shell: it prints *mark* on a line of its own, and then becomes *argv*."""
    return for_any_shell(["sh", "-c", BEGIN, mark, *argv])


def for_any_shell(argv: Sequence[str]) -> str:
    """The command as one line that means the same to sh, fish and tcsh, one of which a login's shell may be.

    Between ' and ', fish takes \\\\ and \\' for one character, and tcsh wants no line break and no !. Where one is
    there, the line is written for printf(1), whose %b reads \\0NNN in octal, and only sh sees what it means.
    """
    line = shlex.join(argv)
    if not NOT_THE_SAME.search(line):
        return line
    written = TO_BE_WRITTEN.sub(lambda found: "".join(f"\\0{byte:03o}" for byte in os.fsencode(found[0])), line)
    return f"sh -c 'eval \"exec $(printf %b \"$1\")\"' sh '{written}'"


def printed(mark: str) -> bytes:
    """What goes before the command's own output."""
    return f"\n{mark}\n".encode()
