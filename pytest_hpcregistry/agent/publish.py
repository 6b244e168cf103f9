"""The only way a name changes, on the controller as on the nodes: bytes are proven first, by their digest.

Bytes are proven without the registry's lock, for that takes as long as they are many; only names change under it.
Standard library only, Python >= 3.6.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import stat
from typing import Iterator, List, Optional, Tuple

from . import signatures
from .facts import (
    DIGEST,
    DIRECTORY_NAME,
    FILE_NAME,
    LOCK,
    OBJECTS,
    RUN_SETUP,
    STAGING,
    Json,
    NotThere,
    Refused,
    hash_descriptor,
    open_regular,
    read_text,
)

METADATA = ".registry"
MOST_SAID = 3  # failures of images that are told of one by one
FILE_MODE = re.compile(r'^  file_mode: "(0[0-7]{3})"$', re.MULTILINE)  # in config.yaml, as the role renders it


def publish(registry: str, request: Json) -> Json:
    """Make each of request["images"] ({name, digest, size}) appear under its name, then the catalog if one is given.

    The bytes must lie in staging/ under their digest, or in objects/ already. Refused is raised, and the old file
    stays, when the bytes that are on this disk are not the ones that the digest means; but first the others are
    published, as one image shall keep no other back.
    """
    failures = Failures()
    with opened_registry(registry) as root:
        mode = mode_of(root, request)
    proven = []
    for image in request["images"]:
        with failures.of(image["name"]):
            check_image(image)
            accept(registry, image, mode)
            proven.append(image)
    with locked(registry) as root, failures.of(""):
        answer = apply(root, dict(request, images=proven))
    failures.report()
    return answer


class Failures:
    """What went wrong with some of many images, to be raised when the others are done."""

    def __init__(self) -> None:
        self.found: List[Tuple[str, Exception]] = []

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Hold what goes wrong with an image; "": with several of them."""
        try:
            yield
        except (Refused, OSError) as error:
            self.found.append((name, error))

    def report(self) -> None:
        """Raise what is all the same as it is, and of several Refused with what each says."""
        if len({str(error) for _, error in self.found}) == 1:
            raise self.found[0][1]
        if self.found:
            texts = [
                f"{name}: {error.strerror}" if isinstance(error, OSError) else str(error) for name, error in self.found
            ]
            more = [f"and {len(texts) - MOST_SAID} more"] if len(texts) > MOST_SAID else []
            hints = [error.hint for _, error in self.found if isinstance(error, Refused) and error.hint]
            raise Refused("; ".join(texts[:MOST_SAID] + more), hints[0] if hints else "")


def prove(registry: str, request: Json) -> None:
    """The first half of publish(): all of request["images"] are in objects/ afterwards, whatever their names mean."""
    with opened_registry(registry) as root:
        mode = mode_of(root, request)
    for image in request["images"]:
        check_image(image)
        accept(registry, image, mode)


def apply(root: int, request: Json) -> Json:
    """The second half, for a caller who holds the lock: names of objects that are here, and the catalog.

    Where phase 1 asks for signatures, each image has `signed` and `signature` as well; see signatures.py. Raises as
    publish(), when the others are done.
    """
    failures = Failures()
    mode = mode_of(root, request)
    taken = signatures.accept(root, request["images"])
    if taken:
        with opened(METADATA, root) as metadata:
            write_file(metadata, os.path.basename(signatures.SIGNED), json.dumps(taken, sort_keys=True).encode())
    changed = []
    for image in request["images"]:
        with failures.of(image["name"]):
            if give_name(root, image, mode):
                changed.append(image["name"])
    catalog = publish_catalog(root, request["catalog"], request["objects"]) if request.get("catalog") else "kept"
    failures.report()
    return {"changed": changed, "catalog": catalog}


def mode_of(root: int, request: Json) -> int:
    """The mode of images: the one in config.yaml, or the requested one where config.yaml has none."""
    mode = configured_mode(f"/proc/self/fd/{root}")
    if mode is None:
        mode = int(request.get("mode", "0755"), 8)
    if mode & ~0o755:
        raise Refused(f"mode {mode:04o} would let others write, or run as the owner")
    return mode


