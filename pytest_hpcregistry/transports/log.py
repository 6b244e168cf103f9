"""What is run and how long it took, for the log: no secret, and no more of a long argument than its length."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence

from ..core.names import visible

LOG = logging.getLogger(__name__)
LONGEST_WORD = 160
"""Characters: longer ones are programs and requests."""
SECRET = re.compile(r"(?i)([\w-]*(?:passw|secret|token|credential|passphrase|api_?key)[\w-]*[=:]).*", re.DOTALL)
USER_INFO = re.compile(r"://[^/@\s]+@")
GIVEN_BY_A_USER = ("--extra-vars", "-e")
"""Behind these stands whatever a site hands to its role."""


def describe(argv: Sequence[str]) -> str:
    """A command on one line, quoted as for a shell."""
    words = [word if before not in GIVEN_BY_A_USER else "…" for before, word in zip(["", *argv], argv)]
    return visible(" ".join(map(hide, words)))


def hide(word: str) -> str:
    if len(word) > LONGEST_WORD:
        return f"<{len(word)} characters>"
    return word if word == "…" else shlex.quote(USER_INFO.sub("://…@", SECRET.sub(r"\1…", word)))
