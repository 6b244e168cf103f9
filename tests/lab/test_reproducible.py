"""The same image gives the same file: converted by a real Apptainer, at another time and in another place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.core.digest import hash_file

from .conftest import Cli

pytestmark = pytest.mark.lab


def test_the_same_image_gives_the_same_file(demo_image: str, cli: Cli, on: Cli, tmp_path: Path) -> None:
    """Apptainer tells times to the second, and one conversion takes several."""
    places = [tmp_path / "here", tmp_path / "somewhere else"]
    archive = tmp_path / "python-base.tar"
    subprocess.run(["podman", "save", "--quiet", "--format", "oci-archive", "-o", archive, demo_image], check=True)
    for place in places:
        place.mkdir()
        cli("convert", "single", f"oci-archive:{archive}", cwd=place, timeout=600).check()
        archive = archive.rename(place / archive.name)
    first, second = (place / "build" / "containers" / "apptainer" / "python-base.sif" for place in places)
    assert hash_file(first) == hash_file(second)
    created = ["podman", "image", "inspect", "--format", '{{.Created.UTC.Format "2006-01-02T15:04:05Z"}}', demo_image]
    date = subprocess.run(created, check=True, capture_output=True, text=True).stdout.strip()
    assert sif.check(first).labels["org.label-schema.build-date"] == date


def test_a_sif_tells_its_source(demo_image: str, cli: Cli, tmp_path: Path) -> None:
    """By the ID of the image that Podman has, whether that or an archive of it was converted."""
    identity = ["podman", "image", "inspect", "--format", "sha256:{{.Id}}", demo_image]
    wanted = subprocess.run(identity, check=True, capture_output=True, text=True).stdout.strip()
    archive = tmp_path / "python-base.tar"
    subprocess.run(["podman", "save", "--quiet", "--format", "oci-archive", "-o", archive, demo_image], check=True)
    for image in (demo_image, f"oci-archive:{archive}"):
        cli("convert", "to-apptainer", image, tmp_path / "x.sif", "--force", timeout=600).check()
        shown = cli("inspect", tmp_path / "x.sif").check().stdout
        assert f"  io.hpcregistry.source: {wanted}\n" in shown
