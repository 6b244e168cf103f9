"""Converting images, with stand-ins for podman, docker and apptainer that are small shell scripts."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed, UsageError
from pytest_hpcregistry.images.making.convert import convert, default_output, hint_for
from pytest_hpcregistry.images.making.reproducible import definition, labels, strip_identity
from pytest_hpcregistry.images.making.sources import find_source
from pytest_hpcregistry.testing.sif import Sif
from pytest_hpcregistry.transports import Command, CommandResult
from pytest_hpcregistry.transports.local import LocalTransport
from tests import ROOT

PLAIN = (
    *("sh", "cat", "cp", "dd", "env", "find", "kill", "mktemp"),
    *("pkill", "rm", "sed", "setsid", "sha256sum", "sleep", "touch"),
)

PODMAN = """#!/bin/sh
case "$1" in
image) [ "$5" = demo:1.0 ] && printf "%064d\\n" 7 || { echo "Error: $5: image not known" >&2; exit 125; };;
save) echo "$@" >> "$CALLS/podman"; cat "$CALLS/archive.tar";;
esac
"""
DOCKER_WITHOUT_DAEMON = """#!/bin/sh
echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2
exit 1
"""
DOCKER = """#!/bin/sh
case "$1" in
image) printf "sha256:%064d\\n" 8;;
save) echo "$@" >> "$CALLS/docker"; cat "$CALLS/archive.tar";;
esac
"""
ID = """#!/bin/sh
echo "${TEST_UID:-1000}"
"""
# Writes at its output at once, like the real one, and copies in what it is to "build" from.
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && exit 0
echo "$@" > "$CALLS/apptainer"
pwd > "$CALLS/directory"
echo "$SOURCE_DATE_EPOCH $TZ" > "$CALLS/dated"
echo "INFO:    Starting build..." >&2
while [ $# -gt 2 ]; do shift; done
echo half > "$1"
touch "$APPTAINER_TMPDIR/build-temp"
case "$2" in *.def)
    cp "$2" "$CALLS/definition"
    set -- "$1" "$(sed -n '1s/.* //p' "$2"):$(sed -n '2s/.* //p' "$2")";;
esac
case "$2" in *archive:*) cat "${2#*:}" > "$CALLS/seen" || exit 1;; esac
[ -e "$CALLS/slow" ] && { echo waiting; sleep 60; }
[ -e "$CALLS/fail" ] && { echo "FATAL:   no space left on device" >&2; exit 255; }
cp "$CALLS/good.sif" "$1"
"""

Install = Callable[[str, str], None]


CREATED = 1_700_000_000
DIGEST = f"sha256:{7:064}"
"""Of Podman's image; Docker's ends with 8."""
CONFIG = b'{"created": "2023-11-14T22:13:20.5Z", "rootfs": {}}'


def make_archive(config: bytes = CONFIG) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("blobs/sha256/c0")
        member.size = len(config)
        archive.addfile(member, io.BytesIO(config))
    return buffer.getvalue()


def make_programs(directory: Path) -> Path:
    """A directory for PATH with a few ordinary programs and nothing else. Its user is an ordinary one too."""
    directory.mkdir()
    (directory / "id").write_text(ID)
    (directory / "id").chmod(0o755)
    for name in PLAIN:
        found = shutil.which(name)
        if found:
            (directory / name).symlink_to(found)
    return directory


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-ins write down how they were called, and find what they shall give."""
    directory = tmp_path / "calls"
    directory.mkdir()
    (directory / "archive.tar").write_bytes(make_archive())
    for name in ("good.sif", "finished.sif"):
        (directory / name).write_bytes(Sif().to_bytes())
    strip_identity(directory / "finished.sif")
    monkeypatch.setenv("CALLS", str(directory))
    for name in ("APPTAINER_TMPDIR", "SOURCE_DATE_EPOCH", "TZ"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def install(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a stand-in on this machine's otherwise bare PATH."""
    programs = make_programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(programs))

    def put(name: str, script: str) -> None:
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)

    return put


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "build" / "demo.sif"


