"""What nothing names any more is removed, unless somebody still has it open. Standard library only, Python >= 3.6.

An object stays when the catalog or a name of this machine means it, when it has been without a name for less than the
grace period, or when it is in use (in_use.py).
"""

import contextlib
import os
import re
import stat
import time
from typing import Dict, Iterator, List, Optional, Set, Tuple

from .attachments import PLACES, list_attachments
from .facts import (
    BASES,
    CATALOG,
    DIGEST,
    DIRECTORY_NAME,
    OBJECTS,
    STAGING,
    Json,
    Refused,
    list_directories,
    look,
    open_regular,
    read_text,
    scan,
)
from .in_use import Hidden, Inode, in_use, inode, is_open_elsewhere
from .publish import METADATA, locked, opened, opened_registry, publish_catalog, unguessable, unlink_if_there
from .repair import QUARANTINE
from .requests import LARGEST_CATALOG

Files = Dict[str, os.stat_result]
NAMED = re.compile("(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")  # each digest in a catalog
# What publish.py writes beside a name before it renames it: a kill in between leaves it behind.
LEFTOVER = re.compile(r"\.(catalog\.yaml|[A-Za-z0-9][A-Za-z0-9._+-]{0,199})\.[0-9]+\Z")


def collect(registry: str, request: Json) -> Json:
    """Take over request["catalog"], then sweep. Where the registry is the controller's own, on a file system that is
    shared (request["shared"]): only say what is in use.

    With request["dry_run"] nothing is changed, not even a lock made; else the lock is held while names are looked at.
    """
    if request["shared"]:
        objects = regular_files(registry, OBJECTS)
        used, hidden = in_use(registry, objects.values())
        if hidden:
            raise hidden
        busy = {path: found for path, found in objects.items() if inode(found) in used}
        return {"shared": True, "in_use": digests_of(busy)}
    cleaned = clean(registry, request)
    if request["dry_run"]:
        return sweep(registry, request, cleaned)
    with locked(registry) as root:
        if read_catalog(registry) != request["catalog"]:
            publish_catalog(root, request["catalog"], request["objects"])
        return sweep(registry, request, cleaned)


def clean(registry: str, request: Json) -> Files:
    """Remove what killed transfers left in staging/ and bases/, and what a repair put away, and return it. No lock is
    needed: nothing there has a name that people see, and it may be much."""
    oldest = time.time() - request["grace"]
    files: Files = {}
    for place in (STAGING, BASES, QUARANTINE):
        files.update(regular_files(registry, place))
    old = {path: found for path, found in files.items() if found.st_ctime <= oldest}
    used, hidden = in_use(registry, old.values()) if old else (set(), None)
    idle = {path: found for path, found in old.items() if inode(found) not in used}
    return {
        **remove(registry, idle, hidden, request["dry_run"]),
        **remove_trees(registry, oldest, request["dry_run"]),
    }


def sweep(registry: str, request: Json, cleaned: Files) -> Json:
    """Remove objects and what killed publishes left beside names, for a caller who holds the lock. Sizes in bytes,
    grace in seconds.

    request["keep"] is the digests that the catalog means, request["names"] its names, request["spare"] the digests
    that are in use on other machines. *cleaned* is what `clean` removed, which is reported with the rest.
    """
    objects = regular_files(registry, OBJECTS)
    oldest = time.time() - request["grace"]
    debris = {path: found for path, found in leftovers(registry).items() if found.st_ctime <= oldest}
    names = {path: found for path, found in list_names(registry) if path not in debris}
    linked = {inode(found) for found in names.values()}
    keep = set(request["keep"]) | own_catalog(registry, request)
    unnamed = {
        path: found for path, found in objects.items() if digest_of(path) not in keep and inode(found) not in linked
    }
    # An inode's change time: also of when it lost its last name, as a link less is a change.
    young = {path: found for path, found in unnamed.items() if found.st_ctime > oldest}
    old = {path: found for path, found in unnamed.items() if path not in young}
    used, hidden = in_use(registry, [*old.values(), *debris.values()])
    used.update(inode(found) for path, found in objects.items() if digest_of(path) in request["spare"])
    idle, idle_debris = (
        {path: found for path, found in files.items() if inode(found) not in used} for files in (old, debris)
    )
    freed = remove(registry, idle, hidden, request["dry_run"])
    cleaned = {**cleaned, **remove(registry, idle_debris, hidden, request["dry_run"])}
    held = {path: found for path, found in old.items() if path not in freed}
    present = {digest_of(path) for path in objects if path not in freed}
    orphans, strangers = beside_objects(registry, present)
    orphans = remove(registry, orphans, None, request["dry_run"])
    known = set(request["names"])
    return {
        "shared": False,
        "objects": digests_of(freed),
        "debris": sorted(os.path.basename(path) for path in cleaned),
        "attachments": sorted(orphans),
        "bytes": sum(found.st_size for found in gone({**freed, **cleaned, **orphans})),
        "in_use": digests_of(held),
        "in_use_bytes": sum(found.st_size for found in held.values()),
        "young": digests_of(young),
        "young_bytes": sum(found.st_size for found in young.values()),
        "unmanaged": sorted([path for path in names if "/" in path and path not in known] + strangers),
    }


