"""A conversation of the controller with one node, over one login.

Each line of input is a request, {"do": verb, "id": number, …} in the forms of requests.py; each is answered by one
line, as facts.py writes it, with the same id. The first line is {"nonce": …, "seconds": …}: every answer carries the
nonce, and after so many seconds without a request the session ends by itself. Between the answers there may be events,
{"event": …}.

Standard library only, Python >= 3.6.
"""

import contextlib
import os
import signal
import stat
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Dict, Optional, Set

from . import requests
from .address import own_address
from .facts import (
    BASES,
    CATALOG,
    OBJECTS,
    Json,
    Refused,
    filesystem,
    hash_file,
    list_directories,
    list_objects,
    look_for_images,
    result_of,
    write_line,
)
from .forms import Misshapen, read_json
from .publish import (
    METADATA,
    configured_mode,
    is_set,
    opened,
    opened_private,
    opened_registry,
    publish,
    unlink_if_there,
)

if TYPE_CHECKING:
    from .relay import Relay

FIRST_LINE = 60  # seconds that the first line may take to come


class Session:
    """Answers one request after the other until the controller hangs up."""

    def __init__(self, registry: str, lines: BinaryIO) -> None:
        """Take the first line. Raises SystemExit when it is none that the controller sends."""
        self.registry = registry
        self.lines = lines
        self.speaking = threading.Lock()
        self.relay: Optional[Relay] = None
        self.prepared: Set[str] = set()
        self.verbs: Dict[str, Callable[[Json], Json]] = {
            "have": lambda request: have(registry, request),
            "prepare": self.prepare,
            "publish": lambda request: publish(registry, request),
            "gc": self.collect,
            "repair": self.put_away_damaged,
            "remove": self.remove_names,
            "users": self.list_users,
            "relay": self.start_relay,
            "expect": self.expect,
            "send": self.send,
        }
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(FIRST_LINE)
        first = self.next_request()
        try:
            requests.FIRST(first, "the first line")
        except Misshapen as error:
            raise SystemExit(f"hpcregistry: {error}") from None
        self.nonce, self.patience = first["nonce"], first["seconds"]

    def next_request(self) -> Any:
        line = self.lines.readline(requests.LONGEST_REQUEST)
        try:
            return read_json(line.decode()) if line else None
        except (ValueError, RecursionError):
            raise SystemExit("hpcregistry: a line that is no request") from None

    def run(self) -> None:
        signal.alarm(self.patience)
        try:
            for request in iter(self.next_request, None):
                signal.alarm(self.patience)
                self.say(dict(result_of(self.do, request), id=number_of(request)))
        finally:
            if self.relay:
                self.relay.close()
            self.forget_bases()

    def do(self, request: Any) -> Json:
        return self.verbs[requests.check(request)["do"]](request)

    def say(self, said: Json) -> None:
        with self.speaking:
            write_line(self.nonce, said)

    def prepare(self, request: Json) -> Json:
        """Let rsync find the version before under the new object's name, so that it sends the difference only.

        The name is a link in bases/, which rsync's server reads and never writes to. Tells which of this node's
        addresses to send to.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.join(self.registry, BASES), 0o700)
        with opened_registry(self.registry) as root, opened(OBJECTS, root) as objects, opened_private(
            BASES, root
        ) as bases:
            self.prepared.update(request["bases"])
            if len(self.prepared) > requests.MOST_IMAGES:
                raise Refused(f"more than {requests.MOST_IMAGES} versions before, in one session")
            for digest, base in request["bases"].items():
                with contextlib.suppress(FileExistsError):
                    os.link(base, digest, src_dir_fd=objects, dst_dir_fd=bases, follow_symlinks=False)
        return {"address": own_address(request.get("network"))}

    def forget_bases(self) -> None:
        with contextlib.suppress(OSError, Refused), opened_private(os.path.join(self.registry, BASES)) as bases:
            for digest in self.prepared:
                unlink_if_there(digest, bases)

    def collect(self, request: Json) -> Json:
        from .gc import collect  # here, as every login loads all anew, on every node

        return collect(self.registry, request)

    def put_away_damaged(self, request: Json) -> Json:
        from .repair import put_away_damaged  # as above

        return put_away_damaged(self.registry, request)

    def remove_names(self, request: Json) -> Json:
        from .removal import remove_names  # as above

        return remove_names(self.registry, request)

    def list_users(self, request: Json) -> Json:
        from .removal import list_users  # as above

        return list_users(self.registry, request)

    def start_relay(self, request: Json) -> Json:
        """Be ready to receive; tells where."""
        from .relay import Relay  # here, for TLS is a third of what there is to load, and most sessions need none

        if self.relay:
            self.relay.close()
        self.relay = Relay(self.registry, request, self.say)
        return {"address": self.relay.address, "port": self.relay.receiver.port}

    def expect(self, request: Json) -> Json:
        self.needed_relay().receiver.expect(request["link"])
        return {}

    def send(self, request: Json) -> Json:
        self.needed_relay().send_to(request)
        return {}

    def needed_relay(self) -> "Relay":
        if not self.relay:
            raise Refused("there is no transfer yet")
        return self.relay


def number_of(request: Any) -> Any:
    """The id of what may be no request at all."""
    return request.get("id") if isinstance(request, dict) else None


def give_up(*_: Any) -> None:
    raise SystemExit("hpcregistry: no request from the controller in time: session closed")


def modified(path: str) -> Optional[int]:
    try:
        return max(0, int(os.lstat(path).st_mtime))
    except OSError:
        return None


def have(registry: str, request: Json) -> Json:
    """Which objects are here, which object each name means (None: a file of someone else's), and the room left.

    `changed` is the names whose owner or mode somebody changed; publish gives them the right ones again. `blocked` is
    the names in whose place a directory lies, which it leaves.
    Also when request["probe"] was modified (seconds), a file that the controller has just made in its registry: whoever
    knows that has the same registry, on a shared file system.
    """
    objects = list_objects(registry, None)
    names, changed, blocked, mode = {}, [], [], configured_mode(registry)
    owner = os.stat(os.path.join(registry, OBJECTS))
    for name, found, digest in look_for_images(registry, list_directories(registry), objects):
        names[name] = digest
        if digest and not is_set(found, owner, mode):
            changed.append(name)
        if stat.S_ISDIR(found.st_mode):
            blocked.append(name)
    return {
        "objects": {digest: entry["size"] for digest, entry in objects.items()},
        "names": names,
        "changed": changed,
        "blocked": blocked,
        "catalog_digest": hash_file(os.path.join(registry, CATALOG)),
        "free": filesystem(registry)["free"],
        # Where this node sees the controller: what from="…" before the sync key is compared with.
        "from": os.environ.get("SSH_CONNECTION", "").partition(" ")[0] or None,
        "probe": modified(os.path.join(registry, METADATA, request["probe"])) if request.get("probe") else None,
    }
