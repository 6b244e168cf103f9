"""How many of the nodes must have been asked, and be well: at least one, and as many as `--require` says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from .errors import HpcRegistryError, Unreachable
from .messages import not_counted
from .nodeset import fold

FORM = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,4})?)(?P<percent>%?)\Z")


@dataclass(frozen=True)
class Required:
    """So many nodes, or with `share` so much of all of them. `text` is how it was said."""

    text: str
    number: Fraction
    share: bool

    def of(self, nodes: int) -> int:
        """How many of so many nodes."""
        return ceil(self.number * nodes) if self.share else int(self.number)


def read_required(text: str) -> Required:
    """`95%`, or a number of nodes. Raises ValueError."""
    found = FORM.match(text.strip())
    number = Fraction(found["number"]) if found else Fraction(0)
    share = bool(found and found["percent"])
    if number <= 0 or (share and number > 100) or (not share and number.denominator != 1):
        raise ValueError("write a number of nodes, such as 60, or a share of all, such as 95%")
    return Required(text.strip(), number / 100 if share else number, share)


def shortfall(
    required: Required | None,
    nodes: Collection[str],
    well: Collection[str],
    away: Mapping[str, str],
    *,
    what: str = "were asked and are well",
) -> list[HpcRegistryError]:
    """One error, when fewer of all *nodes* are *well* (*what*, in words) than is *required*, or when nothing is proven
    of any: all of them are *away*, which is those that are not counted, and why.
    """
    if nodes and len(away) == len(nodes):
        return [Unreachable("\n".join(["no node could be asked", *not_counted(away)]), hint="see: sinfo -R")]
    if required is None or len(well) >= required.of(len(nodes)):
        return []
    wanted = f"{required.of(len(nodes))} of {len(nodes)} nodes" + (f" ({required.text})" if required.share else "")
    lacking = sorted(set(nodes) - set(well))
    but = f": not {fold(lacking)}" if lacking else ""
    return [Unreachable(f"{wanted} are required, {len(well)} {what}{but}")]
