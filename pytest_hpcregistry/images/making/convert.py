"""Convert: turn an image of Podman, Docker or a registry into a SIF file that is whole, hashed and safely on disk."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import re
import shutil
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...core import sif
from ...core.digest import hash_file
from ...core.errors import CommandFailed, HpcRegistryError, UsageError
from ...core.names import check_file_name, excerpt, visible
from ...core.pace import amount
from ...transports import Transport
from ...transports.local import LocalTransport
from ..output import check_output, put_in_place
from ..running.container import find_program
from ..workspace import working_directory
from .reproducible import definition, environment, labels, read_archive, strip_identity
from .sources import Source, find_source, short_name

OUTPUT_DIRECTORY = Path("build/containers/apptainer")
DEADLINE = 4 * 3600.0
"""Seconds for each of export, transfer and build: images of tens of gigabytes exist."""
SHORT = 60.0

# Run a build so that its messages (on standard error) come line by line, so that what it unpacks is removed with the
# directory, and so that it can be ended from another login: a lost connection does not end it. $0 is the directory,
# "$@" the command. Who has set APPTAINER_TMPDIR has a reason: Apptainer cannot unpack on every shared file system.
START_BUILD = """
cd "$0" && echo $$ > pid || exit
export APPTAINER_TMPDIR="${APPTAINER_TMPDIR:-$0}" SINGULARITY_TMPDIR="${SINGULARITY_TMPDIR:-$0}"
exec "$@" 2>&1
"""
END_BUILD = 'pid=$(cat "$0/pid") && { pkill -P "$pid"; kill "$pid"; }'

# Directories that a killed conversion left there: no build takes a day.
REMOVE_LEFTOVERS = """
find "${TMPDIR:-/tmp}" -maxdepth 1 -type d -name 'hpc-convert-??????????' -user "$(id -u)" -mtime +0 \\
    -exec rm -rf -- {} +
