"""What one machine says about its registry: reading only, never changing.

One file, standard library only, Python >= 3.6: it is piped to machines where nothing needs to be installed,

    ssh NODE python3 - facts NONCE REQUEST < facts.py

REQUEST is a JSON object. The answer is one line, `hpcregistry NONCE {…}`, whatever a login prints before it; it holds
the result or {"error": text}.
"""

import contextlib
import functools
import grp
import hashlib
import itertools
import json
import os
import pwd
import re
import stat
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Json = Dict[str, Any]
NamedFile = Tuple[str, os.stat_result, Optional[str]]  # DIRECTORY/NAME, lstat, digest of the object

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.sif\Z")
DIRECTORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
HEADER_SIZE = 128  # bytes of the SIF global header, enough to see a truncated file
STAGING = ".registry/staging"
BASES = ".registry/bases"
OBJECTS = ".registry/objects/sha256"
CATALOG = ".registry/catalog.yaml"
PEERS = ".registry/peers"
SIGNERS = ".registry/allowed_signers"
LOCK = ".registry/lock"
MOST_DENIED = 1000  # paths that a user cannot read, of which a list is given
MOST_PRINTED = 16 << 10  # bytes of a command's output
START = 30  # seconds for an image to start
MOST_STAGED = 1000  # files in staging/ that are reported
RESERVE = 64 << 20  # bytes that a file must leave free, on every machine
RUN_SETUP = "run phase 1 again: hpc-container-manager registry setup"


