"""Who sends to whom, on a network that is only numbers: links with rates, nodes that die, stall, creep or lie."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pytest_hpcregistry.controller.engines.chain import FAULTS_UNTIL_LAST, MOST_FAULTS, STALL, Chain

TOTAL = 100_000_000  # bytes
RATE = 10_000_000  # bytes/s of every link, so that one transfer takes 10 s
STEP = 0.1  # seconds
C = ""


class Network:
    """Moves bytes along the links that the chain asks for. `limits` is what a node can receive, `passes` what it can
    send, both in bytes/s."""

    def __init__(self, *names: str, total: int = TOTAL, rate: float = RATE) -> None:
        self.total, self.rate = total, rate
        self.said: list[str] = []
        self.senders: dict[str, str] = {}  # receiver -> sender
        self.limits: dict[str, float] = {}
        self.passes: dict[str, float] = {}
        self.mute: set[str] = set()  # they send nothing
        self.trickling: set[str] = set()  # they send 100 bytes/s when they have everything
        self.now = 100.0
        self.have = {C: total, **dict.fromkeys(names, 0)}
        self.sent = dict.fromkeys(self.have, 0)
        self.done: dict[str, float] = {}
        self.chain = Chain(total, C, self.connect, self.said.append)
        for name in names:
            self.chain.join(name, self.now)

    def connect(self, upstream: str, node: str) -> None:
        for receiver, sender in list(self.senders.items()):
            if upstream == sender:
                del self.senders[receiver]
        self.senders[node] = upstream

    def run(self, seconds: float = 100.0, until: Callable[[Network], bool] | None = None) -> float:
        """Let time pass until all nodes have everything, or *until*; returns the seconds that it took."""
        began = self.now
        while (
            self.now - began < seconds and len(self.done) < len(self.chain.members) - 1 and not (until and until(self))
        ):
            self.now += STEP
            self.chain.tick(self.now)
            before = dict(self.have)
            for node, sender in self.senders.items():
                if node in self.chain.members and sender in self.chain.members and sender not in self.mute:
                    trickles = sender in self.trickling and before[sender] == self.total
                    rates = (self.rate, self.limits.get(node, self.rate), self.passes.get(sender, self.rate))
                    most = 10 if trickles else int(min(rates) * STEP)
                    step = max(0, min(most, before[sender] - before[node]))
                    self.have[node] += step
                    self.sent[sender] += step
            for node in self.senders:
                self.chain.has(node, self.have[node], self.have[node], self.now)
                if self.have[node] == self.total:
                    self.done.setdefault(node, self.now - began)
        return self.now - began


def names(count: int) -> list[str]:
    return [f"c{number:03d}" for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_the_time_is_that_of_one_transfer_and_the_controller_sends_once(count: int) -> None:
    network = Network(*names(count))
    assert network.run() <= 10 + count * STEP + 2
    assert set(network.done) == set(names(count))
    assert network.sent[C] <= 1.1 * TOTAL
    assert network.said == []


@pytest.mark.parametrize("place", [1, 2, 8, 16])
def test_a_node_that_dies_is_bridged(place: int) -> None:
    network = Network(*names(16))
    network.run(3)
    dead = f"c{place:03d}"
    network.chain.lose(dead, network.now)
    network.run()
    assert set(network.done) == set(names(16)) - {dead}
    assert max(network.done.values()) <= 10 + 16 * STEP + 3 * STEP


@pytest.mark.parametrize("place", [1, 2, 8, 16])
def test_a_node_that_freezes_is_bridged_and_costs_the_others_little(place: int) -> None:
    """It takes nothing and sends nothing, and nobody says so."""
    network = Network(*names(16))
    network.run(3)
    frozen = f"c{place:03d}"
    network.limits[frozen] = 0
    network.mute.add(frozen)
    network.run(60)
    assert set(network.done) == set(names(16)) - {frozen}
    assert max(network.done.values()) <= 10 + 16 * STEP + STALL + 1
    assert network.said[0].startswith((f"{frozen} got nothing", f"{frozen} is slow"))
    assert network.chain.stuck() == [frozen]


@pytest.mark.parametrize("place", [1, 2, 8, 16])
def test_a_slow_node_gets_its_bytes_last(place: int) -> None:
    network = Network(*names(16))
    slow = f"c{place:03d}"
    network.limits[slow] = RATE / 10
    network.run(200)
    assert set(network.done) == set(names(16))
    others = max(seconds for node, seconds in network.done.items() if node != slow)
    assert others <= 10 * 1.2 + 16 * STEP + 2
    assert 95 <= network.done[slow] <= 110
    assert any(line.startswith(f"{slow} is slow") for line in network.said) or place == 16


def test_the_first_node_becomes_slow_later() -> None:
    """The controller's own link tells nothing: nothing is quicker than it there. Another in its place shows it."""
    network = Network(*names(16))
    network.run(6)
    network.limits["c001"] = RATE / 20
    network.run(200)
    assert max(seconds for node, seconds in network.done.items() if node != "c001") <= 10 + 16 * STEP + 5
    assert any(line.startswith("c001 is slow") for line in network.said)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slow", [(), ("c006",)])
