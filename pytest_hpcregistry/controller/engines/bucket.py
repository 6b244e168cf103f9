"""A limit of all that is sent: one bucket of tokens, from which every rsync of a sync takes before it sends.

rsync keeps the --bwlimit that it began with. So what it writes to its ssh passes a pump instead, which takes a token
for each block: who sends shares the whole limit with those that send at the same time, and with nobody else. The bucket
is a pipe: each byte in it is a token, and the kernel gives a byte to one reader. While nobody needs any, no more gather
there than those of BURST seconds.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
import sys
import termios
import threading
import time
from collections.abc import Sequence

TICK = 0.05
"""Seconds between two looks at how much may be sent."""
BURST = 0.5
"""Seconds of which the tokens may gather: what a busy machine came too late for is not lost."""
LARGEST_BLOCK = 64 << 10
TOKENS_PER_SECOND = 100
"""At the least, if a block has a byte: with a small limit and many nodes none may wait long for its next one."""
# `-e` of rsync splits at blanks and knows no quotes within quotes, so no single one is in here. A pump ends as its ssh
# does, whatever it waits for: rsync sees the connection end, and by which exit code. Without tokens any more, this
# program has ended.
PUMP = """
import os, subprocess, sys, threading

tokens, block = int(sys.argv[1]), int(sys.argv[2])
ssh = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, bufsize=0)

def pump():
    credit = 0
    try:
        while True:
            data = os.read(0, 65536)
            if not data:
                return ssh.stdin.close()
            while credit < len(data):
                taken = os.read(tokens, -((credit - len(data)) // block))
                if not taken:
                    return ssh.kill()
                credit += len(taken) * block
            credit -= len(data)
            while data:
                data = data[ssh.stdin.write(data):]
    except OSError:
        return

threading.Thread(target=pump, daemon=True).start()
code = ssh.wait()
os._exit(code if code >= 0 else 128 - code)
"""


class Bucket:
    """While it is open, the tokens of a limit of *rate* bytes/s; of no limit, when that is 0."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.block = max(1, min(LARGEST_BLOCK, rate // TOKENS_PER_SECOND))
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.fill, daemon=True)

    def __enter__(self) -> Bucket:
        if self.rate:
            self.tokens, self.source = os.pipe()
            os.set_blocking(self.source, False)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.rate:
            self.closing.set()
            self.thread.join()
            os.close(self.source)
            os.close(self.tokens)

    @property
    def kept(self) -> tuple[int, ...]:
        """The descriptors that an rsync needs."""
        return (self.tokens,) if self.rate else ()

    def shell(self, ssh: Sequence[str]) -> str:
        """What rsync is given as its remote shell, for *ssh* with its options."""
        pump = [sys.executable, "-I", "-S", "-c", PUMP, str(self.tokens), str(self.block)] if self.rate else []
        return shlex.join([*pump, *ssh])

    def fill(self) -> None:
        owed, before = 0.0, time.monotonic()
        most = max(1.0, self.rate * BURST / self.block)
        while not self.closing.wait(TICK):
            now = time.monotonic()
            owed, before = min(most, owed + (now - before) * self.rate / self.block), now
            due = int(min(owed, most - self.waiting()))
            if due > 0:
                os.write(self.source, b"." * due)
                owed -= due

    def waiting(self) -> int:
        """Tokens that nobody has taken."""
        (found,) = struct.unpack("i", fcntl.ioctl(self.tokens, termios.FIONREAD, bytes(4)))
        return int(found)
