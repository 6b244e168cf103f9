"""Who sends to whom in a relay: a chain from the controller through all nodes, mended while it runs.

Only decisions: no threads, no network, no clock of its own. A link that brings too little costs the node at its end its
place in the chain: the one before sends to the one after, and the node goes to the end, where nobody waits for it. Some
nodes are only busy for a moment, so that is all at first; after a second time nobody gets bytes from it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ...core.nodeset import fold
from ...core.pace import amount

STALL = 2.0  # seconds without a byte, though there were some to send, after which a link is given up
WINDOW = 1.5  # seconds over which rates are compared
SLOWEST = 0.33  # share of the best link's rate that every node should get in the long run
# Seconds, and the share of the best link's rate below which a node is bridged after these: the slower, the sooner. To
# bridge one that is half as quick for a moment, because it is busy, would cost more than it does.
SLOW = ((WINDOW, 0.1), (3.0, 0.2), (5.0, SLOWEST), (10.0, 0.6))
LATE = 1.0  # seconds between two looks after which it is the controller that is slow, and it judges nobody for STALL
PROBE, PROBE_AGAIN = 2.0, 5.0  # seconds after which the first node's place is tried with another; again, if it slows
# Seconds and bytes: a node that gets fewer in that time is stuck, if it is a last one, or while others wait. Where no
# link is quicker, a line between two sites say, it is not, unless it gets next to nothing.
TRICKLE_WINDOW, TRICKLE, NEXT_TO_NOTHING = 10.0, 1 << 20, 32 << 10
FAULTS_UNTIL_LAST = 2  # bad links after which nobody gets bytes from a node any more
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
        self.last = False  # it sends to others only when it has everything and nobody else is free
        self.banned = False  # it sends to nobody
        self.accused = ""  # of whom it said that it sends wrong bytes
        self.named = False  # as slow, though it stays where it is
        self.tried: set[str] = set()

    def at(self, when: float) -> tuple[float, int, int]:
        """The last entry of the history that is not younger than a time in the past."""
        return next((entry for entry in reversed(self.history) if entry[0] <= when), self.history[0])

    def gained(self, now: float, window: float) -> int:
        """Bytes that arrived within the last *window* seconds."""
        return self.history[-1][2] - self.at(now - window)[2]


class Chain:
    """*connect(upstream, node)* lets one send to the other, and to nobody else; *say* reports what is odd."""

    def __init__(
        self, total: int, controller: str, connect: Callable[[str, str], None], say: Callable[[str], None]
    ) -> None:
        self.total = total
        self.connect = connect
        self.say = say
        self.controller = Member(controller, total)
        self.members: dict[str, Member] = {controller: self.controller}
        self.began: float | None = None
        self.probed: tuple[Member, float, float] | None = None  # who was first, its rate, since when another is
        self.probe_again: float | None = None
        self.best = 0.0  # the best rate that any link ever had
        self.looked: float | None = None  # when it was looked last
        self.sure_from = 0.0  # when all is known that links are judged by

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

    def blame(self, liar: str, name: str, now: float) -> None:
        """A node says that it got wrong bytes from another, which may have been cut off since: that sends no more.

        A node is believed once. Who accuses a second one is the fault itself, and nobody else loses its place by it.
        """
        accuser, member = self.members[name], self.members.get(liar)
        if accuser.accused not in ("", liar):
            accuser.banned = True
            self.put_last(accuser, now, "says of a second one that it sends wrong bytes")
            return
        accuser.accused = liar
        if member and member is not self.controller and not member.banned:
            self.say(f"{liar} sent wrong bytes to {name}: it no longer sends")
            member.last = member.banned = True
            self.take_out(member, now)

    def link_failed(self, upstream: str, name: str, now: float) -> None:
        """One says that it can't send to the other."""
        member = self.members.get(name)
        if member and member.upstream and member.upstream.name == upstream and not self.is_done(member):
            self.put_last(member, now, f"cannot be sent to by {upstream or 'the controller'}")

    def refused(self, upstream: str, name: str, now: float) -> None:
        """*upstream* refuses to send to *name*, which is not at fault. It sends to nobody any more, and its own sender
        serves *name* instead."""
        member = self.members.get(name)
        sender = member.upstream if member else None
        if member and sender and sender.name == upstream:
            sender.last = sender.banned = True
            self.take_out(sender, now)

    def stuck(self) -> list[str]:
        """Nodes that got too little from too many."""
        return [member.name for member in self.members.values() if member.faults >= MOST_FAULTS]

    def is_done(self, member: Member) -> bool:
        return member.have >= self.total

    def tick(self, now: float) -> None:
        """Look at every link, then find an upstream for everybody who lacks one. To be called some times a second."""
        if self.began is None and len(self.members) > 1:
            self.began = now
        if self.looked is not None and now - self.looked > LATE:
            self.sure_from = now + STALL
        self.looked = now
        if now >= self.sure_from:
            best = max((self.rate(member, now) for member in self.members.values()), default=0.0)
            for member in list(self.members.values()):
                self.judge(member, now, max(best, self.best))
            self.best = max(self.best, best)
            self.probe_first(now)
        for _, member in sorted(self.members.items()):
            if member.upstream is None and member is not self.controller and not self.is_done(member):
                upstream = self.find_upstream(member)
                if upstream:
                    self.link(upstream, member, now)

    def rate(self, member: Member, now: float, window: float = WINDOW) -> float:
        return member.gained(now, window) / window if member.upstream and now - member.linked >= window else 0.0

    def judge(self, member: Member, now: float, best: float) -> None:
        """Give up the link to *member* if it brings much less than it could."""
        upstream = member.upstream
        if upstream is None or self.is_done(member):
            return
        enough = min(TRICKLE, max(NEXT_TO_NOTHING, SLOWEST * best * TRICKLE_WINDOW))
        trickles = now - member.linked > TRICKLE_WINDOW and member.gained(now, TRICKLE_WINDOW) < enough
        if trickles and (member.last or self.is_anybody_waiting()):
            self.put_last(member, now, f"got next to nothing from {upstream.name or 'the controller'}")
        if member.last:
            return
        if upstream.upstream and not self.is_done(upstream) and not upstream.gained(now, WINDOW / 2):
            return  # it may be the upstream that is frozen: its own link is judged first
        since = now - member.linked
        if since > STALL and member.have < upstream.at(now - STALL)[1] and member.gained(now, STALL) == 0:
            self.put_last(member, now, f"got nothing from {upstream.name or 'the controller'} for {STALL:g} s")
        elif upstream is not self.controller and any(
            since > window and self.is_slow(member, upstream, now, window, share, best) for window, share in SLOW
        ):
            rate = member.gained(now, WINDOW) / WINDOW
            why = f"is slow, {amount(rate)}/s where others get {amount(best)}/s"
            if member.downstream or self.find_upstream(member):
                self.put_last(member, now, why)
            elif not member.named:
                member.named = True
                self.say(f"{member.name} {why}: the others do not wait for it")

    def is_anybody_waiting(self) -> bool:
        """Whether a node lacks bytes, and nobody sends it any."""
        return any(not other.upstream and not self.is_done(other) for other in self.members.values())

    def is_slow(self, member: Member, upstream: Member, now: float, window: float, share: float, best: float) -> bool:
        """Whether a node got less than a *share* of what the best link brings, and of what its upstream had for it."""
        there_was = upstream.at(now - WINDOW / 3)[1] - member.at(now - window)[2]
        return member.gained(now, window) < share * min(there_was, best * window)

    def probe_first(self, now: float) -> None:
        """Let the second node take the first one's place for a moment: nobody else shows which of them is slow."""
        first = self.controller.downstream
        if first is None or first.last or self.is_done(first):
            return
        if self.probed is None:
            if first.downstream and self.is_probe_due(first, now):
                self.probed, self.probe_again = (first, self.rate(first, now), now), now + PROBE_AGAIN
                self.take_out(first, now)
        elif now - self.probed[2] > WINDOW:
            (member, before, _), self.probed = self.probed, None
            rate = self.rate(first, now)
            if not member.last and 0 < before < SLOWEST * rate and not self.is_done(member):
                self.put_last(member, now, f"is slow, {amount(before)}/s where {first.name} gets more")
            elif 0 < rate < SLOWEST * before:
                self.put_last(first, now, f"is slow, {amount(rate)}/s where {member.name} got more")

    def is_probe_due(self, first: Member, now: float) -> bool:
        """Once in every transfer, and again when the first node gets much less than any has got before."""
        if self.probe_again is None:
            return self.began is not None and now - self.began > PROBE
        return now > self.probe_again and 0 < self.rate(first, now, PROBE_AGAIN) < SLOWEST * self.best

    def put_last(self, member: Member, now: float, why: str) -> None:
        upstream = member.upstream
        member.faults += 1
        member.last = member.faults >= FAULTS_UNTIL_LAST
        self.say(f"{member.name} {why}: taken out of the chain, it gets its bytes later")
        self.take_out(member, now)
        if upstream and upstream is not self.controller:
            member.tried.add(upstream.name)
            self.ban_if_two_tried(upstream, now)

    def ban_if_two_tried(self, upstream: Member, now: float) -> None:
        """If one node fails to receive from *upstream*, that may be its own fault; if two do, it is upstream's, and
        both are cleared."""
        tried = [other for other in self.members.values() if upstream.name in other.tried]
        if len(tried) > 1 and not upstream.banned:
            self.say(
                f"{upstream.name} passes on too little to {fold([other.name for other in tried])}: it no longer sends"
            )
            upstream.last = upstream.banned = True
            self.take_out(upstream, now)
            for other in tried:
                other.faults -= 1
                other.last = other.faults >= FAULTS_UNTIL_LAST

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
            and not other.banned
            and (not other.last or self.is_done(other))
            and self.is_free_for(member, other.downstream)
            and (other is self.controller or other.upstream or self.is_done(other))
            and other.name not in member.tried
            and not self.comes_from(other, member)
            and not (other is self.controller and member.last and self.someone_will_be_free())
        ]
        return max(free, key=self.preference, default=None)

    def someone_will_be_free(self) -> bool:
        """Whether a node in the chain has not got everything yet: it can send to those that come last, soon."""
        return any(not other.last and not self.is_done(other) for other in self.members.values())

    def preference(self, member: Member) -> tuple[bool, bool, int]:
        return not member.last, member is not self.controller, member.have

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
