"""The controller's own registry: what is received, published and written into the catalog."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.facts import RESERVE
from pytest_hpcregistry.controller import catalog as catalog_file
from pytest_hpcregistry.controller import image_signatures
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller.settings import NOT_SET_UP
from pytest_hpcregistry.core.catalog import Version, plain
from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, ConfigError, HpcRegistryError, UsageError
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.testing.sif import Sif, system_partition
from tests.fakes.settings import change, make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for directory in ("ml-frameworks", agent.OBJECTS, agent.STAGING):
        (tmp_path / directory).mkdir(parents=True, mode=0o700 if directory == agent.STAGING else 0o755)
    (tmp_path / agent.CATALOG).write_text("version: 1\nimages: {}\n")
    return make_settings(tmp_path, directories=("ml-frameworks",))


def request(data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    words = {"by": "", "architecture": "amd64", "source": "", "labels": {}}
    return {"name": "ml-frameworks/x.sif", "digest": digest, "size": len(data), **words}


def receive(settings: Settings, data: bytes) -> Path:
    digest = str(request(data)["digest"])
    registry.receive(settings.registry.path, digest, len(data), io.BytesIO(data))
    return Path(settings.registry.path, agent.STAGING, digest)


def test_bytes_that_are_refused_are_not_kept(settings: Settings) -> None:
    staged = receive(settings, b"no SIF at all")
    assert staged.exists()
    with pytest.raises(CheckFailed):
        registry.publish(settings, request(b"no SIF at all"))
    assert not staged.exists()


@pytest.mark.parametrize(("label", "largest"), [("\ud800", 1 << 20), ("x", 100)])
def test_what_cannot_be_written_into_the_catalog_gets_no_name(
    settings: Settings, label: str, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a workstation of another version may send it."""
    monkeypatch.setattr("pytest_hpcregistry.core.catalog.LARGEST", largest)
    data = Sif().to_bytes()
    receive(settings, data)
    with pytest.raises(UsageError):
        registry.publish(settings, {**request(data), "labels": {"a": label}})
    assert not Path(settings.registry.path, "ml-frameworks/x.sif").exists()
    assert catalog_file.read_catalog(settings.registry.path).images == {}


def test_bytes_are_not_kept_when_the_catalog_is_broken(settings: Settings) -> None:
    data = Sif().to_bytes()
    staged = receive(settings, data)
    Path(settings.registry.path, agent.CATALOG).write_text("images: [oops")
    with pytest.raises(ConfigError):
        registry.publish(settings, request(data))
    assert not staged.exists()
    assert list(Path(settings.registry.path, agent.OBJECTS).iterdir()) == []


def test_bytes_that_were_sent_twice_at_once_are_not_kept(settings: Settings) -> None:
    data = Sif().to_bytes()
    receive(settings, data)
    assert registry.publish(settings, request(data))[1]
    staged = receive(settings, data)
    assert not registry.publish(settings, request(data))[1]
    assert not staged.exists()


NAME = "ml-frameworks/x.sif"


def publish(settings: Settings, content: bytes, **more: object) -> tuple[Version, bool]:
    data = Sif(parts=(system_partition(content=content),)).to_bytes()
    receive(settings, data)
    return registry.publish(settings, {**request(data), **more})[:2]


def test_a_registry_without_a_catalog_is_not_set_up(settings: Settings) -> None:
    Path(settings.registry.path, agent.CATALOG).unlink()
    with pytest.raises(UsageError) as caught:
        catalog_file.read_catalog_text(settings.registry.path)
    assert str(caught.value) == f"{settings.registry.path}/{agent.CATALOG}: No such file or directory"
    assert caught.value.hint == NOT_SET_UP


def test_a_broken_catalog_is_named(settings: Settings) -> None:
    for text in ("version: 9\n", "{"):
        with pytest.raises(ConfigError, match=f"{settings.registry.path}/{agent.CATALOG}"):
            catalog_file.catalog_of(text, settings.registry.path)


@pytest.mark.parametrize(("data", "there"), [(b"image", True), (b"imagf", False), (b"imag", False), (None, False)])
def test_an_object_is_here_if_its_bytes_are(settings: Settings, data: bytes | None, there: bool) -> None:
    digest = hashlib.sha256(b"image").hexdigest()
    if data is not None:
        Path(settings.registry.path, agent.OBJECTS, digest).write_bytes(data)
    assert registry.has_object(settings.registry.path, digest, 5) is there
    assert registry.has_object(settings.registry.path, digest, 6) is False


