"""What nothing names any more is removed, unless somebody still has it open. Standard library only, Python >= 3.6.

An object stays when the catalog or a name of this machine means it, when it has been without a name for less than the
grace time, or when it is in use (in_use.py).
"""

import os
import stat
import time
from typing import Dict, Iterator, List, Optional, Set, Tuple

from .facts import CATALOG, DIGEST, DIRECTORY_NAME, LOCK, OBJECTS, STAGING, Json, read_text, scan
from .in_use import Hidden, in_use, inode, is_open_elsewhere
from .publish import locked, open_directory, publish_catalog

Files = Dict[str, os.stat_result]


def collect(registry: str, request: Json) -> Json:
    """Take over request["catalog"], then sweep. On a file system that is the controller's own: only say what is in use.

    With request["dry_run"] nothing is changed, not even a lock made; else the lock is held all the time.
    """
    if request["lock"] and request["lock"] == identity(registry):
        objects = regular_files(os.path.join(registry, OBJECTS))
        used, hidden = in_use(registry, objects.values())
        if hidden:
            raise hidden
        return {"shared": True, "in_use": sorted(name for name, found in objects.items() if inode(found) in used)}
    if request["dry_run"]:
        return sweep(registry, request)
    with locked(registry) as root:
        if read_text(os.path.join(registry, CATALOG)) != request["catalog"]:
            publish_catalog(root, request["catalog"], request["objects"])
        return sweep(registry, request)


def identity(registry: str) -> Optional[List[int]]:
    """What two machines agree on only if they share the registry: its lock is made once and never written to."""
    try:
        found = os.lstat(os.path.join(registry, LOCK))
    except OSError:
        return None
    return [found.st_ino, found.st_ctime_ns]


def sweep(registry: str, request: Json) -> Json:
    """Remove objects and leftovers of transfers, for a caller who holds the lock. Sizes in bytes, grace in seconds.

    request["keep"] is the digests that the catalog means, request["names"] its names, request["spare"] the digests
    that are in use on other machines.
    """
    objects = regular_files(os.path.join(registry, OBJECTS))
    staged = regular_files(os.path.join(registry, STAGING))
    names = dict(list_names(registry))
    linked = {inode(found) for found in names.values()}
    keep = set(request["keep"]) | own_catalog(registry, request)
    unnamed = {name: found for name, found in objects.items() if name not in keep and inode(found) not in linked}
    # An inode's change time: also of when it lost its last name, as a link less is a change.
    oldest = time.time() - request["grace"]
    young = {name: found for name, found in unnamed.items() if found.st_ctime > oldest}
    old = {name: found for name, found in unnamed.items() if name not in young}
    debris = {name: found for name, found in staged.items() if found.st_ctime <= oldest}
    used, hidden = in_use(registry, [*old.values(), *debris.values()])
    used.update(inode(objects[digest]) for digest in request["spare"] if digest in objects)
    idle, leftovers = (
        {name: found for name, found in files.items() if inode(found) not in used} for files in (old, debris)
    )
    freed = remove(os.path.join(registry, OBJECTS), idle, hidden, request["dry_run"])
    cleaned = remove(os.path.join(registry, STAGING), leftovers, hidden, request["dry_run"])
    held = {name: found for name, found in old.items() if name not in freed}
    known = set(request["names"])
    return {
        "shared": False,
        "objects": sorted(freed),
        "debris": sorted(cleaned),
        "bytes": sum(found.st_size for found in [*freed.values(), *cleaned.values()] if found.st_nlink == 1),
        "in_use": sorted(held),
        "in_use_bytes": sum(found.st_size for found in held.values()),
        "young": sorted(young),
        "young_bytes": sum(found.st_size for found in young.values()),
        "unmanaged": sorted(name for name in names if "/" in name and name not in known),
    }


def own_catalog(registry: str, request: Json) -> Set[str]:
    """Where this machine's catalog lags behind the controller's: the objects that it still means."""
    text = read_text(os.path.join(registry, CATALOG)) or ""
    present = {entry.name for entry in scan(os.path.join(registry, OBJECTS))}
    if text == request["catalog"] or present.issuperset(request["objects"]):
        return set()
    return {digest for digest in present if digest in text}


def regular_files(directory: str) -> Files:
    """Name -> lstat of the regular files in *directory*; in objects/, only those that are objects."""
    found = {}
    for name in os.listdir(directory):
        try:
            status = os.lstat(os.path.join(directory, name))
        except FileNotFoundError:
            continue  # a dry run holds no lock
        if stat.S_ISREG(status.st_mode) and (DIGEST.match(name) or directory.endswith(STAGING)):
            found[name] = status
    return found


def list_names(registry: str) -> Iterator[Tuple[str, os.stat_result]]:
    """Every file that people see in the registry: its path there, and its stat, links followed."""

    def fail(error: OSError) -> None:
        raise error  # a directory that cannot be listed may name anything

    for place, directories, files in os.walk(registry, onerror=fail):
        if place == registry:
            directories[:] = [name for name in directories if DIRECTORY_NAME.match(name)]
        for name in files:
            path = os.path.join(place, name)
            try:
                found = os.stat(path) if os.path.exists(path) else os.lstat(path)
            except FileNotFoundError:
                continue
            yield os.path.relpath(path, registry), found


def remove(directory: str, files: Files, hidden: Optional[Hidden], dry_run: bool) -> Files:
    """Remove those *files* that the kernel does not know to be open, and return them; with *dry_run*, only return them.

    Where it does not say, a process that hides what it has open (*hidden*) ends it all.
    """
    removed = {}
    parent = open_directory(directory, None)
    try:
        for name, found in files.items():
            if remove_one(parent, name, found, hidden, dry_run):
                removed[name] = found
    finally:
        os.close(parent)
    return removed


def remove_one(directory: int, name: str, found: os.stat_result, hidden: Optional[Hidden], dry_run: bool) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return False
    try:
        is_open = is_open_elsewhere(descriptor)
        if is_open is None and hidden:
            raise hidden
        if is_open or inode(os.fstat(descriptor)) != inode(found):
            return False
        if not dry_run:
            os.unlink(name, dir_fd=directory)
        return True
    finally:
        os.close(descriptor)