def test_nodes_that_are_busy_for_moments_cost_less_than_bridging_them_would(seed: int, slow: tuple[str, ...]) -> None:
    """Jobs run on the nodes. Who bridges whoever waits for a CPU soon has nobody left who may send."""
    network, chance = Network(*names(16)), random.Random(seed)  # noqa: S311 - the same in every run
    until = dict.fromkeys(names(16), 0.0)

    def work(network: Network) -> bool:
        for name in names(16):
            if name in slow:
                network.limits[name] = RATE / 20
            elif network.now >= until[name]:
                network.limits[name] = RATE * chance.choice([0.1, 0.3, 0.6, 1])
                until[name] = network.now + chance.uniform(0.3, 1.5)
        return False

    network.run(300, until=work)
    assert set(network.done) == set(names(16))
    assert max(seconds for node, seconds in network.done.items() if node not in slow) <= 60  # 45 without any bridging
    assert network.sent[C] <= 2 * TOTAL


def test_whoever_decides_late_judges_nobody() -> None:
    """Where the controller itself has no CPU, it is its own news that are old."""
    network = Network(*names(4))
    network.run(3)
    network.now += 5
    network.chain.tick(network.now)
    assert network.said == []
    network.run()
    assert network.said == []
    assert set(network.done) == set(names(4))


def test_a_node_that_does_not_pass_on_is_not_asked_for_long() -> None:
    network = Network(*names(8))
    network.run(2)
    network.mute.add("c004")
    network.run(60)
    assert set(network.done) == set(names(8))


def test_whoever_sends_wrong_bytes_sends_no_more() -> None:
    network = Network(*names(8))
    network.run(2)
    network.chain.blame("c004", "c005", network.now)
    assert network.senders["c005"] == "c003"
    network.run()
    assert set(network.done) == set(names(8))
    assert "c004" not in network.senders.values()
    assert network.said[0] == "c004 sent wrong bytes to c005: it no longer sends"


def test_a_node_is_believed_once_when_it_accuses_another() -> None:
    network = Network(*names(8))
    network.run(2)
    network.chain.blame("c004", "c005", network.now)
    network.chain.blame("c004", "c005", network.now)  # said twice, and no second accusation
    assert not network.chain.members["c005"].banned
    network.chain.blame(network.senders["c005"], "c005", network.now)
    network.run()
    assert set(network.done) == set(names(8))
    assert [node for node in names(8) if network.chain.members[node].banned] == ["c004", "c005"]
    assert network.said[1].startswith("c005 says of a second one that it sends wrong bytes")


@pytest.mark.parametrize("place", [1, 4, 7])
def test_a_node_that_trickles_its_last_bytes_is_bridged(place: int) -> None:
    network = Network(*names(8))
    network.trickling.add(f"c{place:03d}")
    assert network.run() < TOTAL / RATE + 10
    assert set(network.done) == set(names(8))


def test_a_liar_whose_link_broke_before_it_was_blamed() -> None:
    """Its receiver hung up on it: both tell, and the liar may be heard first. Another sends to the receiver by then."""
    network = Network(*names(8))
    network.run(2)
    network.chain.link_failed("c004", "c005", network.now)
    network.run(1)
    innocent = network.senders["c005"]
    network.chain.blame("c004", "c005", network.now)
    network.run()
    assert set(network.done) == set(names(8))
    assert innocent != "c004"
    assert [line for line in network.said if "wrong bytes" in line] == [
        "c004 sent wrong bytes to c005: it no longer sends"
    ]
    assert network.senders["c005"] == innocent


def test_a_link_that_cannot_be_made_is_not_tried_twice() -> None:
    network = Network(*names(3))
    network.run(1)
    network.chain.link_failed("c001", "c002", network.now)
    assert network.senders["c003"] == "c001"
    network.run()
    assert set(network.done) == set(names(3))


