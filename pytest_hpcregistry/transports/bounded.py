"""A file for what another program prints, which may be anybody's, and so without end."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path


class BoundedFile(FileIO):
    """A new file that takes no more than *most* bytes; `is_full` when more were written."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "w")
        self.most = most
        self.is_full = False

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Raises OSError."""
        if self.tell() + len(data) > self.most:
            self.is_full = True
            raise OSError(errno.EFBIG, f"more than {self.most} bytes")
        return super().write(data)
