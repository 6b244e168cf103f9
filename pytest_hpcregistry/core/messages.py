"""An event in words: the lines of the log, which an operator greps for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .events import Event
from .names import LONGEST_REASON, excerpt
from .nodeset import fold, group_by


def describe(event: Event) -> list[str]:
    """The lines that an operator greps for; an event of no interest to the log gives none."""
    kind = event["event"]
    if kind == "published":
        verb = "published" if event["changed"] else "already published"
        return [f"SUCCESS: {event['name']} {verb} on the controller, sha256 {event['digest']}"]
    if kind == "sync_started":
        nodes = event["nodes"]
        return [f"Syncing {event['what']} to {len(nodes)} nodes: {fold(nodes)}"]
    if kind == "transfer_started":
        return [f"Engine {event['engine']} for {fold(event['bytes'])}: {event['why']}"]
    if kind == "noticed":
        return [f"NOTE: {event['message']}"]
    if kind == "node_started":
        return [f"Syncing {event['what']} to {event['node']}..."]
    if kind == "node_finished":
        return [describe_node(event)]
    if kind == "under_way":
        return [f"Syncing {event['what']}: {event['text']}"]
    if kind == "sync_finished":
        return [describe_end(event["states"])]
    if kind == "failed":
        return [f"ERROR: {event['message']}"]
    return describe_versions(event)


def describe_versions(event: Event) -> list[str]:
    kind = event["event"]
    if kind == "rolled_back":
        was = f"was {event['before'][:12]}" if event["before"] != event["digest"] else "as before"
        return [f"SUCCESS: {event['name']} rolled back by {event['by']}, sha256 {event['digest']}, {was}"]
    if kind == "gc_started":
        what = f"keep {event['keep']}, grace {event['grace']} s"
        return [f"Garbage collection by {event['by']} ({what}) on the controller and {fold(event['nodes'])}"]
    if kind == "gc_finished":
        return [f"{mark}: {text}" for mark, text in describe_gc(event)]
    return []


def describe_node(event: Event) -> str:
    if event["state"] == "synced":
        moved = f"{event['objects']} moved, {event['bytes'] / 1e6:.1f} MB, {event['seconds']:.1f} s"
        return f"SUCCESS: {event['what']} synced to {event['node']} ({moved})"
    if event["state"] == "unchanged":
        return f"SUCCESS: {event['what']} on {event['node']} is up to date"
    return f"ERROR: {event['what']} not synced to {excerpt(event['message'], LONGEST_REASON)}"


def describe_end(states: dict[str, str]) -> str:
    by_state = group_by(states, states.__getitem__)
    summary = ", ".join(f"{len(nodes)} {state} ({fold(nodes)})" for state, nodes in sorted(by_state.items()))
    bad = set(by_state) - {"synced", "unchanged"}
    return f"{'ERROR' if bad else 'SUCCESS'}: sync finished: {summary}"


def describe_gc(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """SUCCESS, NOTE or ERROR, and what to say: one line for all machines that have the same to tell."""
    folded: dict[tuple[str, str], list[str]] = {}
    for machine, one in event["machines"].items():
        for line in describe_freed(one, "would be " if event["dry_run"] else ""):
            folded.setdefault(line, []).append(machine)
    return [(mark, f"{fold(machines)}: {text}") for (mark, text), machines in folded.items()]


def describe_freed(one: Mapping[str, Any], would: str) -> list[tuple[str, str]]:
    if one["state"] in ("failed", "unreachable"):
        return [("ERROR", one["message"])]
    if one["state"] == "shared":
        return [("SUCCESS", "shares the controller's registry")]
    freed = count(one["objects"], "object") + (f" and {count(one['debris'], 'leftover')}" if one["debris"] else "")
    lines = [("SUCCESS", f"{freed} {would}freed, {one['bytes'] / 1e6:.1f} MB")]
    for key, why in (("in_use", "somebody has it open"), ("young", "nothing has named it for too short a time")):
        if one[key]:
            lines.append(("NOTE", f"{count(one[key], 'object')} kept, {one[key + '_bytes'] / 1e6:.1f} MB: {why}"))
    if one["unmanaged"]:
        lines.append(("NOTE", f"not in the catalog, left alone: {', '.join(map(excerpt, one['unmanaged']))}"))
    return lines


def count(things: Sequence[str], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
