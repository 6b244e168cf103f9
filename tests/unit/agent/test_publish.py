"""What publish promises: bytes proven on this disk, whole old or whole new, owner and mode, no lock held for long."""

from __future__ import annotations

import fcntl
import importlib
import os
import re
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import facts
from tests.fakes.registry import NAME, NEW, OLD, digest, make_registry, names_in, publish, request, stage

publishing = importlib.import_module("pytest_hpcregistry.agent.publish")  # its package has a function of that name


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path)


def test_publish_links_the_name_to_its_object(registry: Path) -> None:
    assert publish(registry, OLD)["changed"] == [NAME]
    path = registry / NAME
    assert path.read_bytes() == OLD
    assert path.stat().st_ino == (registry / agent.OBJECTS / digest(OLD)).stat().st_ino
    assert oct(path.stat().st_mode)[-4:] == "0755"
    assert list((registry / agent.STAGING).iterdir()) == []


def test_a_link_may_lead_to_the_registry(registry: Path, tmp_path: Path) -> None:
    """As /opt/containers -> /srv/containers at many a site."""
    linked = tmp_path / "linked"
    linked.symlink_to(registry)
    publish(linked, NEW)
    assert (linked / NAME).read_bytes() == NEW


def test_publish_twice_changes_nothing(registry: Path) -> None:
    publish(registry, OLD)
    assert agent.publish(str(registry), request(OLD))["changed"] == []


def test_an_open_file_stays_the_old_image(registry: Path) -> None:
    publish(registry, OLD)
    with (registry / NAME).open("rb") as job:
        publish(registry, NEW)
        assert job.read() == OLD
    assert (registry / NAME).read_bytes() == NEW


def test_going_back_needs_no_bytes(registry: Path) -> None:
    publish(registry, OLD)
    publish(registry, NEW)
    assert agent.publish(str(registry), request(OLD))["changed"] == [NAME]
    assert (registry / NAME).read_bytes() == OLD


@pytest.mark.parametrize("other", [NEW.replace(b"w", b"v", 1), NEW + b"!", NEW[:-1], b"", bytes(len(NEW))])
def test_other_bytes_than_promised_are_refused_and_removed(registry: Path, other: bytes) -> None:
    """Of the same length with one letter changed, longer, shorter, none, nothing but zeros."""
    publish(registry, OLD)
    stage(registry, other, name=digest(NEW))
    arrived, wanted = (
        f"{len(data)} bytes with {word}{digest(data)[:12]}" for data, word in ((other, "digest "), (NEW, ""))
    )
    with pytest.raises(agent.Refused, match=f"arrived as {arrived}, not {wanted}$"):
        agent.publish(str(registry), request(NEW))
    assert (registry / NAME).read_bytes() == OLD
    assert names_in(registry / agent.OBJECTS) == [digest(OLD)]
    assert list((registry / agent.STAGING).iterdir()) == []


def test_a_size_that_was_not_promised_is_refused(registry: Path) -> None:
    stage(registry, NEW)
    wrong = request(NEW)
    wrong["images"][0]["size"] += 1
    with pytest.raises(agent.Refused, match="arrived as 20 bytes"):
        agent.publish(str(registry), wrong)
    assert not (registry / NAME).exists()


def test_bytes_that_did_not_arrive_are_refused(registry: Path) -> None:
    with pytest.raises(agent.Refused, match="did not arrive"):
        agent.publish(str(registry), request(NEW))


PRIVATE = "a name that nobody can guess"
KINDS: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a FIFO": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "a directory": lambda path: path.mkdir(),
    "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_no_regular_file_is_not_even_opened(
    registry: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    """A FIFO would keep the agent, and whoever waits for the lock, for ever; a device may act."""
    monkeypatch.chdir(registry / agent.STAGING)
    make(Path(digest(NEW)))
    opened = watch(monkeypatch, "open")
    with pytest.raises(agent.Refused, match="is not a regular file"):
        agent.publish(str(registry), request(NEW))
    assert digest(NEW) not in str(opened)
    with pytest.raises(agent.Refused, match="is not a regular file"):
        facts.open_regular(digest(NEW), None)


