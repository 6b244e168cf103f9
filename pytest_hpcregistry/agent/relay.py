"""Bytes that a node passes on to the next while they still arrive, each piece only after its digest was right.

Standard library only, Python >= 3.6. Every connection is TLS; both ends show the certificate of this transfer, which
came by ssh. The sender names the link (8 bytes that only it, its receiver and the controller know), the receiver says
how many bytes it has (8 bytes, big-endian), and the sender sends what follows, to the end.
"""

import contextlib
import hmac
import os
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from typing import Callable, Dict, List, Optional, Set, Tuple

from .address import check_peer, own_address
from .facts import RESERVE, STAGING, Json, Refused, filesystem
from .pieces import Pieces, piece_size
from .publish import clear_directories, opened_private, unlink_if_there

WORD = 8  # bytes of what both ends say first
BLOCK = 256 << 10  # bytes sent at once, without a limit
BLOCKS_A_SECOND = 5  # at least, with a limit: whoever gets nothing for seconds is taken for dead
HANDSHAKE = 5  # seconds for a connection to be made and both ends to prove themselves
MOST_AT_DOOR = 32  # unproven connections; beyond, the oldest of the address with most of them is closed
MOST_TOLD_OF = 100  # addresses
TELL_EVERY = 0.2  # seconds between two words about progress
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h: a node's clock may be years off

Tell = Callable[[Json], None]


def make_context(certificate: str, server: bool) -> ssl.SSLContext:
    """TLS in which the other end must show the very *certificate* (PEM, with its key) that this end shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate is the transfer's, not a host's
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate[certificate.index("-----BEGIN CERTIFICATE") :])
    with tempfile.NamedTemporaryFile("w") as file:  # the ssl module reads keys from files only
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Receiver:
    """Listens for the node upstream, which sends. Another one takes the place of the one before."""

    def __init__(self, pieces: Pieces, certificate: str, address: str, tell: Tell) -> None:
        self.pieces = pieces
        self.context = make_context(certificate, server=True)
        self.tell = tell
        self.told = 0.0
        self.turn = threading.Lock()
        self.at_door: Dict[socket.socket, str] = {}  # callers that have proven nothing yet -> address, oldest first
        self.told_of: Set[str] = set()  # addresses from where somebody came who was not expected
        self.expected: Optional[str] = None
        self.upstream: Optional[ssl.SSLSocket] = None
        self.listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind((address, 0))
        self.listener.listen(64)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept_callers, daemon=True).start()

    def expect(self, link: str) -> None:
        """Let in the one who knows the name of this *link* (hex), once, in place of who sends now."""
        with self.turn:
            self.expected = link

    def accept_callers(self) -> None:
        while True:
            try:
                caller, address = self.listener.accept()
            except OSError:
                return  # closed
            self.open_door(caller, address[0])
            threading.Thread(target=self.let_in, args=(caller, address[0]), daemon=True).start()

    def open_door(self, caller: socket.socket, address: str) -> None:
        """Let one more prove itself. Where there are too many, the address that has most of them loses its oldest: a
        crowd from one place keeps nobody else out."""
        with self.turn:
            if len(self.at_door) >= MOST_AT_DOOR:
                crowd = Counter(self.at_door.values()).most_common(1)[0][0]
                oldest = next(one for one, place in self.at_door.items() if place == crowd)
                del self.at_door[oldest]
                hang_up(oldest)
            self.at_door[caller] = address

    def let_in(self, caller: socket.socket, address: str) -> None:
        """Take the caller for the new upstream, if it has the certificate and is the one that is expected."""
        with contextlib.closing(caller):
            link, name = self.hear_name(caller)
            with self.turn:
                self.at_door.pop(caller, None)
            if link is None or not self.take_upstream(link, name):
                self.refuse(address, name)
                return
            try:
                link.settimeout(None)  # the upstream may have nothing to send for a while: the controller decides
                link.sendall(self.pieces.have.to_bytes(WORD, "big"))
                self.take_pieces(link, name)
            except OSError as error:
                self.failed(link, error)
            finally:
                link.close()

    def hear_name(self, caller: socket.socket) -> Tuple[Optional[ssl.SSLSocket], str]:
        """The proven connection, and the name of the link that the caller says; neither, if it fails to."""
        try:
            caller.settimeout(HANDSHAKE)
            # A copy: the caller itself can still be hung up on from outside.
            link = self.context.wrap_socket(caller.dup(), server_side=True)
        except OSError:
            return None, ""
        try:
            return link, receive_exactly(link, WORD).hex()
        except OSError:
            link.close()
            return None, ""

    def take_upstream(self, link: ssl.SSLSocket, name: str) -> bool:
        with self.turn:
            if self.expected is None or not hmac.compare_digest(self.expected, name):
                return False
            self.expected = None
            if self.upstream:
                hang_up(self.upstream)
            self.upstream = link
            return True

    def refuse(self, address: str, name: str) -> None:
        """Tell of a caller that was not expected, once for each address."""
        with self.turn:
            if address in self.told_of or len(self.told_of) >= MOST_TOLD_OF:
                return
            self.told_of.add(address)
        self.tell({"event": "stranger", "address": address, "link": name})

    def take_pieces(self, link: ssl.SSLSocket, name: str) -> None:
        buffer = bytearray(max(self.pieces.piece, len(self.pieces.digests)))
        while self.pieces.have < self.pieces.total:
            view = memoryview(buffer)[: self.pieces.next_length()]
            filled = 0
            while filled < len(view):
                count = link.recv_into(view[filled:])
                if not count:
                    return  # the controller will send somebody else
                filled += count
                self.tell_progress(filled)
            with self.turn:
                if self.upstream is not link:
                    return
                if not self.pieces.accept(view):
                    self.upstream = None
                    self.tell({"event": "bad_piece", "link": name})
                    return
            self.tell_progress()

    def tell_progress(self, unproven: int = 0) -> None:
        now, have = time.monotonic(), self.pieces.have
        if now - self.told >= TELL_EVERY or have == self.pieces.total:
            self.told = now
            self.tell({"event": "has", "bytes": have, "arrived": have + unproven})

    def failed(self, link: ssl.SSLSocket, error: OSError) -> None:
        """A connection that broke is the controller's to replace; a disk that cannot be written is the end."""
        if self.upstream is link and not isinstance(error, (ssl.SSLError, ConnectionError, socket.timeout)):
            self.tell({"event": "failed", "why": os.strerror(error.errno) if error.errno else str(error)})

    def close(self) -> None:
        hang_up(self.listener)  # wakes the thread that waits for callers; until then the port would stay open
        self.listener.close()
        with self.turn:
            if self.upstream:
                hang_up(self.upstream)


