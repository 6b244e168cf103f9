"""What building an image would come to: asked, and nothing changed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ...core.errors import CommandTimeout
from ..definitions.definition import Definition
from .build import SHORT, Builder, build_command, labels_of, local_base

CONTEXT, BASE_ID = "CONTEXT", "ID"
"""In a plan's command: the copy of the definition, and the ID of a base that is not there yet."""


@dataclass(frozen=True)
class Plan:
    """A build of *definition* that did not take place.

    `reason` is why it would, empty where the image is up to date. `base` says in words where the base would come from,
    `problem` why it cannot come from there. `labels` and `argv` are the build's.
    """

    definition: Definition
    reason: str
    base: str
    problem: str
    labels: dict[str, str]
    argv: list[str]

    def lines(self, *, in_full: bool = False) -> list[str]:
        """The plan for a person; *in_full* with the labels and the command."""
        wheels = self.definition.wheels
        context = f"a copy of {self.definition.directory}" + (", with wheels/" if wheels else "")
        short = [
            f"{self.definition.image}: " + (f"would be built: {self.reason}" if self.reason else "up to date"),
            f"  base: {self.base}",
            *([f"  wheels: {', '.join(wheels)}, by pip for Python {self.definition.python}"] if wheels else []),
        ]
        if not in_full:
            return short
        return [
            *short,
            *(f"  label: {name}={value}" for name, value in self.labels.items()),
            f"  {CONTEXT}: {context}",
            f"  $ {shlex.join(self.argv)}",
        ]


def plan(builder: Builder, definition: Definition, *, force: bool = False) -> Plan:
    """Ask what *builder* would do. The registry of a base that is not there is asked whether it has it."""
    revision = definition.revision()
    reason = "that is asked for" if force else builder.reason(definition, revision)
    image, base, problem = plan_base(builder, definition)
    labels = labels_of(definition, revision, (builder.identity(image) or BASE_ID) if image else "")
    argv = build_command(builder.tool, definition, CONTEXT, image, labels)
    return Plan(definition, reason, base, problem, labels, argv)


def plan_base(builder: Builder, definition: Definition) -> tuple[str, str, str]:
    """The image to begin with, where it would come from, and why it cannot come from there."""
    if present := builder.present_base(definition):
        return present, f"{present}, present", ""
    local = local_base(definition)
    made = f"{local}, made by {shlex.join(definition.root)}" if local else ""
    if not definition.base:
        return local, made or "what the Dockerfile names", ""
    problem = look_up(builder, definition.base)
    if problem and local:
        return local, f"{made}, as {definition.base} cannot be fetched ({problem})", ""
    return definition.base, f"{definition.base}, to be fetched", f"{definition.base}: {problem}" if problem else ""


def look_up(builder: Builder, image: str) -> str:
    """Why the registry of *image* does not give it; nothing where it does."""
    try:
        asked = builder.here.run([builder.tool, "manifest", "inspect", image], timeout=SHORT)
    except CommandTimeout:
        return f"no answer within {SHORT:.0f} s"
    return "" if asked.exit_code == 0 else asked.last_words("no reason given")
