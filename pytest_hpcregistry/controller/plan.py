"""A dry run of a sync: every node is asked what it has, and nothing is changed, there or here."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.events import Planned
from ..core.fanout import fan_out
from ..core.messages import listed
from ..core.nodeset import fold
from .outcome import Outcome
from .removed import split_names
from .rollout import Rollout


class Plan(Rollout):
    """A rollout that ends where bytes would begin to move."""

    def distribute(self, engine: str, why: str, nodes: Sequence[str]) -> None:
        lacking = [node for node in nodes if self.lacks[node]]
        if lacking:
            self.listener(Planned(f"engine {engine} for {fold(lacking)}: {why}"))
        for node in nodes:
            self.look_for_users(node, self.asks_for_users)
            self.finish(node, self.planned(node, engine))
        fan_out(nodes, self.close, window=len(nodes))

    def planned(self, node: str, engine: str) -> Outcome:
        """What a sync would do there."""
        every, blocked = [image["name"] for image in self.images_for(node)], self.has[node].get("blocked", ())
        names = [name for name in every if name not in blocked]
        if len(names) < len(every):
            others = f"; the sync would do the others: {listed(names)}" if names else ""
            in_the_way = listed([name for name in every if name in blocked])
            return Outcome("failed", message=f"{in_the_way} is a directory there: move it away{others}")
        removed = split_names(self.has[node]["names"], self.gone)[0]
        if not names and not removed and not self.is_stale(node):
            return Outcome("unchanged")
        lacks = self.lacks[node]
        size = sum(self.sizes[digest] for digest in lacks)
        return Outcome(
            "planned", len(lacks), size, removed=removed or None, names=names or None, engine=engine if lacks else None
        )
