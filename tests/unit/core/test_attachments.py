"""What may be kept beside an image: its form, its size, and the way there."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from pytest_hpcregistry.core import attachments
from pytest_hpcregistry.core.attachments import MOST_BYTES, SBOM, SCAN, Unfit, check, pack, unpack
from pytest_hpcregistry.testing.facts import DIGEST, OTHER


def sbom_of(digest: str, **more: Any) -> bytes:
    component = {"hashes": [{"alg": "MD5", "content": OTHER}, {"alg": "SHA-256", "content": digest}]}
    return json.dumps({"bomFormat": "CycloneDX", "metadata": {"component": component}, **more}).encode()


def test_what_is_packed_is_unpacked() -> None:
    data = sbom_of(DIGEST, components=[{"name": "libc6"}] * 1000)
    assert unpack(pack(data)) == data
    assert len(pack(data)) < len(data) / 10
    assert unpack(pack(b"x" * MOST_BYTES)) == b"x" * MOST_BYTES


def test_what_is_too_large_is_neither_sent_nor_unpacked() -> None:
    with pytest.raises(Unfit, match="larger than 16 MiB"):
        pack(b"x" * (MOST_BYTES + 1))
    bomb = base64.b64encode(zlib.compress(b"x" * (MOST_BYTES + 1))).decode()
    with pytest.raises(Unfit, match="larger than 16 MiB"):
        unpack(bomb)


@pytest.mark.parametrize("text", [None, 7, [], "", "no base64!", "eA==", "é", pack(b"x" * 100)[:-8], "x" * 99])
def test_what_did_not_arrive_whole_is_refused(text: Any) -> None:
    with pytest.raises(Unfit, match="did not arrive"):
        unpack(text)


def test_an_sbom_is_that_of_the_image() -> None:
    check(SBOM, sbom_of(DIGEST), DIGEST)
    with pytest.raises(Unfit, match="not that of this image"):
        check(SBOM, sbom_of(OTHER), DIGEST)


@pytest.mark.parametrize(
    "metadata", [None, [], {"component": 1}, {"component": {"hashes": [1]}}, {"component": {"hashes": {"a": 1}}}]
)
def test_an_sbom_of_nothing_is_that_of_no_image(metadata: Any) -> None:
    with pytest.raises(Unfit, match="not that of this image"):
        check(SBOM, sbom_of(DIGEST, metadata=metadata), DIGEST)


def test_a_report_names_what_its_scanner_likes() -> None:
    check(SCAN, b'{"bomFormat": "CycloneDX", "components": []}', DIGEST)


@pytest.mark.parametrize("kind", [SBOM, SCAN])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "another kind"),
        (b'{"spdxVersion": "SPDX-2.3"}', "another kind"),
        (b'"' + b"x" * MOST_BYTES + b'"', "larger than"),
    ],
)
def test_what_is_no_cyclonedx_is_not_kept(kind: str, data: bytes, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        check(kind, data, DIGEST)


def test_every_kind_has_a_place_and_a_noun() -> None:
    assert set(attachments.PLACES) == set(attachments.NOUNS) == {SBOM, SCAN}
