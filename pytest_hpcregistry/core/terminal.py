"""Texts on a terminal, or in a file, whose character set has not all of our signs."""

from __future__ import annotations

import codecs
from io import TextIOWrapper
from typing import TextIO

PLAIN = {"✓": "+", "✗": "x", "…": "...", "→": "->", "─": "-", "═": "=", "│": "|", "║": "|", "├": "|", "└": "`"}
"""What stands for a sign of ours; other characters are `?`, as ls(1) shows them."""
HANDLER = "hpcregistry.plain"


def in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """For codecs.register_error: in the place of what cannot be encoded, a sign that can."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def never_fail_to_encode(*streams: TextIO | None) -> None:
    """Let no character end a program that writes to these streams, of which one may be closed (None)."""
    codecs.register_error(HANDLER, in_plain_signs)
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
