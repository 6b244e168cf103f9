"""Text of a configuration -> values. Every reader raises ValueError that says what is wrong and what would be right.

What passes here goes into command lines and paths, so each is an allow-list: no option (`-x`), no space,
no shell character.
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import os
import posixpath
import pwd
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import prod
from pathlib import Path

from . import nodeset
from .errors import UsageError
from .names import DIRECTORY_NAME, NODE_NAME, excerpt, visible

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
REMOTE_PATH = re.compile(r"(?:/[A-Za-z0-9._+-]+)+\Z")
MODE = re.compile(r"(?:0o|0)?([0-7]{3,4})\Z")
SIGNER = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,127} "
    r"(sk-)?(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)? [A-Za-z0-9+/]{40,4000}={0,2}\Z"
)
NO_TEXT = re.compile(r"(?:null|true|false)\Z", re.IGNORECASE)
"""What every YAML takes for something else than text, unless it is quoted, which nobody sees here: no name either."""
OUTSIDE_BRACKETS = r"(?![^\[]*\])"
NODE_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
NODE_LIMIT = 100_000


def suggest(word: str, known: Iterable[str]) -> str:
    """The nearest of *known*, or all of them, as the end of a message."""
    known = list(known)
    return perhaps(nearest(word, known)) or " Known: " + ", ".join(known)


def perhaps(near: str) -> str:
    """What was meant, perhaps, as the end of a message; nothing where *near* is ""."""
    return f' Perhaps you meant "{visible(near)}"?' if near else ""


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The one of *known* that is like *word*, as difflib's ratio has it; "" if none is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)), "")


def nearest_image(wanted: str, images: Iterable[str]) -> str:
    """The one of *images* whose file has a name like *wanted*'s, in whichever directory; "" if none has."""
    stems = {stem(name): name for name in images}
    return stems.get(nearest(stem(wanted), stems), "")


def stem(name: str) -> str:
    """`pytorch`, of ml-frameworks/pytorch.sif."""
    return name.rpartition("/")[2].removesuffix(".sif")


def read_word(text: str) -> str:
    if text.startswith("-") or not text.isprintable():
        raise ValueError(f"{text!r} must not begin with - or hold control characters")
    return text


def is_name(text: str, form: re.Pattern[str]) -> bool:
    return bool(form.match(text)) and not NO_TEXT.match(text)


def read_host(text: str) -> str:
    if not is_name(text, NAME) and not is_ipv6(text):
        raise ValueError(f"{text!r} is neither a host name nor an address")
    return text


def is_ipv6(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def read_account(text: str) -> str:
    if not is_name(text, ACCOUNT):
        raise ValueError(f"{text!r} is not a user or group name")
    return text


def read_partition(text: str) -> str:
    if not is_name(text, NAME):
        raise ValueError(f"{text!r} is not the name of a partition")
    return text


def read_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def read_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError(f"{text!r} is not a whole number of at most 4 digits")
    return int(text)


def read_rate(text: str) -> int:
    """`100M` -> bytes/s; K, M and G are powers of 1024, as rsync's and curl's."""
    rate = read_bytes(text)
    if rate is None:
        raise ValueError(f"{text!r} is not a rate in bytes/s, such as 100M")
    return rate


def read_memory(text: str) -> int:
    """`8G` -> bytes, as read_rate; Apptainer itself takes 1G of addresses."""
    size = read_bytes(text)
    if size is None or size < 1 << 30:
        raise ValueError(f"{text!r} is not a number of bytes, such as 8G, and at least 1G")
    return size


def read_bytes(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text, re.IGNORECASE)
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()] if found else None


def read_size(text: str) -> int:
    """`20GB`, `500 MB`, or bytes, decimal as disks are sold; `20GiB` in powers of 1024."""
    found = re.fullmatch(r"([0-9]{1,12}) ?(?:([KMGT])(i?))?B?", text, re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is not a size such as 20GB or 20GiB")
    return int(found[1]) * int((1024 if found[3] else 1000) ** " KMGT".index((found[2] or " ").upper()))


def read_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a network, such as 10.20.0.0/16") from None


def read_source(text: str) -> str:
    """An address, or a network, that logins come from."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise ValueError(f"{text!r} is neither an address nor a network, such as 10.20.0.0/16")
    return str(network) if "/" in text else str(network.network_address)


def read_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def read_switch(text: str) -> bool:
    if text.lower() not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "yes", "on")


def read_directory_mode(text: str) -> int:
    value = read_mode(text)
    if value & 0o700 != 0o700:
        raise ValueError(f"{text!r} shuts the owner out; write for example 0755")
    return value


def read_file_mode(text: str) -> int:
    value = read_mode(text)
    if value & 0o400 != 0o400 or value > 0o777:
        raise ValueError(f"{text!r} shuts the owner out or has special bits; write for example 0755")
    return value


def read_mode(text: str) -> int:
    match = MODE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not an octal mode; write for example 0755")
    return int(match[1], 8)


def read_remote_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must be absolute")
    if posixpath.normpath(text).replace("//", "/") != text:
        raise ValueError(f"{text!r} must be written as {posixpath.normpath(text).replace('//', '/')!r}")
    if not REMOTE_PATH.match(text):
        raise ValueError(f"{text!r} must hold only letters, digits and . _ + - between its slashes")
    return text


def read_local_file(text: str, folder: Path = Path()) -> Path:
    """A file of this machine that can be read; `~` is the home directory, a relative path begins at *folder*."""
    try:
        path = folder / Path(read_word(text)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text!r}: {error}") from None
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is not a regular file")
        with path.open("rb"):
            return path
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"no such file: {path}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"{path} cannot be read as user {own_name()} ({why})") from None


def own_name() -> str:
    """Who this is, as files have it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r} is not known.{suggest(text, known)}")
        return text

    return read


