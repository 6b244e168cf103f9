"""An agent that lies: the real one, which changes one thing of what it says. One program, and a table of lies.

A lie is {"to": a verb or an event's name, "path": the keys to the field, "kind": one of VALUES or MESSAGES}. It is read
from a file beside the program, with the program's name and `.lie`; without one the program is honest.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pytest_hpcregistry.cluster.programs import build_agent

D, E = "a" * 64, "b" * 64
HOSTILE = "\x1b]0;x\x07\n[2026-01-01 00:00:00] SUCCESS: forged\r\u202e"
# A true answer to every verb, and a true event of every kind that a sync hears: the fields that can be lied about.
ANSWERS: dict[str, dict[str, Any]] = {
    "have": {
        "objects": {D: 1},
        "names": {"ml-frameworks/x.sif": D},
        "catalog_digest": D,
        "free": 1,
        "probe": None,
        "changed": ["x"],
    },
    "publish": {"changed": ["ml-frameworks/x.sif"], "catalog": "written"},
    "relay": {"address": "10.0.0.1", "port": 40000},
    "gc": {
        "shared": False,
        "objects": [D],
        "debris": ["x"],
        "attachments": [f".registry/sbom/{D}.json"],
        "bytes": 1,
        "in_use": [E],
        "in_use_bytes": 1,
        "young": [E],
        "young_bytes": 1,
        "unmanaged": ["x"],
    },
}
EVENTS: dict[str, dict[str, Any]] = {"has": {"bytes": 1, "arrived": 1}}
VALUES: dict[str, Any] = {
    "null": None,
    "text": "x",
    "hostile": HOSTILE,
    "true": True,
    "fraction": 1.5,
    "negative": -1,
    "huge": 10**400,
    "nan": float("nan"),
    "list": [[]],
    "object": {"\x1b[31m": {}},
    "long": "x" * 100_000,
}
MESSAGES = (
    *(
        "missing",
        "deep",
        "endless-lines",
        "endless-line",
        "endless-errors",
        "endless-events",
        "late",
        "repeated",
        "gone",
    ),
    *("no-object", "no-json", "cut", "other-number", "error-10-mb", "error-hostile", "error-object", "no-event"),
)
PROGRAM = '''
import json, os, socket, struct, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pytest_hpcregistry.agent import facts, session
from pytest_hpcregistry.agent.__main__ import main

try:
    with open(os.path.realpath(sys.argv[0]) + ".lie") as file:
        LIE = json.load(file)
except OSError:
    LIE = None
nan = float("nan")
VALUES = {values!r}
HOSTILE = {hostile!r}
PORTS = range(*map(int, open("/proc/sys/net/ipv4/ip_local_port_range").read().split()))


def tell(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def changed(said):
    *path, last = LIE["path"] or [""]
    place = said
    for key in path:
        place = place[key]
    if LIE["kind"] == "missing":
        del place[last]
    elif isinstance(place, list):
        place[last:] = [VALUES[LIE["kind"]]]
    else:
        place[last] = VALUES[LIE["kind"]]
    return said


def intrude(certificate, registry):
    """Go to every other node of the transfer, find the port where it receives, and stay in the way."""
    from pytest_hpcregistry.agent import address, relay
    context = relay.make_context(certificate, False)
    own = os.environ["SSH_CONNECTION"].split()[2]
    places = [place for place, *_ in address.peers(registry).values() if place != own]

    def visit(port):
        for place in places:
            if is_port_open(place, port):
                threading.Thread(target=stay, args=(context, place, port), daemon=True).start()

    if not all(is_local(place) for place in places):
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(visit, PORTS))
        return
    visited = set()
    while True:  # a scan of this very machine would slow the transfer down, and might come too late for it
        for place, port in listening(places) - visited:
            visited.add((place, port))
            threading.Thread(target=stay, args=(context, place, port), daemon=True).start()
        time.sleep(0.05)


def is_local(place):
    return place.startswith("127.")


def listening(places):
    """The doors that are open on this machine, of /proc/net/tcp: state 0A, the address in the machine's byte order."""
    found = set()
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            local, state = line.split()[1], line.split()[3]
            address, port = local.split(":")
            place = socket.inet_ntoa(struct.pack("=I", int(address, 16)))
            if state == "0A" and place in places:
                found.add((place, int(port, 16)))
    return found