class Elsewhere(LocalTransport):
    """A second machine: programs and temporary files of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__("hpc-controller")
        directory.mkdir()
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.programs = make_programs(directory / "bin")
        (self.programs / "apptainer").write_text(APPTAINER)
        (self.programs / "apptainer").chmod(0o755)
        self.spoil = ""
        self.detached = False

    def execute(self, command: Command) -> CommandResult:
        argv = ["sh", "-c", "echo spoiled"] if command.argv[0] == self.spoil else command.argv
        if self.detached:
            # As behind ssh: ending what runs on this side ends nothing over there.
            argv = ["setsid", "--wait", *argv]
        here = ["env", f"PATH={self.programs}", f"TMPDIR={self.temporary}", *argv]
        return super().execute(replace(command, argv=here))


@pytest.fixture
def elsewhere(tmp_path: Path, calls: Path) -> Elsewhere:
    return Elsewhere(tmp_path / "elsewhere")


def leftovers(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []


def test_an_image_of_podman(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    lines: list[str] = []
    done = convert("demo:1.0", out, on_line=lines.append)
    finished = (calls / "finished.sif").read_bytes()
    assert out.read_bytes() == finished != (calls / "good.sif").read_bytes()
    assert (done.path, done.digest, done.size) == (out, hashlib.sha256(finished).hexdigest(), len(finished))
    assert (done.source, done.source_digest) == ("demo:1.0", DIGEST)
    assert done.seconds > 0
    assert leftovers(out) == ["demo.sif"]
    assert lines == ["exporting demo:1.0 from podman", "INFO:    Starting build..."]
    assert (calls / "podman").read_text() == "save --quiet --format oci-archive demo:1.0\n"
    assert (calls / "apptainer").read_text() == "build --disable-cache image.sif oci-archive:demo_1.0.tar\n"
    assert (calls / "seen").read_bytes() == make_archive()
    assert Path((calls / "directory").read_text().strip()).parent == out.parent


def test_an_image_of_docker(install: Install, calls: Path, out: Path) -> None:
    install("docker", DOCKER)
    install("apptainer", APPTAINER)
    assert convert("demo:1.0", out).source_digest == f"sha256:{8:064}"
    assert (calls / "docker").read_text() == "save demo:1.0\n"
    assert (calls / "apptainer").read_text().endswith("docker-archive:demo_1.0.tar\n")


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_tool_that_does_not_answer_hides_no_other(install: Install, out: Path, name: str) -> None:
    install("podman", DOCKER_WITHOUT_DAEMON)
    install("docker", DOCKER_WITHOUT_DAEMON)
    install(name, {"podman": PODMAN, "docker": DOCKER}[name])
    assert find_source("demo:1.0", LocalTransport()).export[0] == name


def test_an_image_that_nobody_has(install: Install, out: Path) -> None:
    install("podman", PODMAN)
    install("docker", DOCKER_WITHOUT_DAEMON)
    with pytest.raises(UsageError) as caught:
        convert("other:1.0", out)
    message = str(caught.value)
    assert "no image other:1.0" in message
    assert "podman: Error: other:1.0: image not known" in message
    assert "docker: Cannot connect to the Docker daemon" in message
    assert not out.parent.exists()


def test_no_tool_at_all_names_both(install: Install, out: Path) -> None:
    with pytest.raises(UsageError) as caught:
        convert("demo:1.0", out)
    assert "podman cannot be run: there is no such program" in str(caught.value)
    assert "docker cannot be run: there is no such program" in str(caught.value)


@pytest.mark.parametrize("form", ["oci-archive:{}", "docker-archive:{}", "docker-archive://{}"])
def test_an_archive(install: Install, calls: Path, out: Path, tmp_path: Path, form: str) -> None:
    install("apptainer", APPTAINER)
    archive = tmp_path / "my image:1.0.tar"
    archive.write_bytes(make_archive())
    image = form.format(archive)
    done = convert(image, out)
    assert done.source_digest == f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    assert (calls / "apptainer").read_text().split()[-1] == f"{image.partition(':')[0]}:my_image_1.0.tar"
    assert (calls / "seen").read_bytes() == make_archive()
    assert archive.exists()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_is_uncompressed(
    install: Install, calls: Path, out: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """`docker save | gzip`: Apptainer says "invalid header"."""
    install("apptainer", APPTAINER)
    packed = tmp_path / "demo.tar.gz"
    packed.write_bytes(pack(make_archive()))
    convert(f"docker-archive:{packed}", out)
    assert (calls / "seen").read_bytes() == make_archive()
    assert (calls / "dated").read_text() == f"{CREATED} UTC\n"
    packed.write_bytes(pack(make_archive())[:-9])
    with pytest.raises((CommandFailed, UsageError)):
        convert(f"docker-archive:{packed}", out, force=True)
    assert leftovers(out) == ["demo.sif"]


@pytest.mark.parametrize(
    ("name", "reference"),
    [("two.tar", "demo:1.0"), ("two.tar", "latest"), ("with:colon.tar", ""), ("with:colon.tar", "demo:1.0")],
)
def test_one_of_several_images_in_an_archive(
    install: Install, calls: Path, out: Path, tmp_path: Path, name: str, reference: str
) -> None:
    install("apptainer", APPTAINER)
    (tmp_path / name).write_bytes(make_archive())
    source = find_source(f"oci-archive:{tmp_path / name}:{reference}".rstrip(":"), LocalTransport())
    assert (source.archive, source.reference) == (tmp_path / name, reference)
    file = name.replace(":", "_")
    assert source.uri == (f"oci-archive:{file}:{reference}" if reference else f"oci-archive:{file}")


@pytest.mark.parametrize("text", ["{}/two.tar:-x", "{}/two.tar:a b", "{}/gone.tar:x"])
def test_a_reference_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "two.tar").write_bytes(make_archive())
    with pytest.raises(UsageError, match="there is no such file"):
        find_source("oci-archive:" + text.format(tmp_path), LocalTransport())


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("FATAL: write /x: no space left on device", "make room"),
        ("FATAL: more than one image in oci, choose an image", "FILE:REFERENCE"),
        ("FATAL: dial tcp: lookup x: no such host", "reach that registry"),
        ("FATAL: something else", "the lines above"),
    ],
)
def test_the_hint_goes_by_what_was_said(said: str, hint: str) -> None:
    assert hint in hint_for(said)


def test_an_archive_by_a_relative_path(
    install: Install, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("apptainer", APPTAINER)
    monkeypatch.chdir(tmp_path)
    Path("x.tar").write_bytes(make_archive())
    convert("oci-archive:x.tar", Path("x.sif"))
    assert (calls / "seen").read_bytes() == make_archive()
    assert Path("x.sif").exists()


def test_a_build_is_dated_as_its_image(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    convert("demo:1.0", out)
    assert (calls / "dated").read_text() == f"{CREATED} UTC\n"
    convert("demo:1.0", out, force=True, date=0)
    assert (calls / "dated").read_text() == "0 UTC\n"


@pytest.mark.parametrize("where", ["here", "there"])
def test_root_can_say_the_build_date(
    install: Install, elsewhere: Elsewhere, calls: Path, out: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the source. Apptainer takes a label, and before 1.5 a date, from a definition file only."""
    monkeypatch.setenv("TEST_UID", "0")
    install("podman", PODMAN)
    if where == "here":
        install("apptainer", APPTAINER)
    convert("demo:1.0", out, builder=elsewhere)
    assert (calls / "apptainer").read_text() == "build --disable-cache --force image.sif image.def\n"
    assert (calls / "definition").read_text() == definition("oci-archive:demo_1.0.tar", labels(CREATED, DIGEST))
    assert (calls / "dated").read_text() == f"{CREATED} UTC\n"
    assert (calls / "seen").read_bytes() == make_archive()


