"""Events -> lines for a person. Nothing here decides anything."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from ..core.attachments import NOUNS
from ..core.events import (
    NOT_COUNTED,
    CheckEnded,
    DamageFound,
    Event,
    Failed,
    GcFinished,
    GcStarted,
    ImageChecked,
    ImageRestored,
    ImageScanned,
    ImageSent,
    ImagesRemoved,
    InUse,
    NodeFinished,
    Noticed,
    Planned,
    Published,
    RolledBack,
    SyncStarted,
    TransferStarted,
    UnderWay,
    Verified,
    Waiting,
    WouldDeploy,
)
from ..core.facts import PRESENT
from ..core.messages import behind, count, describe_damage, describe_gc, describe_use, listed, not_counted, would
from ..core.names import LONGEST_REASON, excerpt, printable, visible
from ..core.nodeset import fold, fold_machines, group_by
from ..core.pace import amount

COLOURS = {"✓": "green", "✗": "red", "!": "yellow"}
"""Of the marks that lines begin with, on a terminal that shows colours."""
ASKED = "as asked for"
"""Why an engine was taken that somebody has named (controller/engines/cost.py)."""
HARD = "\xa0"
"""A space at which no line is broken; no cell has it, as `visible` spells it out."""
LONGEST = 60  # characters of a node set of which all is well; of trouble, every node is named


def describe(event: Event, *, verbose: bool = False) -> str | None:
    """One line (more, when a message has more) for one event; None for an event that a person need not see here, as an
    error that ends the whole: it is reported at the end."""
    if isinstance(event, Failed) and event.name is None:
        return None
    writer = WRITERS.get(type(event))
    text = writer(event) if writer else ""
    if verbose and text and isinstance(event, TransferStarted) and event.why != ASKED:
        text += f"\n    {event.why}"
    return printable(text) or None


def image_checked(event: ImageChecked) -> str:
    return f"✓ {event.name}: a sound SIF, {amount(event.size)}, sha256 {event.digest[:12]}…"


def check_ended(event: CheckEnded) -> str:
    if event.state == "passed":
        return visible(f"✓ {event.name}: {event.check} ({event.seconds:.1f} s)")
    mark = "-" if event.state == "skipped" else "✗"
    return visible(f"{mark} {event.name}: {event.check}: {event.state}: {event.detail}")


def image_scanned(event: ImageScanned) -> str:
    waived = f", {event.waived} waived" if event.waived else ""
    scanned, found = count(event.components, "component"), count(event.findings, "finding")
    return f"✓ {event.name}: {scanned} scanned, {found}{waived}, none blocks it"


def would_deploy(event: WouldDeploy) -> str:
    scanned = ", after a scan" if event.scanned else ""
    return f"would deploy {visible(event.path)} as {event.name}{scanned}, sending {amount(event.bytes)}"


def image_sent(event: ImageSent) -> str:
    return f"✓ {event.name}: " + (
        f"{amount(event.bytes)} sent to the controller" if event.bytes else "the controller has its bytes"
    )


def published(event: Published) -> str:
    kept = " and ".join(NOUNS[kind] for kind in event.attached if kind in NOUNS)
    state = "published on the controller" if event.changed else "already published there"
    return f"✓ {event.name}: {state}" + (f", its {kept} kept beside it" if kept else "")


def rolled_back(event: RolledBack) -> str:
    current = f"version {event.digest[:12]} of {event.published} is current"
    was = f"was {event.before[:12]}" if event.before != event.digest else "as before"
    return f"✓ {event.name}: {current} on the controller ({was})"


def images_removed(event: ImagesRemoved) -> str:
    undo = f"undo until then: hpc-container-manager catalog restore {next(iter(event.names))}"
    return (
        f"✓ {listed(list(event.names))}: out of the catalog, and gone from the controller\n"
        f"  gc keeps the bytes until {event.until}; {undo}"
    )


def image_restored(event: ImageRestored) -> str:
    return f"✓ {event.name}: version {event.digest[:12]} is in the catalog again, and on the controller"


def in_use(event: InUse) -> str:
    return visible(f"! {describe_use(event)}")


def planned(event: Planned) -> str:
    return visible(f"  {event.message}")


def gc_started(event: GcStarted) -> str:
    return f"  collecting unreferenced objects on the controller and {fold(event.nodes)}"


def gc_finished(event: GcFinished) -> str:
    # What failed is told as an error, when all is told.
    marks = {"SUCCESS": "✓", "NOTE": "!"}
    return "\n".join(f"{marks[mark]} {text}" for mark, text in describe_gc(event) if mark in marks)


def sync_started(event: SyncStarted) -> str:
    if event.dry_run:
        return f"  dry run: a sync of {event.what} to {fold(event.nodes)}"
    return f"  syncing {event.what} to {fold(event.nodes)}"


def transfer_started(event: TransferStarted) -> str:
    """Nothing, where nothing is sent. The numbers by which `auto` has chosen are in `why`, for --verbose."""
    if event.engine == "shared":
        return f"  nothing is sent to {fold(event.bytes)}: {event.why}"
    receivers = [node for node, size in event.bytes.items() if size]
    if not receivers:
        return ""
    asked = "as asked for" if event.why == ASKED else "auto: one node" if len(receivers) == 1 else "auto"
    sizes = sorted({amount(event.bytes[node]) for node in receivers})
    most = f"at most {amount(max(event.bytes.values()))}" if len(sizes) > 1 else sizes[0]
    return f"  sending {most} to {fold(receivers)} by {event.engine} ({asked})"


def noticed(event: Noticed) -> str:
    return f"! {visible(event.message)}"


def damage_found(event: DamageFound) -> str:
    return visible(f"! {describe_damage(event)}")


def node_finished(event: NodeFinished) -> str:
    return nodes_finished([event])[0]


def nodes_finished(events: Iterable[NodeFinished]) -> list[str]:
    """`✓ c[001-008]: synced, 67 MB in 5.9 to 6.6 s`: nodes that ended in the same way are one line."""
    alike: dict[tuple[str, str, str, bool], list[NodeFinished]] = {}
    for event in events:
        alike.setdefault((event.state, event.message, names_of(event), event.read), []).append(event)
    return [visible(ended(group)) for group in alike.values()]


def names_of(event: NodeFinished) -> str:
    """What a planned node would get and lose, and of another one the names that it has lost."""
    return would(event) if event.state == "planned" else listed(event.removed or [])


def ended(events: Sequence[NodeFinished]) -> str:
    state, message, names, read = events[0].state, events[0].message, names_of(events[0]), events[0].read
    nodes = fold(event.node for event in events)
    if state == NOT_COUNTED:
        return "".join(f"! {line}" for line in not_counted({event.node: message for event in events}))
    if state not in ("synced", "unchanged", "planned"):
        return f"✗ {nodes}: {excerpt(message, LONGEST_REASON)}"
    if len(nodes) > LONGEST and len(events) > 1:  # with many gaps; those that fill them are named elsewhere
        nodes = f"{len(events)} nodes"
    if state == "unchanged":
        return f"✓ {nodes}: nothing to send ({'every byte was read' if read else 'names and sizes compared'})"
    if state == "planned":
        return f"  {nodes}: {names}"
    if names and not any(event.objects for event in events):
        return f"✓ {nodes}: {names} removed"
    if not any(event.objects or event.bytes for event in events):
        return f"✓ {nodes}: brought up to date (the bytes were there)"
    moved = span([event.bytes for event in events], amount)
    removed = f", {names} removed" if names else ""
    return f"✓ {nodes}: synced{removed}, {moved} in {span([event.seconds for event in events], '{:.1f}'.format)} s"


def span(numbers: Sequence[float], write: Callable[[float], str]) -> str:
    """`6.6`, or `5.9 to 6.6`."""
    return " to ".join(dict.fromkeys(write(number) for number in (min(numbers), max(numbers))))


def verified(event: Verified) -> str:
    bad = {machine for machine, state in event.states.items() if state != PRESENT}
    mark = "✗" if bad - set(event.waived) else "!" if bad else "✓"
    shown = with_waived(event.states, event.waived)
    return f"{mark} {excerpt(event.name)}: " + states(shown, present="same bytes on")


def failed(event: Failed) -> str:
    return f"✗ {event.text}"


def waiting(event: Waiting) -> str:
    return f"  waiting for {behind(event.behind)} (Ctrl-C to give up)"


def under_way(event: UnderWay) -> str:
    return f"  {event.what}: {event.text}"


WRITERS: dict[type[Event], Callable[[Any], str]] = {
    ImageChecked: image_checked,
    CheckEnded: check_ended,
    ImageScanned: image_scanned,
    ImageSent: image_sent,
    Published: published,
    RolledBack: rolled_back,
    ImagesRemoved: images_removed,
    ImageRestored: image_restored,
    InUse: in_use,
    Planned: planned,
    GcStarted: gc_started,
    GcFinished: gc_finished,
    SyncStarted: sync_started,
    TransferStarted: transfer_started,
    Noticed: noticed,
    DamageFound: damage_found,
    NodeFinished: node_finished,
    UnderWay: under_way,
    Verified: verified,
    Waiting: waiting,
    Failed: failed,
    WouldDeploy: would_deploy,
}


def states(by_machine: Mapping[str, str], present: str = PRESENT) -> str:
    """`present c[001-002], missing c003`: machines of one state folded."""
    groups = group_by(by_machine, lambda machine: present if by_machine[machine] == PRESENT else by_machine[machine])
    return ", ".join(f"{state} {fold_machines(machines)}" for state, machines in groups.items())


def with_waived(by_machine: Mapping[str, str], waived: Container[str]) -> dict[str, str]:
    """The states, `missing (waived)` where that is waived."""
    return {
        machine: f"{state} (waived)" if machine in waived and state != PRESENT else state
        for machine, state in by_machine.items()
    }


def table(rows: list[list[str]], width: int | None = None) -> list[str]:
    """Lines with aligned columns, the first row as heading. A row that is longer than *width*, a terminal's, goes on in
    the next line: no word of it is broken.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])  # where the last column begins
    lines = []
    for row in rows:
        whole = [cell.replace(" ", HARD) for cell in row[:-1]] + row[-1:]
        line = "  ".join(cell.ljust(size) for cell, size in zip(whole, widths, strict=True)).rstrip()
        lines += fill(line, width, indent) if width and len(line) > width else [line]
    return [line.replace(HARD, " ") for line in lines]


def fill(line: str, width: int, indent: int) -> list[str]:
    """A line in parts of *width*, where its words allow that; the last column stays one, where there is room for it."""
    below = " " * (indent if indent <= width / 2 else 4)
    return textwrap.wrap(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)


BANNER = """\
╔═══════════════════════════════════════════════════════════╗
║                                                           ║
║  ✓✓✓ ALL CONTAINER REGISTRY TESTS PASSED ✓✓✓              ║
║                                                           ║
╚═══════════════════════════════════════════════════════════╝"""
