"""cache: what images leave on this machine, and can be had again."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..core.errors import CommandFailed
from ..core.fields import read_size
from ..core.pace import amount
from ..images.caches import Cleaned, choose, clean, find_caches, would_free
from ..images.caches.entry import size_of
from .groups import Group
from .output import answer, answers
from .show import say, show_table, tell


@dataclass(frozen=True)
class CacheSize:
    """A cache with its bytes on the disk; `missing` says why it is not there."""

    name: str
    path: str
    missing: str
    bytes: int
    entries: int


@dataclass(frozen=True)
class Caches:
    """All caches of this machine."""

    caches: list[CacheSize]


@dataclass(frozen=True)
class Emptied:
    """What was removed, or would be: `freed` bytes, of a dry run at most. What was `left` says why."""

    dry_run: bool
    freed: int
    entries: list[Cleaned]


USED = "a container uses it"


@click.group("cache", cls=Group)
def command() -> None:
    """Show and empty the caches of this machine.

    What images leave here: our own cache, Apptainer's, and the images that this program has made in Podman and Docker;
    nobody else's. All of it can be fetched or made again.

    \b
    Examples:
      hpc-container-manager cache show
      hpc-container-manager cache clean --dry-run
    """


@command.command("show")
@answers(Caches)
def cache_show() -> None:
    """Show each cache with its size and path.

    \b
    Example:
      hpc-container-manager cache show
    """
    rows = [["CACHE", "SIZE", "ENTRIES", "PATH"]]
    caches = find_caches()
    answer(
        Caches([CacheSize(one.name, one.path, one.missing, size_of(one.entries), len(one.entries)) for one in caches])
    )
    for cache in caches:
        size, count = amount(size_of(cache.entries)), str(len(cache.entries))
        rows.append([cache.name, *(["not there", "", cache.missing] if cache.missing else [size, count, cache.path])])
    show_table(rows)


def read_limit(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else read_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@command.command("clean")
@answers(Emptied)
@click.option("--older-than", "days", type=click.IntRange(0), metavar="DAYS", help="Only what was made before that.")
@click.option(
    "--keep-below",
    metavar="SIZE",
    callback=read_limit,
    help="Only as much as brings all together down to SIZE, such as 20GB; the oldest goes first.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def cache_clean(days: int | None, keep_below: int | None, dry_run: bool) -> None:
    """Empty the caches, and say what that freed.

    What is in use, an image of a container for example, is left and named. An image that you gave another name is left.

    \b
    Examples:
      hpc-container-manager cache clean --dry-run
      hpc-container-manager cache clean --older-than 30
      hpc-container-manager cache clean --keep-below 20GB
    """
    caches = find_caches()
    chosen = choose(caches, days, keep_below)
    if dry_run:
        used = [pair for pair in chosen if pair[1].used]
        chosen = [pair for pair in chosen if not pair[1].used]
        would = [Cleaned(one.name, entry.name, size_of([entry])) for one, entry in chosen]
        would += [Cleaned(one.name, entry.name, 0, USED) for one, entry in used]
        answer(Emptied(True, would_free(caches, chosen), would))
        for cache, entry in chosen:
            tell(f"  {cache.name}: {entry.name}, {amount(size_of([entry]))}")
        for cache, entry in used:
            say(f"! {cache.name}: {entry.name} is left: {USED}")
        tell(f"{len(chosen)} would be removed, which frees {amount(would_free(caches, chosen))} at most")
        return
    done = []
    for one in clean(chosen, days):
        done.append(one)
        if one.left:
            say(f"! {one.cache}: {one.name} is left: {one.left}")
        else:
            say(f"✓ {one.cache}: {one.name} removed, {amount(one.freed)} freed")
    freed = sum(one.freed for one in done)
    answer(Emptied(False, freed, done))
    say(f"{amount(freed)} freed")
    if failed := [one.name for one in done if one.failed]:
        raise CommandFailed(f"{len(failed)} of {len(done)} could not be removed: {', '.join(failed)}")