def configured_mode(registry: str) -> Optional[int]:
    """The mode of images that phase 1 wrote down here; None if it did not."""
    written = FILE_MODE.search(read_text(os.path.join(registry, signatures.CONFIG)) or "")
    return int(written.group(1), 8) if written else None


def check_image(image: Json) -> None:
    directory, _, file_name = image["name"].partition("/")
    if not DIRECTORY_NAME.match(directory) or not FILE_NAME.match(file_name) or not DIGEST.match(image["digest"]):
        raise Refused(f"{image['name']!r} with digest {image['digest']!r} is not an image of this registry")


@contextlib.contextmanager
def locked(registry: str) -> Iterator[int]:
    """Hold the registry's kernel lock, which nothing can leave behind, and give a descriptor of the registry."""
    with opened_registry(registry) as root:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=root)
        try:
            if not stat.S_ISREG(os.fstat(lock).st_mode):
                raise Refused(f"{LOCK} is not a regular file")
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield root
        finally:
            os.close(lock)


@contextlib.contextmanager
def opened(path: str, parent: Optional[int] = None) -> Iterator[int]:
    """A descriptor of a directory for as long as it is needed; a link in the last part is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def opened_registry(path: str) -> "contextlib.AbstractContextManager[int]":
    """A descriptor of the registry itself, to which a link may lead: who could put another one there, phase 1 asks."""
    return opened(os.path.realpath(path))


@contextlib.contextmanager
def opened_private(path: str, parent: Optional[int] = None) -> Iterator[int]:
    """As opened(), for a directory in which nobody else may write or look; Refused is raised if others may."""
    with opened(path, parent) as descriptor:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            mode = stat.S_IMODE(found.st_mode)
            raise Refused(
                f"{path} has mode {mode:04o} and owner {found.st_uid}: it must be root's own, 0700", RUN_SETUP
            )
        yield descriptor


def has_object(objects: int, image: Json) -> bool:
    try:
        found = os.stat(image["digest"], dir_fd=objects, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == image["size"]


def accept(registry: str, image: Json, mode: int) -> None:
    """Move the bytes from staging/ to objects/ if they are what their name says: by one descriptor, never reopened."""
    digest = image["digest"]
    with opened_registry(registry) as root, opened(OBJECTS, root) as objects, opened_private(STAGING, root) as staging:
        if has_object(objects, image):
            return
        try:
            descriptor = open_regular(digest, staging)
        except FileNotFoundError:
            raise NotThere(f"the bytes of {image['name']} did not arrive") from None
        try:
            check_bytes(descriptor, image, staging)
            set_owner_and_mode(descriptor, os.fstat(objects), mode)
            os.fsync(descriptor)
            with locked(registry):
                if not has_object(objects, image):
                    move(descriptor, digest, staging, objects)
        except FileNotFoundError:  # a garbage collection took its name before it was open
            raise NotThere(f"the bytes of {image['name']} are not here any more") from None
        finally:
            os.close(descriptor)


def check_bytes(descriptor: int, image: Json, staging: int) -> None:
    """Read back what arrived; remove it and raise Refused if that is not what was promised."""
    refuse_writers(descriptor, image)
    found = os.fstat(descriptor)
    if found.st_nlink != 1:
        raise Refused(f"the bytes of {image['name']} have another hard link on this disk")
    actual = hash_descriptor(descriptor)
    if actual != image["digest"] or found.st_size != image["size"]:
        unlink_if_there(image["digest"], staging)
        arrived = f"{found.st_size} bytes with digest {actual[:12]}"
        wanted = f"{image['size']} bytes with {image['digest'][:12]}"
        raise Refused(f"{image['name']} arrived as {arrived}, not {wanted}")


def refuse_writers(descriptor: int, image: Json) -> None:
    """Raise Refused while anybody has the file open for writing: what is proven could still be changed.

    A read lease, fcntl(2), is not given then; it is held as long as *descriptor* is open.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # in place of SIGIO, which ends a process
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise Refused(f"the bytes of {image['name']} are still being written") from None
        # This file system, such as NFS or Lustre, has no leases. There only the controller publishes.