def test_a_node_that_nobody_can_send_to_has_failed() -> None:
    network = Network(*names(4))
    for _ in range(MOST_FAULTS):
        network.run(200, until=lambda network: "c002" in network.senders)
        if "c002" in network.senders:
            network.chain.link_failed(network.senders.pop("c002"), "c002", network.now)
    assert network.chain.stuck() == ["c002"]
    network.chain.lose("c002", network.now)
    network.run()
    assert set(network.done) == {"c001", "c003", "c004"}


def test_a_node_that_comes_late_is_served_too() -> None:
    network = Network(*names(4))
    network.run(5)
    network.have["c009"] = network.sent["c009"] = 0
    network.chain.join("c009", network.now)
    network.run()
    assert set(network.done) == {*names(4), "c009"}


def test_nobody_gets_bytes_from_itself() -> None:
    network = Network(*names(4))
    network.run(2)
    network.chain.lose("c001", network.now)  # c002 to c004 hang on each other
    network.run()
    assert set(network.done) == {"c002", "c003", "c004"}


def test_who_refuses_to_send_costs_its_receiver_nothing() -> None:
    connected: list[tuple[str, str]] = []
    said: list[str] = []
    chain = Chain(100, "", lambda upstream, node: connected.append((upstream, node)), said.append)
    for name in ("c1", "c2", "c3"):
        chain.join(name, 0.0)
    chain.tick(0.0)
    assert connected == [("", "c1"), ("c1", "c2"), ("c2", "c3")]
    chain.refused("c1", "c2", 0.1)
    chain.refused("c1", "c3", 0.1)  # which c2 sends to
    assert connected[3:] == [("", "c2")], "whoever sent to the one who refused sends past it, at once"
    chain.tick(0.2)
    assert connected[4:] == [("c3", "c1")], "and it gets its own bytes last"
    assert (chain.members["c2"].faults, said) == (0, [])


@pytest.mark.parametrize("count", [3, 8])
def test_one_that_refuses_and_trickles_holds_nobody_up(count: int) -> None:
    """It says that a byte has come now and then, so that its own link is no dead one."""
    network = Network(*names(count))
    network.run(0.3)
    network.chain.refused("c001", "c002", network.now)
    network.limits["c001"] = 30
    network.run(40, until=lambda network: len(network.done) == count - 1)
    assert set(network.done) == set(names(count)) - {"c001"}
    assert max(network.done.values()) < 2 * TOTAL / RATE


def test_a_trickle_is_given_up_while_others_wait() -> None:
    network = Network(*names(2))
    network.limits["c001"] = 30
    network.run(0.3)
    network.chain.members["c002"].tried.add("c001")
    network.chain.take_out(network.chain.members["c002"], network.now)
    network.run(40, until=lambda network: "c002" in network.done)
    assert "c002" in network.done


@pytest.mark.parametrize("rate", [10_000, 100_000])
@pytest.mark.parametrize("broken", ["c002", "c008"])
def test_a_slow_link_is_no_fault_of_the_nodes(rate: float, broken: str) -> None:
    """`--limit-rate 100K`, or a line between two sites: what comes is little, and all that can come."""
    network = Network(*names(8), total=100 * int(rate), rate=rate)
    network.run(5)
    for _ in range(2):
        network.chain.link_failed(network.senders.pop(broken), broken, network.now)
        network.run(1)
    network.run(400)
    assert set(network.done) == set(names(8))
    assert network.chain.stuck() == []
    assert all("cannot be sent to" in line for line in network.said), network.said


@pytest.mark.parametrize("place", [1, 3, 7])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_node_that_passes_on_slowly_is_named_and_loses_its_place(place: int, share: float) -> None:
    """It receives as quickly as all and sends at less than half of that: those behind it would take 2 to 3 times."""
    network = Network(*names(8), total=10 * TOTAL)
    slow = f"c{place:03d}"
    network.passes[slow] = share * RATE
    network.run(400)
    assert set(network.done) == set(names(8))
    assert max(network.done.values()) <= 1.3 * 10 * TOTAL / RATE
    named = f"{slow} passes on too little to "
    assert place == 1 or [line for line in network.said if line.startswith(named)], "the first goes to the end at once"
    assert network.sent[C] <= 2 * 10 * TOTAL


