"""What is done so that the same image gives the same SIF. That it does is seen in tests/lab/test_reproducible.py."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.core.sif_format import DESCRIPTOR
from pytest_hpcregistry.images.making.reproducible import (
    LATEST,
    MAX_CONFIG,
    definition,
    environment,
    labels,
    read_archive,
    strip_identity,
)
from pytest_hpcregistry.testing.sif import TABLE_OFFSET, Sif, label_object, system_partition

CREATED = "2023-11-14T22:13:20.533189366Z"
SECONDS = 1_700_000_000
DIGEST = "sha256:" + "d" * 64


def archive(path: Path, *contents: bytes | dict[str, Any], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as members:  # type: ignore[call-overload]
        directory = tarfile.TarInfo("blobs/sha256")
        directory.type = tarfile.DIRTYPE
        members.addfile(directory)
        for number, content in enumerate(contents):
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(f"blobs/sha256/{number:064x}")
            member.size = len(data)
            members.addfile(member, io.BytesIO(data))
    return path


def config(created: object = CREATED) -> dict[str, Any]:
    return {"created": created, "rootfs": {"type": "layers"}}


def date_of(path: Path) -> int | None:
    return read_archive(path)[0]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_the_date_of_an_image(tmp_path: Path, mode: str) -> None:
    index = {"schemaVersion": 2, "manifests": []}
    legacy = {"created": "2025-01-01T00:00:00Z", "container_config": {}}
    path = archive(tmp_path / "x.tar", b"\x1f\x8b layer", index, legacy, config(), b"[]", b"{", b"", mode=mode)
    assert date_of(path) == SECONDS


def test_the_newest_of_several_images(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", config("2020-01-01T00:00:00Z"), config(), config("2021-01-01T00:00:00Z"))
    assert date_of(path) == SECONDS


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2023-11-14T23:13:20+01:00", SECONDS),
        ("2023-11-14T22:13:20", SECONDS),
        ("2106-02-07T06:28:15Z", LATEST),
        ("2106-02-07T06:28:16Z", None),  # one second more than a squashfs can tell
        ("0001-01-01T00:00:00Z", None),  # how Go spells that there is none
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_700_000_000, None),
    ],
)
def test_dates(tmp_path: Path, created: object, seconds: int | None) -> None:
    assert date_of(archive(tmp_path / "x.tar", config(created))) == seconds


def layer(*times: float, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as members:  # type: ignore[call-overload]
        for number, time in enumerate(times):
            member = tarfile.TarInfo(f"file{number}")
            member.mtime = time
            members.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_image_is_not_older_than_its_files(tmp_path: Path, mode: str) -> None:
    """Python compiles every module again whose source has another time than its .pyc tells."""
    old = config("1970-01-01T00:00:00Z")
    path = archive(tmp_path / "x.tar", layer(5, SECONDS, 7, mode=mode), old, layer(6, mode=mode))
    assert date_of(path) == SECONDS
    assert date_of(archive(tmp_path / "x.tar", layer(5), config(), {"rootfs": {}})) == SECONDS
    assert date_of(archive(tmp_path / "x.tar", layer(LATEST + 1, 9), old)) == 9
    assert date_of(archive(tmp_path / "x.tar", layer(3.5))) == 3
    assert date_of(archive(tmp_path / "x.tar", layer(), config("2106-02-07T06:28:16Z"))) is None


def test_archives_that_tell_no_date(tmp_path: Path) -> None:
    assert date_of(archive(tmp_path / "x.tar", {"rootfs": {}})) is None
    assert date_of(archive(tmp_path / "x.tar", b"[" * 100_000)) is None
    big = json.dumps(config()).encode().ljust(MAX_CONFIG + 1)
    assert date_of(archive(tmp_path / "x.tar", big)) is None
    assert date_of(archive(tmp_path / "x.tar", big[:-1])) == SECONDS


def test_a_damaged_archive_tells_no_date(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", bytes(range(256)) * 64, config(), mode="w:gz")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + b"\xff" * 40 + whole[80:], b""):
        path.write_bytes(damaged)
        assert date_of(path) is None
    assert date_of(tmp_path / "missing") is None


def test_what_a_build_is_told() -> None:
    assert environment(SECONDS) == ["SOURCE_DATE_EPOCH=1700000000", "TZ=UTC"]
    assert labels(None, "") == {}
    assert definition("oci-archive:demo_1.0.tar", labels(SECONDS, DIGEST)).splitlines() == [
        "Bootstrap: oci-archive",
        "From: demo_1.0.tar",
        "",
        "%labels",
        "    org.label-schema.build-date 2023-11-14T22:13:20Z",
        f"    io.hpcregistry.source {DIGEST}",
    ]
    written = definition("docker://example.org:5000/a/b:1@sha256:c", labels(0, ""))
    assert "\nFrom: example.org:5000/a/b:1@sha256:c\n" in written
    assert "source" not in written


def test_the_digest_of_an_image(tmp_path: Path) -> None:
    """That of its configuration, whatever else lies beside it; of two images nobody says which."""
    one = f"sha256:{hashlib.sha256(json.dumps(config()).encode()).hexdigest()}"
    manifest = {"schemaVersion": 2, "config": {"digest": one}}
    assert read_archive(archive(tmp_path / "x.tar", b"layer", config(), manifest)) == (SECONDS, one)
    assert read_archive(archive(tmp_path / "x.tar", manifest, config(), layer(5), config())) == (SECONDS, one)
    assert read_archive(archive(tmp_path / "x.tar", config(), config("2020-01-01T00:00:00Z"))) == (SECONDS, "")
    assert read_archive(archive(tmp_path / "x.tar", b"layer", manifest)) == (None, "")


def test_two_builds_differ_no_more(tmp_path: Path) -> None:
    """Only the UUID and the times are touched: header and descriptors otherwise, and all objects, are as before."""
    parts = (label_object({"a": "b"}), system_partition(content=b"x" * 5000))
    first, second = tmp_path / "first.sif", tmp_path / "second.sif"
    data, later = Sif(parts).to_bytes(), Sif(parts, created=1_800_000_000).to_bytes()
    first.write_bytes(data)
    second.write_bytes(later[:48] + b"another UUID 16." + later[64:])
    before = sif.check(first)
    for path in (first, second):
        strip_identity(path)
    assert first.read_bytes() == second.read_bytes()
    after = sif.check(first)
    assert (after.header.uuid, after.created) == ("00000000-0000-0000-0000-000000000000", "")
    assert after.header.modified == after.header.created == -62135596800
    assert after.descriptors == before.descriptors
    assert sif.check(first).labels == {"a": "b"}
    changed = [at for at, (one, other) in enumerate(zip(data, first.read_bytes(), strict=True)) if one != other]
    assert max(changed) < TABLE_OFFSET + len(parts) * DESCRIPTOR.size
    strip_identity(first)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_no_sif_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(b"precious" * 100)
    with pytest.raises(UsageError):
        strip_identity(path)
    assert path.read_bytes() == b"precious" * 100
