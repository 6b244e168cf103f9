"""Groups of commands, which name the nearest of them for a name that there is not."""

from __future__ import annotations

from typing import Any

import click

from ..core.fields import nearest, perhaps


class Group(click.Group):
    """A group of commands. *otherwise* is the command that is meant, perhaps, by a word that is like none of them."""

    def __init__(self, *words: Any, otherwise: str = "", **more: Any) -> None:
        super().__init__(*words, **more)
        self.otherwise = otherwise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As any group's, with what was meant, perhaps."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args[0].startswith("-"):
                raise  # an option that there is not
            near = nearest(args[0], self.list_commands(ctx))
            if not near and self.otherwise:
                near = f"{self.otherwise} {args[0]}"
            raise click.UsageError(f"{error.message}{perhaps(near)}", ctx) from None
