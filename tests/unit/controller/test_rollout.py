"""The controller program over nodes that are directories: the real agent and our own logic, no network."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import requests
from pytest_hpcregistry.agent.facts import RESERVE
from pytest_hpcregistry.controller import __main__ as program
from pytest_hpcregistry.controller import commands, log, rollout
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller import sync as syncing
from pytest_hpcregistry.controller.facts import gather
from pytest_hpcregistry.controller.nodes import ask_slurm, list_nodes
from pytest_hpcregistry.controller.outcome import Outcome
from pytest_hpcregistry.controller.rollout import Rollout
from pytest_hpcregistry.controller.session import is_admitted, try_sync_key
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, ConfigError, Unreachable, UsageError
from pytest_hpcregistry.core.events import Asking, CatalogPart, Event, NodeFacts, Progress, SyncStarted, TransferStarted
from pytest_hpcregistry.core.fields import read_node_names
from pytest_hpcregistry.core.machine import FactsRequest, Question, SlurmFacts
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.setup.playbook import inventory
from pytest_hpcregistry.testing.listener import recorder
from pytest_hpcregistry.testing.sif import Sif
from tests.fakes.nodes import FakeNodes, send
from tests.fakes.settings import change, config_text, earlier_text, make_settings

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2", "c3")
    found.use(monkeypatch)
    return found


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    return found


def run(nodes: FakeNodes, *names: str, subdirectory: str | None = None) -> tuple[dict[str, Outcome], list[Any]]:
    told: list[Any] = []
    return sync(nodes.settings, subdirectory, names or None, recorder(told)), told


def states(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {node: outcome.state for node, outcome in outcomes.items()}


# --- sync


def test_sync_brings_objects_names_and_catalog_to_every_node(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME)
    outcomes, told = run(nodes)
    assert states(outcomes) == {"c1": "synced", "c2": "synced", "c3": "synced"}
    size = (nodes.registry / NAME).stat().st_size
    assert {(outcome.objects, outcome.bytes) for outcome in outcomes.values()} == {(1, size)}
    wanted = {NAME, f"{agent.OBJECTS}/{digest}", agent.CATALOG, agent.LOCK, agent.PEERS}
    assert [nodes.files(node) for node in ("c1", "c2", "c3")] == [wanted] * 3
    assert (nodes.root / "c1/registry" / NAME).read_bytes() == (nodes.registry / NAME).read_bytes()
    kinds = [event["event"] for event in told]
    assert (kinds[0], kinds[-1]) == ("sync_started", "sync_finished")
    assert (kinds.count("node_started"), kinds.count("node_finished")) == (3, 3)


def test_a_second_sync_moves_nothing(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    run(nodes)
    outcomes, _ = run(nodes)
    assert states(outcomes) == {"c1": "unchanged", "c2": "unchanged", "c3": "unchanged"}
    assert len((nodes.root / "c1/rsynced").read_text().splitlines()) == 1
    assert nodes.asked("c1") == ["session", "session"], "one login for each sync"


def test_a_mode_that_somebody_changed_is_put_right_and_no_byte_moves(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    for node in ("c1", "c2"):
        (nodes.root / node / "registry/.registry/config.yaml").write_text('registry:\n  file_mode: "0755"\n')
    run(nodes)
    image = nodes.root / "c2/registry" / NAME
    image.chmod(0o700)
    outcomes, _ = run(nodes)
    assert states(outcomes) == {"c1": "unchanged", "c2": "synced", "c3": "unchanged"}
    assert image.stat().st_mode & 0o7777 == 0o755
    assert len((nodes.root / "c2/rsynced").read_text().splitlines()) == 1
    os.chown(image, 1, 1)
    assert states(run(nodes)[0])["c2"] == "synced"
    assert image.stat().st_uid == image.parent.stat().st_uid


def test_only_what_is_lacking_moves(pair: FakeNodes) -> None:
    pair.publish(NAME)
    run(pair)
    digest = pair.publish(OTHER, b"2")
    outcomes, _ = run(pair)
    assert {outcome.objects for outcome in outcomes.values()} == {1}
    last = (pair.root / "c1/rsynced").read_text().splitlines()[-1]
    assert re.findall(r"sha256/(\w+)", last) == [digest]


@pytest.mark.parametrize(
    ("how", "names"),
    [({"subdirectory": "base-images"}, {OTHER}), ({"names": [NAME]}, {NAME}), ({}, {NAME, OTHER})],
)
def test_a_part_can_be_chosen(pair: FakeNodes, how: dict[str, Any], names: set[str]) -> None:
    pair.publish(NAME)
    pair.publish(OTHER, b"2")
    outcomes, _ = run(pair, *how.get("names", ()), subdirectory=how.get("subdirectory"))
    assert set(states(outcomes).values()) == {"synced"}
    assert {name for name in pair.files("c1") if name.endswith(".sif")} == names
    # The catalog would name bytes that are not there: it comes when all of them are.
    assert (agent.CATALOG in pair.files("c1")) == (names == {NAME, OTHER})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"subdirectory": ".."}, "not a directory"),
        ({"subdirectory": "base-images"}, "no image"),
        ({"names": ["x"]}, "catalog"),
    ],
)
def test_nothing_to_do_is_wrong_use(nodes: FakeNodes, how: dict[str, Any], says: str) -> None:
    nodes.publish(NAME)
    with pytest.raises(UsageError, match=says):
        run(nodes, *how.get("names", ()), subdirectory=how.get("subdirectory"))
    assert nodes.asked("c1") == []


@pytest.mark.parametrize(
    ("trouble", "state", "says"),
    [
        ("refused", "unreachable", "login refused"),
        ("changed", "unreachable", "host key changed"),
        ("no-python", "failed", "the agent did not answer (exit 127): bash: python3: command not found"),
        ("silent", "failed", "the agent did not answer (exit 0): nothing"),
        ("cut", "failed", ""),
        ("exit-11", "failed", "cannot write there (disk full, quota or read-only): rsync: what happened"),
        ("exit-99", "failed", "rsync exited with 99: rsync: what happened"),
        ("exit-255", "unreachable", "rsync: what happened"),
        ("lost", "failed", f"the bytes of {NAME} did not arrive"),
        ("rotten", "failed", f"{NAME} arrived as "),
        ("nonsense", "failed", "the agent's answer to have is malformed: objects is not an object"),
        ("list", "failed", "the agent's answer is malformed: it is not an object"),
    ],
)
def test_a_node_in_trouble_is_named_and_the_other_finishes(
    pair: FakeNodes, trouble: str, state: str, says: str
) -> None:
    pair.publish(NAME)
    pair.trouble("c2", trouble)
    outcomes, told = run(pair)
    assert states(outcomes) == {"c1": "synced", "c2": state}
    assert outcomes["c2"].message.startswith(says)
    assert NAME not in pair.files("c2")
    assert agent.CATALOG not in pair.files("c2")
    finished = {event["node"]: event["state"] for event in told if event["event"] == "node_finished"}
    assert finished == states(outcomes)


def test_a_node_that_was_mended_gets_what_it_lacks(pair: FakeNodes) -> None:
    pair.publish(NAME)
    pair.trouble("c2", "rotten")
    run(pair)
    (pair.root / "c2/trouble").unlink()
    assert states(run(pair)[0]) == {"c1": "unchanged", "c2": "synced"}
    assert pair.files("c2") == pair.files("c1")


def test_a_node_that_slurm_does_not_count_on_need_not_answer_and_is_healed_later(pair: FakeNodes) -> None:
    pair.publish(NAME)
    drained = SlurmFacts(nodes={"c1": "drained", "c2": "drained"}, reasons={"c2": '"disk swap" (root)'})
    pair.trouble("c2", "refused")
    told: list[Any] = []
    outcomes = sync(pair.settings, None, None, recorder(told), slurm=drained)
    assert states(outcomes) == {"c1": "synced", "c2": "not counted"}, "one that answers is served"
    assert outcomes["c2"].message == 'drained "disk swap" (root)'
    assert told[-1]["states"] == states(outcomes)
    pair.trouble("c2", "no-python")
    assert states(sync(pair.settings, None, None, recorder(told), slurm=drained))["c2"] == "failed"
    pair.trouble("c2", "refused")
    assert states(sync(pair.settings, None, None, recorder(told), slurm=SlurmFacts(error="x")))["c2"] == "unreachable"
    (pair.root / "c2/trouble").unlink()
    assert states(sync(pair.settings, None, None, recorder(told), slurm=drained)) == {"c1": "unchanged", "c2": "synced"}
    assert pair.files("c2") == pair.files("c1")


def test_every_node_in_trouble(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    for node in ("c1", "c2", "c3"):
        nodes.trouble(node, "refused")
    assert set(states(run(nodes)[0]).values()) == {"unreachable"}


def test_a_node_without_room_is_left_as_it_is(pair: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.publish(NAME)
    monkeypatch.setattr(rollout, "RESERVE", 1 << 60)
    outcomes, _ = run(pair)
    assert set(states(outcomes).values()) == {"failed"}
    assert "GB free" in outcomes["c1"].message
    assert not (pair.root / "c1/rsynced").exists()


class Node:
    """In the place of a session: `have` is what it has, and it keeps what it is asked."""

    def __init__(self, **has: Any) -> None:
        self.has = {"objects": {}, "names": {}, "changed": [], "catalog_digest": None, "free": 1 << 40, **has}
        self.asked: list[tuple[str, dict[str, Any], float]] = []

    def ask(self, verb: str, request: dict[str, Any], *, timeout: float = 60, common: bytes = b"") -> dict[str, Any]:
        request = {**request, **(json.loads(b"{" + common) if common else {})}
        self.asked.append((verb, request, timeout))
        return self.has if verb == "have" else {"changed": [], "catalog": "written" if "catalog" in request else "kept"}


class Apart:
    """In the place of the probe: no node shares the registry, unless it says so."""

    request: Mapping[str, Any] = {}

    def is_seen(self, answer: dict[str, Any]) -> bool:
        return bool(answer.get("sees"))


def plan(nodes: FakeNodes, node: Any, sizes: Mapping[str, int], **settings: Any) -> Rollout:
    """A sync of images of these *sizes* (name -> bytes; its digest is its name's letter) to one node, c1."""
    wanted = {
        name: replace(next(iter(nodes.catalog().images.values())), digest=name[-5] * 64, size=size)
        for name, size in sizes.items()
    }
    trip = Rollout(change(nodes.settings, **settings), "all", wanted, ("text", nodes.catalog()), lambda _: None)
    trip.probe = Apart()  # type: ignore[assignment]
    trip.sessions["c1"] = node
    return trip


@pytest.mark.parametrize(("lacks", "free"), [("b", 200), ("ab", 300)])
def test_what_a_node_lacks_must_leave_the_reserve(pair: FakeNodes, lacks: str, free: int) -> None:
    pair.publish(NAME)
    there = {letter * 64: size for letter, size in (("a", 100), ("b", 200)) if letter not in lacks}
    for short in (0, 1):
        node = Node(objects=there, free=RESERVE + free - short)
        trip = plan(pair, node, {"d/a.sif": 100, "d/b.sif": 200})
        with (
            pytest.raises(CommandFailed, match=r"^c1: [23]00 B and a reserve of 67 MB needed, 67 MB free")
            if short
            else nullcontext()
        ):
            trip.learn("c1")
        assert trip.lacks["c1"] == [letter * 64 for letter in lacks]


def test_a_node_that_lacks_nothing_or_shares_the_registry_needs_no_room(pair: FakeNodes) -> None:
    pair.publish(NAME)
    plan(pair, Node(objects={"a" * 64: 100}, free=0), {"d/a.sif": 100}).learn("c1")
    plan(pair, Node(sees=True, free=0), {"d/a.sif": 100}).learn("c1")


def test_an_object_of_another_size_is_lacking(pair: FakeNodes) -> None:
    pair.publish(NAME)
    trip = plan(pair, Node(objects={"a" * 64: 99}), {"d/a.sif": 100})
    trip.learn("c1")
    assert trip.lacks["c1"] == ["a" * 64]


def test_a_registry_of_its_own_is_no_shared_one(pair: FakeNodes) -> None:
    pair.publish(NAME)
    with pytest.raises(CommandFailed, match=r"^c1: has a .* of its own"):
        plan(pair, Node(), {"d/a.sif": 1}, method="shared").learn("c1")
    plan(pair, Node(sees=True), {"d/a.sif": 1}, method="shared").learn("c1")


def test_what_breaks_off_because_it_is_ended_is_interrupted(pair: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not `rsync exited with 143`, or a connection that broke: a cancelled sync ends its own programs."""
    pair.publish(NAME)
    trip = plan(pair, Node(), {"d/a.sif": 1})
    ending = threading.Event()
    monkeypatch.setattr("pytest_hpcregistry.controller.ending.ENDING", ending)
    trip.fail("c1", Unreachable("the connection broke"))
    ending.set()
    trip.fail("c2", CommandFailed("rsync exited with 143", where="c2"))
    assert [(one.state, one.message) for one in trip.outcomes.values()] == [
        ("unreachable", "the connection broke"),
        ("failed", "interrupted"),
    ]


def test_names_are_published_in_parts_and_the_catalog_with_the_last(
    pair: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.publish(NAME)
    monkeypatch.setattr(rollout, "MOST_IMAGES", 2)
    node = Node()
    trip = plan(pair, node, {f"d/{letter}.sif": 10**9 for letter in "abcde"})
    trip.learn("c1")
    trip.sent["c1"] = 7
    outcome = trip.publish("c1")
    assert (outcome.state, outcome.objects, outcome.bytes) == ("synced", 5, 7)
    _, *asked = node.asked
    assert [len(request["images"]) for _, request, _ in asked] == [2, 2, 1]
    assert [request.get("catalog") for _, request, _ in asked] == [None, None, "text"]
    assert asked[-1][1]["objects"] == trip.catalog[1].current()
    assert {timeout for _, _, timeout in asked} == {60 + 5 * 60}
    assert asked[0][1]["images"][0] == {"name": "d/a.sif", "digest": "a" * 64, "size": 10**9}
    assert asked[0][1]["mode"] == "0755"


@pytest.mark.parametrize(
    ("has", "images", "state"),
    [
        ({}, [], "unchanged"),
        ({"names": {"d/a.sif": "c" * 64, "d/b.sif": "b" * 64}}, ["d/a.sif"], "synced"),
        ({"names": {"d/b.sif": "b" * 64}}, ["d/a.sif"], "synced"),
        ({"changed": ["d/b.sif", "d/other.sif"]}, ["d/b.sif"], "synced"),
        ({"objects": {"b" * 64: 1}}, ["d/a.sif"], "synced"),
    ],
)
def test_only_names_that_are_not_right_are_published(
    pair: FakeNodes, has: dict[str, Any], images: list[str], state: str
) -> None:
    pair.publish(NAME)
    all_right = {
        "objects": {"a" * 64: 1, "b" * 64: 1},
        "names": {"d/a.sif": "a" * 64, "d/b.sif": "b" * 64},
        "catalog_digest": hashlib.sha256(b"text").hexdigest(),
    }
    node = Node(**{**all_right, **has})
    trip = plan(pair, node, {"d/a.sif": 1, "d/b.sif": 1})
    trip.learn("c1")
    assert trip.publish("c1").state == state
    assert [image["name"] for _, request, _ in node.asked[1:] for image in request["images"]] == images
    assert not [request for _, request, _ in node.asked if "catalog" in request]


def test_a_stale_catalog_alone_is_published_alone(pair: FakeNodes) -> None:
    pair.publish(NAME)
    node = Node(objects={"a" * 64: 1}, names={"d/a.sif": "a" * 64}, catalog_digest="0" * 64)
    trip = plan(pair, node, {"d/a.sif": 1})
    trip.learn("c1")
    assert trip.publish("c1").state == "synced"
    assert [(request["images"], request["catalog"]) for _, request, _ in node.asked[1:]] == [([], "text")]


def test_the_version_before_is_what_the_same_name_means(pair: FakeNodes) -> None:
    pair.publish(NAME)
    has = {"objects": {"c" * 64: 1, "b" * 64: 1}, "names": {"d/a.sif": "c" * 64, "d/b.sif": "c" * 64, "d/e.sif": None}}
    trip = plan(pair, Node(**has), {"d/a.sif": 1, "d/b.sif": 1, "d/e.sif": 1, "d/f.sif": 1})
    trip.learn("c1")
    assert trip.bases("c1") == {"a" * 64: "c" * 64}


def test_one_that_lacks_much_is_no_reason_for_the_others(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is chosen for those that lack the same; who lacks nothing goes with the others."""
    one, two = nodes.publish(NAME, b"1"), nodes.publish(OTHER, b"2")
    monkeypatch.setattr(rollout, "choose", lambda _, load, **__: ("star" if len(load.lacking) < 2 else "relay", "why"))
    trip = Rollout(nodes.settings, "all", nodes.catalog().images, ("", nodes.catalog()), print)
    trip.has = {node: {"shared": node == "c5", "names": {}, "objects": {}} for node in ("c1", "c2", "c3", "c4", "c5")}
    trip.lacks = {"c1": [one], "c2": [one], "c3": [one, two], "c4": [], "c5": []}
    ways = {engine: names for engine, (_, names) in trip.choose_engines(list(trip.has)).items()}
    assert ways == {"shared": ["c5"], "relay": ["c1", "c2", "c4"], "star": ["c3"]}
    assert list(trip.choose_engines(["c4"])) == ["star"]


def test_an_object_that_is_lost_meanwhile_is_each_nodes_failure(
    pair: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "lost_images", lambda registry, wanted: [])
    digest = pair.publish(NAME)
    (pair.registry / agent.OBJECTS / digest).unlink()
    pair.settings = change(pair.settings, method="relay")
    outcomes, told = run(pair)
    assert set(states(outcomes).values()) == {"failed"}
    assert outcomes["c1"].message.startswith(f"controller: cannot read object {digest[:12]}: ")
    assert told[-1]["event"] == "sync_finished"


def test_a_chatty_login_does_no_harm(pair: FakeNodes) -> None:
    pair.publish(NAME)
    (pair.root / "c1/chatty").touch()
    assert states(run(pair)[0])["c1"] == "synced"


def test_a_name_that_was_changed_by_hand_is_put_right(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME)
    run(nodes)
    path = nodes.root / "c1/registry" / NAME
    path.unlink()
    path.write_bytes(b"by hand")
    outcomes, _ = run(nodes)
    assert states(outcomes) == {"c1": "synced", "c2": "unchanged", "c3": "unchanged"}
    assert outcomes["c1"].bytes == 0
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_registry_that_cannot_be_written_is_said(pair: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.publish(NAME)

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(secrets, "token_hex", no_space)  # where the probe is made
    with pytest.raises(OSError, match="No space"):
        run(pair)


def test_two_syncs_take_turns(pair: FakeNodes) -> None:
    pair.publish(NAME)
    done: list[dict[str, Outcome]] = []
    with (pair.registry / ".registry/sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: done.append(run(pair)[0]))
        thread.start()
        thread.join(0.2)
        assert done == []
        assert pair.asked("c1") == []
    thread.join(20)
    assert set(states(done[0]).values()) == {"synced"}


def test_exit_codes_of_a_sync() -> None:
    def code(*names: str) -> int:
        return commands.exit_code_of({name: Outcome(name) for name in names})

    assert code("synced", "unchanged") == 0
    assert code("synced", "unreachable") == 3
    assert code("synced", "unreachable", "failed") == 4
    assert code("unchanged", "not counted") == 0
    assert code("not counted", "unreachable") == 3
    assert code("not counted") == 3, "nothing is proven"


# --- nodes


def test_the_sync_key_and_its_thief(nodes: FakeNodes) -> None:
    assert try_sync_key("c1", nodes.settings) == "works, refuses a shell"
    nodes.trouble("c1", "open")
    assert try_sync_key("c1", nodes.settings) == "works, but also runs a shell command"
    with pytest.raises(Unreachable, match="c9: name is not known"):
        try_sync_key("c9", nodes.settings)


def test_the_line_of_the_key_is_compared_with_the_address_that_the_node_sees(nodes: FakeNodes) -> None:
    """An older line of the key, without from=, would let the login in as well."""
    assert try_sync_key("c1", change(nodes.settings, admitted=("127.0.0.0/8",))) == "works, refuses a shell"
    said = try_sync_key("c1", change(nodes.settings, admitted=("10.0.0.0/8",)))
    assert said == "works, but not by the line that phase 1 wrote: the node sees the controller at '127.0.0.1'"


@pytest.mark.parametrize(
    ("seen", "admitted"),
    [
        ("10.1.2.3", True),
        ("2001:db8::1", True),
        ("192.0.2.1", False),
        ("2001:db8::2", False),
        ("x", False),
        (None, False),
    ],
)
def test_an_address_is_admitted_by_one_of_the_networks(seen: str | None, admitted: bool) -> None:
    assert is_admitted(seen, ("10.0.0.0/8", "2001:db8::1")) == admitted
    assert is_admitted(seen, ())


def test_only_some_nodes_are_tried(nodes: FakeNodes, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(config_text(change(nodes.settings, nodes=None)))
    program.run_try_key(Namespace(config=config, nodes=["c1"]))
    assert json.loads(capsys.readouterr().out)["nodes"] == {"c1": "works, refuses a shell"}


def test_the_nodes_that_are_meant(capsys: pytest.CaptureFixture[str]) -> None:
    program.run_nodes(Namespace(configured="c[1-3]", nodes="c[2-3]", exclude="c2"))
    assert json.loads(capsys.readouterr().out)["nodes"] == ["c3"]
    with pytest.raises(UsageError, match="c9: no such node in this cluster"):
        program.run_nodes(Namespace(configured="c[1-3]", nodes="c9", exclude=""))


def test_ssh_to_nodes_is_strict(nodes: FakeNodes) -> None:
    try_sync_key("c1", nodes.settings)
    for call in (nodes.root / "calls").read_text().splitlines():
        assert "StrictHostKeyChecking=yes" in call
        assert "BatchMode=yes" in call
        assert f"UserKnownHostsFile={layout.KNOWN_HOSTS}" in call
        assert "IdentitiesOnly=yes" in call


def stand_in(nodes: FakeNodes, program: str, script: str) -> None:
    file = nodes.root / "bin" / program
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_one_rule_for_the_name_of_a_node() -> None:
    """What the cluster file and phase 1 take must not stop a sync."""
    names = ["gpu_01", "gpu-01.example.org", "0a"]
    assert list_nodes(names) == sorted(names)
    assert read_node_names("gpu_01,gpu-01.example.org,0a") == names
    inventory(Cluster(controller=Controller(name="ctl", host="ctl")), names)
    for name in names:
        order = {"node": name, "address": "10.0.0.1", "port": 2000, "link": "0" * 16, "rate": 0}
        requests.check({"do": "send", "id": 1, **order})


# --- gather


def test_gather_asks_each_node_once(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    run(nodes)
    before = {node: len(nodes.asked(node)) for node in ("c1", "c2", "c3")}
    nodes.trouble("c2", "refused")
    stand_in(nodes, "sinfo", "echo 'c1 idle Unknown|Unknown|none'")
    question = Question(str(nodes.registry), ["ml-frameworks"], content=True, host=True, readers=["nobody"])
    events: list[Event] = []
    found = gather(FactsRequest(["c1", "c2", "c3"], 4, 2, 20, question, texts=["/etc/hostname"]), events.append)
    told = {event.node: event for event in events if isinstance(event, NodeFacts)}
    assert events[0] == Asking(["c1", "c2", "c3"], window=3)
    assert (sorted(told), found.nodes, len(events)) == (["c1", "c2", "c3"], 3, 5)
    assert (told["c2"].facts, told["c2"].unreachable) == (None, "login refused")
    assert "registry setup" in str(told["c2"].hint)
    first = told["c1"].facts
    assert first, told["c1"]
    assert first.images[0].sha256 == nodes.catalog().images[NAME].digest
    assert first.images[0].inode != found.controller.images[0].inode
    assert first.host
    assert found.controller.host
    assert (list(first.host.texts), list(found.controller.host.texts)) == ([], ["/etc/hostname"])
    assert events[-1] == CatalogPart((nodes.registry / agent.CATALOG).read_text())
    assert found.slurm == SlurmFacts(None, {"c1": "idle"})
    assert [len(nodes.asked(node)) - before[node] for node in before] == [1, 1, 1]


def test_a_node_with_too_many_facts_is_a_node_in_trouble(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks would give up the whole answer at a line that is too long."""
    monkeypatch.setattr("pytest_hpcregistry.controller.facts.LONGEST_FACTS", 10)
    told: list[Event] = []
    gather(FactsRequest(["c1"], 1, 2, 20, Question(str(nodes.registry), [])), told.append)
    assert told[1] == NodeFacts("c1", unreachable="has more facts than 0 MiB", hint="")


def test_slurm_that_is_down_is_a_fact(nodes: FakeNodes) -> None:
    stand_in(nodes, "sinfo", "echo 'c1 idle Unknown|Unknown|none'")
    (nodes.root / "bin" / "sinfo").write_text("#!/no/such/interpreter\n")
    found = ask_slurm()
    assert "sinfo: not found" in str(found.error)
    assert found.nodes == {}


# --- registry


def test_receive_and_publish(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME)
    path = nodes.registry / NAME
    assert path.stat().st_ino == (nodes.registry / agent.OBJECTS / digest).stat().st_ino
    entry = nodes.catalog().images[NAME]
    assert (entry.digest, entry.size, entry.by) == (digest, path.stat().st_size, "me@x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.published)
    assert list((nodes.registry / agent.STAGING).iterdir()) == []
    assert registry.has_object(str(nodes.registry), digest, entry.size)


def test_a_damaged_object_is_replaced_by_the_next_deploy(nodes: FakeNodes) -> None:
    """A name and its object are one file: when the name is removed, its damage is still there, of the right size."""
    digest = nodes.publish(NAME)
    path = nodes.registry / NAME
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert not registry.has_object(str(nodes.registry), digest, len(data))
    path.unlink()
    assert nodes.publish(NAME) == digest
    assert path.read_bytes() == data


def test_publishing_the_same_again_keeps_the_entry(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    before = (nodes.registry / agent.CATALOG).read_text()
    nodes.publish(NAME)
    assert (nodes.registry / agent.CATALOG).read_text() == before
    nodes.publish(NAME, b"2")
    assert (nodes.registry / agent.CATALOG).read_text() != before


def test_what_is_no_sound_sif_gets_no_name(nodes: FakeNodes) -> None:
    data = Sif().to_bytes()[:-1]
    digest = send(nodes.registry, data)
    with pytest.raises(CheckFailed, match="controller"):
        registry.publish(nodes.settings, {"name": NAME, "digest": digest, "size": len(data)})
    assert not (nodes.registry / NAME).exists()
    assert nodes.catalog().images == {}


@pytest.mark.parametrize("text", ["version: 9\n", "{", ""])
def test_a_broken_catalog_is_not_written_over(nodes: FakeNodes, text: str) -> None:
    (nodes.registry / agent.CATALOG).write_text(text)
    with pytest.raises(ConfigError):
        nodes.publish(NAME)
    assert (nodes.registry / agent.CATALOG).read_text() == text


# --- events


def test_log_lines_are_what_an_operator_greps_for(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    nodes.trouble("c2", "refused")
    listen = log.log_lines(nodes.settings.sync.log)
    sync(nodes.settings, None, None, listen)
    lines = Path(nodes.settings.sync.log).read_text().splitlines()
    assert all(
        re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] (Syncing|Engine|SUCCESS: |ERROR: )", line) for line in lines
    )
    plain = [line[22:] for line in lines]
    assert plain[0] == "Syncing all images to 3 nodes: c[1-3]"
    assert any(line.startswith("Engine ") for line in plain)
    assert "Syncing all images to c1..." in plain
    assert any(line.startswith("SUCCESS: all images synced to c1 (1 moved, ") for line in plain)
    assert "ERROR: all images not synced to c2: login refused" in plain
    assert plain[-1] == "ERROR: sync finished: 2 synced (c[1,3]), 1 unreachable (c2)"


@pytest.mark.parametrize("as_json", [True, False])
def test_what_the_program_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is worked out for people; programs get the bytes and no more."""
    monkeypatch.setattr(log, "TELL_EVERY", 0)
    file = tmp_path / "log"
    listen = log.listener_of(Namespace(json=as_json), make_settings("/r", log=str(file)))
    listen(SyncStarted("all images", ["c1"]))
    listen(TransferStarted("star", "x", {"c1": 100}))
    listen(Progress({"c1": 50}))
    assert file.read_text().splitlines()[-1].endswith("Syncing all images: 0 of 1 nodes, 50 % of 100 B")
    said = capsys.readouterr().out
    assert ("under_way" in said, "50 %" in said) == (False, not as_json)
    assert as_json or said == file.read_text()


# --- the whole program


def start(
    nodes: FakeNodes, *words: str, text: Callable[[Settings], str] = config_text, **how: Any
) -> subprocess.CompletedProcess[str]:
    config = nodes.root / "config.yaml"
    config.write_text(text(nodes.settings))
    argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(config), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **how)


def test_by_hand(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    done = start(nodes, "sync", "ml-frameworks")
    assert done.returncode == 0, done.stderr
    assert "SUCCESS: sync finished: 3 synced (c[1-3])" in done.stdout
    assert done.stdout == Path(nodes.settings.sync.log).read_text()
    nodes.trouble("c1", "refused")
    done = start(nodes, "--json", "sync")
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1])["states"] == {
        "c1": "unreachable",
        "c2": "unchanged",
        "c3": "unchanged",
    }
    done = start(nodes, "sync", "gone")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'gone' is not a directory")


def test_it_goes_by_what_an_older_version_wrote(nodes: FakeNodes) -> None:
    """Phase 1 replaces the program first: until it has come to config.yaml, and if it is stopped, syncs go on."""
    nodes.publish(NAME)
    done = start(nodes, "sync", text=earlier_text)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS: sync finished: 3 synced (c[1-3])" in done.stdout
    done = start(nodes, "--json", "try-key", "c1", text=earlier_text)
    assert json.loads(done.stdout)["nodes"] == {"c1": "works, refuses a shell"}


def test_what_is_not_in_force_is_noticed(nodes: FakeNodes) -> None:
    """A cluster file was changed, and `registry setup` has not been run since."""
    nodes.publish(NAME)
    said = json.dumps({"registry.keep": 3, "sync.window": nodes.settings.sync.window})
    done = start(nodes, "sync", "--settings", said)
    assert done.returncode == 0, done.stderr
    told = "registry.keep is 3 in the cluster file, and 2 on the controller: run phase 1 again"
    assert done.stdout.count(" in the cluster file") == done.stdout.count(told) == 1


def test_a_sync_goes_on_when_nobody_listens_any_more(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    reader, writer = os.pipe()
    os.close(reader)
    config = nodes.root / "config.yaml"
    start(nodes, "--version")
    argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(config), "sync"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=buffered)
    os.close(writer)
    assert NAME in nodes.files("c3")
    assert "SUCCESS: sync finished" in Path(nodes.settings.sync.log).read_text()
    assert (done.returncode, done.stderr) == (0, "")
