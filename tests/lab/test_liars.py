"""A node that lies: its own failure, within a bounded time, and the other nodes are synced as if it were not there."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.agent import PEERS
from tests.fakes import liar
from tests.unit.controller.test_liars import OF_FIELDS, TRUTHS, name_of

from .conftest import Cli
from .machines import CATALOG, CONFIG, CONTROLLER, OBJECTS, REGISTRY, Machines

pytestmark = pytest.mark.lab
LIAR = "c003"
HONEST = ("c001", "c002")
LIBRARY = "/usr/local/lib/hpcregistry"
PROGRAM = f"python3 {LIBRARY}/controller.pyz --config {CONFIG} --json"
SLACK = 5.0  # seconds beyond twice the time without a liar: two cores run five machines and the tests
IN_A_SYNC = ("have", "publish", "relay", "has")


def table() -> list[dict[str, Any]]:
    """All lies about whole messages, and each field of each message with two kinds of lie, which differ from field to
    field: the whole product, of which every single one is tried without a cluster, would take half an hour."""
    wrong = [lie for lie in OF_FIELDS if (lie["to"], tuple(lie["path"]), lie["kind"]) not in TRUTHS]
    by_field: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for lie in wrong:
        by_field.setdefault((lie["to"], *lie["path"]), []).append(lie)
    chosen = [
        lies[(number * 5 + more) % len(lies)] for number, lies in enumerate(by_field.values()) for more in (0, 3, 6)
    ]
    messages = [lie for lie in liar.lies() if not lie["path"] and lie["to"] in ("have", "relay")]
    # A node that is late is waited for, a minute; one is enough. Of endless errors, test_conversation.py knows.
    quick = [lie for lie in messages if lie["kind"] not in ("late", "endless-errors")]
    late = [lie for lie in messages if lie["kind"] == "late" and lie["to"] == "have"]
    return [lie for lie in chosen if lie["to"] in IN_A_SYNC] + quick + late


@pytest.fixture(scope="module")
def synced(tool: Cli, machines: Machines, sif: Callable[..., Path], tmp_path_factory: Any) -> Iterator[str]:
    """The digest of an image that all nodes lack when `sync` is run; on one of them the program that lies."""
    tool("deploy", "single", sif("lied-about", 2048)).check()
    digest = machines.digest(CONTROLLER, "ml-frameworks/lied-about.sif")
    program = tmp_path_factory.mktemp("liar") / "liar.pyz"
    program.write_bytes(liar.build_liar())
    machines.tell(LIAR, f"cp {LIBRARY}/agent.pyz {LIBRARY}/agent.pyz.honest")
    machines.put(LIAR, program, f"{LIBRARY}/agent.pyz")
    yield digest
    machines.tell(LIAR, f"mv {LIBRARY}/agent.pyz.honest {LIBRARY}/agent.pyz; rm -f {LIBRARY}/agent.pyz.lie")


def forget(machines: Machines, digest: str, lie: dict[str, Any] | None) -> None:
    lack = f"rm -f {OBJECTS}/{digest} {REGISTRY}/ml-frameworks/lied-about.sif {CATALOG}"
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: machines.tell(node, lack), (*HONEST, LIAR)))
    tell_lie(machines, lie)


def tell_lie(machines: Machines, lie: dict[str, Any] | None) -> None:
    path = f"{LIBRARY}/agent.pyz.lie"
    machines.tell(LIAR, f"cat > {path} <<'END'\n{json.dumps(lie)}\nEND" if lie else f"rm -f {path}")


def run(machines: Machines, words: str) -> tuple[int, list[dict[str, Any]], str]:
    result = machines.run(CONTROLLER, f"{PROGRAM} {words}")
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return result.exit_code, events, result.stdout + result.stderr


def times(events: list[dict[str, Any]]) -> dict[str, float]:
    finished = [event for event in events if event["event"] == "node_finished"]
    return {one["node"]: one["seconds"] for one in finished if one["state"] == "synced"}


@pytest.fixture(scope="module")
def without(machines: Machines, synced: str) -> dict[str, float]:
    """Engine -> how long the slowest of the others takes while nobody lies: the median of three."""
    found = {}
    for engine in ("star", "relay"):
        seconds = []
        for _ in range(3):
            forget(machines, synced, None)
            code, events, said = run(machines, f"sync --engine {engine}")
            assert code == 0, said
            seconds.append(max(times(events).values()))
        found[engine] = statistics.median(seconds)
    return found


def test_the_table_is_long() -> None:
    lies = table()
    assert len({name_of(lie) for lie in lies}) == len(lies) >= 60
    assert {lie["to"] for lie in lies} == set(IN_A_SYNC)
    assert {lie["kind"] for lie in lies} == {*liar.VALUES, *liar.MESSAGES} - {"endless-errors"}


@pytest.mark.parametrize("lie", table(), ids=name_of)
def test_a_lie_costs_nobody_else_anything(
    machines: Machines, synced: str, without: dict[str, float], lie: dict[str, Any]
) -> None:
    engine = "relay" if lie["to"] in ("relay", "has") else "star"
    forget(machines, synced, lie)
    began = time.monotonic()
    code, events, said = run(machines, f"sync --engine {engine}")
    took = time.monotonic() - began
    assert code in (3, 4), said
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert len(said) < 20_000
    found = times(events)
    assert set(found) == set(HONEST), said
    assert max(found.values()) <= 2 * without[engine] + SLACK, said
    assert took < 75, "a node has 60 s to answer"
    free = f"for lock in {REGISTRY}/.registry/*lock; do flock -n $lock true || exit 1; done"
    assert [machine for machine in (CONTROLLER, *HONEST, LIAR) if machines.run(machine, free).exit_code] == []


def test_an_intruder_in_a_relay_is_refused_and_named(
    machines: Machines, synced: str, without: dict[str, float]
) -> None:
    """S3 as it was done: it looks for the ports of the others and goes there again and again, with the certificate."""
    assert machines.tell(LIAR, f"grep -c . {REGISTRY}/{PEERS}").strip() == "3"
    forget(machines, synced, {"to": "nothing", "path": [], "kind": "intruder"})
    code, events, said = run(machines, "sync --engine relay --limit-rate 100000")
    assert code == 0, said
    assert set(times(events)) == {*HONEST, LIAR}
    noticed = [event["message"] for event in events if event["event"] == "noticed"]
    assert [text for text in noticed if text.startswith(f"{LIAR} connected to c00") and text.endswith("refused")], (
        noticed
    )


@pytest.mark.parametrize(("path", "kind"), [(["objects"], "missing"), (["in_use"], "list"), (["unmanaged"], "hostile")])
def test_gc_frees_on_the_others(machines: Machines, synced: str, path: list[str], kind: str) -> None:
    forget(machines, synced, None)
    assert run(machines, "sync")[0] == 0
    tell_lie(machines, {"to": "gc", "path": path, "kind": kind})
    code, events, said = run(machines, "gc --grace 3600")
    assert code == 4, said
    assert "Traceback" not in said
    (finished,) = [event for event in events if event["event"] == "gc_finished"]
    states = {machine: one["state"] for machine, one in finished["machines"].items()}
    assert states == {"controller": "freed", **dict.fromkeys(HONEST, "freed"), LIAR: "failed"}