class Refused(Exception):
    """What was asked for is not done; the text says why, and `hint` what to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


class NotThere(Refused):
    """The bytes that shall be published are not here: they did not arrive, or were removed since."""


def gather(request: Json) -> Json:
    """What lies in the registry, and with request["host"] how the machine is set up, in one login. Sizes in bytes,
    times in seconds; the keys are the fields of core/machine.py."""
    registry = request["registry"]
    content = Hashes(request.get("names")) if request.get("content") else None
    objects = list_objects(registry, content)
    files = look_for_images(registry, request.get("directories", []), objects)
    images = [describe_image(registry, *file, content, request) for file in files]
    shown = {} if request.get("brief") else objects
    found = {"objects": shown, "images": images, "catalog_digest": hash_file(os.path.join(registry, CATALOG))}
    if request.get("host"):
        found["host"] = describe_host(registry, request, images)
    return found


def describe_host(registry: str, request: Json, images: List[Json]) -> Json:
    """What a check of phase 1 needs: the paths that it makes, programs, accounts, keys, room, and who can read."""
    return {
        "hostname": os.uname().nodename,
        "time": time.time(),
        "uid": os.getuid(),
        "paths": {path: describe(path, follow=path == registry) for path in registry_paths(registry, request)},
        "texts": {path: read_text(path) for path in request.get("texts", [])},
        "filesystem": filesystem(registry),
        "staging": list_staging(registry),
        "accounts": accounts(request),
        "denied": {user: denied(user, registry, images) for user in request.get("readers", [])},
        "programs": {name: version(argv) for name, argv in PROGRAMS.items()},
        "runtime": run([request["runtime"], "--check"]) if request.get("runtime") else None,
        "authorized_keys": authorized_keys(request.get("login", "")),
        "commands": {text: run_bounded(argv) for text, argv in request.get("commands", {}).items()},
        "starts": {name: run_bounded([*request["start"], name], START) for name in request.get("started") or []},
    }


OPTIONS = {"python3": "--version", "rsync": "--version", "apptainer": "--version", "slurmd": "-V", "srun": "-V"}
PROGRAMS = {name: [name, option] for name, option in OPTIONS.items()}


def registry_paths(registry: str, request: Json) -> List[str]:
    inside = ["", ".registry", ".registry/config.yaml", "README.md", CATALOG, LOCK, PEERS, SIGNERS]
    inside += [OBJECTS, STAGING, BASES, *request.get("directories", [])]
    return [os.path.join(registry, path).rstrip("/") for path in inside] + list(request.get("paths", []))


def describe(path: str, follow: bool) -> Optional[Json]:
    """The stat of *path* in words, or None if it does not exist; of a link itself unless *follow*."""
    try:
        return describe_stat(os.stat(path, follow_symlinks=follow))
    except OSError:
        return None


def describe_stat(found: os.stat_result) -> Json:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return {
        "type": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": name_of(grp.getgrgid, found.st_gid),
        "size": found.st_size,
        "inode": found.st_ino,
        "device": found.st_dev,
        "links": found.st_nlink,
        "modified": found.st_mtime,
    }


@functools.lru_cache()  # thousands of images have one owner, whom a directory service knows
def name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def open_regular(path: str, parent: Optional[int] = None, follow_links: bool = False) -> int:
    """Open a regular file for reading. Anything else is Refused and not even opened: a FIFO would wait for its other
    end for ever, and a device may act."""
    if not stat.S_ISREG(os.stat(path, dir_fd=parent, follow_symlinks=follow_links).st_mode):
        raise Refused(f"{path} is not a regular file")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=parent)
    # Looked at again: it may have become another file in between.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a regular file")
    return descriptor


def read_text(path: str, most: int = 1 << 20) -> Optional[str]:
    """The first MiB, or *most* characters, of a text file that may be a link; None if there is none."""
    try:
        with open(open_regular(path, follow_links=True), errors="replace") as stream:
            return stream.read(most)
    except (OSError, Refused):
        return None


class Hashes:
    """SHA-256 of files by content, each inode read once however many names it has."""

    def __init__(self, names: Optional[List[str]]) -> None:
        self.names = names  # None: every image
        self.known: Dict[Tuple[int, int], str] = {}

    def digest(self, path: str, found: os.stat_result) -> str:
        key = (found.st_dev, found.st_ino)
        if key not in self.known:
            self.known[key] = hash_file(path) or "unreadable"
        return self.known[key]


def hash_file(path: str) -> Optional[str]:
    try:
        with open(open_regular(path), "rb") as file:
            return hash_descriptor(file.fileno())
    except (OSError, Refused):
        return None


def hash_descriptor(descriptor: int) -> str:
    """SHA-256 (hex) of all bytes of an open file, from its start."""
    total = hashlib.sha256()
    offset = 0
    while True:
        block = os.pread(descriptor, 1 << 20, offset)
        if not block:
            return total.hexdigest()
        total.update(block)
        offset += len(block)


def scan(path: str) -> "List[os.DirEntry[str]]":
    try:
        return sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        return []


def look(registry: str, directory: str) -> Iterator[Tuple[str, os.stat_result]]:
    """What is in a directory of the registry: names with what lstat says. What goes away meanwhile is passed over."""
    for entry in scan(os.path.join(registry, directory)):
        with contextlib.suppress(FileNotFoundError):
            yield entry.name, os.lstat(entry.path)


def list_directories(registry: str) -> List[str]:
    """Those in which images can lie, whoever made them."""
    return [one.name for one in scan(registry) if DIRECTORY_NAME.match(one.name) and one.is_dir(follow_symlinks=False)]


def list_objects(registry: str, content: Optional[Hashes]) -> Json:
    objects: Json = {}
    for name, found in look(registry, OBJECTS):
        regular = stat.S_ISREG(found.st_mode)
        if DIGEST.match(name) and (regular or content):  # who reads is shown what cannot be read, too
            objects[name] = {"size": found.st_size, "inode": found.st_ino, "device": found.st_dev}
            if content and (content.names is None or not regular):
                objects[name]["sha256"] = content.digest(os.path.join(registry, OBJECTS, name), found)
    return objects


def look_for_images(registry: str, directories: List[str], objects: Json) -> Iterator[NamedFile]:
    """Everything in some directories of the registry, with the object that it is a link to."""
    by_inode = {(entry["device"], entry["inode"]): digest for digest, entry in objects.items()}
    for directory in directories:
        for name, found in look(registry, directory):
            yield directory + "/" + name, found, by_inode.get((found.st_dev, found.st_ino))


def describe_image(
    registry: str, name: str, found: os.stat_result, digest: Optional[str], content: Optional[Hashes], request: Json
) -> Json:
    path = os.path.join(registry, name)
    image = dict(describe_stat(found), name=name, object=digest)
    if image["type"] == "file" and not request.get("brief"):
        image["header"] = read_header(path)
        if content and (content.names is None or name in content.names):
            image["sha256"] = content.digest(path, found)
            if request.get("inspect"):
                image["inspect"] = run(["apptainer", "inspect", path])
    return image


def read_header(path: str) -> str:
    try:
        with open(open_regular(path), "rb") as stream:
            return stream.read(HEADER_SIZE).hex()
    except (OSError, Refused):
        return ""


def list_staging(registry: str) -> List[Json]:
    """The first MOST_STAGED of what is in flight, or was left behind: a crowd there hides nothing else."""
    found = itertools.islice(look(registry, STAGING), MOST_STAGED)
    return [{"name": name, "size": status.st_size, "modified": status.st_mtime} for name, status in found]


def filesystem(path: str) -> Json:
    """Type, free and total bytes of what *path* lies on."""
    path = os.path.realpath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    size = os.statvfs(path)
    best = ("", "unknown", "")
    with open("/proc/self/mountinfo") as stream:
        for line in stream:
            fields, _, rest = line.partition(" - ")
            mount = fields.split()[4].replace("\\040", " ")
            if (path + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[0]):
                best = (mount, rest.split()[0], rest.split()[1])
    room = {"free": size.f_bavail * size.f_frsize, "total": size.f_blocks * size.f_frsize}
    return dict(zip(("mount", "type", "source"), best), **room)


def accounts(request: Json) -> Json:
    """Numeric ids of the users and groups asked for; None for one that does not exist here."""
    users = {name: id_of(pwd.getpwnam, name) for name in request.get("users", [])}
    return {"users": users, "groups": {name: id_of(grp.getgrnam, name) for name in request.get("groups", [])}}


def id_of(lookup: Callable[[str], Any], name: str) -> Optional[int]:
    try:
        return int(lookup(name)[2])
    except KeyError:
        return None


def denied(user: str, registry: str, images: List[Json]) -> Optional[List[str]]:
    """Paths of the registry that *user* can't read, tried as that user; None when it can't be tried."""
    if id_of(pwd.getpwnam, user) is None or os.getuid() != 0:
        return None
    account = pwd.getpwnam(user)
    paths = [os.path.join(registry, image["name"]) for image in images]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(os.getgrouplist(user, account.pw_gid))
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            refused = [] if os.access(registry, os.R_OK | os.X_OK) else [registry]
            refused += [path for path in paths if not os.access(path, os.R_OK)]
            os.write(writer, json.dumps(refused[:MOST_DENIED]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


def run(argv: List[str], seconds: int = 20, stdin: str = "") -> Optional[Json]:
    """Exit code and last line of output of a program that only reads; None if it is not installed."""
    import shutil  # here, as a session loads this file at each login and runs nothing
    import subprocess

    # SingularityCE takes the same words as Apptainer, in whose place it may be.
    program = shutil.which(argv[0]) or (argv[0] == "apptainer" and shutil.which("singularity"))
    if not program:
        return None
    words, pipe, both = [program, *argv[1:]], subprocess.PIPE, subprocess.STDOUT
    try:
        done = subprocess.run(
            words, input=stdin, stdout=pipe, stderr=both, universal_newlines=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"exit": 124, "says": f"no answer within {seconds} s"}
    lines = done.stdout.strip().splitlines() or [""]
    return {"exit": done.returncode, "says": (lines[0] if done.returncode == 0 else lines[-1])[:200]}


def run_bounded(argv: List[str], seconds: int = 10) -> Json:
    """Exit code and the first MOST_PRINTED bytes of output of a command of somebody else's: as timeout(1) has it, 124
    when it took too long, and 127 when it is not installed. It is ended when nobody reads our own output any more."""
    import select
    import subprocess
    import threading

    pipe, null, lost = subprocess.PIPE, subprocess.DEVNULL, select.poll()
    lost.register(1, 0)  # poll(2): POLLERR and POLLHUP, as of a connection that broke, are always reported
    with subprocess.Popen(["timeout", "-k", "1", str(seconds), *argv], stdin=null, stdout=pipe, stderr=null) as process:

        def end_when_lost() -> None:
            lost.poll()
            process.terminate()

        threading.Thread(target=end_when_lost, daemon=True).start()
        printed = process.stdout.read(MOST_PRINTED) if process.stdout else b""
    return {"returncode": process.returncode, "stdout": printed.decode("utf-8", "replace")}


def version(argv: List[str]) -> Optional[str]:
    """First dotted number that the program prints; "" if it prints none, or fails; None if it is not installed."""
    answer = run(argv)
    if answer is None:
        return None
    number = None if answer["exit"] else re.search(r"\d+(\.\d+)+", answer["says"])
    return number.group(0) if number else ""


def authorized_keys(user: str) -> List[Json]:
    """Every key that may log in as that user: fingerprint of the key and the options before it, no key material."""
    keys = []
    for line in (read_text(os.path.expanduser("~" + user + "/.ssh/authorized_keys")) or "").splitlines():
        found = re.search(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (\S+)", line)
        if found and not line.startswith("#"):
            fingerprint = hashlib.sha256(found.group(2).encode()).hexdigest()
            keys.append({"fingerprint": fingerprint, "options": line[: found.start(1)].strip()})
    return keys


def result_of(work: Callable[..., Json], *arguments: Any) -> Json:
    """What *work* returns, or as {"error": text} why it did not."""
    try:
        return work(*arguments)
    except Refused as refusal:
        return dict({"error": str(refusal)}, **({"hint": refusal.hint} if refusal.hint else {}))
    except FileNotFoundError as error:
        return {"error": f"{error.strerror}: {error.filename}", "hint": RUN_SETUP}
    except OSError as error:
        return {"error": f"{error.strerror}: {error.filename}" if error.filename else str(error)}
    except Exception as error:  # whatever it is, it costs this request only
        return {"error": f"the agent failed: {error!r}"[:300]}


def write_line(nonce: str, result: Json) -> None:
    # The line break before it ends whatever an unfinished line of a login script left behind.
    sys.stdout.write(f"\nhpcregistry {nonce} {json.dumps(result)}\n")
    sys.stdout.flush()


def main(argv: List[str]) -> None:
    if argv[:1] != ["facts"] or len(argv) != 3:
        raise SystemExit("usage: python3 - facts NONCE REQUEST < facts.py")
    write_line(argv[1], result_of(gather, json.loads(argv[2])))


if __name__ == "__main__":
    main(sys.argv[1:])