def watch(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[tuple[Any, ...]]:
    """Every call of these functions of os from now on: name, first argument or what a descriptor is of, the rest."""
    calls: list[tuple[Any, ...]] = []

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(first: Any, *rest: Any, **more: Any) -> Any:
            calls.append(
                (name, str(Path(f"/proc/self/fd/{first}").readlink()) if isinstance(first, int) else first, *rest)
            )
            return real(first, *rest, **more)

        monkeypatch.setattr(os, name, call)

    for name in names:
        wrap(name)
    return calls


def test_bytes_are_on_the_disk_before_names_and_names_before_the_catalog(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure leaves is the old or the new, whole: the order of every call that makes it so."""
    stage(registry, NEW)
    top, new, beside = str(registry), digest(NEW), f".x.sif.{os.getpid()}"
    temporary = f".catalog.yaml.{os.getpid()}"
    calls = watch(monkeypatch, "fsync", "rename", "link", "fchmod", "fchown", "pread")
    agent.publish(top, request(NEW, catalog="text", objects=[new]))
    calls = [
        tuple(PRIVATE if re.fullmatch(r"\.[0-9a-f]{16}", str(word)) else word for word in call)
        for call in calls
        if call[0] != "pread"
    ]
    assert calls == [
        ("fchmod", f"{top}/.registry/staging/{new}", 0o755),
        ("fsync", f"{top}/.registry/staging/{new}"),
        ("rename", new, PRIVATE),
        ("rename", PRIVATE, new),
        ("fsync", f"{top}/.registry/objects/sha256"),
        ("link", new, beside),
        ("rename", beside, "x.sif"),
        ("fsync", f"{top}/ml-frameworks"),
        ("fchmod", f"{top}/.registry/{temporary}", 0o644),
        ("fsync", f"{top}/.registry/{temporary}"),
        ("rename", temporary, "catalog.yaml"),
        ("fsync", f"{top}/.registry"),
    ]


def test_bytes_are_read_back_before_anything_else(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(registry, NEW)
    calls = watch(monkeypatch, "pread", "fchmod", "rename")
    agent.publish(str(registry), request(NEW))
    assert [call[0] for call in calls] == ["pread", "pread", "fchmod", "rename", "rename", "rename"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_an_image_belongs_to_the_owner_of_its_directory(registry: Path) -> None:
    for name in ("ml-frameworks", agent.OBJECTS, ".registry"):
        os.chown(registry / name, 123, 456)
    publish(registry, NEW, catalog="text", objects=[])
    for name in (NAME, agent.CATALOG, f"{agent.OBJECTS}/{digest(NEW)}"):
        found = (registry / name).stat()
        assert (found.st_uid, found.st_gid) == (123, 456), name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("mode", [0o4755, 0o777, 0o000])
def test_a_name_is_given_to_nothing_but_what_the_registry_owns(registry: Path, mode: int) -> None:
    """Owner and mode of an object that somebody has changed are set again whenever it gets a name."""
    publish(registry, OLD)
    publish(registry, NEW)
    old = registry / agent.OBJECTS / digest(OLD)
    os.chown(old, 1234, 1234)
    old.chmod(mode)
    agent.publish(str(registry), request(OLD))
    found = (registry / NAME).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o755)


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o770, 0o701])
def test_a_staging_that_others_can_enter_is_refused(registry: Path, mode: int) -> None:
    stage(registry, NEW)
    (registry / agent.STAGING).chmod(mode)
    with pytest.raises(agent.Refused, match=rf"staging has mode {mode:04o} and owner 0: it must be root's own, 0700"):
        agent.publish(str(registry), request(NEW))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_staging_of_somebody_else_is_refused(registry: Path) -> None:
    stage(registry, NEW)
    os.chown(registry / agent.STAGING, 1234, 0)
    with pytest.raises(agent.Refused, match="owner 1234"):
        agent.publish(str(registry), request(NEW))


def test_bytes_that_somebody_still_writes_are_refused(registry: Path) -> None:
    """What has been proven could be changed through a descriptor that was opened before."""
    stage(registry, NEW)
    with (registry / agent.STAGING / digest(NEW)).open("r+b"):
        with pytest.raises(agent.Refused, match="are still being written"):
            agent.publish(str(registry), request(NEW))
        assert not (registry / NAME).exists()
    agent.publish(str(registry), request(NEW))


def test_bytes_with_another_name_are_refused(registry: Path) -> None:
    stage(registry, NEW)
    os.link(registry / agent.STAGING / digest(NEW), registry / agent.STAGING / "other")
    with pytest.raises(agent.Refused, match="have another hard link"):
        agent.publish(str(registry), request(NEW))


def test_bytes_that_are_replaced_while_they_are_read_are_refused(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(registry, NEW)
    real = publishing.hash_descriptor

    def hash_and_replace(descriptor: int) -> str:
        found = str(real(descriptor))
        stage(registry, b"evil", name="evil")
        (registry / agent.STAGING / "evil").rename(registry / agent.STAGING / digest(NEW))
        return found

    monkeypatch.setattr(publishing, "hash_descriptor", hash_and_replace)
    with pytest.raises(agent.Refused, match="were replaced while they were read"):
        agent.publish(str(registry), request(NEW))
    assert names_in(registry / agent.OBJECTS) == []
    assert not (registry / NAME).exists()


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after the bytes have been read, and before they move."""
    real = publishing.hash_descriptor

    def hash_and_go_on(descriptor: int) -> str:
        found = str(real(descriptor))
        happens()
        return found

    monkeypatch.setattr(publishing, "hash_descriptor", hash_and_go_on)


def test_bytes_that_a_gc_takes_while_they_are_read_have_not_come(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(registry, NEW)
    meanwhile(monkeypatch, (registry / agent.STAGING / digest(NEW)).unlink)
    with pytest.raises(facts.NotThere, match=r"the bytes of ml-frameworks/x\.sif are not here any more"):
        agent.publish(str(registry), request(NEW))
    assert not (registry / NAME).exists()


def test_who_wants_to_write_while_bytes_are_read_ends_nobody(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports it by a signal, and what it sends unasked, SIGIO, ends a process."""
    stage(registry, NEW)
    told: list[int] = []

    def write() -> None:
        with pytest.raises(BlockingIOError):
            os.open(registry / agent.STAGING / digest(NEW), os.O_WRONLY | os.O_NONBLOCK)

    meanwhile(monkeypatch, write)
    before = {one: signal.signal(one, lambda number, _: told.append(number)) for one in (signal.SIGIO, signal.SIGURG)}
    try:
        agent.publish(str(registry), request(NEW))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert told == [signal.SIGURG]


def test_the_lock_is_not_held_while_bytes_are_read(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But while names change: two threads that ask for it in turn."""
    stage(registry, NEW)
    real, free = publishing.hash_descriptor, []

    def is_free() -> bool:
        with (registry / agent.LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a shared one would be no lock
            except BlockingIOError:
                return False
            return True

    def hash_and_look(descriptor: int) -> str:
        free.append(is_free())
        return str(real(descriptor))

    def rename(*arguments: Any, **more: Any) -> None:
        free.append(is_free())
        real_rename(*arguments, **more)

    real_rename = os.rename
    monkeypatch.setattr(publishing, "hash_descriptor", hash_and_look)
    monkeypatch.setattr(os, "rename", rename)
    agent.publish(str(registry), request(NEW))
    assert free == [True, False, False, False]


def test_a_directory_in_the_place_of_an_image_is_named_and_left(registry: Path) -> None:
    (registry / NAME).mkdir()
    (registry / NAME / "file").write_text("somebody's")
    with pytest.raises(agent.Refused, match=f"^{NAME} is a directory there: move it away$"):
        publish(registry, NEW)
    assert names_in(registry / NAME) == ["file"]


def test_images_that_are_refused_keep_no_other_back(registry: Path) -> None:
    """One has a directory in its place, of one nothing came, and the last is as it should be."""
    blocked, lost, sound = NAME, "ml-frameworks/lost.sif", "ml-frameworks/sound.sif"
    (registry / blocked).mkdir()
    stage(registry, NEW)
    images = [{"name": name, "digest": digest(NEW), "size": len(NEW)} for name in (blocked, sound)]
    images.insert(1, {"name": lost, "digest": digest(OLD), "size": len(OLD)})
    said = f"^the bytes of {lost} did not arrive; {blocked} is a directory there: move it away$"
    with pytest.raises(agent.Refused, match=said):
        agent.publish(str(registry), {"images": images, "mode": "0755"})
    assert (registry / sound).read_bytes() == NEW


def test_a_leftover_of_a_process_with_the_same_number_does_no_harm(registry: Path) -> None:
    (registry / "ml-frameworks" / f".x.sif.{os.getpid()}").write_bytes(b"half")
    (registry / ".registry" / f".catalog.yaml.{os.getpid()}").write_bytes(b"half")
    assert publish(registry, NEW, catalog="text", objects=[]) == {
        "changed": [NAME],
        "catalog": "written",
    }
    assert names_in(registry / "ml-frameworks") == ["x.sif"]


@pytest.mark.parametrize(
    "name",
    ["../x.sif", "ml-frameworks/../../x.sif", "ml-frameworks/-x.sif", "ml-frameworks/a b.sif", "ml-frameworks/x.sif\n",
     "ml-frameworks/x;id.sif", "/etc/x.sif", ".registry/x.sif", "ml-frameworks/x", "x.sif", ""],
)  # fmt: skip
def test_hostile_names_are_refused(registry: Path, name: str) -> None:
    stage(registry, NEW)
    with pytest.raises(agent.Refused, match="is not an image of this registry"):
        agent.publish(str(registry), request(NEW, name=name))


@pytest.mark.parametrize("mode", ["4755", "0777", "0775", "2755"])
def test_dangerous_modes_are_refused(registry: Path, mode: str) -> None:
    with pytest.raises(agent.Refused, match="mode"):
        publish(registry, NEW, mode=mode)


def test_the_catalog_never_names_what_is_not_there(registry: Path) -> None:
    catalog = registry / agent.CATALOG
    assert publish(registry, OLD, catalog="both", objects=[digest(OLD), digest(NEW)])["catalog"] == "behind"
    assert not catalog.exists()
    assert publish(registry, NEW, catalog="both", objects=[digest(OLD), digest(NEW)])["catalog"] == "written"
    assert catalog.read_text() == "both"


def test_writers_at_the_same_time_leave_one_whole_image(registry: Path) -> None:
    images = [bytes([number]) * 1000 for number in range(8)]
    for data in images:
        stage(registry, data)
    threads = [threading.Thread(target=agent.publish, args=(str(registry), request(data))) for data in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (registry / NAME).read_bytes() in images
    assert [path.name for path in (registry / "ml-frameworks").iterdir()] == ["x.sif"]


def test_a_request_without_a_catalog_keeps_it(registry: Path) -> None:
    assert publish(registry, NEW)["catalog"] == "kept"


@pytest.mark.parametrize("bad", ["../" * 8 + "etc", "A" * 64, "a" * 63, ""])
def test_a_digest_that_is_none_is_refused_by_both_halves(registry: Path, bad: str) -> None:
    wanted = {"images": [{"name": NAME, "digest": bad, "size": 1}]}
    with pytest.raises(agent.Refused, match="is not an image of this registry"):
        agent.prove(str(registry), wanted)
    with agent.locked(str(registry)) as root, pytest.raises(agent.Refused, match="is not an image of this registry"):
        agent.apply(root, wanted)


@pytest.mark.parametrize("name", ["a/b/x.sif", "ml-frameworks/b/x.sif"])
def test_a_name_has_one_directory(registry: Path, name: str) -> None:
    stage(registry, NEW)
    with pytest.raises(agent.Refused, match="is not an image of this registry"):
        agent.publish(str(registry), request(NEW, name=name))


def test_a_name_is_given_to_no_object_that_is_not_here(registry: Path) -> None:
    with agent.locked(str(registry)) as root, pytest.raises(agent.Refused, match=r"the bytes of .* are not here"):
        agent.apply(root, request(NEW))


def put_link(path: Path, data: bytes) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_bytes(data)
    path.symlink_to(elsewhere)


OBJECTS_THAT_ARE_NONE: dict[str, Callable[[Path], object]] = {
    "a link to the right bytes": lambda path: put_link(path, NEW),
    "a link to as many bytes": lambda path: put_link(path, bytes(len(NEW))),
    "a link of that length": lambda path: path.symlink_to("x" * len(NEW)),
    "a directory": lambda path: path.mkdir(),
    "fewer bytes": lambda path: path.write_bytes(NEW[1:]),
}


@pytest.mark.parametrize("put", OBJECTS_THAT_ARE_NONE.values(), ids=OBJECTS_THAT_ARE_NONE)
def test_what_is_no_object_is_not_taken_for_one(registry: Path, put: Callable[[Path], object]) -> None:
    put(registry / agent.OBJECTS / digest(NEW))
    stage(registry, NEW)
    with pytest.raises(agent.Refused) if (registry / agent.OBJECTS / digest(NEW)).is_dir() else nullcontext():
        try:
            agent.publish(str(registry), request(NEW))
        except IsADirectoryError:
            raise agent.Refused("a directory") from None
        assert (registry / NAME).read_bytes() == NEW
        assert not (registry / agent.OBJECTS / digest(NEW)).is_symlink()


@pytest.mark.parametrize("name", ["ml-frameworks", agent.OBJECTS, agent.STAGING, ".registry"])
def test_no_directory_of_the_registry_may_be_a_link(registry: Path, name: str) -> None:
    stage(registry, NEW)
    (registry / name).rename(registry / "moved")
    (registry / name).symlink_to(registry / "moved")
    if name == ".registry":
        publish(registry, OLD)  # only the last part of a path may be none: phase 1 looks at the others
        with pytest.raises(OSError, match="Not a directory"):
            agent.publish(str(registry), request(OLD, catalog="text", objects=[]))
        return
    with pytest.raises(OSError, match="Not a directory"):
        agent.publish(str(registry), request(NEW))


def test_a_name_that_is_a_link_to_the_object_becomes_its_name(registry: Path) -> None:
    publish(registry, NEW)
    (registry / NAME).unlink()
    (registry / NAME).symlink_to(registry / agent.OBJECTS / digest(NEW))
    assert agent.publish(str(registry), request(NEW))["changed"] == [NAME]
    assert not (registry / NAME).is_symlink()


@pytest.mark.parametrize("what", ["name", "catalog"])
def test_what_cannot_be_renamed_leaves_nothing_beside(registry: Path, what: str) -> None:
    stage(registry, NEW)
    (registry / (NAME if what == "name" else agent.CATALOG) / "in the way").mkdir(parents=True)
    with pytest.raises((OSError, agent.Refused), match="directory"):
        agent.publish(str(registry), request(NEW, catalog="text", objects=[]))
    assert names_in(registry / "ml-frameworks") == ["x.sif"]
    assert not [name for name in names_in(registry / ".registry") if name.startswith(".catalog")]


def test_nothing_is_left_open(registry: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - its own descriptor is among them, each time

    publish(registry, OLD, catalog="text", objects=[])
    before = count()
    publish(registry, NEW, catalog="other", objects=[])
    with pytest.raises(agent.Refused):
        agent.publish(str(registry), request(b"not there"))
    assert count() == before


@pytest.mark.parametrize("what", ["a file", "a directory", "a link to the file"])
def test_nothing_enters_objects_that_was_not_looked_at(
    registry: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Even for a moment: a machine may die in it, and what lies there is named by the next publish."""
    stage(registry, NEW)
    entered: list[str] = []
    real_hash, real_rename = publishing.hash_descriptor, os.rename

    def hash_and_replace(descriptor: int) -> str:
        found = str(real_hash(descriptor))
        staged = registry / agent.STAGING / digest(NEW)
        staged.rename(registry / agent.STAGING / "moved")
        if what == "a link to the file":
            staged.symlink_to("moved")
        else:
            staged.mkdir() if what == "a directory" else staged.write_bytes(bytes(len(NEW)))
        return found

    def rename(source: str, target: str, **more: Any) -> None:
        real_rename(source, target, **more)
        entered.extend(names_in(registry / agent.OBJECTS))

    monkeypatch.setattr(publishing, "hash_descriptor", hash_and_replace)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(agent.Refused, match="were replaced while they were read"):
        agent.publish(str(registry), request(NEW, catalog="text", objects=[digest(NEW)]))
    assert entered == []
    monkeypatch.undo()
    assert publish(registry, NEW)["changed"] == [NAME], "the way is free"


def test_a_directory_is_no_object_for_the_catalog(registry: Path) -> None:
    (registry / agent.OBJECTS / digest(NEW)).mkdir()
    assert publish(registry, OLD, catalog="text", objects=[digest(NEW)])["catalog"] == "behind"


def test_a_link_to_an_object_is_none_for_the_catalog(registry: Path) -> None:
    put_link(registry / agent.OBJECTS / digest(NEW), NEW)
    assert publish(registry, OLD, catalog="text", objects=[digest(NEW)])["catalog"] == "behind"


def test_an_object_that_becomes_a_link_gives_no_name_to_what_that_means(
    registry: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(registry, OLD)
    publish(registry, NEW)
    secret, old = tmp_path / "secret", registry / agent.OBJECTS / digest(OLD)
    secret.write_bytes(b"secret")
    real = publishing.link_name

    def replace_and_link(*words: Any) -> bool:
        old.unlink()
        old.symlink_to(secret)
        return bool(real(*words))

    monkeypatch.setattr(publishing, "link_name", replace_and_link)
    agent.publish(str(registry), request(OLD))
    assert secret.stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_what_somebody_puts_beside_the_catalog_is_not_written_to(
    registry: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    victim = registry / "victim"
    victim.write_bytes(b"as it was")

    def put(name: str, directory: int) -> None:
        """In the moment after a leftover was removed."""
        path = registry / ".registry" / name
        path.symlink_to(victim) if kind == "a link" else path.hardlink_to(victim)

    publish(registry, NEW)
    monkeypatch.setattr(publishing, "unlink_if_there", put)
    with pytest.raises(FileExistsError):
        agent.publish(str(registry), request(NEW, catalog="text", objects=[]))
    assert victim.read_bytes() == b"as it was"


def test_the_catalog_is_the_owners_alone_until_it_has_owner_and_mode(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = publishing.set_owner_and_mode

    def look_and_set(descriptor: int, *words: Any) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, *words)

    publish(registry, NEW)
    monkeypatch.setattr(publishing, "set_owner_and_mode", look_and_set)
    before = os.umask(0)
    try:
        agent.publish(str(registry), request(NEW, catalog="text", objects=[]))
    finally:
        os.umask(before)
    assert modes == [0o755, 0o600], "of the object, which has it already, and of the catalog"


@pytest.mark.parametrize("asked", ["0000", "0444", "0755"])
def test_the_mode_is_what_phase_1_wrote_down_whatever_is_asked_for(registry: Path, asked: str) -> None:
    (registry / ".registry" / "config.yaml").write_text('registry:\n  path: "/x"\n  file_mode: "0750"\n  keep: 2\n')
    publish(registry, NEW, mode=asked)
    assert oct((registry / NAME).stat().st_mode)[-4:] == "0750"
    agent.publish(str(registry), request(NEW, mode=asked))
    assert oct((registry / NAME).stat().st_mode)[-4:] == "0750"


def test_directories_are_moved_out_of_the_way_of_digests_and_nothing_else(registry: Path) -> None:
    staging = registry / agent.STAGING
    for name in ("dir", ".away"):
        (staging / name / "below").mkdir(parents=True)
    stage(registry, NEW, name="file")
    stage(registry, NEW, name=".hidden")
    (staging / "link").symlink_to("..")
    with publishing.opened(str(staging)) as descriptor:
        publishing.clear_directories(descriptor)
    moved = set(names_in(staging)) - {"file", ".hidden", "link", ".away"}
    assert [bool(re.fullmatch(r"\.[0-9a-f]{16}", name)) for name in moved] == [True]
    assert all((staging / name / "below").is_dir() for name in [*moved, ".away"])
    assert not (staging / "dir").exists()


def test_a_directory_that_somebody_else_moves_away_is_out_of_the_way(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (registry / agent.STAGING / "dir").mkdir()
    with publishing.opened(str(registry / agent.STAGING)) as descriptor:
        monkeypatch.setattr(os, "listdir", lambda path: ["gone", "dir"])
        publishing.clear_directories(descriptor)
    monkeypatch.undo()
    assert "dir" not in names_in(registry / agent.STAGING)
