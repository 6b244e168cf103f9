"""What became of many machines, as errors: one for each kind of trouble, and of all of them one to raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.coverage import Required, shortfall
from ..core.errors import CheckFailed, CommandFailed, HpcRegistryError, Unreachable, UsageError, from_exit_code
from ..core.events import NOT_COUNTED, Freed, NodeFinished
from ..core.names import LONGEST_REASON, excerpt
from ..core.nodeset import fold_by


def sync_failures(
    finished: Mapping[str, NodeFinished | Freed],
    hint: str = "repair what is named above, then: hpc-container-manager sync",
) -> list[HpcRegistryError]:
    """One error for each kind of trouble, its nodes folded: with what to do about it, and then about all."""
    troubles = {
        node: (end.state, excerpt(end.message, LONGEST_REASON), end.hint)
        for node, end in finished.items()
        if end.state in ("failed", "unreachable")
    }
    others = "the other machines are done; " if len(troubles) < len(finished) else ""
    return [
        (Unreachable if state == "unreachable" else CommandFailed)(
            message, where=nodes, hint="\n".join(filter(None, [own_hint, others + hint]))
        )
        for (state, message, own_hint), nodes in sorted(fold_by(troubles, troubles.__getitem__).items())
    ]


def sync_shortfall(finished: Mapping[str, NodeFinished], required: Required | None) -> list[HpcRegistryError]:
    """One error, when fewer nodes were served than *required*, or none of those that there are counts."""
    well = {node for node, end in finished.items() if end.state in ("synced", "unchanged", "planned")}
    away = {node: end.message for node, end in finished.items() if end.state == NOT_COUNTED}
    return shortfall(required, finished, well, away)


def raise_worst(failures: Sequence[HpcRegistryError]) -> None:
    """Raise one error with every message; its kind is that of the gravest: work that failed, drift, not determined.

    Its hint is what there is to do about the gravest, a line for each.
    """
    if not failures:
        return
    message = "\n".join(dict.fromkeys(str(failure) for failure in failures))
    kinds = (CommandFailed, CheckFailed, UsageError, Unreachable)
    gravest_first = [failure for kind in kinds for failure in failures if failure.exit_code == kind.exit_code]
    kind = from_exit_code(gravest_first[0].exit_code)
    hinting = next((failure.exit_code for failure in gravest_first if failure.hint), None)
    hints = [line for one in gravest_first if one.exit_code == hinting for line in one.hint.splitlines()]
    raise kind(message, hint="\n".join(dict.fromkeys(hints)))