def test_a_node_that_says_more_has_come_than_it_passes_on_is_bridged() -> None:
    """It tells that all has arrived, proves half of it, and stops: whoever is behind it must not starve."""
    connected: list[tuple[str, str]] = []
    chain = Chain(100, "", lambda upstream, node: connected.append((upstream, node)), lambda text: None)
    for name in ("c1", "c2", "c3"):
        chain.join(name, 0.0)
    for tick in range(60):
        now = tick * 0.2
        chain.tick(now)
        chain.has("c1", 100, 100, now)
        chain.has("c2", 50, 100, now)
        if chain.members["c3"].upstream is chain.members["c2"]:
            chain.has("c3", 50, 50, now)
        elif chain.members["c3"].upstream:
            chain.has("c3", 100, 100, now)
    assert chain.members["c3"].have == 100
    assert chain.members["c2"].faults > 0


# --- single decisions


def make_chain(*names: str, total: int = 100) -> tuple[Chain, list[str]]:
    """A chain of these nodes, which have joined at 0 s and have nothing, and what is said of them."""
    said: list[str] = []
    chain = Chain(total, C, lambda upstream, node: None, said.append)
    for name in names:
        chain.join(name, 0.0)
    return chain, said


def test_a_node_that_has_everything_is_judged_no_more() -> None:
    chain, said = make_chain("c1", "c2")
    chain.tick(0.0)
    chain.has("c1", 99, 100, 0.1)
    assert not chain.is_done(chain.members["c1"]), "the last byte is not proven"
    chain.has("c1", 100, 100, 0.1)
    assert chain.is_done(chain.members["c1"])
    for tick in range(100):
        chain.tick(tick * 0.2)
        chain.has("c2", tick, tick, tick * 0.2)
    chain.link_failed(C, "c1", 20.0)
    assert (chain.members["c1"].faults, said) == (0, [])


def test_nobody_gets_bytes_that_it_would_send_itself() -> None:
    """c1 has lost its place to c3, and still sends to c2, which has most and is free."""
    chain, _ = make_chain("c1", "c2")
    chain.tick(0.0)
    chain.join("c3", 0.0)
    c1, c2, c3 = (chain.members[name] for name in ("c1", "c2", "c3"))
    chain.link(chain.controller, c3, 0.0)
    assert (c1.upstream, c1.downstream) == (None, c2)
    chain.has("c2", 50, 50, 0.1)
    assert chain.find_upstream(c1) is c3


def test_a_second_bad_link_and_a_node_is_served_last_a_third_and_it_has_failed() -> None:
    chain, _ = make_chain("c1", "c2", "c3")
    found = []
    for fault in range(MOST_FAULTS):
        member = chain.members["c2"]
        chain.link(chain.controller, member, float(fault))
        chain.link_failed(C, "c2", float(fault))
        found.append((member.faults, member.last, chain.stuck()))
    assert (FAULTS_UNTIL_LAST, MOST_FAULTS) == (2, 3)
    assert found == [(1, False, []), (2, True, []), (3, True, ["c2"])]


def test_only_who_sends_to_a_node_can_say_that_it_cannot() -> None:
    chain, _ = make_chain("c1", "c2", "c3")
    chain.tick(0.0)
    for upstream, node in (("c2", "c2"), (C, "c2"), ("c9", "c2"), ("c1", "c9"), ("c1", "c1")):
        chain.link_failed(upstream, node, 0.1)
        chain.refused(upstream, node, 0.1)
    assert [(member.faults, member.banned) for member in chain.members.values()] == [(0, False)] * 4
    chain.link_failed("c1", "c2", 0.1)
    assert chain.members["c2"].faults == 1


@pytest.mark.parametrize(("silent", "faults"), [(STALL - 0.1, 0), (STALL, 0), (STALL + 0.1, 1)])
def test_a_link_is_given_up_after_more_than_the_time_of_a_stall(silent: float, faults: int) -> None:
    chain, said = make_chain("c1", "c2")
    chain.began, chain.looked, chain.probe_again = 0.0, 100.0, 1e9
    chain.link(chain.controller, chain.members["c1"], 100.0)
    for part in (1, 2, 3):  # or it is the one who looks that is late
        chain.tick(100.0 + silent * part / 3)
    assert chain.members["c1"].faults == faults
    assert bool(said) == bool(faults)


def test_of_two_that_got_too_little_from_one_it_is_that_ones_fault() -> None:
    chain, said = make_chain("c1", "c2", "c3")
    c1, c2, c3 = (chain.members[name] for name in ("c1", "c2", "c3"))
    for node, (banned, faults) in ((c2, (False, 1)), (c3, (True, 0))):
        chain.link(chain.controller, c1, 0.0)
        chain.link(c1, node, 0.0)
        chain.put_last(node, 1.0, "is slow")
        assert (c1.banned, node.faults) == (banned, faults)
    assert (c2.faults, c2.last, c3.last, c1.faults) == (0, False, False, 0)
    assert said[-1] == "c1 passes on too little to c[2-3]: it no longer sends"


