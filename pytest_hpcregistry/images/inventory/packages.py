"""The packages that the databases in an image list: of dpkg, apk, rpm, pip and conda.

A database may be anybody's text. Of each package only what has the form of a name and of a version is taken; what has
not is a warning, as is a database that is there and could not be read: an inventory is never silently incomplete.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import CommandFailed
from ...core.names import excerpt
from ...transports.local import LocalTransport
from .contents import Contents, extract

OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
DPKG = "var/lib/dpkg/status"
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
RPM = ("var/lib/rpm", "usr/lib/sysimage/rpm")
RPM_FILES = ("rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages.db", "Packages")
"""The forms that rpm's database has had: SQLite and what is not in its main file yet, ndb, Berkeley DB."""
DPKG_PARTS = re.compile(r"var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)")
"""Of an image without dpkg itself, such as distroless: a file for each package."""
PIP = re.compile(r"(.*/)?[^/]+(\.dist-info/METADATA|\.egg-info(/PKG-INFO)?)")
CONDA = re.compile(r"(.*/)?conda-meta/[^/]+\.json")
NAME = re.compile(r"[A-Za-z0-9._+@~():-]{0,199}[A-Za-z0-9)+]")
WORD = re.compile(r"\S{1,200}")
"""A version, an architecture."""
MOST_WARNINGS = 50
RPM_TIMEOUT = 300.0
RPM_FIELDS = ("NAME", "EPOCHNUM", "VERSION", "RELEASE", "ARCH", "SOURCERPM")


@dataclass(frozen=True, order=True)
class Package:
    """A package as a database lists it: `kind` is the type of its package URL, `qualifiers` are that URL's.

    `place` is the file in the image that says so.
    """

    kind: str
    name: str
    version: str
    qualifiers: tuple[tuple[str, str], ...] = ()
    place: str = ""


@dataclass
class Inventory:
    """What is installed in an image. `system` and `release` are ID and VERSION_ID of its os-release, or empty.

    `warnings` say what could not be read.
    """

    packages: list[Package] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    system: str = ""
    release: str = ""

    def add(self, kind: str, name: str, version: str, place: str, **qualifiers: str) -> None:
        """Add a package, or a warning if it has not the form of one."""
        if not (NAME.fullmatch(name) and is_word(version)):
            self.warn(place, f"lists something that is no package: {excerpt(f'{name} {version}', 80)}")
            return
        kept = tuple((key, value) for key, value in sorted(qualifiers.items()) if is_word(value))
        self.packages.append(Package(kind, name, version, kept, place))

    def warn(self, place: str, what: str) -> None:
        """Add a warning about a file of the image, unless there are too many."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(f"/{excerpt(place)}: {what}")
        elif len(self.warnings) == MOST_WARNINGS:
            self.warnings.append("and more than can be listed here")


def is_word(text: str) -> bool:
    return bool(WORD.fullmatch(text)) and text.isprintable()


def take_inventory(contents: Contents, directory: Path) -> Inventory:
    """Read the databases of an image; they are unpacked into *directory*, which must not exist yet.

    Raises as `extract`.
    """
    inventory = Inventory()
    if contents.strange or contents.unclear:
        inventory.warn("", "names with line breaks are in it, and are not looked at")
    for path in (DPKG, *APK, *(f"{directory}/{name}" for directory in RPM for name in RPM_FILES)):
        is_there = path in contents.links or path in contents.directories
        if is_there and not contents.find(path):
            inventory.warn(path, "a database of packages that is no regular file of the image, so it was not read")
    found = {path: reader for path, reader in find_databases(contents) if can_be_named(path, inventory)}
    extract(contents, list(found), directory)
    for path in OS_RELEASE:
        place = contents.find(path)
        if place and not inventory.system:
            read_os_release(text_of(directory, place, inventory), inventory)
    for path, reader in found.items():
        if reader is not None:
            reader(inventory, directory, path)
    inventory.packages.sort()
    return inventory


Reader = Callable[[Inventory, Path, str], None]


def find_databases(contents: Contents) -> Iterator[tuple[str, Reader | None]]:
    """The files to unpack, and what reads each; None for one that another's reader needs."""
    known: list[tuple[str, Reader | None]] = [(path, None) for path in OS_RELEASE]
    known += [(DPKG, read_dpkg), *((path, read_apk) for path in APK)]
    for directory in RPM:
        present = [name for name in RPM_FILES if contents.find(f"{directory}/{name}")]
        known += [(f"{directory}/{name}", None if name.endswith("-wal") else read_rpm) for name in present]
    for path, reader in known:
        place = contents.find(path)
        if place:
            yield place, reader
    patterns: tuple[tuple[re.Pattern[str], Reader], ...] = (
        (DPKG_PARTS, read_dpkg), (PIP, read_pip), (CONDA, read_conda),
    )  # fmt: skip
    for path in contents.regular():
        yield from ((path, reader) for pattern, reader in patterns if pattern.fullmatch(path))


