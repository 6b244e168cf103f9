"""Names that the catalog says are removed are taken away; and who has their bytes open, which stay.

Standard library only, Python >= 3.6.
"""

import contextlib
import os
import pwd
import re
from typing import Dict, List, Optional, Set, Tuple

from .facts import DIGEST, DIRECTORY_NAME, FILE_NAME, OBJECTS, Json, Refused
from .in_use import Hidden, Inode, inode, open_in_process
from .publish import locked, opened
from .repair import QUARANTINE
from .requests import MOST_USERS

MOST_PARENTS = 20
JOB = re.compile(rb"(?:^|\0)SLURM_JOB_ID=([0-9]{1,20})(?:\0|$)")


def remove_names(registry: str, request: Json) -> Json:
    """Take each of request["names"] ({name, digests}) away if it is a link to one of these objects, and report which.

    Any other file under the name is somebody's own, and stays.
    """
    with locked(registry) as root:
        return {"removed": remove_under_lock(root, request["names"])}


def remove_under_lock(root: int, names: List[Json]) -> List[str]:
    """As remove_names, for a caller who holds the lock."""
    return [one["name"] for one in names if remove_name(root, one["name"], one["digests"])]


def remove_name(root: int, name: str, digests: List[str]) -> bool:
    directory_name, _, file_name = name.partition("/")
    if not DIRECTORY_NAME.match(directory_name) or not FILE_NAME.match(file_name):
        raise Refused(f"{name!r} is not a name of this registry")
    with opened(directory_name, root) as directory, opened(OBJECTS, root) as objects:
        found = stat_if_there(file_name, directory)
        known = [digest for digest in digests if DIGEST.match(digest)]
        ours = [stat_if_there(digest, objects) for digest in known]
        # What was damaged is there now, until gc frees it.
        ours += [stat_if_there(os.path.join(QUARANTINE, digest), root) for digest in known]
        if not found or not any(one and os.path.samestat(one, found) for one in ours):
            return False
        os.unlink(file_name, dir_fd=directory)
        os.fsync(directory)
    return True


def stat_if_there(name: str, directory: int) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def list_users(registry: str, request: Json) -> Json:
    """Who has objects of request["objects"] open, as far as processes show it: the user, and the number of the job that
    the process says it is of (None: of none).
    """
    digests: Dict[Inode, str] = {}
    for digest in request["objects"]:
        with contextlib.suppress(FileNotFoundError):
            digests[inode(os.stat(os.path.join(registry, OBJECTS, digest), follow_symlinks=False))] = digest
    wanted = {number: (device, number) for device, number in digests}
    found: Set[Tuple[str, str, Optional[str]]] = set()
    for pid in os.listdir("/proc") if wanted else ():
        if pid.isdigit():
            # What cannot be seen is not reported; gc lets it be all the same.
            with contextlib.suppress(Hidden, OSError):
                used = open_in_process("/proc/" + pid, wanted) & set(digests)
                found.update((digests[one], *owner_of("/proc/" + pid)) for one in used)
    users = sorted(found, key=lambda one: (one[0], one[1], one[2] or ""))[:MOST_USERS]
    return {"users": [{"digest": digest, "user": user, "job": job} for digest, user, job in users]}


def owner_of(process: str) -> Tuple[str, Optional[str]]:
    """Whose process it is, and its job."""
    uid = os.stat(process).st_uid
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return user, job_of(process)


def job_of(process: str) -> Optional[str]:
    """The job that a process says it is of, or one of its parents: what mounts an image has no environment itself."""
    with contextlib.suppress(OSError, IndexError):  # of a parent that has ended nothing is known
        for _ in range(MOST_PARENTS):
            with open(process + "/environ", "rb") as file:
                job = JOB.search(file.read(1 << 20))
            if job:
                return job.group(1).decode()
            with open(process + "/stat", errors="replace") as status:
                # proc(5): after the name, which may hold anything, come the state and the parent.
                process = "/proc/" + status.read().rpartition(")")[2].split()[1]
    return None