def test_who_refused_to_send_is_asked_by_nobody_again() -> None:
    """Not even when it has everything and the others are all busy."""
    chain, _ = make_chain("c1", "c2")
    chain.tick(0.0)
    chain.refused("c1", "c2", 0.1)
    chain.has("c1", 100, 100, 0.2)
    chain.put_last(chain.members["c2"], 0.3, "is slow")
    chain.members["c2"].tried.add(C)  # so c1 is the only one left
    assert chain.find_upstream(chain.members["c2"]) is None
    chain.members["c1"].banned = False
    assert chain.find_upstream(chain.members["c2"]) is chain.members["c1"]


def test_what_is_said_of_nodes_that_are_not_linked_or_not_known_does_nothing() -> None:
    chain, said = make_chain("c1", "c2")
    for name in ("c1", "c9"):
        chain.link_failed(C, name, 0.1)
        chain.refused(C, name, 0.1)
    chain.blame("c9", "c1", 0.1)
    chain.blame("", "c2", 0.1)  # the controller is nobody's liar
    assert [(member.faults, member.banned) for member in chain.members.values()] == [(0, False)] * 3
    assert said == []


@pytest.mark.parametrize(("upstream", "called"), [("c1", "c1"), (C, "the controller")])
def test_what_is_said_names_the_sender(upstream: str, called: str) -> None:
    for happens, words in (
        (lambda chain: chain.link_failed(upstream, "c2", 0.1), f"cannot be sent to by {called}"),
        (lambda chain: look(chain, 102.5), f"got nothing from {called} for 2 s"),
    ):
        chain, said = make_chain("c1", "c2")
        chain.began, chain.probe_again = 0.0, 1e9
        chain.has("c1", 100, 100, 90.0)
        chain.link(chain.members[upstream], chain.members["c2"], 100.0)
        happens(chain)
        assert said == [f"c2 {words}: taken out of the chain, it gets its bytes later"]


def look(chain: Chain, until: float) -> None:
    """As often as a conductor does that is not late."""
    for part in range(1, 6):
        chain.tick(100.0 + (until - 100.0) * part / 5)


def test_a_node_is_not_to_blame_for_what_its_upstream_could_not_send_yet() -> None:
    """Bytes that have come there and are not proven are not sent on."""
    chain, said = make_chain("c1", "c2")
    chain.began, chain.probe_again = 0.0, 1e9
    chain.link(chain.controller, chain.members["c1"], 100.0)
    chain.link(chain.members["c1"], chain.members["c2"], 100.0)
    for tenth in range(1, 30):
        chain.has("c1", 0, tenth, 100.0 + tenth / 10)
        chain.tick(100.0 + tenth / 10)
    assert said == []


def test_a_slow_node_that_nobody_waits_for_is_named_once_with_its_rate() -> None:
    """It is last, and nobody else could send to it: what helps is that somebody knows."""
    network = Network("c001", "c002")
    network.chain.probe_again = 1e9
    network.limits["c002"] = RATE / 20
    network.run(9)
    assert network.said == ["c002 is slow, 500 kB/s where others get 10 MB/s: the others do not wait for it"]


@pytest.mark.parametrize("late", [1.0, 1.1])
def test_a_conductor_that_is_late_judges_nobody_for_as_long_as_a_stall(late: float) -> None:
    chain, said = make_chain("c1", "c2")
    chain.began, chain.looked, chain.probe_again = 0.0, 100.0, 1e9
    chain.link(chain.controller, chain.members["c1"], 90.0)
    chain.tick(100.0 + late)
    assert bool(said) == (late <= 1.0)


def test_the_first_node_keeps_its_place_or_loses_it_by_what_it_got_before() -> None:
    network = Network(*names(4))
    network.limits["c001"] = RATE / 10
    network.run(60)
    assert network.said[0] == (
        "c001 is slow, 1.0 MB/s where c002 gets more: taken out of the chain, it gets its bytes later"
    )


def test_history_has_an_end() -> None:
    chain, _ = make_chain("c1")
    for number in range(1000):
        chain.has("c1", 0, 0, float(number))
    assert len(chain.members["c1"].history) == 200