def read_directory(text: str) -> str:
    if not is_name(text, DIRECTORY_NAME):
        raise ValueError(f"{text!r} is not a name for a directory: letters, digits, _ and - only")
    return text


def is_key(kind: str, encoded: str) -> bool:
    """Whether this is the public half of an SSH key of that kind, as far as it says itself; RFC 4253, 6.6."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    length = int.from_bytes(data[:4], "big")
    return data[4 : 4 + length] == kind.encode() and len(data) > 4 + length + 4


def read_signer(text: str) -> str:
    """`PRINCIPAL TYPE KEY`: who signs, and with which SSH key, as ssh-keygen prints its public half."""
    if not SIGNER.match(text) or not is_key(*text.split()[1:]):
        raise ValueError(f"{excerpt(text)} is not PRINCIPAL TYPE KEY, such as alice@site ssh-ed25519 AAAAC3NzaC1lZDI1…")
    return text


def read_bind(text: str) -> str:
    """`SOURCE[:TARGET[:ro|rw]]`, as `apptainer exec --bind` takes it; the paths are absolute."""
    if not re.fullmatch(r"/[^:,\s]*(:/[^:,\s]*(:(ro|rw))?)?", text) or not text.isprintable():
        raise ValueError(f"{text!r} is not SOURCE[:TARGET[:ro]], such as /scratch or /data/sets:/data:ro")
    return text


def read_variable(text: str) -> str:
    """`NAME=VALUE`, a variable of a job's environment."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}=.{0,1000}", text) or not text.isprintable():
        raise ValueError(f"{text!r} is not NAME=VALUE, such as OMP_PROC_BIND=true")
    return text


def read_runtime_option(text: str) -> str:
    """`--NAME[=VALUE]`, an option of `apptainer exec` as one word."""
    if not re.fullmatch(r"--[a-z][a-z-]{1,40}(=.{1,1000})?", text) or not text.isprintable():
        raise ValueError(f"{text!r} is not an option as one word, such as --no-home or --pwd=/work")
    return text


def read_node_names(text: str) -> list[str]:
    """The names that a node set means, each as often as it is written there."""
    if is_name(text, NODE_NAME):
        return [text]
    if re.search("[@*]", text):
        # ClusterShell would look them up in the configuration of whichever machine this runs on.
        raise ValueError(f"{text!r} must not use groups (@) or *; write the names out")
    # Split first: ClusterShell silently drops a name that is there twice. Its operators need the whole text.
    parts = [text] if re.search("[!&^]", text) else re.split("," + OUTSIDE_BRACKETS, text)
    limit_nodes(text)
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise ValueError(f"{text!r} has a comma too many")
    try:
        names = [name for part in parts for name in nodeset.expand(part.strip())]
    except UsageError as error:
        raise ValueError(str(error)) from None
    for name in names:
        if not is_name(name, NODE_NAME):
            raise ValueError(f"{name!r} is not a name for a node: letters, digits, . _ and - only")
    return names


def limit_nodes(text: str) -> None:
    """Raise ValueError for a node set of more than NODE_LIMIT nodes, before it is expanded."""
    if sum(count_at_most(part) for part in re.split("[,!&^]" + OUTSIDE_BRACKETS, text)) > NODE_LIMIT:
        raise ValueError(f"{text!r} means more than {NODE_LIMIT} nodes")


def count_at_most(part: str) -> int:
    """At most this many nodes: ClusterShell would expand c[1-999999999] before it could be counted."""
    brackets = re.findall(r"\[([^\]]*)\]", part)
    return prod(sum(count_range(piece) for piece in bracket.split(",")) for bracket in brackets)


def count_range(piece: str) -> int:
    match = NODE_RANGE.search(piece)
    return abs(int(match[2][:12]) - int(match[1][:12])) + 1 if match else 1


def find_repeated(names: Sequence[str]) -> list[str]:
    """The names that are there more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]
