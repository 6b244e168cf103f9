"""The agent: what one machine tells about its registry, and the only way in which a name in it ever changes.

One file, standard library only, Python >= 3.6. It is used in three ways:

    ssh NODE python3 - facts NONCE REQUEST < agent.py    reading: nothing needs to be installed
    agent.py serve --registry PATH                       writing: the forced command of the sync key
    from pytest_hpcregistry import agent                 the controller publishes on itself by the same code

REQUEST is a JSON object. The answer is one line, `hpcregistry NONCE {…}`: a login banner or a chatty shell start-up
file before it does no harm. The answer holds either the result or {"error": text}.
"""

import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Json = Dict[str, Any]
Inodes = Dict[Tuple[int, int], str]  # (device, inode) -> digest

PROTOCOL = 1
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.sif\Z")
DIRECTORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
MAX_REQUEST = 8 << 20  # bytes; a catalog of some thousand images fits
HEADER_SIZE = 128  # bytes of the SIF global header, enough to see a truncated file
STAGING = ".registry/staging"
OBJECTS = ".registry/objects/sha256"
CATALOG = ".registry/catalog.yaml"
LOCK = ".registry/lock"
# What rsync's client asks for when engines/star.py calls it; whatever else someone with the key asks for is refused.
RSYNC_SHORT = re.compile(r"-[A-Za-z.]+\Z")
RSYNC_LONG = re.compile(r"--(log-format=[%a-zA-Z]*|timeout=\d+|bwlimit=\d+|fsync|no-W|new-compress|whole-file)\Z")


class Refused(Exception):
    """What was asked for is not done; the text says why."""


# --- facts: reading, never changing -------------------------------------------------------------------------------


def gather(request: Json) -> Json:
    """Everything that the checks want to know of this machine, in one trip. Sizes in bytes, times in seconds."""
    registry = request["registry"]
    content = Hashes(request.get("names")) if request.get("content") else None
    objects = list_objects(registry, content)
    by_inode = {(entry["device"], entry["inode"]): digest for digest, entry in objects.items()}
    images = []
    for directory in request.get("directories", []):
        images += list_images(registry, directory, by_inode, content, bool(request.get("inspect")))
    return {
        "protocol": PROTOCOL,
        "hostname": os.uname().nodename,
        "time": time.time(),
        "uid": os.getuid(),
        "paths": {path: describe(path) for path in registry_paths(registry, request)},
        "texts": {path: read_text(path) for path in request.get("texts", [])},
        "catalog_digest": hash_file(os.path.join(registry, CATALOG)),
        "filesystem": filesystem(registry),
        "staging": list_staging(registry),
        "objects": objects,
        "images": images,
        "accounts": accounts(request),
        "denied": {user: denied(user, registry, images) for user in request.get("readers", [])},
        "programs": {name: version(argv) for name, argv in PROGRAMS.items()},
        "authorized_keys": authorized_keys(),
    }


PROGRAMS = {
    "python3": ["python3", "--version"],
    "rsync": ["rsync", "--version"],
    "rrsync": ["rrsync", "--help"],
    "apptainer": ["apptainer", "--version"],
    "slurmd": ["slurmd", "-V"],
    "srun": ["srun", "-V"],
}


def registry_paths(registry: str, request: Json) -> List[str]:
    inside = ["", ".registry", ".registry/config.yaml", CATALOG, LOCK, OBJECTS, STAGING, "README.md"]
    inside += list(request.get("directories", []))
    return [os.path.join(registry, path).rstrip("/") for path in inside] + list(request.get("paths", []))