def is_set(found: os.stat_result, directory: os.stat_result, mode: Optional[int]) -> bool:
    """Whether a file has the owner and mode that set_owner_and_mode() gives it; None: whatever mode."""
    owned = (found.st_uid, found.st_gid) == (directory.st_uid, directory.st_gid)
    return owned and mode in (None, stat.S_IMODE(found.st_mode))


def set_owner_and_mode(descriptor: int, directory: os.stat_result, mode: int) -> None:
    """Give a file the owner of the *directory* it belongs to, by this node's ids, which may differ between nodes."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (directory.st_uid, directory.st_gid):
        os.fchown(descriptor, directory.st_uid, directory.st_gid)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)


def move(descriptor: int, digest: str, staging: int, objects: int) -> None:
    """Move the very file that was proven; Refused is raised if another has taken its place in staging/ since.

    It gets a name first that nobody else can know, and so can put anything under: what enters objects/ was looked at.
    """
    private = unguessable()
    os.rename(digest, private, src_dir_fd=staging, dst_dir_fd=staging)
    if not os.path.samestat(os.stat(private, dir_fd=staging, follow_symlinks=False), os.fstat(descriptor)):
        raise Refused(f"the bytes with digest {digest[:12]} were replaced while they were read")
    try:
        os.rename(private, digest, src_dir_fd=staging, dst_dir_fd=objects)
    except IsADirectoryError:
        unlink_if_there(private, staging)
        hint = "hpc-container-manager sync --repair moves it away"
        raise Refused(f"a directory lies in the place of object {digest[:12]}", hint) from None
    os.fsync(objects)


def unguessable() -> str:
    """A name in staging/ for what gc shall take away, if nobody else does before."""
    return "." + os.urandom(8).hex()


def clear_directories(staging: int) -> None:
    """Move directories in staging/ out of the way of digests. No transfer of ours makes any, and gc removes them."""
    for name in os.listdir(staging):
        with contextlib.suppress(FileNotFoundError):
            if not name.startswith(".") and stat.S_ISDIR(os.stat(name, dir_fd=staging, follow_symlinks=False).st_mode):
                os.rename(name, unguessable(), src_dir_fd=staging, dst_dir_fd=staging)


def give_name(root: int, image: Json, mode: int) -> bool:
    """Let a name be a hard link to its object, whose owner and mode are set if they were changed by somebody.

    A job that runs from the old file keeps the old inode. Returns whether the name meant another file.
    """
    check_image(image)
    directory_name, _, file_name = image["name"].partition("/")
    with opened(directory_name, root) as directory, opened(OBJECTS, root) as objects:
        try:
            descriptor = open_regular(image["digest"], objects)
        except FileNotFoundError:
            raise Refused(f"the bytes of {image['name']} are not here") from None
        try:
            set_owner_and_mode(descriptor, os.fstat(objects), mode)
            return link_name(descriptor, image["digest"], objects, directory, file_name)
        except IsADirectoryError:  # which somebody made, and may have filled: it is not ours to move
            raise Refused(f"{image['name']} is a directory there: move it away") from None
        finally:
            os.close(descriptor)


def link_name(descriptor: int, digest: str, objects: int, directory: int, file_name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(file_name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor)):
            return False
    beside = f".{file_name[:200]}.{os.getpid()}"
    unlink_if_there(beside, directory)  # of a process that had the same number and was killed
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
    with opened(OBJECTS, root) as objects, opened(METADATA, root) as metadata:
        if not all(is_file(digest, objects) for digest in digests):
            return "behind"
        write_file(metadata, "catalog.yaml", text.encode())
        return "written"


def is_file(name: str, directory: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def write_file(directory: int, name: str, data: bytes) -> None:
    """Replace a small file as a whole: temporary name, fsync, rename, fsync of the directory."""
    beside = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    unlink_if_there(beside, directory)
    descriptor = os.open(beside, flags, 0o600, dir_fd=directory)
    try:
        set_owner_and_mode(descriptor, os.fstat(directory), 0o644)
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
