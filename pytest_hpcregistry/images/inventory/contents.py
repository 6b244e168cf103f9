"""The files in a SIF's squashfs, listed and unpacked by unsquashfs: nothing is mounted, and nothing in it is run.

An image may be anybody's. So it is listed first, and what would lead out of the directory that it is unpacked into, or
would fill the disk, is refused before a file is written. unsquashfs 4.5.1 and newer writes through no link of the
image itself (CVE-2021-40153, CVE-2021-41072).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...core.errors import CommandFailed, Undetermined, UsageError
from ...core.names import excerpt, visible
from ...core.pace import amount
from ...core.sif_format import SifFile
from ...transports import CommandResult
from ...transports.local import LocalTransport
from ..workspace import scratch_directory

PROGRAM = "unsquashfs"
TIMEOUT = 3600.0
"""Seconds to list or to unpack: images of tens of gigabytes exist."""
OPTIONS = ("-quiet", "-no-progress", "-no-xattrs", "-no-wildcards", "-data-queue", "32", "-frag-queue", "32")
MOST_FILES = 2_000_000
MOST_BYTES = 1 << 30
"""Bytes that `extract` unpacks in all."""
MOST_LINKS = 40
"""Links that are followed one after the other, as Linux has it."""
NOT_SOUND = "no program for making images does that: ask where this one comes from"
# As in `-rw-r--r-- 0/0   42 2026-01-31 12:00 squashfs-root/etc/fstab`; a device has two numbers in place of a size.
LINE = re.compile(
    r"(?P<kind>[-dlbcps])[-rwxsStT]{9} [0-9]+/[0-9]+ +(?P<size>[0-9]{1,20})(, *[0-9]+)? "
    r"[0-9]+-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} squashfs-root"
    r"(?P<rest>/.*)?"
)


@dataclass
class Contents:
    """What is in the system partition of the SIF at `path`, which begins at byte `offset`.

    `files` have their sizes, `links` where they lead, `special` are devices, pipes and sockets; paths are those of the
    image, without the first slash. `bytes` is what all files together have. A line break in a name makes `strange`
    lines of the listing, which could not be understood, and `unclear` names, which are there more than once.
    """

    path: Path
    offset: int
    files: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    special: list[str] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)
    bytes: int = 0
    strange: int = 0

    def add(self, line: str) -> None:
        """Take in a line of the listing. Raises Undetermined when there are too many, and for a path that leads out."""
        match = LINE.fullmatch(line)
        if match is None:
            self.strange += 1
            return
        if len(self.files) + len(self.links) + len(self.directories) + len(self.special) >= MOST_FILES:
            raise Undetermined(f"it holds more than {MOST_FILES} files", where=visible(self.path))
        kind, size, path = match["kind"], int(match["size"]), (match["rest"] or "/")[1:]
        target = ""
        if kind == "l":
            # The size is that of where it leads: the names may hold an arrow too.
            path, arrow, target = split_link(path, size)
            if not arrow:
                self.strange += 1
                return
        if ".." in path.split("/"):
            raise Undetermined(f"{excerpt(path)} in it leads out of it", where=visible(self.path), hint=NOT_SOUND)
        self.bytes += size if kind == "-" else 0
        if path in self.files or path in self.links or path in self.directories:
            # The beginning of a name with a line break, or two of one name: which it is cannot be seen.
            self.unclear.add(path)
        elif kind == "l":
            self.links[path] = target
        elif kind == "d":
            self.directories.add(path)
        elif kind == "-":
            self.files[path] = size
        else:
            self.special.append(path)

    def regular(self) -> list[str]:
        """The regular files that can be told by their names."""
        return [path for path in self.files if path not in self.unclear]

    def find(self, path: str) -> str | None:
        """The regular file that *path* is or leads to, links followed inside the image only; None if there is none."""
        todo = [part for part in PurePosixPath(path).parts if part != "/"][::-1]
        place: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                place = place[:-1]
                continue
            here = "/".join([*place, part])
            target = self.links.get(here)
            if target is None:
                place.append(part)
                continue
            links += 1
            if links > MOST_LINKS:
                return None
            if target.startswith("/"):
                place = []
            todo += [step for step in target.split("/") if step not in ("", ".")][::-1]
        found = "/".join(place)
        return found if found in self.files and found not in self.unclear else None


def split_link(text: str, size: int) -> tuple[str, str, str]:
    """`PATH -> TARGET`, the target of *size* bytes, into its three parts; the second is empty if it is none."""
    whole = text.encode()
    start = len(whole) - size
    parts = [part.decode(errors="replace") for part in (whole[: start - 4], whole[start - 4 : start], whole[start:])]
    return parts[0], parts[1] if start > 4 and parts[1] == " -> " else "", parts[2]


@contextlib.contextmanager
def unpacking_directory() -> Iterator[Path]:
    """A private directory below the one for temporary files; what killed runs left there is removed."""
    with scratch_directory("hpc-unpack-") as directory:
        yield directory


def list_contents(found: SifFile) -> Contents:
    """What is in a sound SIF.

    Raises UsageError without unsquashfs, CommandFailed when that fails, Undetermined for what nobody should unpack.
    """
    primary = found.primary
    kind = primary.file_system if primary else "missing"
    if primary is None or kind != "squashfs":
        what = f"only a squashfs can be looked into, and its system partition is {kind}"
        raise Undetermined(what, where=visible(found.path))
    contents = Contents(found.path, primary.offset)
    listed = run(contents, ["-UTC", "-llnumeric"], on_line=contents.add)
    check(listed, contents)
    return contents


def extract(contents: Contents, paths: Sequence[str], directory: Path) -> None:
    """Unpack these regular files into *directory*, which must not exist yet. Raises Undetermined when they are too
    large.
    """
    size = sum(contents.files[path] for path in paths)
    if size > MOST_BYTES:
        large = max(paths, key=lambda path: contents.files[path])
        what = f"its package databases have {amount(size)} (at most {amount(MOST_BYTES)} are read)"
        what += f", the most of them {excerpt(large)}"
        raise Undetermined(what, where=visible(contents.path))
    check_room(size, directory, contents)
    check(run(contents, ["-dest", str(directory), "-extract-file", str(list_names(paths, directory))]), contents)


def unpack(contents: Contents, directory: Path) -> None:
    """Unpack files, directories and links into *directory*, which must not exist yet; a scanner shall read no device of
    this machine, and wait for no pipe. Raises Undetermined where there is no room.
    """
    check_room(contents.bytes, directory, contents)
    names = list_names(contents.special, directory)
    check(run(contents, ["-dest", str(directory), "-exclude-file", str(names)]), contents)
    remove_special(directory)


def remove_special(directory: Path) -> None:
    """Remove the devices and pipes that could not be left out: those with line breaks in their names."""
    for parent, _, names in os.walk(directory):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(PermissionError):  # where the caller sees nothing, no scanner of his does
                if stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFLNK):
                    path.unlink()


def list_names(paths: Sequence[str], directory: Path) -> Path:
    """A file beside *directory* that tells unsquashfs these *paths*."""
    names = directory.with_suffix(".names")
    # With the slash no name begins with what would make it a comment.
    names.write_text("".join(f"/{path}\n" for path in paths), encoding="utf-8")
    return names


def check_room(size: int, directory: Path, contents: Contents) -> None:
    free = shutil.disk_usage(directory.parent).free
    if size > free:
        raise Undetermined(
            f"{amount(size)} would have to be unpacked, and {visible(directory.parent.parent)} has {amount(free)} free",
            where=visible(contents.path),
            hint="set TMPDIR to a directory with more room",
        )


def run(contents: Contents, options: Sequence[str], on_line: Callable[[str], None] | None = None) -> CommandResult:
    if shutil.which(PROGRAM) is None:
        raise UsageError(f"{PROGRAM} is needed to look into an image", hint="install the package squashfs-tools")
    argv = [PROGRAM, *OPTIONS, "-offset", str(contents.offset), *options, str(contents.path.absolute())]
    return LocalTransport().run(argv, timeout=TIMEOUT, on_line=on_line)


def check(result: CommandResult, contents: Contents) -> None:
    """Raise CommandFailed when unsquashfs did not do all of it."""
    if result.exit_code != 0:
        why = f"exit code {result.exit_code}: {result.last_words('no reason given')}"
        hint = "is it damaged? Build it again"
        raise CommandFailed(f"{PROGRAM} could not read all of it ({why})", where=visible(contents.path), hint=hint)
