"""Who has a file open: processes, mappings, mounts. Standard library only, Python >= 3.6.

Apptainer's own locks are no help: it takes none for a squashfs. Two are asked: /proc and the loop devices, which tell
what can be seen from here; then the kernel, by a lease on the very file. One of them must know for sure.
"""

import errno
import fcntl
import glob
import os
import signal
import struct
from typing import Dict, Iterable, Optional, Set, Tuple

from .facts import Refused, filesystem, read_text

Inode = Tuple[int, int]  # device and number
ROUNDS = 20  # of looks for processes that were born meanwhile
LOOP_GET_STATUS64 = 0x4C05  # linux/loop.h; the answer, struct loop_info64, begins with the file's device and inode
LOOP_INFO64_SIZE = 232  # bytes


def inode(found: os.stat_result) -> Inode:
    """What a file is, whatever its names."""
    return found.st_dev, found.st_ino


class Hidden(Refused):
    """A process does not show what it has open."""


def in_use(registry: str, files: Iterable[os.stat_result]) -> Tuple[Set[Inode], Optional[Hidden]]:
    """Those of *files* that somebody has open, and whether there is a process of which that is not known."""
    wanted = {found.st_ino: inode(found) for found in files}
    used: Set[Inode] = set()
    hidden: Optional[Hidden] = None
    if not wanted:
        return used, hidden
    seen: Set[str] = set()
    for _ in range(ROUNDS):
        # One that was born meanwhile may have inherited what its parent, gone by now, had open.
        born = {pid for pid in os.listdir("/proc") if pid.isdigit()} - seen
        if not born:
            break
        for pid in born:
            try:
                used.update(open_in_process("/proc/" + pid, wanted))
            except Hidden as process:
                hidden = process
        seen |= born
    for backing_file in glob.glob("/sys/block/loop*/loop/backing_file"):
        used.add(file_of_loop_device(backing_file, registry))
    if hidden and filesystem(registry)["type"] == "overlay":
        raise hidden  # its leases do not know of mappings
    return used, hidden


def open_in_process(process: str, wanted: Dict[int, Inode]) -> Set[Inode]:
    used = set()
    try:
        for number in os.listdir(process + "/fd"):
            try:
                if inode_number(process + "/fdinfo/" + number, wanted) in wanted:
                    used.add(inode(os.stat(process + "/fd/" + number)))
            except (FileNotFoundError, ProcessLookupError):
                pass  # closed meanwhile
        with open(process + "/maps", errors="replace") as maps:
            numbers = {int(line.split()[4]) for line in maps}
        # The device of a mapping is not always what stat says (overlayfs, btrfs): the number alone must do.
        used.update(wanted[number] for number in numbers & set(wanted))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
    except PermissionError:
        raise Hidden(
            "nothing is freed, because " + process + " does not show what it has open: is this root?"
        ) from None
    return used


def inode_number(info: str, wanted: Dict[int, Inode]) -> int:
    """Of an open file, without a stat of it, which hangs for ever where some other network file system hangs.

    Linux before 5.14 does not report the inode; any of *wanted* is returned then, so that the caller looks at the file.
    """
    with open(info) as lines:
        for line in lines:
            if line.startswith("ino:"):
                return int(line[4:])
    return next(iter(wanted))


def file_of_loop_device(backing_file: str, registry: str) -> Inode:
    """A kernel mount of an image goes by a loop device. It knows the inode; the path may be another file's by now."""
    device = "/dev/" + backing_file.split("/")[3]
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = struct.unpack_from("=QQ", fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(LOOP_INFO64_SIZE)))
        finally:
            os.close(descriptor)
    except OSError as error:
        path = (read_text(backing_file) or "").strip()
        if path.startswith(os.path.realpath(registry) + "/"):
            raise Refused(f"{device} has {path} mounted, and cannot be asked ({error.strerror})") from None
        return (0, 0)
    return found[0], found[1]


def is_open_elsewhere(descriptor: int) -> Optional[bool]:
    """Ask for a lease, which the kernel gives only to the one who has the file open, fcntl(2): who comes then waits.

    None: this file system, such as NFS or Lustre, has no leases.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # in place of SIGIO, which ends a process
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False
