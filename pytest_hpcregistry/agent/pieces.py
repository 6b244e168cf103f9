"""A transfer's bytes, in pieces that are each proven by a digest before they are passed on.

Standard library only, Python >= 3.6.
"""

import hashlib
import os
import threading
from typing import List, Tuple

from .requests import LARGEST_PIECE, SMALLEST_PIECE

HASH_SIZE = 32  # bytes of a SHA-256


def piece_size(total: int) -> int:
    """How large the pieces of so many bytes are. One is passed on when all of it has come: small ones reach the last
    node sooner, large ones cost less."""
    return min(LARGEST_PIECE, max(SMALLEST_PIECE, total // 2048))


class Pieces:
    """The objects of a transfer end to end, as one run of bytes: first the digests of all pieces, then the pieces.

    `have` is how many bytes of it are here and proven. *files* are descriptors with the size of each, in bytes; *piece*
    is the size of a piece; *index* is the SHA-256 (hex) of all digests, which is all that must be trusted.
    """

    def __init__(self, files: List[Tuple[int, int]], piece: int, index: str) -> None:
        self.files = files
        self.piece = piece
        self.index = index
        content = sum(size for _, size in files)
        self.digests = bytes((content + piece - 1) // piece * HASH_SIZE)
        self.total = len(self.digests) + content
        self.have = 0
        self.changed = threading.Condition()

    def load_index(self) -> None:
        """Hash all pieces of files that are here already: nothing is lacking then."""
        digests = []
        start, self.have = len(self.digests), self.total
        for offset in range(start, self.total, self.piece):
            digests.append(hashlib.sha256(self.read(offset, self.piece)).digest())
        self.digests = b"".join(digests)
        self.index = hashlib.sha256(self.digests).hexdigest()

    def next_length(self) -> int:
        """How many bytes must come before they can be proven."""
        return len(self.digests) if self.have < len(self.digests) else min(self.piece, self.total - self.have)

    def accept(self, data: memoryview) -> bool:
        """Take the next `next_length` bytes if they are the right ones; False if they are not."""
        actual = hashlib.sha256(data)
        if self.have < len(self.digests):
            if actual.hexdigest() != self.index:
                return False
            self.digests = bytes(data)
        else:
            number = (self.have - len(self.digests)) // self.piece
            if actual.digest() != self.digests[number * HASH_SIZE : (number + 1) * HASH_SIZE]:
                return False
            self.write(self.have - len(self.digests), data)
            if self.have + len(data) == self.total:
                self.end_writing()
        with self.changed:
            self.have += len(data)
            self.changed.notify_all()
        return True

    def wait_beyond(self, offset: int, seconds: float) -> int:
        """How many bytes are proven, as soon as it is more than *offset* or after *seconds*."""
        with self.changed:
            if self.have <= offset:
                self.changed.wait(seconds)
            return self.have

    def read(self, offset: int, length: int) -> bytes:
        """Up to *length* bytes at *offset* of the run."""
        if offset < len(self.digests):
            return self.digests[offset : offset + length]
        offset -= len(self.digests)
        parts = []
        for descriptor, size in self.files:
            if offset < size and length > 0:
                parts.append(os.pread(descriptor, min(length, size - offset), offset))
                length -= len(parts[-1])
                offset += len(parts[-1])
            offset -= size
        return b"".join(parts)

    def write(self, offset: int, data: memoryview) -> None:
        for descriptor, size in self.files:
            while data and 0 <= offset < size:
                written = os.pwrite(descriptor, data[: size - offset], offset)
                data, offset = data[written:], offset + written
            offset -= size

    def end_writing(self) -> None:
        """Open the files anew for reading only, under the same numbers: who publishes them wants no writer left."""
        for descriptor, _ in self.files:
            reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(reader, descriptor, inheritable=False)
            os.close(reader)
