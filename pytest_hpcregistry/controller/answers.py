"""What a node's agent may say: the form of every answer and event. A node may be of another version, broken, or in a
stranger's hands; whatever comes from it passes here first, and what has another form is that node's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..agent.facts import PROGRAMS, registry_paths
from ..agent.forms import Form, Misshapen, anything, flag, items, mapping, maybe, number, prose, record, seconds, text
from ..agent.requests import LARGEST_OBJECT, MOST_IMAGES, MOST_OBJECTS, MOST_USERS, address, digest, image_name, size
from ..core.errors import RUN_SETUP, CommandFailed
from ..core.machine import Question
from ..core.names import excerpt
from ..core.records import plain

MOST_FILES = 100_000  # in one registry, counting those that are not ours
MOST_COMMANDS = 100  # and images that are started
MOST_KEYS = 20_000  # in one authorized_keys
HINT = f"is it of another version? {RUN_SETUP}"

room = number(0, 1 << 80)
identifier = number(0, 1 << 64)
file_name = anything(600)
path = anything(4096)
attachment = text(r"\.registry/(sbom|scan)/[0-9a-f]{64}\.json")

SHARED = record({"in_use": items(digest, MOST_OBJECTS)})
FREED = record(
    {
        "objects": items(digest, MOST_FILES),
        "debris": items(file_name, MOST_FILES),
        "bytes": room,
        "in_use": items(digest, MOST_FILES),
        "in_use_bytes": room,
        "young": items(digest, MOST_FILES),
        "young_bytes": room,
        "unmanaged": items(path, MOST_FILES),
    },
    {"attachments": items(attachment, MOST_FILES)},
)


def collected(value: Any, place: str) -> None:
    """gc's answer: of a registry of the node's own, or of one that it shares with the controller."""
    record({"shared": flag})(value, place)
    (SHARED if value["shared"] else FREED)(value, place)


STATUS = {
    "type": text("file|directory|link|other"),
    "mode": text("[0-7]{4}"),
    "owner": anything(256),
    "group": anything(256),
    "size": size,
    "inode": identifier,
    "device": identifier,
    "links": identifier,
    "modified": seconds,
}
content = text("[0-9a-f]{64}|unreadable")
inspection = record({"exit": number(-256, 256), "says": path})
ended = record({"returncode": number(-256, 256), "stdout": anything(16 << 10)})
HOST = record(
    {
        "hostname": anything(256),
        "time": seconds,
        "uid": identifier,
        "paths": mapping("(?s:.{1,4096})", maybe(record(STATUS)), MOST_FILES),
        "texts": mapping("(?s:.{1,4096})", maybe(anything(1 << 20)), 100),
        "filesystem": record({"mount": path, "type": path, "source": path, "free": room, "total": room}),
        "staging": items(record({"name": file_name, "size": size, "modified": seconds}), MOST_FILES),
        "accounts": record(
            {name: mapping(".{1,256}", maybe(identifier), 1000) for name in ("users", "groups")},
        ),
        "denied": mapping(".{1,256}", maybe(items(path, 1000)), 100),
        "programs": mapping(".{1,256}", maybe(path), 100),
        "authorized_keys": items(record({"fingerprint": digest, "options": anything(1 << 16)}), MOST_KEYS),
        "runtime": maybe(inspection),
        "commands": mapping("(?s:.{1,4096})", ended, MOST_COMMANDS),
        "starts": mapping("(?s:.{1,600})", ended, MOST_COMMANDS),
    }
)
FACTS = record(
    {
        "catalog_digest": maybe(digest),
        "objects": mapping(
            "[0-9a-f]{64}",
            record({"size": size, "inode": identifier, "device": identifier}, {"sha256": content}),
            MOST_FILES,
        ),
        "images": items(
            record(
                {**STATUS, "name": file_name, "object": maybe(digest)},
                {
                    "header": text("([0-9a-f]{2}){0,256}"),
                    "sha256": content,
                    "inspect": maybe(inspection),
                },
            ),
            MOST_FILES,
        ),
    },
    {"host": HOST},
)

USE = record({"digest": digest, "user": anything(256), "job": maybe(text("[0-9]{1,20}"))})
ANSWERS: dict[str, Form] = {
    "facts": FACTS,
    "have": record(
        {
            "objects": mapping("[0-9a-f]{64}", size, MOST_FILES),
            "names": mapping("(?s:.{1,600})", maybe(digest), MOST_FILES),
            "catalog_digest": maybe(digest),
            "free": room,
            "probe": maybe(number(0, 1 << 40)),
        },
        {
            "from": maybe(anything(100)),
            "changed": items(file_name, MOST_FILES),
            "blocked": items(file_name, MOST_FILES),
        },
    ),
    "prepare": record({"address": address}),
    "publish": record({"changed": items(image_name, MOST_IMAGES), "catalog": text("written|behind|kept")}),
    "relay": record({"address": address, "port": number(1024, 65535)}),
    "repair": record({"damaged": mapping("[0-9a-f]{64}", content, MOST_IMAGES)}),
    "remove": record({"removed": items(image_name, MOST_IMAGES)}),
    "users": record({"users": items(USE, MOST_USERS)}),
    "expect": record({}),
    "send": record({}),
    "gc": collected,
}
EVENTS: dict[str, Form] = {
    "has": record({"bytes": number(0, LARGEST_OBJECT), "arrived": number(0, LARGEST_OBJECT)}),
    "bad_piece": record({"link": text("[0-9a-f]{16}")}),
    "send_failed": record({"node": anything(256)}),
    "stranger": record({"address": address, "link": text("([0-9a-f]{16})?")}),
    "failed": record({"why": prose(300)}),
}


def check_answer(node: str, verb: str, answer: Any) -> Any:
    """Return the *answer* to a *verb* if it has its form. Raises CommandFailed if not."""
    return checked(node, f"answer to {verb}", ANSWERS[verb], answer)


def check_facts(node: str, question: Question, answer: Any) -> Any:
    """Return a node's facts if they have their form and answer the *question*. Raises CommandFailed if not."""
    check_answer(node, "facts", answer)
    for lacking in unanswered(question, answer):
        raise CommandFailed(f"the agent's answer to facts lacks {excerpt(lacking)}", where=node, hint=HINT)
    return answer


