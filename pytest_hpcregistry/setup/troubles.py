"""What kept machines from the end of a run of Ansible, in one line for all that share it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..core import nodeset
from ..core.errors import CommandFailed, Unreachable
from ..core.names import excerpt
from ..transports import CommandResult
from ..transports.ssh import NOT_PASSED_ON, unreachable_reason
from .transcript import Transcript

FOLLOWS = (
    "Stop where the controller is not ready",
    "Stop where no node is ready",
    "Stop where the controller has failed",
)
"""Tasks of the role that fail because other machines have failed, or were not reached."""
UNREACHED = 4
"""How ansible-playbook exits where hosts were unreachable, and nothing else went wrong."""


def not_passed_on(transcript: Transcript) -> list[str]:
    """The hosts of which ssh only says that the machine in front of them does not reach them."""
    silent = [name for name, host in transcript.hosts.items() if host.unreachable and name in transcript.troubles]
    return [name for name in silent if unreachable_reason(transcript.troubles[name].message) == NOT_PASSED_ON]


def raise_troubles(
    transcript: Transcript,
    result: CommandResult,
    out_of_service: Collection[str] = (),
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Raise what kept hosts from the end of the play; tasks that failed come before machines that were not reached,
    which those *out_of_service* need not be, and what only follows from others comes last. *reasons* of why a machine
    was not reached go before ssh's own."""
    silent = {name for name, host in transcript.hosts.items() if host.unreachable}
    lost = silent - {*out_of_service}
    failed = {name for name, host in transcript.hosts.items() if host.failed and not host.unreachable}
    why = {name: unreachable_reason(trouble.message) for name, trouble in transcript.troubles.items() if name in lost}
    stopped = {name for name in failed if name in transcript.troubles and transcript.troubles[name].task in FOLLOWS}
    lines = [*describe(transcript, failed - stopped), *describe(transcript, lost, why | dict(reasons or {}))]
    lines += describe(transcript, stopped)
    if stopped and lost and stopped == failed:
        raise Unreachable("\n".join(lines), hint="put that right and run it again")
    if failed:
        raise CommandFailed("\n".join(lines), hint="put that right and run it again; what is done already stays")
    if lost:
        raise Unreachable(
            "\n".join(lines), hint="the other machines are finished; run it again when these can be reached"
        )
    if result.exit_code not in (0, UNREACHED if silent else 0):
        last_words = [excerpt(line) for line in result.stderr.strip().splitlines()[-5:]]
        raise CommandFailed("\n  ".join([f"ansible-playbook exited with {result.exit_code}", *last_words]))
    if not transcript.hosts:
        raise CommandFailed("ansible-playbook did nothing on any machine")


def describe(transcript: Transcript, names: Iterable[str], reasons: Mapping[str, str] | None = None) -> list[str]:
    """One line for each trouble, the nodes that share it folded: `c[002-003]: TASK: why`; *reasons* win."""

    def why(name: str) -> str:
        trouble = transcript.troubles.get(name)
        reason = (reasons or {}).get(name) or (trouble.message.strip() if trouble else "")
        return f"{trouble.task}: {reason}" if trouble else "Ansible did not say why"

    return [f"{nodes}: {text}" for text, nodes in sorted(nodeset.fold_by(sorted(names), why).items())]
