"""Who sends to whom in a relay: a chain from the controller through all nodes, mended while it runs.

Only decisions: no threads, no network, no clock of its own. A link that brings too little costs the node at its end its
place in the chain: the one before sends to the one after, and the node gets its bytes last, from whoever is free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

STALL = 2.0  # seconds without a byte, though there were some to send, after which a link is given up
WINDOW = 1.5  # seconds over which rates are compared
SLOW = 0.5  # share of the best link's rate below which a link is bridged
PROBE = 2.0  # seconds after which the first node's place is tried with another: nobody else shows that it is slow
TRICKLE_WINDOW, TRICKLE = 10.0, 1 << 20  # a node at the end that gets fewer bytes than this in so many seconds is stuck
MOST_FAULTS = 3  # bad links after which a node has failed


class Member:
    """A node, or the controller, which has everything from the beginning."""

    def __init__(self, name: str, have: int = 0, now: float = 0.0) -> None:
        self.name = name
        self.have = have  # proven: what it can send on
        self.history = deque([(now, have, have)], maxlen=200)  # time, proven, arrived
        self.upstream: Member | None = None
        self.downstream: Member | None = None
        self.linked = 0.0
        self.faults = 0
        self.last = False  # it has lost its place in the chain and sends to nobody any more
        self.tried: set[str] = set()

    def at(self, when: float) -> tuple[float, int, int]:
        """The last entry of the history that is not younger than a time in the past."""
        return next((entry for entry in reversed(self.history) if entry[0] <= when), self.history[0])

    def gained(self, now: float, window: float) -> int:
        """Bytes that arrived within the last *window* seconds."""
        return self.history[-1][2] - self.at(now - window)[2]


class Chain:
    """*connect(upstream, node)* lets one send to the other, and to nobody else; *say* is told what is odd."""

    def __init__(
        self, total: int, controller: str, connect: Callable[[str, str], None], say: Callable[[str], None]
    ) -> None:
        self.total = total
        self.connect = connect
        self.say = say
        self.controller = Member(controller, total)
        self.members: dict[str, Member] = {controller: self.controller}
        self.began: float | None = None
        self.probed: tuple[Member, float, float] | None = None  # the first node, its rate, when its place was tried

    def join(self, name: str, now: float) -> None:
        """A node is ready to receive."""
        self.members[name] = Member(name, now=now)

    def has(self, name: str, have: int, arrived: int, now: float) -> None:
        """A node tells how many bytes it has, and how many with those that are still to be proven."""
        if name in self.members:
            self.members[name].have = have
            self.members[name].history.append((now, have, arrived))

    def lose(self, name: str, now: float) -> None:
        """A node is gone, for whatever reason."""
        if name in self.members:
            self.take_out(self.members[name], now)
            del self.members[name]

    def blame_upstream(self, name: str, now: float) -> None:
        """A node got wrong bytes: whoever sent them sends no more."""
        member = self.members.get(name)
        if member and member.upstream and member.upstream is not self.controller:
            liar = member.upstream
            self.say(f"{liar.name} sent wrong bytes to {name}: it sends no more")
            liar.last = True
            self.take_out(liar, now)

    def link_failed(self, upstream: str, name: str, now: float) -> None:
        """One says that it can't send to the other."""
        member = self.members.get(name)
        if member and member.upstream and member.upstream.name == upstream and not self.is_done(member):
            self.put_last(member, now, "cannot be sent to by " + upstream)

    def stuck(self) -> list[str]:
        """Nodes that got too little from too many."""
        return [member.name for member in self.members.values() if member.faults >= MOST_FAULTS]

    def is_done(self, member: Member) -> bool:
        return member.have >= self.total

    def tick(self, now: float) -> None:
        """Look at every link, then find an upstream for everybody who lacks one. To be called some times a second."""
        if self.began is None and len(self.members) > 1:
            self.began = now
        best = max((self.rate(member, now) for member in self.members.values()), default=0.0)
        for member in list(self.members.values()):
            self.judge(member, now, best)
        self.probe_first(now)
        for _, member in sorted(self.members.items()):
            if member.upstream is None and member is not self.controller and not self.is_done(member):
                upstream = self.find_upstream(member)
                if upstream:
                    self.link(upstream, member, now)

    def rate(self, member: Member, now: float) -> float:
        return member.gained(now, WINDOW) / WINDOW if member.upstream and now - member.linked >= WINDOW else 0.0

    def judge(self, member: Member, now: float, best: float) -> None:
        """Give up the link to *member* if it brings much less than it could."""
        upstream = member.upstream
        if upstream is None or self.is_done(member):
            return
        if member.last:
            if now - member.linked > TRICKLE_WINDOW and member.gained(now, TRICKLE_WINDOW) < TRICKLE:
                self.put_last(member, now, f"got next to nothing from {upstream.name or 'the controller'}")
            return
        if upstream.upstream and not self.is_done(upstream) and not upstream.gained(now, WINDOW / 2):
            return  # it may be the upstream that is frozen: its own link is judged first
        since = now - member.linked
        if since > STALL and member.at(now)[2] < upstream.at(now - STALL)[1] and member.gained(now, STALL) == 0:
            self.put_last(member, now, f"got nothing from {upstream.name or 'the controller'} for {STALL:g} s")
        elif since > WINDOW and upstream is not self.controller:
            there_was = upstream.at(now - WINDOW / 3)[1] - member.at(now - WINDOW)[2]
            if member.gained(now, WINDOW) < SLOW * min(there_was, best * WINDOW):
                rate = member.gained(now, WINDOW) / WINDOW / 1e6
                self.put_last(member, now, f"is slow, {rate:.1f} MB/s where others get {best / 1e6:.1f}")

    def probe_first(self, now: float) -> None:
        """Let the second node take the first one's place for once: if it gets much more, the first is a slow one."""
        first = self.controller.downstream
        if self.probed is None and first and first.downstream and self.began and now - self.began > PROBE:
            self.probed = (first, self.rate(first, now), now)
            self.take_out(first, now)
        elif self.probed and first and now - self.probed[2] > WINDOW:
            member, rate, _ = self.probed
            if not member.last and 0 < rate < SLOW * self.rate(first, now) and not self.is_done(member):
                self.put_last(member, now, f"is slow, {rate / 1e6:.1f} MB/s where {first.name} gets more")
            self.probed = (member, 0.0, now)

    def put_last(self, member: Member, now: float, why: str) -> None:
        upstream = member.upstream
        self.say(f"{member.name} {why}: bridged, it gets its bytes last")
        member.last = True
        member.faults += 1
        self.take_out(member, now)
        if upstream and upstream is not self.controller:
            member.tried.add(upstream.name)
            if len([other for other in self.members.values() if upstream.name in other.tried]) > 1:
                upstream.last = True  # two could not get anything from it
                self.take_out(upstream, now)

    def take_out(self, member: Member, now: float) -> None:
        """Close the chain around *member*."""
        upstream, downstream = member.upstream, member.downstream
        member.upstream = member.downstream = None
        if upstream:
            upstream.downstream = None
        if downstream:
            downstream.upstream = None
            if upstream and not self.is_done(downstream):
                self.link(upstream, downstream, now)

    def find_upstream(self, member: Member) -> Member | None:
        """Whoever sends to nobody and has most; not one that gets its own bytes from *member*, or has been tried."""
        free = [
            other
            for other in self.members.values()
            if other is not member
            and not other.last
            and self.is_free_for(member, other.downstream)
            and (other is self.controller or other.upstream or self.is_done(other))
            and other.name not in member.tried
            and not self.comes_from(other, member)
        ]
        return max(free, key=lambda other: (other is not self.controller, other.have), default=None)

    def is_free_for(self, member: Member, downstream: Member | None) -> bool:
        """Whether whoever sends to *downstream* may send to *member* instead: one that has lost its place gives way."""
        return downstream is None or self.is_done(downstream) or (downstream.last and not member.last)

    def comes_from(self, member: Member | None, source: Member) -> bool:
        while member is not None and member is not source:
            member = member.upstream
        return member is source

    def link(self, upstream: Member, member: Member, now: float) -> None:
        if upstream.downstream:
            upstream.downstream.upstream = None
        upstream.downstream, member.upstream, member.linked = member, upstream, now
        self.connect(upstream.name, member.name)
