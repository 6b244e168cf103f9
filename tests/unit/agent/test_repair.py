"""Damaged objects are put away, by what is read of them; sound ones, and names, stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import gc, repair, requests
from tests.unit.agent.test_gc import NAME, OLD, digest, publish, registry, request

__all__ = ["registry"]
ROT = b"0ld image"


def put_away(registry: Path, *data: bytes) -> dict[str, str]:
    wanted = {"objects": [digest(one) for one in data]}
    requests.check({"do": "repair", "id": 1, **wanted})
    found: dict[str, str] = agent.put_away_damaged(str(registry), wanted)["damaged"]
    return found


def quarantined(registry: Path) -> dict[str, bytes]:
    place = registry / agent.QUARANTINE
    return {path.name: path.read_bytes() for path in place.iterdir()} if place.exists() else {}


def test_a_sound_object_stays(registry: Path) -> None:
    path = publish(registry, OLD)
    assert put_away(registry, OLD, b"not here") == {}
    assert path.read_bytes() == OLD
    assert quarantined(registry) == {}


def test_a_damaged_object_is_moved_and_its_name_leads_to_it_until_good_bytes_come(registry: Path) -> None:
    path = publish(registry, OLD)
    path.write_bytes(ROT)
    assert put_away(registry, OLD) == {digest(OLD): digest(ROT)}
    assert not path.exists()
    assert quarantined(registry) == {digest(OLD): ROT}
    assert (registry / agent.QUARANTINE).stat().st_mode & 0o7777 == 0o700
    assert (registry / NAME).read_bytes() == ROT, "jobs that start now are no worse off than before"
    assert put_away(registry, OLD) == {}, "there is nothing any more"
    publish(registry, OLD)
    assert (registry / NAME).read_bytes() == OLD
    path.write_bytes(b"worse")
    assert put_away(registry, OLD) == {digest(OLD): digest(b"worse")}
    assert quarantined(registry) == {digest(OLD): b"worse"}, "one of each digest"


def test_bytes_that_cannot_be_read_are_damaged(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)

    def fail(descriptor: int) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(repair, "hash_descriptor", fail)
    assert put_away(registry, OLD) == {digest(OLD): "unreadable"}
    assert quarantined(registry) == {digest(OLD): OLD}


def test_what_somebody_has_repaired_meanwhile_stays(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(registry, OLD)

    def read_slowly(descriptor: int) -> str:
        path.unlink()
        path.write_bytes(OLD)
        return digest(ROT)

    monkeypatch.setattr(repair, "hash_descriptor", read_slowly)
    put_away(registry, OLD)
    assert path.read_bytes() == OLD
    assert quarantined(registry) == {}


def test_what_has_gone_meanwhile_is_none_of_ours(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(registry, OLD)

    def read_slowly(descriptor: int) -> str:
        path.unlink()
        return digest(ROT)

    monkeypatch.setattr(repair, "hash_descriptor", read_slowly)
    assert put_away(registry, OLD) == {digest(OLD): digest(ROT)}
    assert quarantined(registry) == {}


def test_a_place_that_is_not_roots_own_is_refused(registry: Path) -> None:
    publish(registry, OLD).write_bytes(ROT)
    (registry / agent.QUARANTINE).mkdir(mode=0o755)
    with pytest.raises(agent.Refused, match="must be root's own, 0700"):
        put_away(registry, OLD)
    assert (registry / agent.OBJECTS / digest(OLD)).exists()


def test_gc_frees_it_after_the_grace_period_unless_it_is_open(registry: Path) -> None:
    publish(registry, OLD).write_bytes(ROT)
    put_away(registry, OLD)
    publish(registry, OLD)
    assert gc.collect(str(registry), request(OLD, grace=3600))["debris"] == []
    with (registry / agent.QUARANTINE / digest(OLD)).open("rb"):
        assert gc.collect(str(registry), request(OLD))["debris"] == []
    freed = gc.collect(str(registry), request(OLD))
    assert (freed["debris"], freed["bytes"]) == ([digest(OLD)], len(ROT))
    assert quarantined(registry) == {}
    assert (registry / NAME).stat().st_size == len(OLD)
