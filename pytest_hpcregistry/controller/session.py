"""The controller's end of a conversation with the agent that phase 1 installed on a node."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from ..agent.requests import LONGEST_SILENCE
from ..core.errors import CommandFailed, CommandTimeout, Unreachable
from ..core.names import excerpt
from ..transports.conversation import Conversation, Ended
from ..transports.process import run_process
from .answers import HINT, check_answer, check_event
from .nodes import ASK_TIMEOUT, no_answer, no_answer_in_time, read_line, refuse_error, sync_ssh

if TYPE_CHECKING:
    from ..core.settings import Settings
    from .probe import Probe

PASSED_OVER = 1 << 20  # bytes that a login may print beside what the agent says
MOST_EVENTS, EVENT_RATE = 1 << 20, 2000  # bytes, and bytes a second, that the agent may say unasked; a relay's says 500


class NodeSession:
    """One login with the sync key, for as many requests as there are. `listen` is for one thread, `tell` for any."""

    def __init__(self, node: str, settings: Settings) -> None:
        self.node = node
        self.nonce = secrets.token_hex(8)
        self.numbers = itertools.count(1)
        self.asked: dict[int, str] = {}  # number -> verb
        self.other = self.events = 0  # bytes
        self.chatter = ""
        """The first line that the login printed beside what the agent says."""
        self.began = time.monotonic()
        self.conversation = Conversation(node, [*sync_ssh(node, settings), "session"])
        self.send({"nonce": self.nonce, "seconds": min(settings.sync.timeout + ASK_TIMEOUT, LONGEST_SILENCE)})

    def __enter__(self) -> NodeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. The agent removes what it had not published."""
        self.conversation.end()

    def ask(
        self, verb: str, request: dict[str, Any] | None = None, *, timeout: float = ASK_TIMEOUT, common: bytes = b""
    ) -> Any:
        """Have the agent do *verb* and return its answer; whatever it says before that is passed over. *common* is what
        many nodes are asked, from `encoded`.

        Raises Unreachable when there is none within *timeout* seconds, CommandFailed with the agent's own words.
        """
        number = self.tell(verb, request, common)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            said = self.listen(deadline - time.monotonic())
            if said is not None and said.get("id") == number:
                return refuse_error(self.node, said)
        raise no_answer_in_time(self.node)

    def tell(self, verb: str, request: dict[str, Any] | None = None, common: bytes = b"") -> int:
        """Have the agent do *verb*, without waiting for its answer, which will have the number that is returned."""
        number = next(self.numbers)
        self.asked[number] = verb
        self.send({"do": verb, "id": number, **(request or {})}, common)
        return number

    def send(self, data: dict[str, Any], common: bytes = b"") -> None:
        line = json.dumps(data)
        try:
            self.conversation.send(line[:-1] + ", " if common else line, rest=common)
        except CommandTimeout as error:
            raise Unreachable(str(error)) from None

    def listen(self, timeout: float) -> Any:
        """The next thing that the agent says, an event or an answer in its form or an error; None if there is none in
        *timeout* seconds, however much else comes.

        Raises Unreachable or CommandFailed when the session has ended, or what is said is malformed.
        """
        deadline = time.monotonic() + timeout
        while True:
            line = self.conversation.receive(max(0.0, deadline - time.monotonic()))
            if line is None:
                return None
            if isinstance(line, Ended):
                if self.conversation.held.startswith(b"hpcregistry "):
                    raise CommandFailed("the agent's answer was cut off", where=self.node)
                raise no_answer(self.node, line.exit_code, line.stderr)
            said = self.understand(line)
            if said is not None:
                return said
            if time.monotonic() >= deadline:
                return None

    def understand(self, line: str) -> Any:
        """What a line says, checked for its form; None for what may be passed over, of which there is a limit."""
        if not line.startswith(f"hpcregistry {self.nonce} "):
            self.other += len(line) + 1
            self.chatter = self.chatter or line.strip()
            if self.other > PASSED_OVER:
                raise CommandFailed("its login prints too much before the agent answers", where=self.node)
            return None
        said = read_line(self.node, self.nonce, line)
        if "id" not in said and "event" in said:
            self.events += len(line)
            if self.events > MOST_EVENTS + EVENT_RATE * (time.monotonic() - self.began):
                raise CommandFailed("the agent sends too many events", where=self.node)
            return check_event(self.node, said)
        number = said.get("id")
        verb = self.asked.pop(number, None) if type(number) is int else None
        if verb is None:
            raise CommandFailed("the agent answered a request that was not sent", where=self.node, hint=HINT)
        return said if "error" in said else check_answer(self.node, verb, said)


def encoded(request: dict[str, Any]) -> bytes:
    """The end of a request, for NodeSession.ask: a catalog of thousands of images is held once, not for each node."""
    return json.dumps(request, ensure_ascii=False)[1:].encode()


def try_sync_key(node: str, settings: Settings, probe: Probe | None = None) -> str:
    """Use the sync key as it is meant, then as a thief would: for a shell. Returns how that went.

    With a *probe*, the node shall see the controller's own registry.
    """
    with NodeSession(node, settings) as session:
        has = session.ask("have", probe.request if probe else None)
    if probe and not probe.is_seen(has):
        return f"works, but {node} has a {settings.registry.path} of its own: is the shared file system mounted there?"
    seen = has.get("from")
    word = secrets.token_hex(8)  # what is printed without it is the login's own
    stolen = run_process(node, [*sync_ssh(node, settings), f"echo {word}"], timeout=ASK_TIMEOUT)
    if stolen.exit_code == 0 or word in stolen.stdout:
        return "works, but also runs a shell command"
    if not is_admitted(seen, settings.admitted):
        return f"works, but not by the line that phase 1 wrote: the node sees the controller at {str(seen)[:60]!r}"
    if session.chatter and settings.sync.method in ("auto", "star"):
        return (
            f"works, but root's login there prints {excerpt(session.chatter, 60)!r}, which rsync takes for an answer "
            "(mend .bashrc, .cshrc or .ssh/rc of root there, or set sync.method to relay)"
        )
    return "works, refuses a shell"


def is_admitted(address: Any, networks: Sequence[str]) -> bool:
    """Whether from="…" with these *networks* lets a login from *address* in; it does without any."""
    with suppress(ValueError):
        return not networks or any(ip_address(address) in ip_network(network) for network in networks)
    return False