@pytest.mark.parametrize("digest", ["", "x", "../x", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_bytes_come_under_a_digest_only(settings: Settings, digest: str) -> None:
    with pytest.raises(UsageError, match="is not a SHA-256 digest"):
        registry.receive(settings.registry.path, digest, 1, io.BytesIO(b"x"))


def test_bytes_come_when_there_is_room_for_them_and_the_reserve(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {settings.registry.path: {"free": RESERVE + 3}}
    monkeypatch.setattr(agent, "filesystem", free.__getitem__)
    assert receive(settings, b"one").read_bytes() == b"one"
    source = io.BytesIO(b"four")
    with pytest.raises(HpcRegistryError, match="and a reserve of 67 MB needed"):
        registry.receive(settings.registry.path, "0" * 64, 4, source)
    assert source.tell() == 0
    free[settings.registry.path]["free"] = 3 * 10**12
    with pytest.raises(HpcRegistryError) as caught:
        registry.receive(settings.registry.path, "0" * 64, 5 * 10**12, source)
    assert str(caught.value) == "controller: 5.0 TB and a reserve of 67 MB needed, 3.0 TB free"


def test_bytes_that_came_are_the_owners_alone(settings: Settings) -> None:
    before = os.umask(0)
    try:
        staged = receive(settings, b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(staged.stat().st_mode) == 0o600


@pytest.mark.parametrize("arrived", ["only 2 bytes", hashlib.sha256(b"imagf").hexdigest()])
def test_other_bytes_than_the_digest_means_are_not_kept(settings: Settings, arrived: str) -> None:
    digest = hashlib.sha256(b"image").hexdigest()
    sent = b"im" if arrived.startswith("only") else b"imagf"
    with pytest.raises(CommandFailed) as caught:
        registry.receive(settings.registry.path, digest, 5, io.BytesIO(sent))
    assert str(caught.value) == f"controller: 5 bytes with digest {digest[:12]} were sent, {arrived} arrived"
    assert list(Path(settings.registry.path, agent.STAGING).iterdir()) == []


def test_no_more_is_read_than_was_announced(settings: Settings) -> None:
    source = io.BytesIO(b"one and what comes after it")
    registry.receive(settings.registry.path, hashlib.sha256(b"one").hexdigest(), 3, source)
    assert source.tell() == 3


def beside(settings: Settings, data: bytes) -> Path:
    """Where bytes are until all have come."""
    return Path(settings.registry.path, agent.STAGING, f".{request(data)['digest']}.{os.getpid()}")


def test_what_a_killed_process_left_is_no_obstacle(settings: Settings) -> None:
    beside(settings, b"one").write_bytes(b"half of it, or more")
    assert receive(settings, b"one").read_bytes() == b"one"


@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_written_into_a_file_that_another_made(
    settings: Settings, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Path(settings.registry.path, "theirs")
    theirs.write_bytes(b"theirs")
    monkeypatch.setattr(agent, "unlink_if_there", lambda *_: None)  # as if it were made after that
    beside(settings, b"one").symlink_to(theirs) if link else beside(settings, b"one").hardlink_to(theirs)
    with pytest.raises(FileExistsError):
        receive(settings, b"one")
    assert theirs.read_bytes() == b"theirs"


def test_bytes_that_come_again_mend_an_object(settings: Settings) -> None:
    version, _ = publish(settings, b"1")
    published, name = Path(settings.registry.path, agent.OBJECTS, version.digest), Path(settings.registry.path, NAME)
    sound, before = published.read_bytes(), published.stat().st_ino
    receive(settings, sound)
    assert published.stat().st_ino == before
    published.write_bytes(b"x" * len(sound))
    with name.open("rb") as job:
        receive(settings, sound)
        assert not published.exists()
        again, changed = publish(settings, b"1")
        assert job.read() == b"x" * len(sound)
    assert name.read_bytes() == published.read_bytes() == sound
    assert (plain(again), changed) == (version, True)


def test_what_the_catalog_says_of_a_version(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = time.gmtime(0)
    monkeypatch.setattr(time, "gmtime", lambda: epoch)
    words = {"by": "me@x", "architecture": "arm64", "source": "docker://x", "labels": {"a": "b"}}
    version, changed = publish(settings, b"1", **words)
    size = Path(settings.registry.path, NAME).stat().st_size
    assert version == Version(version.digest, size, "1970-01-01T00:00:00Z", **words)  # type: ignore[arg-type]
    assert (plain(catalog_file.read_catalog(settings.registry.path).images[NAME]), changed) == (version, True)


def test_the_same_bytes_again_are_the_version_that_they_were(settings: Settings) -> None:
    first, changed = publish(settings, b"1", by="me@x")
    again, changed_again = publish(settings, b"1", by="them@y")
    assert (changed, changed_again) == (True, False)
    assert (again.by, again.digest) == ("me@x", first.digest)
    other, _ = publish(settings, b"2", by="them@y")
    assert (other.by, other.digest != first.digest) == ("them@y", True)


def test_a_name_that_was_lost_changes_and_the_catalog_does_not(settings: Settings) -> None:
    publish(settings, b"1")
    before = Path(settings.registry.path, agent.CATALOG).stat()
    Path(settings.registry.path, NAME).unlink()
    assert publish(settings, b"1")[1]
    assert Path(settings.registry.path, NAME).exists()
    assert Path(settings.registry.path, agent.CATALOG).stat() == before


def test_a_name_that_the_catalog_does_not_know_is_written_there(settings: Settings) -> None:
    """A publish that was killed between the two."""
    catalog = Path(settings.registry.path, agent.CATALOG)
    empty = catalog.read_text()
    version, _ = publish(settings, b"1")
    catalog.write_text(empty)
    assert publish(settings, b"1")[1]
    assert catalog_file.read_catalog(settings.registry.path).images[NAME].digest == version.digest


def test_images_get_the_mode_of_the_settings(settings: Settings) -> None:
    name = Path(settings.registry.path, NAME)
    settings = change(settings, file_mode=0o750)
    for content in (b"1", b"2"):
        publish(settings, content)
        assert stat.S_IMODE(name.stat().st_mode) == 0o750
    registry.rollback(change(settings, file_mode=0o700), NAME, None)
    assert stat.S_IMODE(name.stat().st_mode) == 0o700


def test_a_link_may_lead_to_the_registry(settings: Settings, tmp_path: Path) -> None:
    linked = change(settings, path=str(tmp_path / "linked"))
    Path(linked.registry.path).symlink_to(settings.registry.path)
    version, changed = publish(linked, b"1")
    assert changed
    assert image_signatures.is_named(linked, NAME, version.digest)