@pytest.mark.parametrize("image", ["demo:1.0", "docker://example.org/demo:1.0"])
def test_an_image_without_a_date(
    install: Install, calls: Path, out: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_UID", "0")
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "archive.tar").write_bytes(make_archive(b'{"rootfs": {}}'))
    lines: list[str] = []
    convert(image, out, on_line=lines.append)
    assert any(image in line and "SOURCE_DATE_EPOCH" in line for line in lines)
    assert (calls / "dated").read_text() == " \n"
    assert not (calls / "definition").exists() or "build-date" not in (calls / "definition").read_text()
    convert(image, out, force=True, date=CREATED)
    assert "build-date" in (calls / "definition").read_text()


def test_the_source_of_an_archive_is_its_image(
    install: Install, calls: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it was packed, and also where the date was given."""
    monkeypatch.setenv("TEST_UID", "0")
    install("apptainer", APPTAINER)
    for name, pack in (("plain", bytes), ("packed", gzip.compress)):
        (tmp_path / name).write_bytes(pack(make_archive()))
        convert(f"oci-archive:{tmp_path / name}", out, force=True, date=0)
        wanted = labels(0, f"sha256:{hashlib.sha256(CONFIG).hexdigest()}")
        assert (calls / "definition").read_text() == definition(f"oci-archive:{name}", wanted)


def test_an_image_in_a_registry(install: Install, calls: Path, out: Path) -> None:
    install("apptainer", APPTAINER)
    image = f"docker://example.org/team/demo:1.0@{DIGEST}"
    done = convert(image, out)
    assert done.source_digest == DIGEST
    assert (calls / "apptainer").read_text() == f"build image.sif {image}\n"
    assert convert("docker://example.org/team/demo:1.0@sha256:abcd", out, force=True).source_digest == ""


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("-demo", "not the name of an image"),
        ("--all", "not the name of an image"),
        ("", "not the name of an image"),
        ("demo;id", "not the name of an image"),
        ("demo 1", "not the name of an image"),
        ("docker://-x", "not the name of an image"),
        ("library://x/y", "cannot be converted"),
        ("oci-archive:/no/such.tar", "no such file"),
        ("docker-archive:/dev/null", "no such file"),
        (f"oci-archive:{__file__}", "no tar archive"),
        ("oci-archive:a\0b", "no such file"),
    ],
)
def test_what_is_no_image(install: Install, out: Path, image: str, words: str) -> None:
    install("apptainer", APPTAINER)
    install("podman", PODMAN)
    with pytest.raises(UsageError, match=words):
        convert(image, out)
    assert not out.parent.exists()


def test_an_existing_output_stays(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    out.parent.mkdir()
    out.write_text("precious")
    with pytest.raises(UsageError, match="exists already") as caught:
        convert("demo:1.0", out)
    assert "--force" in caught.value.hint
    assert out.read_text() == "precious"
    assert not (calls / "podman").exists()
    convert("demo:1.0", out, force=True)
    assert out.read_bytes() == (calls / "finished.sif").read_bytes()


def test_a_link_as_output_is_replaced_not_followed(install: Install, out: Path, tmp_path: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    out.parent.mkdir()
    (tmp_path / "other").write_text("precious")
    out.symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="exists already"):
        convert("demo:1.0", out)
    convert("demo:1.0", out, force=True)
    assert not out.is_symlink()
    assert (tmp_path / "other").read_text() == "precious"


@pytest.mark.parametrize("name", ["-x.sif", "x", "a b.sif", "x.sif\n", "x;y.sif"])
def test_an_output_that_cannot_be_deployed(install: Install, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name for an image"):
        convert("demo:1.0", tmp_path / name)


def test_an_output_that_is_a_directory(install: Install, out: Path) -> None:
    out.mkdir(parents=True)
    with pytest.raises(UsageError, match="not a regular file"):
        convert("demo:1.0", out, force=True)


def test_a_parent_that_cannot_be_made(install: Install, tmp_path: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        convert("demo:1.0", tmp_path / "file" / "x.sif")


def test_a_failed_build_leaves_nothing(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "fail").touch()
    with pytest.raises(CommandFailed, match=r"this machine: apptainer could not build demo:1\.0") as caught:
        convert("demo:1.0", out)
    assert "no space left on device" in str(caught.value)
    assert leftovers(out) == []


def test_a_failed_build_leaves_the_old_image(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "fail").touch()
    out.parent.mkdir()
    out.write_text("old")
    with pytest.raises(CommandFailed):
        convert("demo:1.0", out, force=True)
    assert out.read_text() == "old"
    assert leftovers(out) == ["demo.sif"]


def test_a_build_that_makes_half_a_file(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "good.sif").write_bytes(Sif().to_bytes()[:-1])
    with pytest.raises(CommandFailed, match="truncated"):
        convert("demo:1.0", out)
    assert leftovers(out) == []


def test_a_failed_export_leaves_nothing(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "archive.tar").unlink()
    with pytest.raises(CommandFailed, match="podman save"):
        convert("demo:1.0", out)
    assert leftovers(out) == []


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_build_leaves_nothing(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "slow").touch()

    def on_line(line: str) -> None:
        if line == "waiting":
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        convert("demo:1.0", out, on_line=on_line)
    assert leftovers(out) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_told_to_end_leaves_nothing(
    install: Install, calls: Path, out: Path, number: signal.Signals
) -> None:
    """A CI job that is cancelled, `timeout`, a terminal that is closed: by the program as a user runs it."""
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    (calls / "slow").touch()
    words = ["convert", "to-apptainer", "demo:1.0", str(out)]
    code = "from pytest_hpcregistry.cli import main; main()"
    program = [sys.executable, "-c", code, *words]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "waiting" not in process.stdout.readline():
            assert process.poll() is None
        build = int((Path((calls / "directory").read_text().strip()) / "pid").read_text())
        process.send_signal(number)
        said = process.communicate(timeout=20)[1]
    assert (process.returncode, said.strip()) == (128 + number, f"ended by {number.name}")
    assert leftovers(out) == []
    with pytest.raises(ProcessLookupError):
        os.kill(build, 0)


def test_what_a_killed_conversion_left_goes_with_the_next(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    names = [".demo.sif.abcdefgh", ".demo.sif.inuse_01", ".demo.sif.justmade", ".other.sif.abcdefgh", ".demo.sif.x"]
    for name in names:
        (out.parent / name / "rootfs").mkdir(parents=True)
        os.utime(out.parent / name, (1, 1))
    os.utime(out.parent / ".demo.sif.justmade")
    held = os.open(out.parent / ".demo.sif.inuse_01", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        convert("demo:1.0", out)
    finally:
        os.close(held)
    assert leftovers(out) == sorted([*names[1:], "demo.sif"])


def test_what_a_killed_conversion_left_on_the_controller_goes_with_the_next(
    install: Install, elsewhere: Elsewhere, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("podman", PODMAN)
    monkeypatch.setenv("TEST_UID", str(os.getuid()))
    names = ["hpc-convert-abcdefghij", "hpc-convert-justmade01", "hpc-convert-x", "somebody-elses"]
    for name in names:
        (elsewhere.temporary / name / "rootfs").mkdir(parents=True)
        os.utime(elsewhere.temporary / name, (1, 1))
    os.utime(elsewhere.temporary / names[1])
    convert("demo:1.0", out, builder=elsewhere)
    assert sorted(path.name for path in elsewhere.temporary.iterdir()) == names[1:]


@pytest.mark.parametrize("there", [True, False])
def test_another_place_to_work_in(
    install: Install, elsewhere: Elsewhere, out: Path, calls: Path, tmp_path: Path, there: bool
) -> None:
    """For a /tmp that is full, or mounted with noexec."""
    install("podman", PODMAN)
    if not there:
        install("apptainer", APPTAINER)
    large = tmp_path / "large"
    large.mkdir()
    convert("demo:1.0", out, builder=elsewhere if there else None, tmpdir=large)
    worked = Path((calls / "directory").read_text().strip())
    assert worked.parent == (large if there else out.parent)
    assert [path.name for path in large.iterdir()] == ([] if there else ["build-temp"])
    assert list(elsewhere.temporary.iterdir()) == []
    assert "--tmpdir DIR" in hint_for("FATAL: fork/exec /tmp/x/mksquashfs: permission denied")


def test_no_apptainer_anywhere(install: Install, elsewhere: Elsewhere, out: Path) -> None:
    install("podman", PODMAN)
    with pytest.raises(UsageError, match="not on this machine") as caught:
        convert("demo:1.0", out)
    assert "--cluster" in caught.value.hint
    assert "install" in caught.value.hint
    (elsewhere.programs / "apptainer").unlink()
    with pytest.raises(UsageError, match="neither on this machine nor on the controller"):
        convert("demo:1.0", out, builder=elsewhere)
    assert not out.parent.exists()


def test_singularity_will_do(install: Install, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("singularity", APPTAINER)
    convert("demo:1.0", out)
    assert (calls / "apptainer").exists()


def test_this_machine_comes_first(install: Install, elsewhere: Elsewhere, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    install("apptainer", APPTAINER)
    convert("demo:1.0", out, builder=elsewhere)
    assert Path((calls / "directory").read_text().strip()).parent == out.parent


def test_a_build_on_the_controller(install: Install, elsewhere: Elsewhere, calls: Path, out: Path) -> None:
    install("podman", PODMAN)
    lines: list[str] = []
    convert("demo:1.0", out, builder=elsewhere, on_line=lines.append)
    assert out.read_bytes() == (calls / "finished.sif").read_bytes()
    assert (calls / "seen").read_bytes() == make_archive()
    assert Path((calls / "directory").read_text().strip()).parent == elsewhere.temporary
    assert list(elsewhere.temporary.iterdir()) == []
    assert leftovers(out) == ["demo.sif"]
    assert any("hpc-controller" in line for line in lines)


def test_a_failed_build_on_the_controller_leaves_nothing(
    install: Install, elsewhere: Elsewhere, calls: Path, out: Path
) -> None:
    install("podman", PODMAN)
    (calls / "fail").touch()
    with pytest.raises(CommandFailed, match="hpc-controller: apptainer could not build"):
        convert("demo:1.0", out, builder=elsewhere)
    assert list(elsewhere.temporary.iterdir()) == []
    assert leftovers(out) == []


def test_bytes_that_change_on_the_way_back(install: Install, elsewhere: Elsewhere, out: Path) -> None:
    install("podman", PODMAN)
    elsewhere.spoil = "cat"
    with pytest.raises(CommandFailed, match="changed on its way"):
        convert("demo:1.0", out, builder=elsewhere)
    assert leftovers(out) == []


def test_an_interrupted_build_on_the_controller_ends_there_too(
    install: Install, elsewhere: Elsewhere, calls: Path, out: Path
) -> None:
    """The process group of this side's command is not the remote build: that one has to be ended by its id."""
    install("podman", PODMAN)
    elsewhere.detached = True
    (calls / "slow").touch()
    pids: list[str] = []

    def on_line(line: str) -> None:
        if line == "waiting":
            (directory,) = elsewhere.temporary.iterdir()
            pids.append((directory / "pid").read_text().strip())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert("demo:1.0", out, builder=elsewhere, on_line=on_line)
    assert list(elsewhere.temporary.iterdir()) == []
    assert leftovers(out) == []
    assert len(pids) == 1
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pids[0]}").exists()


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("demo", "demo.sif"),
        ("demo:1.0", "demo.sif"),
        ("pytorch-cuda12.1-mpi4.1:latest", "pytorch-cuda12.1-mpi4.1.sif"),
        ("localhost:5000/team/demo:1.0", "demo.sif"),
        ("docker://example.org/demo@sha256:ab", "demo.sif"),
        ("oci-archive:/a/demo-2.1.oci.tar", "demo-2.1.sif"),
        ("docker-archive:demo.tar.gz", "demo.sif"),
    ],
)
def test_default_output(image: str, name: str) -> None:
    assert default_output(image) == Path("build/containers/apptainer") / name


def test_default_output_is_a_good_name() -> None:
    with pytest.raises(UsageError, match="not a name"):
        default_output("oci-archive:/a/b c.tar")


def test_the_library_needs_no_subprocess_of_its_own() -> None:
    """Programs are started by transports alone."""
    package = ROOT / "pytest_hpcregistry"
    for name in (
        "images/making/convert.py",
        "images/making/reproducible.py",
        "images/making/sources.py",
        "core/sif.py",
    ):
        assert "import subprocess" not in (package / name).read_text()
    code = "import sys, pytest_hpcregistry.images.making.convert as _; "
    code += "assert not {'pytest', 'click', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
