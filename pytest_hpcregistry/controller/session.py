"""The controller's end of a conversation with the agent that phase 1 installed on a node."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from ..errors import CommandFailed, CommandTimeout, Unreachable
from ..transports.conversation import Conversation, Ended
from ..transports.local import run_process
from .nodes import ASK_TIMEOUT, check_answer, no_answer, read_line, sync_ssh

if TYPE_CHECKING:
    from .settings import Settings

# What an answer holds at least, by verb. A node may be of another version, or in a stranger's hands.
ANSWERS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "have": {"objects": dict, "names": dict, "catalog_digest": (str, type(None)), "free": int, "shared": bool},
    "prepare": {"address": str},
    "publish": {"catalog": str},
    "relay": {"address": str, "port": int},
    "gc": {"shared": bool, "in_use": list},
}


class NodeSession:
    """One login with the sync key, for as many requests as there are. `listen` is for one thread, `tell` for any."""

    def __init__(self, node: str, settings: Settings) -> None:
        self.node = node
        self.nonce = secrets.token_hex(8)
        self.numbers = itertools.count(1)
        self.conversation = Conversation(node, [*sync_ssh(settings), f"root@{node}", "session"])
        self.send({"nonce": self.nonce, "seconds": settings.timeout + ASK_TIMEOUT})

    def __enter__(self) -> NodeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. The agent removes what it had not published."""
        self.conversation.end()

    def ask(self, verb: str, request: dict[str, Any] | None = None, *, timeout: float = ASK_TIMEOUT) -> Any:
        """Have the agent do *verb* and return its answer; whatever it says before that is passed over.

        Raises Unreachable when there is none within *timeout* seconds, CommandFailed with the agent's own words.
        """
        number = self.tell(verb, request)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            said = self.listen(deadline - time.monotonic())
            if said is not None and said.get("id") == number:
                return check_form(self.node, verb, check_answer(self.node, said))
        raise Unreachable(f"{self.node}: no answer in time")

    def tell(self, verb: str, request: dict[str, Any] | None = None) -> int:
        """Have the agent do *verb*, without waiting for its answer, which will have the number that is returned."""
        number = next(self.numbers)
        self.send({"do": verb, "id": number, **(request or {})})
        return number

    def send(self, data: dict[str, Any]) -> None:
        try:
            self.conversation.send(json.dumps(data))
        except CommandTimeout as error:
            raise Unreachable(str(error)) from None

    def listen(self, timeout: float) -> Any:
        """The next thing that the agent says, an answer or an event; None when it is silent for *timeout* seconds.

        Whatever else the login prints is passed over. Raises Unreachable or CommandFailed when the session has ended.
        """
        deadline = time.monotonic() + timeout
        while True:
            line = self.conversation.receive(max(0.0, deadline - time.monotonic()))
            if line is None:
                return None
            if isinstance(line, Ended):
                if self.conversation.held.startswith(b"hpcregistry "):
                    raise CommandFailed(f"{self.node}: the agent's answer was cut off")
                raise no_answer(self.node, line.exit_code, line.stderr)
            if line.startswith(f"hpcregistry {self.nonce} "):
                return read_line(self.node, self.nonce, line)


def check_form(node: str, verb: str, answer: Any) -> Any:
    """Return *answer* if it holds what an answer to *verb* must hold; else CommandFailed is raised."""
    wrong = [name for name, kind in ANSWERS.get(verb, {}).items() if not isinstance(answer.get(name), kind)]
    if wrong:
        raise CommandFailed(
            f"{node}: the agent's answer to {verb!r} makes no sense: {', '.join(wrong)}",
            hint="is it of another version? hpc-container-manager registry setup",
        )
    return answer


def try_sync_key(node: str, settings: Settings) -> str:
    """Use the sync key as it is meant, then as a thief would: for a shell. Returns how that went."""
    with NodeSession(node, settings) as session:
        session.ask("have")
    stolen = run_process(node, [*sync_ssh(settings), f"root@{node}", "id -u"], timeout=ASK_TIMEOUT)
    if stolen.exit_code == 0 or stolen.stdout.strip():
        return "works, but also runs a shell command"
    return "works, refuses a shell"