def unanswered(question: Question, answer: Any) -> Iterator[str]:
    """What was asked for and is not in the answer, which has its form."""
    for image in answer["images"]:
        if image["type"] != "file":
            continue
        wanted = question.content and (question.names is None or image["name"] in question.names)
        keys = {"header": not question.brief, "sha256": wanted, "inspect": wanted and question.inspect}
        for key in (key for key, is_asked in keys.items() if is_asked):
            if key not in image:
                yield f"{key} of {image['name']}"
    if question.content and question.names is None:
        yield from (
            f"sha256 of object {digest[:12]}" for digest, one in answer["objects"].items() if "sha256" not in one
        )
    if not question.host:
        return
    if "host" not in answer:
        yield "host"
        return
    host = answer["host"]
    for asked, given, what in (
        (registry_paths(question.registry, plain(question)), host["paths"], "path"),
        (question.texts, host["texts"], "text"),
        (question.users, host["accounts"]["users"], "user"),
        (question.groups, host["accounts"]["groups"], "group"),
        (question.readers, host["denied"], "what is denied to user"),
        (PROGRAMS, host["programs"], "program"),
        (question.commands, host["commands"], "command"),
        (question.started or (), host["starts"], "the start of"),
    ):
        yield from (f"{what} {one}" for one in asked if one not in given)


def check_event(node: str, said: Any) -> Any:
    """Return an event if it has its form, or is of a kind that is not known here. Raises CommandFailed if not."""
    kind = said["event"]
    known = EVENTS.get(kind) if isinstance(kind, str) else refuse
    return checked(node, "event", known, said) if known else said


def refuse(_: Any, place: str) -> None:
    raise Misshapen(f"{place} has no kind")


def checked(node: str, what: str, form: Callable[[Any, str], None], value: Any) -> Any:
    try:
        form(value, "it")
    except Misshapen as error:
        raise CommandFailed(f"the agent's {what} is malformed: {error}", where=node, hint=HINT) from None
    return value
