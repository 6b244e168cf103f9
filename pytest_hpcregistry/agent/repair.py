"""Objects whose bytes are not what their name says are put out of the way, so that a sync brings good ones.

Standard library only, Python >= 3.6.
"""

import contextlib
import errno
import os
from typing import Optional

from .facts import OBJECTS, Json, Refused, hash_descriptor, open_regular
from .publish import locked, opened, opened_private, opened_registry, unguessable

QUARANTINE = ".registry/quarantine"


def put_away_damaged(registry: str, request: Json) -> Json:
    """Read each object of request["objects"] that is here, and move those with other bytes into quarantine/, and what
    is no regular file.

    There gc frees them, and somebody can look at them before. Names still lead to them until a publish gives the names
    good bytes, and jobs keep what they have open. Tells of each what was read.
    """
    damaged = {}
    for digest in request["objects"]:
        actual = put_away(registry, digest)
        if actual:
            damaged[digest] = actual
    return {"damaged": damaged}


def put_away(registry: str, digest: str) -> Optional[str]:
    """The digest of the object's bytes, or that they cannot be read, if they are not its own; it is moved then."""
    with opened_registry(registry) as root, opened(OBJECTS, root) as objects:
        try:
            descriptor = open_regular(digest, objects)
        except FileNotFoundError:
            return None
        except Refused:  # a directory, a link: nothing that a publish has made
            with contextlib.suppress(FileNotFoundError):
                move(registry, objects, digest, os.stat(digest, dir_fd=objects, follow_symlinks=False))
            return "unreadable"
        try:
            actual = read(descriptor)
            if actual != digest:
                move(registry, objects, digest, os.fstat(descriptor))
        finally:
            os.close(descriptor)
    return None if actual == digest else actual


def read(descriptor: int) -> str:
    try:
        return hash_descriptor(descriptor)
    except OSError:
        return "unreadable"


def move(registry: str, objects: int, digest: str, found: os.stat_result) -> None:
    """Put the very file that was looked at into quarantine/, in the place of an earlier one of that digest."""
    place = os.path.join(registry, QUARANTINE)
    with contextlib.suppress(FileExistsError):
        os.mkdir(place, 0o700)
    # A garbage collection may take the object's name while it is read.
    with locked(registry), opened_private(place) as quarantine, contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(digest, dir_fd=objects, follow_symlinks=False), found):
            try:
                os.rename(digest, digest, src_dir_fd=objects, dst_dir_fd=quarantine)
            except OSError as error:  # one of the two is a directory, rename(2)
                if error.errno not in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                    raise
                os.rename(digest, unguessable(), src_dir_fd=quarantine, dst_dir_fd=quarantine)
                os.rename(digest, digest, src_dir_fd=objects, dst_dir_fd=quarantine)
            os.fsync(objects)
