"""star: the controller sends to all nodes at once, within a window, by rsync through the restricted sync key.

No `-z` (a SIF is compressed: with it one stream was limited to 31 MB/s, without it 444), no `--partial`, `--inplace`
or `--delay-updates` (each can leave half a file, or exit 0 without delivery).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..controller.nodes import sync_ssh
from ..errors import CommandFailed, HpcRegistryError, Unreachable
from ..fanout import fan_out
from ..naming import object_path
from ..transports import unreachable_reason
from ..transports.local import run_process

if TYPE_CHECKING:
    from ..controller.settings import Settings

Outcome = TypeVar("Outcome")
IO_TIMEOUT = 60  # seconds without a byte, after which rsync gives a node up

# rsync(1), EXIT VALUES
REASONS = {
    11: "cannot write there (disk full, quota or read-only)",
    12: "the connection broke",
    20: "interrupted",
    23: "not everything was transferred",
    30: f"no data for {IO_TIMEOUT} s",
    35: "no answer from the node",
}


def distribute(
    wanted: Mapping[str, Sequence[str]], settings: Settings, arrived: Callable[[str], Outcome]
) -> dict[str, Outcome | HpcRegistryError]:
    """See engines.Engine."""

    def bring(node: str) -> Outcome:
        if wanted[node]:
            send(node, wanted[node], settings)
        return arrived(node)

    return fan_out(wanted, bring, window=settings.window)


def send(node: str, digests: Sequence[str], settings: Settings) -> None:
    """Copy objects to the node's staging directory. Raises CommandFailed or Unreachable with the reason."""
    paths = [object_path(settings.registry, digest) for digest in digests]
    argv = ["rsync", "--whole-file", f"--timeout={IO_TIMEOUT}", "-e", shlex.join(sync_ssh(settings)), *paths]
    result = run_process(node, [*argv, f"root@{node}:."], timeout=settings.timeout)
    if result.exit_code == 255:
        raise Unreachable(f"{node}: {unreachable_reason(result.stderr)}")
    if result.exit_code != 0:
        said = (result.stderr.strip().splitlines() or [""])[0]
        reason = REASONS.get(result.exit_code, f"rsync exited with {result.exit_code}")
        raise CommandFailed(f"{node}: {reason}: {said}" if said else f"{node}: {reason}")