"""

HINTS = {
    "no space left|quota": "make room in the directory of the output, in APPTAINER_TMPDIR and in Apptainer's cache",
    "choose an image|more than one image|unexpected reference": "say which image of the archive: FILE:REFERENCE",
    "permission denied|noexec": "where it works must allow programs to run (findmnt -o OPTIONS -T DIR): --tmpdir DIR",
    "no such host|connection refused|i/o timeout": "can this machine reach that registry?",
    "unauthorized|requested access": "log in to that registry: apptainer registry login",
}
COMPRESSED: dict[bytes, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
Listener = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """A finished SIF. `digest` is the SHA-256 of the file in hex, `size` in bytes, `seconds` the whole conversion.

    `source` is the image as the user named it, `source_digest` `sha256:…` of it, or empty when nobody knows.
    """

    path: Path
    digest: str
    size: int
    source: str
    source_digest: str
    seconds: float


def default_output(image: str) -> Path:
    """Where the SIF of *image* goes when the user does not say: named for the image, without its tag."""
    return OUTPUT_DIRECTORY / check_file_name(f"{short_name(image)}.sif")


def convert(
    image: str,
    out: Path,
    *,
    force: bool = False,
    date: int | None = None,
    builder: Transport | None = None,
    here: Transport | None = None,
    on_line: Listener | None = None,
    tmpdir: Path | None = None,
) -> Converted:
    """Build the SIF *out* from *image* with Apptainer on this machine, or else on *builder*, the controller.

    *tmpdir* is a directory of the machine that builds, where Apptainer unpacks, in place of its own temporary one.

    *out* appears whole or not at all. What a build dates is dated *date*, in seconds since 1970, or else as the image
    itself, so that the same image gives the same bytes. *on_line* is called with each line that there is to tell.
    Raises UsageError for wrong names, when *out* exists without *force*, and when no Apptainer is to be had;
    CommandFailed when a step fails.
    """
    began = time.monotonic()
    here = here or LocalTransport()
    tell = on_line or (lambda line: None)
    check_file_name(out.name)
    check_output(out, force)
    source = find_source(image, here)
    machine, program = find_builder(here, builder)
    with working_directory(out) as directory:
        archive = get_archive(source, directory, here, tell)
        if archive is not None and (date is None or not source.digest):
            found, digest = read_archive(archive)
            source = replace(source, date=found, digest=source.digest or digest)
        source = replace(source, date=source.date if date is None else date)
        if machine is here:
            built = build_sif(machine, program, str(directory), source, tell, tmpdir)
            made = Path(built)
        else:
            made = build_there(machine, program, directory, source, archive, tell, tmpdir)
        digest, size = prove_sif(made)
        put_in_place(made, out)
    return Converted(out, digest, size, image, source.digest, time.monotonic() - began)


def find_builder(here: Transport, builder: Transport | None) -> tuple[Transport, str]:
    for machine in (here, builder):
        program = find_program(machine.run) if machine is not None else None
        if machine is not None and program is not None:
            return machine, program
    where = "neither on this machine nor on the controller" if builder else "not on this machine"
    raise UsageError(
        f"Apptainer is needed to build a SIF, and is {where}",
        hint="install the package apptainer"
        + ("" if builder else ", or give --cluster FILE to build on that cluster's controller"),
    )


def get_archive(source: Source, directory: Path, here: Transport, tell: Listener) -> Path | None:
    """The image as an archive in *directory*; None when Apptainer fetches it itself."""
    archive = directory / source.file_name
    if source.archive:
        unpack(source.archive, archive, tell)
    elif source.export:
        tell(f"exporting {source.image} from {source.export[0]}")
        with archive.open("wb") as stream:
            here.run(source.export, timeout=DEADLINE, stdout=stream).check()
    else:
        return None
    return archive


def unpack(source: Path, archive: Path, tell: Listener) -> None:
    """The archive as Apptainer reads it: it takes no compressed ones, such as `docker save | gzip` makes."""
    with source.open("rb") as stream:
        start = stream.read(6)
    packing = next((kind for magic, kind in COMPRESSED.items() if start.startswith(magic)), None)
    if packing is None:
        archive.symlink_to(source)
        return
    tell(f"uncompressing {source.name}")
    try:
        with packing(source) as packed, archive.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CommandFailed(f"{visible(source)}: cannot be uncompressed: {excerpt(str(error))}") from error


def build_sif(
    machine: Transport, program: str, directory: str, source: Source, tell: Listener, tmpdir: Path | None = None
) -> str:
    """Build `image.sif` in *directory* on *machine* and return its path; *tmpdir* is where Apptainer unpacks."""
    command = build_command(machine, program, directory, source)
    if source.date is None:
        tell(f"no date of {source.image} is known: with SOURCE_DATE_EPOCH set it would give the same file every time")
    last_words: deque[str] = deque(maxlen=5)

    def on_line(line: str) -> None:
        last_words.append(line)
        tell(line)

    start = [*(["env", f"APPTAINER_TMPDIR={tmpdir}"] if tmpdir else []), "sh", "-c", START_BUILD, directory]
    result = machine.run([*start, *command], timeout=DEADLINE, on_line=on_line)
    if result.exit_code != 0:
        raise CommandFailed(
            "\n  ".join(
                [f"{result.where}: {program} could not build {visible(source.image)}", *map(excerpt, last_words)]
            ),
            hint=hint_for(" ".join(last_words)),
        )
    return f"{directory}/image.sif"


def hint_for(said: str) -> str:
    """What to do about what Apptainer said last."""
    for words, hint in HINTS.items():
        if re.search(words, said, re.IGNORECASE):
            return hint
    return "the lines above are its own"


def build_command(machine: Transport, program: str, directory: str, source: Source) -> list[str]:
    # The cache would only keep a second copy of an archive that is there anyway.
    options = [] if source.kind == "docker" else ["--disable-cache"]
    dated = [] if source.date is None else ["env", *environment(source.date)]
    origin, wanted = source.uri, labels(source.date, source.digest)
    # Root's only: anybody else builds from a definition file in a user namespace, which not every machine allows.
    if wanted and machine.run(["id", "-u"], timeout=SHORT).check().stdout.strip() == "0":
        origin = "image.def"
        options.append("--force")  # its labels in place of Apptainer's and the image's
        command = ["dd", f"of={directory}/{origin}", "status=none"]
        machine.run(command, timeout=SHORT, stdin=definition(source.uri, wanted).encode()).check()
    return [*dated, program, "build", *options, "image.sif", origin]


def build_there(
    machine: Transport,
    program: str,
    directory: Path,
    source: Source,
    archive: Path | None,
    tell: Listener,
    tmpdir: Path | None = None,
) -> Path:
    """Build on another machine, in a directory there (in *tmpdir*) that is gone afterwards, and bring the SIF into
    *directory*."""
    elsewhere = ["env", f"TMPDIR={tmpdir}"] if tmpdir else []
    machine.run([*elsewhere, "sh", "-c", REMOVE_LEFTOVERS], timeout=DEADLINE)
    made = machine.run([*elsewhere, "mktemp", "-d", "-t", "hpc-convert-XXXXXXXXXX"], timeout=SHORT).check()
    there = made.stdout.strip()
    finished = False
    try:
        if archive is not None:
            tell(f"sending {amount(archive.stat().st_size)} to {made.where}")
            with archive.open("rb") as stream:
                command = ["dd", f"of={there}/{source.file_name}", "bs=1M", "status=none"]
                machine.run(command, timeout=DEADLINE, stdin=stream).check()
        built = build_sif(machine, program, there, source, tell)
        tell(f"fetching the image from {made.where}")
        wanted = machine.run(["sha256sum", built], timeout=DEADLINE).check().stdout.split()[0]
        fetched = directory / "image.sif"
        with fetched.open("wb") as stream:
            machine.run(["cat", built], timeout=DEADLINE, stdout=stream).check()
        if hash_file(fetched) != wanted:
            raise CommandFailed("the image changed on its way here", where=made.where, hint="try again")
        finished = True
    finally:
        # What went wrong before is what the user must hear of, not that cleaning up failed for the same reason.
        with contextlib.suppress(HpcRegistryError):
            if not finished:
                machine.run(["sh", "-c", END_BUILD, there], timeout=SHORT)
            machine.run(["rm", "-rf", "--", there], timeout=SHORT)
    return fetched


def prove_sif(made: Path) -> tuple[str, int]:
    """Finish a SIF: its SHA-256 and size. Raises CommandFailed if Apptainer made something that is not whole."""
    try:
        found = sif.check(made)
        strip_identity(made)
    except UsageError as error:
        raise CommandFailed(f"what was built is not a usable image: {error}") from error
    except OSError as error:
        raise CommandFailed(f"{visible(made)}: cannot be written: {error.strerror}") from error
    return hash_file(made), found.size