def digest_of(path: str) -> str:
    return os.path.basename(path)


def digests_of(files: Files) -> List[str]:
    return sorted(digest_of(path) for path in files)


def gone(removed: Files) -> List[os.stat_result]:
    """Those of the *removed* files of which no name is left, each once, so that its bytes are free."""
    names: Dict[Inode, int] = {}
    for found in removed.values():
        names[inode(found)] = names.get(inode(found), 0) + 1
    return list({inode(found): found for found in removed.values() if names[inode(found)] >= found.st_nlink}.values())


def leftovers(registry: str) -> Files:
    """What a killed publish leaves behind beside a name."""
    found: Files = {}
    places = [METADATA, *PLACES, *list_directories(registry)]
    for place in places:
        beside = regular_files(registry, place)
        found.update((path, status) for path, status in beside.items() if LEFTOVER.match(os.path.basename(path)))
    return found


def beside_objects(registry: str, present: Set[str]) -> Tuple[Files, List[str]]:
    """Attachments of objects other than the *present* ones; and what lies there that we did not put there."""
    orphans, strangers = {}, []  # type: Files, List[str]
    for path, found, digest in list_attachments(registry):
        if digest and digest not in present:
            orphans[path] = found
        elif not digest and not LEFTOVER.match(os.path.basename(path)):
            strangers.append(path)
    return orphans, strangers


def own_catalog(registry: str, request: Json) -> Set[str]:
    """Where this machine's catalog lags behind the controller's: the objects that it still means."""
    text = read_catalog(registry) or ""
    present = {entry.name for entry in scan(os.path.join(registry, OBJECTS))}
    if text == request["catalog"] or present.issuperset(request["objects"]):
        return set()
    return present.intersection(NAMED.findall(text))


def read_catalog(registry: str) -> Optional[str]:
    return read_text(os.path.join(registry, CATALOG), LARGEST_CATALOG)


def regular_files(registry: str, directory: str) -> Files:
    """Path below the registry -> lstat of the regular files in *directory*; of objects/ only those that are objects."""
    return {
        os.path.join(directory, name): found
        for name, found in look(registry, directory)
        if stat.S_ISREG(found.st_mode) and (directory != OBJECTS or DIGEST.match(name))
    }


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


def remove(registry: str, files: Files, hidden: Optional[Hidden], dry_run: bool) -> Files:
    """Remove those *files* that the kernel does not know to be open, and return them; with *dry_run*, only return them.

    Where it does not say, a process that hides what it has open (*hidden*) ends it all.
    """
    removed = {}
    with opened_registry(registry) as root:
        for path, found in files.items():
            directory, name = os.path.split(path)
            with opened(directory, root) as parent:
                if remove_one(parent, name, found, hidden, dry_run):
                    removed[path] = found
    return removed


def remove_trees(registry: str, oldest: float, dry_run: bool) -> Files:
    """Remove what is no regular file from staging/, where no transfer of ours makes any, and from quarantine/, and
    return it."""
    removed: Files = {}
    for place in (STAGING, QUARANTINE):
        there = look(registry, place)
        old = {name: found for name, found in there if not stat.S_ISREG(found.st_mode) and found.st_ctime <= oldest}
        if not dry_run and old:
            with opened(os.path.join(registry, place)) as directory:
                for name, found in old.items():
                    with contextlib.suppress(FileNotFoundError):  # another gc is at it as well
                        (remove_tree if stat.S_ISDIR(found.st_mode) else unlink)(directory, name)
        removed.update((os.path.join(place, name), found) for name, found in old.items())
    return removed


def unlink(directory: int, name: str) -> None:
    os.unlink(name, dir_fd=directory)


def remove_tree(staging: int, top: str) -> None:
    """However deep it is: each directory in it is first moved up, so that there is no long path and no recursion."""
    left = [top]
    while left:
        name = left.pop()
        with opened(name, staging) as directory:
            for inside in os.listdir(directory):
                if stat.S_ISDIR(os.stat(inside, dir_fd=directory, follow_symlinks=False).st_mode):
                    left.append(unguessable())
                    os.rename(inside, left[-1], src_dir_fd=directory, dst_dir_fd=staging)
                else:
                    os.unlink(inside, dir_fd=directory)
        os.rmdir(name, dir_fd=staging)


def remove_one(directory: int, name: str, found: os.stat_result, hidden: Optional[Hidden], dry_run: bool) -> bool:
    try:
        descriptor = open_regular(name, directory)
    except (FileNotFoundError, BlockingIOError, Refused):
        return False  # it has gone, somebody holds a lease on it, or it has become something else
    try:
        is_open = is_open_elsewhere(descriptor)
        if is_open is None and hidden:
            raise hidden
        if is_open or inode(os.fstat(descriptor)) != inode(found):
            return False
        if not dry_run:
            unlink_if_there(name, directory)
        return True
    finally:
        os.close(descriptor)
