"""star: the controller sends to all nodes at once, within a window, by rsync through the restricted sync key.

Where a node has the version before, only the difference is sent (the agent's `prepare` puts it where rsync looks).
agent/serve.py lets in just the options that stand here.

No `-z` (a SIF is compressed: with it one stream was limited to 31 MB/s, without it 444), no `--partial`, `--inplace`
or `--delay-updates` (each can leave half a file, or exit 0 without delivery).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from ...agent.facts import RUN_SETUP
from ...core.errors import CommandFailed, HpcRegistryError, Unreachable
from ...core.fanout import fan_out
from ...core.layout import object_path
from ...core.names import excerpt
from ...transports.process import run_process
from ...transports.ssh import says_unreachable, unreachable_reason
from ..nodes import check_address, sync_ssh
from .bucket import Bucket

if TYPE_CHECKING:
    from . import Job

Outcome = TypeVar("Outcome")
PROGRESS = re.compile(r"\s*([\d,]{1,30})\s+\d+%")  # rsync(1), --info=progress2
SENT = re.compile(r"sent ([\d,]{1,30}) bytes ")  # …, stats1
LONGEST_LINE = 64 << 10  # bytes
OVERHEAD = 1 << 20  # bytes that rsync sends beside a file, at the most
IO_TIMEOUT = 60  # seconds without a byte, after which rsync gives a node up
# --ignore-times: the version before may have the same size and time, and is another file all the same.
# --outbuf=N: rsync ends when nobody reads what it says, as after this program was killed; buffered, it would go on.
OPTIONS = ["--ignore-times", f"--timeout={IO_TIMEOUT}", "--info=progress2,stats1", "--outbuf=N"]

AGENT = "hpcregistry: "  # what the agent says where it does not become rsync's server
# rsync(1), EXIT VALUES
BROKEN = 12  # error in the data stream, rsync(1)
REASONS = {
    2: "root's login there prints something where nobody reads it (mend .bashrc, .cshrc or .ssh/rc of root)",
    11: "cannot write there (disk full, quota or read-only)",
    BROKEN: "the connection broke",
    20: "interrupted",
    23: "not everything was transferred",
    30: f"no data for {IO_TIMEOUT} s",
    35: "no answer from the node",
}


def distribute(job: Job[Outcome]) -> dict[str, Outcome | HpcRegistryError]:
    """See engines.Engine."""
    at_once = max(1, min(job.settings.sync.window, len(job.wanted)))

    def serve(node: str) -> Outcome:
        try:
            return bring(node)
        finally:
            job.leave(node)

    def bring(node: str) -> Outcome:
        if job.wanted[node]:
            to = None
            if job.bases[node] or job.settings.sync.network:
                prepared = {"bases": job.bases[node], "network": job.settings.sync.network}
                address = job.sessions[node].ask("prepare", prepared)["address"]
                to = check_address(node, address, job.settings) if job.settings.sync.network else None
            send(node, to, job, bucket)
        return job.arrived(node)

    with Bucket(job.settings.sync.limit_rate) as bucket:
        return fan_out(job.wanted, serve, window=at_once, on_error=job.failed)


def share(limit: int, parts: int) -> int:
    """An equal part of a *limit* in bytes/s, at least 1: 0 is no limit."""
    return max(1, limit // max(1, parts)) if limit else 0


def send(node: str, to: str | None, job: Job[Outcome], bucket: Bucket) -> None:
    """Copy what *node* lacks to its staging directory. *to* is an address in place of its own.

    Whatever the address, the host key must be the one that phase 1 recorded for the node's name. Raises CommandFailed
    or Unreachable with the reason.
    """
    settings = job.settings
    paths = [object_path(settings.registry.path, digest) for digest in job.wanted[node]]
    argv = ["rsync", *OPTIONS, "--no-whole-file" if job.bases[node] else "--whole-file"]
    *ssh, target = sync_ssh(node, settings, to)
    argv += ["-e", bucket.shell(ssh), *paths, f"{target}:."]

    size = sum(job.sizes[digest] for digest in job.wanted[node])

    def on_line(line: str) -> None:
        # A node's own words may be among rsync's: never more than what is there to be sent, and what rsync adds.
        if found := PROGRESS.match(line):
            job.moved(node, min(int(found[1].replace(",", "")), size))
        elif found := SENT.match(line):
            job.sent(node, min(int(found[1].replace(",", "")), 2 * size + OVERHEAD))

    with job.turns:
        result = run_process(node, argv, timeout=settings.sync.timeout, stdout=Overwritten(on_line), keep=bucket.kept)
    # rsync may notice that its pipe is closed before it sees how its ssh has ended.
    if result.exit_code == 255 or (result.exit_code == BROKEN and says_unreachable(result.stderr)):
        raise Unreachable(unreachable_reason(result.stderr), where=node)
    if result.exit_code != 0:
        said = (result.stderr.strip().splitlines() or [""])[0]
        if said.startswith(AGENT):  # it has refused, and rsync saw a connection that broke
            what, missing, _ = said[len(AGENT) :].partition(f": {RUN_SETUP}")
            raise CommandFailed(excerpt(what), where=node, hint=RUN_SETUP if missing else "")
        reason = REASONS.get(result.exit_code, f"rsync exited with {result.exit_code}")
        raise CommandFailed(f"{reason}: {said}" if said else reason, where=node)


class Overwritten(BytesIO):
    """Where rsync writes to: its line of progress begins with a carriage return each time, and ends with the last."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        super().__init__()
        self.on_line = on_line
        self.rest = b""

    def write(self, data: Any) -> int:
        *lines, self.rest = re.split(b"[\r\n]", self.rest + bytes(data))
        self.rest = self.rest[-LONGEST_LINE:]
        for line in lines:
            self.on_line(line.decode(errors="replace"))
        return len(data)