def describe(path: str) -> Optional[Json]:
    """The lstat of *path* in words, or None if it does not exist."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return describe_stat(found)


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


def name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def read_text(path: str) -> Optional[str]:
    try:
        with open(path, errors="replace") as stream:
            return stream.read(1 << 20)
    except OSError:
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
        with open(path, "rb") as stream:
            return hash_descriptor(stream.fileno())
    except OSError:
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


def list_objects(registry: str, content: Optional[Hashes]) -> Json:
    objects: Json = {}
    for entry in scan(os.path.join(registry, OBJECTS)):
        found = entry.stat(follow_symlinks=False)
        if DIGEST.match(entry.name) and stat.S_ISREG(found.st_mode):
            objects[entry.name] = {"size": found.st_size, "inode": found.st_ino, "device": found.st_dev}
            if content and content.names is None:
                objects[entry.name]["sha256"] = content.digest(entry.path, found)
    return objects


def list_images(
    registry: str, directory: str, by_inode: Inodes, content: Optional[Hashes], inspect: bool
) -> List[Json]:
    images = []
    for entry in scan(os.path.join(registry, directory)):
        name = directory + "/" + entry.name
        found = entry.stat(follow_symlinks=False)
        image = dict(describe_stat(found), name=name, object=by_inode.get((found.st_dev, found.st_ino)))
        if image["type"] == "file":
            image["header"] = read_header(entry.path)
            if content and (content.names is None or name in content.names):
                image["sha256"] = content.digest(entry.path, found)
                if inspect:
                    image["inspect"] = run(["apptainer", "inspect", entry.path])
        images.append(image)
    return images


def read_header(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read(HEADER_SIZE).hex()
    except OSError:
        return ""


def list_staging(registry: str) -> List[Json]:
    return [
        {"name": entry.name, "size": found.st_size, "modified": found.st_mtime}
        for entry in scan(os.path.join(registry, STAGING))
        for found in [entry.stat(follow_symlinks=False)]
    ]


def filesystem(path: str) -> Json:
    """Type, free and total bytes of what *path* lies on."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    size = os.statvfs(path)
    best = ("", "unknown", "")
    with open("/proc/self/mountinfo") as stream:
        for line in stream:
            fields, _, rest = line.partition(" - ")
            mount = fields.split()[4].replace("\\040", " ")
            if (path + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[0]):
                best = (mount, rest.split()[0], rest.split()[1])
    return {
        "mount": best[0],
        "type": best[1],
        "source": best[2],
        "free": size.f_bavail * size.f_frsize,
        "total": size.f_blocks * size.f_frsize,
    }


def accounts(request: Json) -> Json:
    """Numeric ids of the users and groups asked for; None for one that does not exist here."""
    users = {name: id_of(pwd.getpwnam, name) for name in request.get("users", [])}
    groups = {name: id_of(grp.getgrnam, name) for name in request.get("groups", [])}
    return {"users": users, "groups": groups}


def id_of(lookup: Callable[[str], Any], name: str) -> Optional[int]:
    try:
        return int(lookup(name)[2])
    except KeyError:
        return None