def hang_up(link: socket.socket) -> None:
    """End a connection from another thread than the one that uses it, which then sees an error."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(link, socket.SHUT_RDWR)  # not SSLSocket's own: that frees what the other thread uses


class Sender(threading.Thread):
    """Sends to one other node what is proven here, as it comes, until that has it all or the controller says stop."""

    def __init__(self, pieces: Pieces, certificate: str, order: Json, tell: Tell) -> None:
        """*order*: the `node`, its `address` and `port`, the `link` (hex), the `rate` in bytes/s or 0 for no limit."""
        super().__init__(daemon=True)
        self.pieces = pieces
        self.certificate = certificate
        self.node = str(order["node"])
        self.to = (str(order["address"]), int(order["port"]))
        self.link_name = bytes.fromhex(order["link"])
        self.rate = int(order["rate"])
        self.tell = tell
        self.link: Optional[socket.socket] = None
        self.stopped = False

    def run(self) -> None:
        try:
            caller = socket.create_connection(self.to, HANDSHAKE)
            with make_context(self.certificate, server=False).wrap_socket(caller) as link:
                self.link = link
                self.send(link)
        except OSError:
            if not self.stopped:  # why is nobody's to know: it would tell what listens there
                self.tell({"event": "send_failed", "node": self.node})

    def send(self, link: ssl.SSLSocket) -> None:
        link.sendall(self.link_name)
        offset = int.from_bytes(receive_exactly(link, WORD), "big")
        link.settimeout(None)
        most = max(1, min(BLOCK, self.rate // BLOCKS_A_SECOND)) if self.rate else BLOCK
        began, first = time.monotonic(), offset
        while offset < self.pieces.total and not self.stopped:
            ready = self.pieces.wait_beyond(offset, 0.5)
            if ready > offset:
                block = self.pieces.read(offset, min(most, ready - offset))
                link.sendall(block)
                offset += len(block)
                if self.rate:
                    time.sleep(max(0.0, began + (offset - first) / self.rate - time.monotonic()))

    def stop(self) -> None:
        self.stopped = True
        if self.link:
            hang_up(self.link)


def receive_exactly(link: ssl.SSLSocket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise ConnectionError("it hung up")
        data += more
    return data


class Relay:
    """A node's part in one transfer: bytes come into staging/, and are sent on to another node."""

    def __init__(self, registry: str, request: Json, tell: Tell) -> None:
        self.registry = registry
        self.certificate = request["certificate"]
        self.tell = tell
        self.files: List[Tuple[int, str]] = []
        self.sender: Optional[Sender] = None
        sizes = [image["size"] for image in request["objects"]]
        if request["piece"] != piece_size(sum(sizes)):
            raise Refused(f"{sum(sizes)} bytes come in pieces of {piece_size(sum(sizes))}, not {request['piece']}")
        free = filesystem(registry)["free"]
        if sum(sizes) + RESERVE > free:
            raise Refused(f"{sum(sizes) / 1e6:.0f} MB and a reserve needed, {free / 1e6:.0f} MB free")
        try:
            with opened_private(os.path.join(registry, STAGING)) as staging:
                clear_directories(staging)
                for image in request["objects"]:
                    self.create(staging, image["digest"])
            descriptors = [descriptor for descriptor, _ in self.files]
            self.pieces = Pieces(list(zip(descriptors, sizes)), request["piece"], request["index"])
            self.address = own_address(request.get("network"))
            self.receiver = Receiver(self.pieces, self.certificate, self.address, tell)
        except BaseException:
            self.remove()
            raise

    def create(self, staging: int, digest: str) -> None:
        """Make the file in staging/ that an object comes into."""
        unlink_if_there(digest, staging)  # somebody else may still write to it
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.files.append((os.open(digest, flags, 0o600, dir_fd=staging), digest))

    def send_to(self, request: Json) -> None:
        """Send to the node that the controller names, in place of the one before."""
        check_peer(self.registry, request["node"], request["address"])
        if self.sender:
            self.sender.stop()
        self.sender = Sender(self.pieces, self.certificate, request, self.tell)
        self.sender.start()

    def close(self) -> None:
        self.receiver.close()
        if self.sender:
            self.sender.stop()
        self.remove()

    def remove(self) -> None:
        """Nothing half stays behind; what is whole and was published has left staging/ already."""
        with contextlib.suppress(OSError, Refused), opened_private(os.path.join(self.registry, STAGING)) as staging:
            for descriptor, digest in self.files:
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.stat(digest, dir_fd=staging, follow_symlinks=False), os.fstat(descriptor)):
                        os.unlink(digest, dir_fd=staging)