def is_port_open(place, port):
    try:
        socket.create_connection((place, port), 0.2).close()
    except OSError:
        return False
    return True


def stay(context, place, port):
    while True:
        try:
            with context.wrap_socket(socket.create_connection((place, port), 1)) as link:
                link.sendall(os.urandom(8))
                link.settimeout(1)
                link.recv(8)
        except OSError:
            pass


def lie(nonce, said):
    kind, line = LIE["kind"], lambda said: "\\nhpcregistry " + nonce + " " + json.dumps(said) + "\\n"
    if kind == "missing" or kind in VALUES:
        tell(line(changed(said)))
    elif kind == "deep":
        tell("\\nhpcregistry " + nonce + ' {{"id": ' + "[" * 100000 + "]" * 100000 + "}}\\n")
    elif kind == "endless-lines":
        while True:
            tell("welcome\\n" * 1000)
    elif kind == "endless-line":
        while True:
            tell("welcome " * 10000)
    elif kind == "endless-errors":
        while True:
            sys.stderr.write("welcome " * 10000)
    elif kind == "endless-events":
        while True:
            tell(line({{"event": "has", "bytes": 0, "arrived": 0}}) * 1000)
    elif kind == "late":
        time.sleep(1000)
    elif kind == "repeated":
        tell(line(said) * 3)
    elif kind == "gone":
        os._exit(1)
    elif kind == "no-object":
        tell(line([said]))
    elif kind == "no-json":
        tell(line(said).replace("{{", "<", 1))
    elif kind == "cut":
        tell(line(said)[:-9])
        os._exit(0)
    elif kind == "other-number":
        tell(line(dict(said, id=12345)))
    elif kind == "error-10-mb":
        tell(line({{"id": said.get("id"), "error": "x" * 10000000}}))
    elif kind == "error-hostile":
        tell(line({{"id": said.get("id"), "error": HOSTILE}}))
    elif kind == "error-object":
        tell(line({{"id": said.get("id"), "error": {{"x": [HOSTILE]}}}}))
    elif kind == "no-event":
        tell(line({{"event": [HOSTILE]}}))


DOING = [None]
real_do, real_say = session.Session.do, session.Session.say


def do(self, request):
    DOING[0] = request["do"]
    answer = real_do(self, request)
    if LIE and LIE["kind"] == "intruder" and DOING[0] == "relay":
        threading.Thread(target=intrude, args=(request["certificate"], self.registry), daemon=True).start()
    return answer


def say(self, said):
    if LIE and LIE["to"] == (said["event"] if "event" in said else DOING[0]):
        with self.speaking:
            lie(self.nonce, said)
    else:
        real_say(self, said)


session.Session.do, session.Session.say = do, say
main()
'''


def build_liar() -> bytes:
    """The program, with the real agent inside."""
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(build_agent())) as honest, zipfile.ZipFile(buffer, "w") as liar:
        for name in honest.namelist():
            if name != "__main__.py":
                liar.writestr(name, honest.read(name))
        liar.writestr("__main__.py", PROGRAM.format(values=VALUES, hostile=HOSTILE))
    return buffer.getvalue()


def fields(message: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field of a message, and of what is in it."""
    places = message.items() if isinstance(message, dict) else enumerate(message) if isinstance(message, list) else ()
    for key, value in places:
        yield (*path, key)
        yield from fields(value, (*path, key))


def lies() -> Iterator[dict[str, Any]]:
    """The whole table: every kind of lie about every field of every message."""
    for to, message in {**ANSWERS, **EVENTS}.items():
        for path in fields(message):
            for kind in (*VALUES, *(["missing"] if len(path) == 1 else [])):
                yield {"to": to, "path": list(path), "kind": kind}
        for kind in MESSAGES[1:]:
            if to in ANSWERS or kind in ("deep", "no-event", "no-object", "endless-lines"):
                yield {"to": to, "path": [], "kind": kind}


def changed(message: Any, path: list[Any], kind: str) -> Any:
    """The message with the lie in it, as the program would say it."""
    key, *rest = path
    copy = dict(message) if isinstance(message, dict) else list(message)
    if rest:
        copy[key] = changed(copy[key], rest, kind)
    elif kind == "missing":
        del copy[key]
    else:
        copy[key] = VALUES[kind]
    return copy
