"""image: build images from their definitions, and say what is in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cluster.client import open_client
from ..core.errors import CommandFailed, UsageError
from ..core.messages import count
from ..core.names import excerpt, visible
from ..images.definitions.definition import Definition, find_definitions
from ..images.inventory.difference import Change, compare
from ..images.making.build import Builder
from ..images.making.plan import plan
from ..images.output import check_output, write_file
from . import output as this_run
from .definitions import definitions_option, do_each
from .groups import Group
from .options import OF_WHICH_CLUSTER, SIF, load, refuse, which_cluster
from .output import answer, answers
from .show import say, show_document, show_table, tell

if TYPE_CHECKING:
    from ..images.inventory.sbom import Sbom


@dataclass(frozen=True)
class ImageBuild:
    """An image of a definition; if it was `built` just now, or of a dry run would be for a `reason`. `digest` is
    Podman's or Docker's ID of it.
    """

    image: str
    built: bool
    digest: str | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Builds:
    """The images that are there, or would be, and of those that `failed` why."""

    images: list[ImageBuild]
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class PackageChange(Change):
    """A package whose versions differ: `state` is added, removed or changed."""

    state: str = ""


@dataclass(frozen=True)
class Changes:
    """The packages that differ."""

    changes: list[PackageChange]


@click.group("image", cls=Group)
def command() -> None:
    """Build images, and list what is in one.

    \b
    Example:
      hpc-container-manager image build all --definitions fixtures/images
    """


@command.command("build")
@answers(Builds)
@click.argument("name", metavar="NAME|all")
@definitions_option
@click.option("--force", "-f", is_flag=True, help="Build also what has not changed.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done; with -v also labels and the command.")
def image_build(name: str, definitions: Path, force: bool, dry_run: bool) -> None:
    """Build the image NAME, or all.

    By Podman or Docker, where the definition has changed.
    A definition is a directory with a Dockerfile and image.yaml. A base that cannot be fetched from a registry is made
    by the command that image.yaml has for that.

    \b
    Examples:
      hpc-container-manager image build python-base --definitions fixtures/images
      hpc-container-manager image build all --dry-run --definitions fixtures/images
    """
    builder = Builder(say)
    done = Builds([])
    answer(done)

    def show_plan(definition: Definition) -> None:
        planned = plan(builder, definition, force=force)
        tell("\n".join(planned.lines(in_full=this_run.current.verbosity > 0)))
        done.images.append(ImageBuild(definition.image, bool(planned.reason), reason=planned.reason))
        if planned.reason and planned.problem:
            raise CommandFailed(f"{planned.definition.image} cannot be built on this machine now: {planned.problem}")

    def build(definition: Definition) -> None:
        built = builder.build(definition, force=force)
        state = f"built in {built.seconds:.1f} s" if built.fresh else "up to date"
        say(f"✓ {built.image}: {state} ({built.digest.removeprefix('sha256:')[:12]})")
        done.images.append(ImageBuild(built.image, built.fresh, built.digest, built.seconds))

    if dry_run:
        do_each(find_definitions(definitions, name), show_plan, "ready to be built", done.failed)
    else:
        do_each(find_definitions(definitions, name), build, "built", done.failed)


@command.command("prompt")
@click.argument("name")
@definitions_option
def image_prompt(name: str, definitions: Path) -> None:
    """Open a shell in the image NAME.

    Its container is removed at the end.

    \b
    Example:
      hpc-container-manager image prompt python-base --definitions fixtures/images
    """
    if name == "all":
        raise click.UsageError("a shell is opened in one image: name it")
    (definition,) = find_definitions(definitions, name)
    argv = Builder(say).shell(definition)
    os.execvp(argv[0], argv)  # noqa: S606 - it gets this terminal


@command.command("sbom")
@answers(None)
@click.argument("sif")
@click.option("--version", metavar="VERSION", help="NAME: this one, by the beginning of its digest [default: current].")
@click.option("--output", "-o", type=SIF, metavar="FILE", help="Write it there, not to standard output.")
@click.option("--force", "-f", is_flag=True, help="Overwrite FILE.")
@which_cluster
def image_sbom(sif: str, version: str | None, output: Path | None, force: bool, **which: Any) -> None:
    """Write the SBOM of an image.

    Of a SIF file, or the one that the registry keeps: CycloneDX 1.6, JSON.

    SIF is a file of this machine; where there is no such file, or with --version, it is the NAME of an image in the
    registry, and its SBOM is the one that was made when it was deployed.

    It has the packages that dpkg, rpm, apk, pip and conda know in the image, which is neither run nor mounted.
    What could not be read is in it as hpcregistry:warning, and on standard error. The same file gives the same SBOM,
    byte for byte.

    \b
    Examples:
      hpc-container-manager image sbom build/containers/apptainer/pytorch.sif --output pytorch.cdx.json
      hpc-container-manager image sbom ml-frameworks/pytorch.sif --version 2e1f1c
    """
    from ..images.inventory import sbom  # with the library that writes it; the other commands do not wait for that

    is_file = version is None and os.path.lexists(sif)
    if is_file:
        refuse(OF_WHICH_CLUSTER, f"is for an image of the registry, and {visible(sif)} is a file")
    if output is not None:
        check_output(output, force, Path(sif))
    if is_file:
        made = sbom.make_sbom(Path(sif))
        sbom.check_evidence(made, Path(sif))
    else:
        try:
            (made,) = fetch(sif, [version], which)
        except UsageError as error:
            what = f"{visible(sif)} is no file here, so it is taken for an image of the registry: {error}"
            raise error if version else UsageError(what, hint=error.hint) from None
    for warning in made.warnings:
        say(f"! {excerpt(warning)}", err=True)
    if output is None:
        show_document(made.text)
    else:
        write_file(output, made.text.encode())
        say(f"✓ {visible(output)}: {count(made.packages, 'package')} of {visible(sif)}, sha256 {made.digest[:12]}…")


def fetch(name: str, versions: Sequence[str | None], which: dict[str, Any]) -> list[Sbom]:
    """SBOMs that the registry keeps of the image *name*."""
    from ..cluster.attachments import fetch_sboms

    with open_client(load(which.pop("cluster"), **which)) as client:
        return fetch_sboms(client, name, *versions)


@command.command("diff")
@answers(Changes)
@click.argument("words", nargs=-1, metavar="OLD NEW | NAME V1 V2")
@which_cluster
def image_diff(words: tuple[str, ...], **which: Any) -> None:
    """Show which packages two images differ in.

    OLD and NEW are files of this machine, each a SIF file, or an SBOM that `image sbom` or a scan has left. With three
    words, NAME is an image of the registry, and V1 and V2 are versions of it, by the beginnings of their digests; the
    SBOMs are those that were made when these were deployed.

    \b
    Examples:
      hpc-container-manager image diff pytorch-1.sif pytorch-2.sif
      hpc-container-manager image diff ml-frameworks/pytorch.sif 2e1f1c 9b8f05
    """
    from ..images.inventory.sbom import parse, read_packages

    if len(words) == 2:
        refuse(OF_WHICH_CLUSTER, "is for an image of the registry: NAME V1 V2")
        named = [(visible(word), read_packages(Path(word))) for word in words]
    elif len(words) == 3:
        name, *versions = words
        named = [(one.digest[:12], parse(one.text)) for one in fetch(name, versions, which)]
    else:
        raise click.UsageError("give two files, or the name of an image and two of its versions")
    for what, inventory in named:
        for warning in inventory.warnings:
            say(f"! {what}: {excerpt(warning)}", err=True)
    (old, before), (new, after) = named
    changes = compare(before.packages, after.packages)
    answer(Changes([PackageChange(**vars(one), state=one.state) for one in changes]))
    rows = [[one.state, one.kind, excerpt(one.name), shown(one.old), shown(one.new)] for one in changes]
    if rows:
        show_table([["", "KIND", "PACKAGE", "OLD", "NEW"], *rows])
    verb = "differs" if len(changes) == 1 else "differ"
    tell(f"{count(len(changes), 'package')} {verb} between {old} and {new}")


def shown(versions: Sequence[str]) -> str:
    """Versions, or that there is none."""
    return excerpt(", ".join(versions) or "-")
