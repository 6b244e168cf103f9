"""The only way a name changes, on the controller as on the nodes: bytes are proven first, by their digest.

Standard library only, Python >= 3.6.
"""

import contextlib
import fcntl
import os
import stat
from typing import Iterator, List, Optional

from .facts import (
    DIGEST,
    DIRECTORY_NAME,
    FILE_NAME,
    LOCK,
    OBJECTS,
    PROTOCOL,
    STAGING,
    Json,
    Refused,
    hash_descriptor,
)


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