def denied(user: str, registry: str, images: List[Json]) -> Optional[List[str]]:
    """Paths of the registry that *user* can't read, tried as that user; None when it can't be tried."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return None
    if os.getuid() != 0:
        return None
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
            os.write(writer, json.dumps(refused[:20]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


def run(argv: List[str], seconds: int = 20) -> Optional[Json]:
    """Exit code and last line of output of a program that only reads; None if it is not installed."""
    if not shutil.which(argv[0]):
        return None
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"exit": 124, "says": f"no answer within {seconds} s"}
    lines = done.stdout.strip().splitlines() or [""]
    return {"exit": done.returncode, "says": (lines[0] if done.returncode == 0 else lines[-1])[:200]}


def version(argv: List[str]) -> Optional[str]:
    """First dotted number that the program prints; "" if it prints none; None if it is not installed."""
    answer = run(argv)
    if answer is None:
        return None
    number = re.search(r"\d+(\.\d+)+", answer["says"])
    return number.group(0) if number else ""


def authorized_keys() -> List[Json]:
    """Every key that may log in as this user: fingerprint of the key and the options before it, no key material."""
    keys = []
    for line in (read_text(os.path.expanduser("~/.ssh/authorized_keys")) or "").splitlines():
        found = re.search(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (\S+)", line)
        if found and not line.startswith("#"):
            fingerprint = hashlib.sha256(found.group(2).encode()).hexdigest()
            keys.append({"fingerprint": fingerprint, "options": line[: found.start(1)].strip()})
    return keys


# --- have: what sync wants to know, and all that the sync key can read ---------------------------------------------


def have(registry: str, _request: Json) -> Json:
    """Which objects are here, which object each name means (None: a file of someone else's), and the room left."""
    objects = list_objects(registry, None)
    by_inode = {(entry["device"], entry["inode"]): digest for digest, entry in objects.items()}
    names = {}
    for directory in scan(registry):
        if DIRECTORY_NAME.match(directory.name) and directory.is_dir(follow_symlinks=False):
            for entry in scan(directory.path):
                found = entry.stat(follow_symlinks=False)
                names[directory.name + "/" + entry.name] = by_inode.get((found.st_dev, found.st_ino))
    return {
        "protocol": PROTOCOL,
        "objects": {digest: entry["size"] for digest, entry in objects.items()},
        "names": names,
        "catalog_digest": hash_file(os.path.join(registry, CATALOG)),
        "free": filesystem(registry)["free"],
    }


# --- publish: the only way a name changes -------------------------------------------------------------------------


def publish(registry: str, request: Json) -> Json:
    """Make each of request["images"] ({name, digest, size}) appear under its name, then the catalog if one is given.

    The bytes must lie in staging/ under their digest, or in objects/ already. Refused is raised, and the old file
    stays, when the bytes that are on this disk are not the ones that the digest means.
    """
    with locked(registry) as root:
        return apply(root, request)


@contextlib.contextmanager
def locked(registry: str) -> Iterator[int]:
    """Hold the registry's kernel lock, which nothing can leave behind, and give a descriptor of the registry."""
    root = open_directory(registry, None)
    try:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield root
        finally:
            os.close(lock)
    finally:
        os.close(root)


def apply(root: int, request: Json) -> Json:
    """What publish() does, for a caller who holds the lock."""
    mode = int(request.get("mode", "0755"), 8)
    if mode & ~0o755:
        raise Refused(f"mode {mode:04o} would let others write, or run as the owner")
    changed = [image["name"] for image in request.get("images", []) if publish_image(root, image, mode)]
    catalog = publish_catalog(root, request["catalog"], request["objects"]) if request.get("catalog") else "kept"
    return {"protocol": PROTOCOL, "changed": changed, "catalog": catalog}


def open_directory(path: str, parent: Optional[int]) -> int:
    """Open a directory without following a link in its last part."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def publish_image(root: int, image: Json, mode: int) -> bool:
    directory_name, _, file_name = image["name"].partition("/")
    if not DIRECTORY_NAME.match(directory_name) or not FILE_NAME.match(file_name) or not DIGEST.match(image["digest"]):
        raise Refused(f"{image['name']!r} with digest {image['digest']!r} is not an image of this registry")
    directory = open_directory(directory_name, root)
    objects = open_directory(OBJECTS, root)
    staging = open_directory(STAGING, root)
    try:
        if not has_object(objects, image):
            accept(staging, objects, image, mode, os.fstat(directory))
        return link_name(objects, image["digest"], directory, file_name)
    finally:
        for descriptor in (directory, objects, staging):
            os.close(descriptor)


def has_object(objects: int, image: Json) -> bool:
    try:
        found = os.stat(image["digest"], dir_fd=objects, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == image["size"]


def accept(staging: int, objects: int, image: Json, mode: int, owner: os.stat_result) -> None:
    """Move the bytes from staging/ to objects/ if they are what their name says: by one descriptor, never reopened."""
    try:
        descriptor = os.open(image["digest"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging)
    except FileNotFoundError:
        raise Refused(f"the bytes of {image['name']} did not arrive") from None
    try:
        found = os.fstat(descriptor)
        actual = hash_descriptor(descriptor) if stat.S_ISREG(found.st_mode) else "no regular file"
        if actual != image["digest"] or found.st_size != image["size"]:
            os.unlink(image["digest"], dir_fd=staging)
            arrived = f"{found.st_size} bytes with digest {actual[:12]}"
            wanted = f"{image['size']} bytes with {image['digest'][:12]}"
            raise Refused(f"{image['name']} arrived as {arrived}, not {wanted}")
        os.fchown(descriptor, owner.st_uid, owner.st_gid)  # the ids of this node: they may differ between nodes
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(image["digest"], image["digest"], src_dir_fd=staging, dst_dir_fd=objects)
    os.fsync(objects)


def link_name(objects: int, digest: str, directory: int, file_name: str) -> bool:
    """Let *file_name* be a hard link to the object; a job that runs from the old file keeps the old inode."""
    wanted = os.stat(digest, dir_fd=objects, follow_symlinks=False)
    try:
        present = os.stat(file_name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        present = None
    if present and (present.st_dev, present.st_ino) == (wanted.st_dev, wanted.st_ino):
        return False
    beside = f".{file_name[:200]}.{os.getpid()}"
    try:
        os.link(digest, beside, src_dir_fd=objects, dst_dir_fd=directory, follow_symlinks=False)
        os.rename(beside, file_name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        unlink_if_there(beside, directory)
        raise
    os.fsync(directory)
    return True


def unlink_if_there(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def publish_catalog(root: int, text: str, digests: List[str]) -> str:
    """Write the catalog, unless it names an object that is not here: a reader must never follow it to nothing."""
    objects = open_directory(OBJECTS, root)
    metadata = open_directory(".registry", root)
    try:
        present = set(os.listdir(objects))
        if not present.issuperset(digests):
            return "behind"
        write_file(metadata, "catalog.yaml", text.encode())
        return "written"
    finally:
        os.close(objects)
        os.close(metadata)


def write_file(directory: int, name: str, data: bytes) -> None:
    """Replace a small file as a whole: temporary name, fsync, rename, fsync of the directory."""
    beside = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    unlink_if_there(beside, directory)
    descriptor = os.open(beside, flags, 0o600, dir_fd=directory)
    try:
        owner = os.fstat(directory)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fchmod(descriptor, 0o644)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        unlink_if_there(beside, directory)
        raise
    finally:
        os.close(descriptor)
    os.fsync(directory)


# --- serve: the forced command of the sync key --------------------------------------------------------------------


def serve(registry: str, command: str) -> None:
    """Do what the holder of the sync key asks for in *command* (SSH_ORIGINAL_COMMAND), if it is one of three things."""
    words = shlex.split(command)
    if words[:2] == ["rsync", "--server"]:
        receive_by_rsync(registry, words)
        return
    if words not in (["have"], ["publish"]):
        raise SystemExit("hpcregistry: this key can only sync the registry")
    request = json.loads(sys.stdin.buffer.read(MAX_REQUEST).decode())
    answer(str(request["nonce"]), have if words == ["have"] else publish, registry, request)


def receive_by_rsync(registry: str, words: List[str]) -> None:
    """Hand over to rrsync, which confines rsync to writing below staging/, after allowing only what we ever send."""
    options, places = words[2:-2], words[-2:]
    if places != [".", "."] or not all(RSYNC_SHORT.match(word) or RSYNC_LONG.match(word) for word in options):
        raise SystemExit("hpcregistry: this key can only send files to the registry's staging directory")
    os.environ["SSH_ORIGINAL_COMMAND"] = " ".join(words)
    os.execvp("rrsync", ["rrsync", "-wo", "-no-del", "-no-lock", os.path.join(registry, STAGING)])


def answer(nonce: str, work: Callable[..., Json], *arguments: Any) -> None:
    try:
        result = work(*arguments)
    except Refused as refusal:
        result = {"error": str(refusal)}
    except OSError as error:
        result = {"error": f"{error.strerror}: {error.filename}" if error.filename else str(error)}
    except (KeyError, TypeError, ValueError) as error:
        result = {"error": f"a request that this agent does not understand: {error!r}"}
    sys.stdout.write(f"\nhpcregistry {nonce} {json.dumps(result)}\n")
    sys.stdout.flush()


def main(argv: List[str]) -> None:
    os.umask(0o077)
    if argv[:1] == ["facts"] and len(argv) == 3:
        answer(argv[1], gather, json.loads(argv[2]))
    elif argv[:2] == ["serve", "--registry"] and len(argv) == 3:
        serve(argv[2], os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    else:
        raise SystemExit("usage: agent.py serve --registry PATH | agent.py facts NONCE REQUEST")


if __name__ == "__main__":
    main(sys.argv[1:])
