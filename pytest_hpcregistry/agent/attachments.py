"""What is kept beside an object on the controller: its SBOM and what a scanner reported, under the object's digest.

They are for people and for the workstation: nodes get none, and nothing here depends on what is in them.
Standard library only, Python >= 3.6.
"""

import contextlib
import os
import re
import stat
from typing import Iterator, Tuple

from .facts import OBJECTS, Json, look
from .publish import has_object, opened, set_owner_and_mode, write_file

SBOMS = ".registry/sbom"
SCANS = ".registry/scan"
PLACES = (SBOMS, SCANS)
NAME = re.compile(r"([0-9a-f]{64})\.json\Z")


def attach(root: int, place: str, image: Json, data: bytes) -> bool:
    """Keep *data* in *place* beside the object of *image* ({digest, size}), for a caller who holds the lock.

    Returns False, and keeps nothing, where there is no such object: gc would have to remove it again. The directory is
    made at need, with owner and mode of that of the objects.
    """
    metadata, name = os.path.split(place)
    with opened(OBJECTS, root) as objects, opened(metadata, root) as parent:
        if not has_object(objects, image):
            return False
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        with opened(name, parent) as directory:
            like = os.fstat(objects)
            set_owner_and_mode(directory, like, stat.S_IMODE(like.st_mode))
            write_file(directory, f"{image['digest']}.json", data)
        os.fsync(parent)
    return True


def list_attachments(registry: str) -> Iterator[Tuple[str, os.stat_result, str]]:
    """Everything in those directories: its path below the registry, its lstat, and the digest of the object that it
    belongs to, which is empty for what we did not put there.
    """
    for place in PLACES:
        for name, found in look(registry, place):
            match = NAME.match(name)
            yield os.path.join(place, name), found, match.group(1) if match and stat.S_ISREG(found.st_mode) else ""
