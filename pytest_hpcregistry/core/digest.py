"""SHA-256, by which bytes are known everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 1 << 20  # bytes read at once


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises OSError when it cannot be read."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            total.update(block)
    return total.hexdigest()
