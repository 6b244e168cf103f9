"""Where a SIF can be built from: an archive, a registry of images, or an image that Podman or Docker holds here."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import CommandFailed, UsageError
from ...core.names import DIGEST, visible
from ...transports import Transport

ARCHIVES = ("docker-archive", "oci-archive")
TOOLS = {
    "podman": ("oci-archive", ("podman", "save", "--quiet", "--format", "oci-archive")),
    "docker": ("docker-archive", ("docker", "save")),
}
"""For each tool that may hold an image: what it exports, and the command that writes this to its standard output."""
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}\Z")
ASK_TIMEOUT = 60.0
ACCEPTED = (
    "docker-archive:FILE[:REFERENCE], oci-archive:FILE[:REFERENCE], docker://NAME:TAG, or NAME:TAG of an image that"
    " podman or docker has"
)


@dataclass(frozen=True)
class Source:
    """One image to build from.

    `kind` is Apptainer's name for it, `digest` `sha256:…` of the image, empty when it is not known; an archive tells it
    when it is read. `archive` is a file that exists, `export` the command that writes one; docker:// has neither.
    `reference` says which of several images in an archive, `date` how its SIF is dated, in seconds since 1970.
    """

    image: str
    kind: str
    digest: str = ""
    archive: Path | None = None
    export: tuple[str, ...] = ()
    reference: str = ""
    date: int | None = None

    @property
    def uri(self) -> str:
        """What Apptainer is to build from, in the directory with the archive. It shows in the SIF's labels."""
        if self.kind == "docker":
            return self.image
        return ":".join(filter(None, (self.kind, self.file_name, self.reference)))

    @property
    def file_name(self) -> str:
        """A name for the archive that Apptainer cannot misread (it splits at colons)."""
        name = self.archive.name if self.archive else f"{self.image}.tar"
        return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-") or "image.tar"


def find_source(image: str, here: Transport) -> Source:
    """Find out what *image* names on the machine *here*. Raises UsageError if it names nothing."""
    if image.startswith("docker://"):
        check_reference(image.removeprefix("docker://"), image)
        return Source(image, "docker", check_digest(image.partition("@")[2]))
    kind, colon, rest = image.partition(":")
    if colon and kind in ARCHIVES:
        return find_archive(image, kind, *split_reference(rest.removeprefix("//")))
    if "://" in image:
        raise UsageError(f"{image!r} cannot be converted", hint=f"give {ACCEPTED}")
    check_reference(image, image)
    return find_local(image, here)


def short_name(image: str) -> str:
    """The image's own name, without where it comes from, its tag and its digest."""
    kind, _, rest = image.partition(":")
    if kind in ARCHIVES:
        return re.sub(r"(\.(oci|docker))?(\.tar(\.\w+)?|\.tgz)\Z", "", Path(rest).name)
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def check_reference(reference: str, image: str) -> None:
    if not REFERENCE.match(reference):
        raise UsageError(f"{image!r} is not the name of an image", hint=f"give {ACCEPTED}")


def check_digest(text: str) -> str:
    """*text* if it is `sha256:…`, or else nothing: it becomes a label."""
    kind, _, digest = text.partition(":")
    return text if kind == "sha256" and DIGEST.match(digest) else ""


def split_reference(text: str) -> tuple[Path, str]:
    """FILE or FILE:REFERENCE; a file's name may hold colons too, so the longest that is there is the file."""
    parts = text.split(":")
    for count in range(len(parts), 0, -1):
        path, reference = Path(":".join(parts[:count])), ":".join(parts[count:])
        if path.is_file() and (not reference or REFERENCE.match(reference)):
            return path, reference
    return Path(text), ""


def find_archive(image: str, kind: str, path: Path, reference: str) -> Source:
    try:
        if not path.is_file():
            raise UsageError(f"{visible(path)}: there is no such file", hint=f"give {ACCEPTED}")
        if not tarfile.is_tarfile(path):
            raise UsageError(
                f"{visible(path)}: no tar archive, so no {kind}", hint="write one with podman save or docker save"
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"{visible(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return Source(image, kind, archive=path.absolute(), reference=reference)


def find_local(image: str, here: Transport) -> Source:
    answers = []
    for tool, (kind, export) in TOOLS.items():
        try:
            asked = here.run([tool, "image", "inspect", "--format", "{{.Id}}", image], timeout=ASK_TIMEOUT)
        except CommandFailed as error:
            answers.append(str(error))
            continue
        if asked.exit_code == 0 and asked.stdout.strip():
            digest = asked.stdout.split()[0].removeprefix("sha256:")
            return Source(image, kind, check_digest(f"sha256:{digest}"), export=(*export, image))
        answers.append(f"{tool}: {asked.last_words(f'exit code {asked.exit_code}')}")
    raise UsageError(
        "\n  ".join([f"no image {image} on this machine", *answers]), hint=f"build it first, or give {ACCEPTED}"
    )