def can_be_named(path: str, inventory: Inventory) -> bool:
    """Whether unsquashfs can be told that name."""
    if path.isprintable() and "\ufffd" not in path:
        return True
    inventory.warn(path, "not read, for its name")
    return False


def text_of(directory: Path, path: str, inventory: Inventory) -> str:
    """The text of an unpacked file; a warning and nothing if it is not there."""
    try:
        descriptor = os.open(directory / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a regular file")
            return stream.read().decode(errors="replace")
    except OSError as error:
        inventory.warn(path, f"could not be read: {error.strerror or error}")
        return ""


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """`KEY: VALUE` lines, up to each empty line; lines that begin with a space go on with a value and are left out."""
    fields: dict[str, str] = {}
    for line in [*text.split("\n"), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            key, _, value = line.partition(":")
            fields.setdefault(key, value.strip())


def read_os_release(text: str, inventory: Inventory) -> None:
    """See os-release(5)."""
    pairs = (line.partition("=") for line in text.split("\n"))
    values = {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    if is_word(values.get("ID", "")):
        inventory.system = values["ID"]
        inventory.release = values.get("VERSION_ID", "") if is_word(values.get("VERSION_ID", "")) else ""


def read_dpkg(inventory: Inventory, directory: Path, path: str) -> None:
    """See deb-status(5) and deb-control(5)."""
    text = text_of(directory, path, inventory)
    if text.strip() and not re.search("^Package:", text, re.MULTILINE):
        inventory.warn(path, "lists no package, and is not empty")
    for fields in stanzas(text):
        if fields.get("Status", "").endswith((" config-files", " not-installed")):
            continue
        name, version = fields.get("Package", ""), fields.get("Version", "")
        source = re.sub(r"\s*\((.*)\)\Z", r"@\1", fields.get("Source", ""))  # as in `glibc (2.36-9)`
        inventory.add("deb", name, version, path, arch=fields.get("Architecture", ""), upstream=source)


def read_apk(inventory: Inventory, directory: Path, path: str) -> None:
    """Of Alpine's letters P is the name, V the version, A the architecture, o the package that it was built from."""
    for fields in stanzas(text_of(directory, path, inventory)):
        origin = fields.get("o", "")
        name = fields.get("P", "")
        upstream = origin if origin != name else ""
        inventory.add("apk", name, fields.get("V", ""), path, arch=fields.get("A", ""), upstream=upstream)


def read_pip(inventory: Inventory, directory: Path, path: str) -> None:
    """See "Core metadata specifications" of the Python Packaging User Guide."""
    fields = next(stanzas(text_of(directory, path, inventory)), {})
    inventory.add("pypi", fields.get("Name", ""), fields.get("Version", ""), path)


def read_conda(inventory: Inventory, directory: Path, path: str) -> None:
    """A record of conda-meta. Of a channel's address only the last part is kept: a token may be in it."""
    try:
        record = json.loads(text_of(directory, path, inventory))
        fields = {key: record.get(key) for key in ("name", "version", "build", "subdir", "channel")}
    except (ValueError, AttributeError, RecursionError):
        inventory.warn(path, "is no record of conda")
        return
    name, version, build, subdir, channel = (value if isinstance(value, str) else "" for value in fields.values())
    parts = [part for part in channel.split("/") if part and part != subdir]
    inventory.add("conda", name, version, path, build=build, subdir=subdir, channel=parts[-1] if parts else "")


def read_rpm(inventory: Inventory, directory: Path, path: str) -> None:
    """Ask this machine's rpm, which knows the forms that its database has had."""
    database = (directory / path).parent
    query = "\\t".join(f"%{{{name}}}" for name in RPM_FIELDS) + "\\n"
    argv = ["rpm", "--dbpath", str(database.absolute()), "--query", "--all", "--queryformat", query]
    try:
        asked = LocalTransport().run(argv, timeout=RPM_TIMEOUT)
    except CommandFailed as error:
        inventory.warn(path, f"a database of rpm, which was not read: {error.what}")
        return
    lines = asked.stdout.splitlines()
    if asked.exit_code != 0 or not lines:
        said = asked.last_words("it lists no package").replace(str(database.absolute()), f"/{Path(path).parent}")
        inventory.warn(path, f"a database of rpm, which rpm did not read to its end: {said}")
    for line in lines:
        values = line.split("\t")
        if len(values) != len(RPM_FIELDS):
            inventory.warn(path, f"lists something that is no package: {excerpt(line, 80)}")
            continue
        name, epoch, version, release, arch, source = values
        if name == "gpg-pubkey":
            continue  # a key that signatures are compared with
        more = {"epoch": epoch if epoch != "0" else "", "upstream": source if source != "(none)" else ""}
        inventory.add("rpm", name, f"{version}-{release}", path, arch=arch, **more)
