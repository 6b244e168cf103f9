"""What a node's agent may say: every field's bounds, by the last value that is taken and the first that is not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from pytest_hpcregistry.agent.facts import PROGRAMS, registry_paths
from pytest_hpcregistry.controller import answers
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.core.machine import Question
from tests.fakes import liar

D = "a" * 64
MANY = 100_000
STATUS = {
    "type": "file", "mode": "0755", "owner": "root", "group": "root", "size": 1, "inode": 1, "device": 1, "links": 1,
    "modified": 1.5,
}  # fmt: skip
IMAGE = {**STATUS, "name": "x.sif", "object": D, "header": "ab", "sha256": D, "inspect": {"exit": 0, "says": "x"}}
OBJECT = {"size": 1, "inode": 1, "device": 1, "sha256": D}
BESIDE = f".registry/scan/{D}.json"
LEFT = {"name": "x", "size": 1, "modified": 1.5}
KEY = {"fingerprint": D, "options": "restrict"}
HOST: dict[str, Any] = {
    "hostname": "c1",
    "time": 1.5,
    "uid": 0,
    "paths": {"/x": STATUS},
    "texts": {"/x": "x"},
    "filesystem": {"mount": "/", "type": "ext4", "source": "/dev/x", "free": 1, "total": 1},
    "staging": [LEFT],
    "accounts": {"users": {"root": 0}, "groups": {"root": 0}},
    "denied": {"nobody": ["/x"]},
    "programs": {"rsync": "/usr/bin/rsync"},
    "authorized_keys": [KEY],
    "runtime": {"exit": 0, "says": "x"},
    "commands": {"uname -r": {"returncode": 0, "stdout": "6.1\n"}},
    "starts": {"a/x.sif": {"returncode": 0, "stdout": "in /nowhere/a/x.sif\n"}},
}
FACTS: dict[str, Any] = {"catalog_digest": D, "objects": {D: OBJECT}, "images": [IMAGE], "host": HOST}
QUESTION = Question(
    "/nowhere", ["a"], content=True, inspect=True, host=True,
    users=["root"], groups=["slurm"], readers=["nobody"], paths=["/p"], texts=["/y"],
    commands={"id": ["id"]}, start=["start"], started=["a/x.sif"],
)  # fmt: skip
ANSWER: dict[str, Any] = {
    **FACTS,
    "host": {
        **HOST,
        "paths": dict.fromkeys(registry_paths("/nowhere", {"directories": ["a"], "paths": ["/p"]}), STATUS),
        "texts": {"/y": None},
        "accounts": {"users": {"root": 0}, "groups": {"slurm": None}},
        "denied": {"nobody": None},
        "programs": dict.fromkeys(PROGRAMS),
        "commands": {"id": {"returncode": 0, "stdout": ""}},
        "starts": {"a/x.sif": {"returncode": 1, "stdout": ""}},
    },
}
"""An answer to QUESTION."""
USE = {"digest": "0" * 64, "user": "alice", "job": None}
GOOD: dict[str, dict[str, Any]] = {
    **liar.ANSWERS,
    "have": {**liar.ANSWERS["have"], "from": "c1"},
    "facts": FACTS,
    "prepare": {"address": "10.0.0.1"},
    "repair": {"damaged": {D: D}},
    "remove": {"removed": ["a/x.sif"]},
    "users": {"users": [{"digest": D, "user": "alice", "job": "8812"}]},
    "expect": {},
    "send": {},
}
EVENTS: dict[str, dict[str, Any]] = {
    "has": {"bytes": 1, "arrived": 1},
    "bad_piece": {"link": "0123456789abcdef"},
    "send_failed": {"node": "c1"},
    "stranger": {"address": "10.0.0.1", "link": ""},
    "failed": {"why": "x"},
}


def keys(count: int, form: str = "{}") -> list[str]:
    return [form.format(number) for number in range(count)]


def digests(count: int) -> list[str]:
    return [f"{number:064x}" for number in range(count)]


def each(verb: str, places: str, last: Any, beyond: Any) -> list[tuple[str, list[Any], Any, Any]]:
    """The same bound at several places; a place is keys with dots between, a number one of a list."""
    return [
        (verb, [int(key) if key.isdigit() else key for key in place.split(".")], last, beyond)
        for place in places.split()
    ]


BOUNDS = [
    *each("have", "objects", dict.fromkeys(digests(MANY), 1), dict.fromkeys(digests(MANY + 1), 1)),
    *each("have", "objects", {D: 1 << 50}, {D: (1 << 50) + 1}),
    *each("have", "objects", {D: 0}, {"A" * 64: 0}),
    *each("have", "names", dict.fromkeys(keys(MANY), D), dict.fromkeys(keys(MANY + 1), D)),
    *each("have", "names", {"\n" * 600: D}, {"x" * 601: D}),
    *each("have", "names", {"x": None}, {"": None}),
    *each("have", "free", 1 << 80, (1 << 80) + 1),
    *each("have", "free", 0, -1),
    *each("have", "from", "x" * 100, "x" * 101),
    *each("have", "probe", 1 << 40, (1 << 40) + 1),
    *each("have", "probe", 0, -1),
    *each("have", "changed", ["x"] * MANY, ["x"] * (MANY + 1)),
    *each("have", "changed.0", "x" * 600, "x" * 601),
    *each("prepare", "address", "fd00::7", "c1"),
    *each("publish", "changed", ["a/x.sif"] * 100, ["a/x.sif"] * 101),
    *each("publish", "changed.0", "a/x.sif", "a/x"),
    *((each("publish", "catalog", word, f"{word} ")[0]) for word in ("written", "behind", "kept")),
    *each("repair", "damaged", dict.fromkeys(digests(100), D), dict.fromkeys(digests(101), D)),
    *each("repair", f"damaged.{D}", "unreadable", "gone"),
    *each("remove", "removed", ["a/x.sif"] * 100, ["a/x.sif"] * 101),
    *each("users", "users", [USE] * 1000, [USE] * 1001),
    *each("users", "users.0.job", "0" * 20, "0" * 21),
    *each("users", "users.0.job", None, "1 2"),
    *each("relay", "port", 1024, 1023),
    *each("relay", "port", 65535, 65536),
    *each("gc", "objects in_use young", [D] * MANY, [D] * (MANY + 1)),
    *each("gc", "debris unmanaged", ["x"] * MANY, ["x"] * (MANY + 1)),
    *each("gc", "debris.0", "x" * 600, "x" * 601),
    *each("gc", "attachments", [BESIDE] * MANY, [BESIDE] * (MANY + 1)),
    *each("gc", "attachments.0", BESIDE, f"{BESIDE}.gz"),
    *each("gc", "unmanaged.0", "x" * 4096, "x" * 4097),
    *each("gc", "bytes in_use_bytes young_bytes", 1 << 80, (1 << 80) + 1),
    *each("gc", "bytes in_use_bytes young_bytes", 0, -1),
    *each("facts", "host.hostname images.0.owner images.0.group", "x" * 256, "x" * 257),
    *each("facts", "host.uid images.0.inode images.0.device images.0.links", 1 << 64, (1 << 64) + 1),
    *each("facts", "host.uid images.0.inode images.0.device images.0.links", 0, -1),
    *each("facts", "host.paths", dict.fromkeys(keys(MANY)), dict.fromkeys(keys(MANY + 1))),
    *each("facts", "host.paths host.texts", {"\n" * 4096: None}, {"x" * 4097: None}),
    *each("facts", "host.paths host.texts host.denied host.programs", {"x": None}, {"": None}),
    *each("facts", "host.texts", dict.fromkeys(keys(100)), dict.fromkeys(keys(101))),
    *each("facts", "host.texts", {"x": "\n" * (1 << 20)}, {"x": "x" * ((1 << 20) + 1)}),
    *each("facts", "host.filesystem.mount host.filesystem.type host.filesystem.source", "x" * 4096, "x" * 4097),
    *each("facts", "host.filesystem.free host.filesystem.total", 1 << 80, (1 << 80) + 1),
    *each("facts", "host.staging", [LEFT] * MANY, [LEFT] * (MANY + 1)),
    *each("facts", "host.staging.0.name images.0.name", "x" * 600, "x" * 601),
    *each("facts", "host.staging.0.size images.0.size", 1 << 50, (1 << 50) + 1),
    *each("facts", "objects", dict.fromkeys(digests(MANY), OBJECT), dict.fromkeys(digests(MANY + 1), OBJECT)),
    *each("facts", "objects", {D: {"size": 1, "inode": 1, "device": 1}}, {"x": OBJECT}),
    *each("facts", "images", [IMAGE] * 1000, [IMAGE] * (MANY + 1)),
    *((each("facts", "images.0.type", word, f"{word}s")[0]) for word in ("file", "directory", "link", "other")),
    *each("facts", "images.0.mode", "7777", "8777"),
    *each("facts", "images.0.mode", "0000", "000"),
    *each("facts", f"images.0.sha256 objects.{D}.sha256", "unreadable", "readable"),
    *each("facts", "images.0.header", "0f" * 256, "0f" * 257),
    *each("facts", "images.0.header", "", "0"),
    *each("facts", "images.0.inspect.exit host.runtime.exit", 256, 257),
    *each("facts", "images.0.inspect.exit host.runtime.exit", -256, -257),
    *each("facts", "images.0.inspect.says host.runtime.says", "x" * 4096, "x" * 4097),
    *each("facts", "images.0.inspect images.0.object host.runtime catalog_digest", None, 0),
    *each("facts", "host.accounts.users host.accounts.groups", dict.fromkeys(keys(1000)), dict.fromkeys(keys(1001))),
    *each(
        "facts",
        "host.accounts.users host.accounts.groups host.denied host.programs",
        {"x" * 256: None},
        {"x" * 257: None},
    ),
    *each("facts", "host.accounts.users host.accounts.groups host.denied host.programs", {" ": None}, {"\n": None}),
    *each("facts", "host.denied host.programs", dict.fromkeys(keys(100)), dict.fromkeys(keys(101))),
    *each("facts", "host.denied.nobody", ["x"] * 1000, ["x"] * 1001),
    *each("facts", "host.denied.nobody.0 host.programs.rsync", "x" * 4096, "x" * 4097),
    *each("facts", "host.authorized_keys", [KEY] * 20000, [KEY] * 20001),
    *each("facts", "host.authorized_keys.0.options", "x" * (1 << 16), "x" * ((1 << 16) + 1)),
    *each("has", "bytes arrived", 1 << 50, (1 << 50) + 1),
    *each("has", "bytes arrived", 0, -1),
    *each("bad_piece", "link", "0" * 16, "0" * 17),
    *each("send_failed", "node", "x" * 256, "x" * 257),
    *each("stranger", "link", "0" * 16, "0" * 15),
    *each("stranger", "address", "10.0.0.2", ""),
    *each("failed", "why", "x" * 300, "x" * 301),
    *each("failed", "why", "a\nb", "a\rb"),
]


def put(message: Any, path: list[Any], value: Any) -> Any:
    """The message with another value at one place."""
    key, *rest = path
    copy = dict(message) if isinstance(message, dict) else list(message)
    copy[key] = put(copy[key], rest, value) if rest else value
    return copy


def check(what: str, said: Any) -> Any:
    if what in EVENTS:
        return answers.check_event("c1", {"event": what, **said})
    return answers.check_answer("c1", what, said)


@pytest.mark.parametrize(
    ("what", "path", "last", "beyond"), BOUNDS, ids=["-".join([one[0], *map(str, one[1])]) for one in BOUNDS]
)
def test_every_bound_is_where_it_is(what: str, path: list[Any], last: Any, beyond: Any) -> None:
    good = {**GOOD, **EVENTS}[what]
    check(what, put(good, path, last))
    kind = "event" if what in EVENTS else f"answer to {what}"
    with pytest.raises(CommandFailed, match=f"^c1: the agent's {kind} is malformed: ") as caught:
        check(what, put(good, path, beyond))
    assert "registry setup" in caught.value.hint


def test_what_is_said_is_handed_on() -> None:
    assert set(GOOD) == set(answers.ANSWERS)
    assert set(EVENTS) == set(answers.EVENTS)
    for verb, said in GOOD.items():
        assert answers.check_answer("c1", verb, said) is said
    for kind, said in EVENTS.items():
        event = {"event": kind, **said}
        assert answers.check_event("c1", event) is event


MAY_BE_LEFT_OUT = {
    ("have", "from"),
    ("have", "changed"),
    ("gc", "attachments"),
    *(("facts", key) for key in ("sha256", "header", "inspect", "host")),
}
MAPPINGS = {
    "paths",
    "texts",
    "objects",
    "names",
    "users",
    "groups",
    "denied",
    "programs",
    "commands",
    "starts",
    "damaged",
}


@pytest.mark.parametrize("what", [*GOOD, *EVENTS])
def test_what_may_be_left_out(what: str) -> None:
    good = {**GOOD, **EVENTS}[what]
    for path in liar.fields(good):
        if isinstance(path[-1], int) or MAPPINGS & set(path[-2:-1]):
            continue
        fewer = liar.changed(good, list(path), "missing")
        with (
            nullcontext()
            if (what, path[-1]) in MAY_BE_LEFT_OUT
            else pytest.raises(CommandFailed, match=f": .* lacks {path[-1]}$")
        ):
            check(what, fewer)


def test_a_registry_that_is_shared_tells_only_what_is_in_use() -> None:
    assert check("gc", {"shared": True, "in_use": [D] * 100_000})


@pytest.mark.parametrize(
    "said", [{"shared": True}, {"shared": True, "in_use": [D] * 100_001}, {"shared": 1, "in_use": []}, {"in_use": []}]
)
def test_a_registry_that_is_shared_must_tell_that(said: Any) -> None:
    with pytest.raises(CommandFailed):
        check("gc", said)


LACKING: list[tuple[list[Any], str]] = [
    (["host"], "host"),
    (["images", 0, "header"], "header of x.sif"),
    (["images", 0, "sha256"], "sha256 of x.sif"),
    (["images", 0, "inspect"], "inspect of x.sif"),
    (["objects", D, "sha256"], f"sha256 of object {D[:12]}"),
    (["host", "paths", "/nowhere"], "path /nowhere"),
    (["host", "paths", "/nowhere/a"], "path /nowhere/a"),
    (["host", "paths", "/p"], "path /p"),
    (["host", "texts", "/y"], "text /y"),
    (["host", "accounts", "users", "root"], "user root"),
    (["host", "accounts", "groups", "slurm"], "group slurm"),
    (["host", "denied", "nobody"], "what is denied to user nobody"),
    (["host", "programs", "rsync"], "program rsync"),
]


@pytest.mark.parametrize(("path", "what"), LACKING)
def test_facts_without_what_was_asked_for_are_no_answer(path: list[Any], what: str) -> None:
    """A check would otherwise stop at a key that is not there, or pass with nothing looked at."""
    assert answers.check_facts("c1", QUESTION, ANSWER) is ANSWER
    with pytest.raises(CommandFailed) as caught:
        answers.check_facts("c1", QUESTION, liar.changed(ANSWER, path, "missing"))
    assert str(caught.value) == f"c1: the agent's answer to facts lacks {what}"
    assert "of another version" in caught.value.hint


def test_facts_need_not_hold_what_was_not_asked_for() -> None:
    link = {**STATUS, "type": "link", "name": "a/l.sif", "object": None}
    file = {**STATUS, "name": "a/x.sif", "object": D, "header": "ab"}
    bare = {**ANSWER, "images": [link, file], "objects": {D: {"size": 1, "inode": 1, "device": 1}}}
    del bare["host"]
    other = Question("/nowhere", ["a"], content=True, names=["a/other.sif"])
    for question in (Question("/nowhere", ["a"]), other, replace(other, inspect=True)):
        assert answers.check_facts("c1", question, bare) is bare
    with pytest.raises(CommandFailed, match="malformed"):
        answers.check_facts("c1", other, {**bare, "images": 5})
    named = replace(QUESTION, names=["a/x.sif"], host=False)
    with pytest.raises(CommandFailed, match=r"lacks sha256 of a/x.sif$"):
        answers.check_facts("c1", named, bare)
    hashed = {**bare, "images": [link, {**file, "sha256": D}]}
    assert answers.check_facts("c1", replace(named, inspect=False), hashed) is hashed
    with pytest.raises(CommandFailed, match=r"lacks inspect of a/x.sif$"):
        answers.check_facts("c1", named, hashed)


def test_an_event_of_a_later_version_is_passed_on() -> None:
    said = {"event": "new", "x": [{}]}
    assert answers.check_event("c1", said) is said


@pytest.mark.parametrize("kind", [None, 1, ["has"], {}])
def test_an_event_of_no_kind(kind: Any) -> None:
    with pytest.raises(CommandFailed, match=r"^c1: the agent's event is malformed: it has no kind$"):
        answers.check_event("c1", {"event": kind})


@pytest.mark.parametrize("said", [None, [], "x", 1])
@pytest.mark.parametrize("verb", GOOD)
def test_an_answer_that_is_no_object(verb: str, said: Any) -> None:
    with pytest.raises(CommandFailed, match=r"^c1: the agent's answer to .* is malformed: it is not an object$"):
        answers.check_answer("c1", verb, said)
