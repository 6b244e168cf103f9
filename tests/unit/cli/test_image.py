"""`image`: one is built or all, and what is said of each; what is in one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import convert as convert_command
from pytest_hpcregistry.core.catalog import Catalog, Entry, Version
from pytest_hpcregistry.core.errors import CommandFailed, Undetermined, UsageError
from pytest_hpcregistry.images.definitions.definition import find_definitions, read
from pytest_hpcregistry.images.inventory.sbom import make_sbom
from pytest_hpcregistry.images.making.build import local_base
from pytest_hpcregistry.images.making.convert import Converted
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from pytest_hpcregistry.testing.transport import FakeTransport
from pytest_hpcregistry.transports import Command, CommandResult
from tests.fakes.image import DEBIAN, debian, lay, pack
from tests.fakes.podman import Stand
from tests.unit.images.definitions.test_definition import FIXTURES, define


def run(definitions: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["image", "build", *words, "--definitions", str(definitions)])


def test_what_is_up_to_date_is_not_built_again(stand: Stand, tmp_path: Path) -> None:
    images = tmp_path / "images"
    define(images, "name: mine\n")
    first, again, forced = run(images, "mine"), run(images, "mine"), run(images, "mine", "--force")
    assert "✓ mine:latest: built in " in first.output
    assert again.output == "✓ mine:latest: up to date (aaaaaaaaaaaa)\n"
    assert "✓ mine:latest: built in " in forced.output
    assert {first.exit_code, again.exit_code, forced.exit_code} == {0}


def test_one_that_fails_keeps_no_other_from_being_built(stand: Stand, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a", "b", "c"):
        define(images, f"name: {name}\n", name)
    (images / "b" / "fails").touch()
    result = run(images, "all")
    assert result.output.count("✓") == 2
    assert "error: podman could not build b:latest\n  STEP 1" in result.output
    assert isinstance(result.exception, CommandFailed)
    assert str(result.exception) == "1 of 3 images were not built: b"
    with pytest.raises(CommandFailed, match="could not build b:latest"):
        cli.commands.main(["image", "build", "b", "--definitions", str(images)], standalone_mode=False)


def test_a_dry_run_shows_all_and_builds_none(stand: Stand, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a", "b"):
        define(images, f"name: {name}\n", name)
    run(images, "a")
    result = run(images, "all", "--dry-run")
    assert result.exit_code == 0
    for line in ("a:latest: up to date", "b:latest: would be built: there is no such image yet"):
        assert line in result.output.splitlines()
    assert ("  $ podman build " in result.output, "label" in result.output) == (False, False)
    assert run(images, "all", "--dry-run", "-v").stdout.count("  $ podman build ") == 2
    assert len(stand.asked("build")) == 1
    assert "b:latest: would be built: that is asked for" in run(images, "b", "--dry-run", "--force").output


def test_without_a_registry_all_are_built_but_those_that_need_one(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples, with the bases that are made here; what is downloaded is not the point."""
    found = find_definitions(FIXTURES, "all")
    stand.keep("images", {local_base(one): "" for one in found if one.root})
    monkeypatch.setattr("sys.executable", "/bin/true")
    planned = run(FIXTURES, "all", "--dry-run")
    assert str(planned.exception) == f"1 of {len(found)} images were not ready to be built: pytorch-cuda"
    assert planned.output.count(" cannot be built on this machine now: ") == 1
    result = run(FIXTURES, "all")
    assert isinstance(result.exception, CommandFailed)
    assert str(result.exception) == f"1 of {len(found)} images were not built: pytorch-cuda"
    assert "error: pytorch-cuda12.1-mpi4.1: its base docker.io/nvidia/cuda:12.1.1-base-ubuntu22.04 " in result.output
    assert result.output.count(": built in ") == len(found) - 1 >= 3


def test_the_directory_of_definitions_may_be_set_once(
    stand: Stand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    define(tmp_path / "images", "name: mine\n")
    monkeypatch.setenv("HPC_IMAGES", str(tmp_path / "images"))
    assert CliRunner().invoke(cli.commands, ["image", "build", "mine"]).exit_code == 0


def test_a_shell_in_an_image(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    define(images, "name: mine\n")
    words = ["image", "prompt", "mine", "--definitions", str(images)]
    with pytest.raises(UsageError, match="there is no image mine:latest on this machine") as caught:
        cli.commands.main(words, standalone_mode=False)
    assert caught.value.hint == "hpc-container-manager image build mine"
    run(images, "mine")
    started: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda program, argv: started.append(argv))
    cli.commands.main(words, standalone_mode=False)
    assert CliRunner().invoke(cli.commands, ["image", "prompt", "all", *words[3:]]).exit_code == 2
    assert started == [["podman", "run", "--interactive", "--tty", "--rm", "mine:latest", "/bin/sh"]]


def test_the_bash_frameworks_spelling(stand: Stand, tmp_path: Path) -> None:
    define(tmp_path / "images", "name: mine\n")
    words = ["docker", "build", "mine", "--definitions", str(tmp_path / "images")]
    assert "✓ mine:latest: built in " in CliRunner().invoke(cli.commands, words).output


def test_convert_all_leaves_what_is_of_the_same_revision(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("same", "older", "missing", "broken"):
        define(tmp_path / "images", f"name: {name}\n", name)
    place = tmp_path / "build" / "containers" / "apptainer"
    place.mkdir(parents=True)
    for name in ("same", "older"):
        revision = read(tmp_path / "images" / name).revision() if name == "same" else "0" * 64
        labels = label_object({"io.hpcregistry.definition": revision})
        (place / f"{name}.sif").write_bytes(Sif(parts=(labels, system_partition())).to_bytes())
    (place / "broken.sif").write_text("no SIF")
    converted: list[str] = []

    def convert(image: str, out: Path, **_: object) -> Converted:
        converted.append(image)
        if image == "missing:latest":
            raise UsageError("no image missing:latest on this machine")
        return Converted(out, "0" * 64, 1, image, "", 0.1)

    monkeypatch.setattr(convert_command, "convert", convert)
    words = ["convert", "all", "--definitions", "images"]
    result = CliRunner().invoke(cli.commands, words)
    assert converted == ["broken:latest", "missing:latest", "older:latest"]
    assert "✓ build/containers/apptainer/same.sif: up to date" in result.output
    assert str(result.exception) == "1 of 4 images were not converted: missing"
    CliRunner().invoke(cli.commands, [*words, "--force"])
    assert converted[3:] == ["broken:latest", "missing:latest", "older:latest", "same:latest"]


def test_sbom_goes_to_a_file_or_to_standard_output(tmp_path: Path) -> None:
    image = debian(tmp_path, **{"var/lib/rpm/rpmdb.sqlite": b"damaged"})
    out = tmp_path / "out" / "x.cdx.json"
    shown = CliRunner().invoke(cli.commands, ["image", "sbom", str(image)])
    assert json.loads(shown.stdout)["bomFormat"] == "CycloneDX"
    assert shown.stderr.startswith(
        "! /var/lib/rpm/rpmdb.sqlite: a database of rpm, which rpm did not read to its end: "
    )
    written = CliRunner().invoke(cli.commands, ["image", "sbom", str(image), "--output", str(out)])
    assert f": 2 packages of {image}, sha256 " in written.stdout
    assert (out.read_text(), list(out.parent.iterdir())) == (shown.stdout, [out])


def test_no_sbom_of_an_image_without_packages(tmp_path: Path) -> None:
    image = pack(lay(tmp_path / "root", {"bin/app": "x"}), tmp_path / "x.sif")
    out = tmp_path / "out.json"
    result = CliRunner().invoke(cli.commands, ["image", "sbom", str(image), "--output", str(out)])
    assert isinstance(result.exception, Undetermined)
    assert not out.exists()


def test_diff_of_two_images(tmp_path: Path) -> None:
    old = debian(tmp_path / "old")
    newer = DEBIAN["var/lib/dpkg/status"].replace("2.36-9", "2.41-1").replace("Package: tar", "Package: bsdtar")
    new = debian(tmp_path / "new", **{"var/lib/dpkg/status": newer})
    bill = tmp_path / "old.json"
    CliRunner().invoke(cli.commands, ["image", "sbom", str(old), "--output", str(bill)])
    for before in (old, bill):
        result = CliRunner().invoke(cli.commands, ["image", "diff", str(before), str(new)])
        *rows, last = [line.split() for line in result.stdout.splitlines()]
        assert rows == [
            ["KIND", "PACKAGE", "OLD", "NEW"],
            ["added", "deb", "bsdtar", "-", "1.34+dfsg-1.2"],
            ["changed", "deb", "libc6", "2.36-9", "2.41-1"],
            ["removed", "deb", "tar", "1.34+dfsg-1.2", "-"],
        ]
        assert last[:3] == ["3", "packages", "differ"]
    shown = CliRunner().invoke(cli.commands, ["image", "diff", str(old), str(new), "--json"])
    assert json.loads(shown.stdout)["changes"][1] == {
        "state": "changed", "kind": "deb", "name": "libc6", "old": ["2.36-9"], "new": ["2.41-1"],
    }  # fmt: skip
    same = CliRunner().invoke(cli.commands, ["image", "diff", str(old), str(old)])
    assert (same.exit_code, same.stdout) == (0, f"0 packages differ between {old} and {old}\n")


def test_what_sbom_does_not_write_over(tmp_path: Path) -> None:
    image = debian(tmp_path)
    before = image.read_bytes()
    (tmp_path / "there.json").write_text("mine")
    for out, words in ((image, ["--force"]), (tmp_path / "there.json", []), (Path("/dev/null"), ["--force"])):
        result = CliRunner().invoke(cli.commands, ["image", "sbom", str(image), "--output", str(out), *words])
        assert isinstance(result.exception, UsageError), out
    assert (image.read_bytes(), (tmp_path / "there.json").read_text()) == (before, "mine")
    assert Path("/dev/null").is_char_device()


def test_what_cannot_be_printed_is_not_done() -> None:
    program = Path(sys.executable).parent / "hpc-container-manager"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([program, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "error: No space left on device\n")


def test_nothing_begins_with_a_closed_output() -> None:
    program = Path(sys.executable).parent / "hpc-container-manager"
    done = subprocess.run(f"exec {program} schema >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S602
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: standard output is closed")
    silent = subprocess.run(f"exec {program} --version >&- 2>&-", shell=True, check=False)  # noqa: S602
    assert silent.returncode == 2, "nor is it another kind of failure where that cannot be said"


# --- of the registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A controller whose registry has two versions of x.sif with their SBOMs; returns their digests, the older first.

    It answers `find` and `head`, as its files are the only thing that is asked for.
    """
    newer = DEBIAN["var/lib/dpkg/status"].replace("2.36-9", "2.41-1")
    made = [make_sbom(debian(tmp_path / "1")), make_sbom(debian(tmp_path / "2", **{"var/lib/dpkg/status": newer}))]
    one, two = [one.digest for one in made]
    older = Version(one, 1, "", "", "amd64")
    entry = Entry(two, 1, "", "", "amd64", versions=(older,))
    files = {f"/opt/containers/.registry/sbom/{one.digest}.json": one.text for one in made}
    files["/opt/containers/.registry/catalog.yaml"] = Catalog({REGISTERED: entry}).to_text()

    class Controller(FakeTransport):
        def execute(self, command: Command) -> CommandResult:
            program = command.argv[0]
            assert program in ("find", "head")
            path = command.argv[1] if program == "find" else command.argv[-1]
            missing = "" if path in files else f"{program}: {path}: No such file or directory\n"
            on_line = command.on_line or (lambda line: None)
            for line in files.get(path, "").splitlines():
                on_line(line)
            return CommandResult("hpc", tuple(command.argv), 1 if missing else 0, files.get(path, ""), missing, 0.0)

    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: Controller())
    monkeypatch.chdir(tmp_path)
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER"):
        monkeypatch.delenv(name, raising=False)
    return [one, two]


REGISTERED = "ml-frameworks/x.sif"
HPC = ("--controller", "hpc")


def image(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.commands, ["image", *map(str, words)])


def test_the_sbom_that_the_registry_keeps(registry: list[str]) -> None:
    one, two = registry
    shown = image("sbom", REGISTERED, *HPC)
    assert json.loads(shown.stdout)["metadata"]["component"]["version"] == f"sha256:{two}"
    assert image("sbom", "x.sif", *HPC).stdout == shown.stdout
    written = image("sbom", "x.sif", "--version", one[:8], "-o", "out.json", *HPC)
    assert written.stdout == f"✓ out.json: 2 packages of x.sif, sha256 {one[:12]}…\n"
    assert json.loads(Path("out.json").read_text())["metadata"]["component"]["version"] == f"sha256:{one}"


def test_a_file_of_that_name_is_taken_unless_a_version_is_named(registry: list[str], tmp_path: Path) -> None:
    mine = debian(tmp_path / "mine", **{"etc/mine": "x"})
    shutil.copy(mine, "x.sif")
    shown = json.loads(image("sbom", "x.sif").stdout)
    assert shown["metadata"]["component"]["version"] not in [f"sha256:{one}" for one in registry]
    shown = json.loads(image("sbom", "x.sif", "--version", registry[0], *HPC).stdout)
    assert shown["metadata"]["component"]["version"] == f"sha256:{registry[0]}"
    result = image("sbom", "x.sif", *HPC)
    assert result.exit_code == 2
    assert "--controller is for an image of the registry, and x.sif is a file" in result.stderr


def test_what_is_neither_a_file_nor_in_the_registry(registry: list[str]) -> None:
    for word, why in (("y.sif", "is not in the catalog"), ("build/x.sif", "does not lie in a directory")):
        result = image("sbom", word, *HPC)
        assert isinstance(result.exception, UsageError)
        assert str(result.exception).startswith(f"{word} is no file here, so it is taken for an image of the registry:")
        assert why in str(result.exception)
    result = image("sbom", "y.sif")
    assert isinstance(result.exception, UsageError)
    assert "no cluster is named" in str(result.exception)
    assert "--cluster FILE" in result.exception.hint
    result = image("sbom", "y.sif", "--version", registry[0], *HPC)
    assert str(result.exception) == f"{REGISTERED.replace('x', 'y')} is not in the catalog"


def test_diff_of_two_versions(registry: list[str]) -> None:
    one, two = registry
    result = image("diff", "x.sif", one[:6], two[:7], *HPC)
    *rows, last = result.stdout.splitlines()
    assert [row.split() for row in rows[1:]] == [["changed", "deb", "libc6", "2.36-9", "2.41-1"]]
    assert last == f"1 package differs between {one[:12]} and {two[:12]}"
    shown = json.loads(image("diff", REGISTERED, two, one, "--json", *HPC).stdout)["changes"]
    assert [(row["old"], row["new"]) for row in shown] == [(["2.41-1"], ["2.36-9"])]
    assert image("diff", "x.sif", one, one, *HPC).stdout == f"0 packages differ between {one[:12]} and {one[:12]}\n"


def test_diff_takes_two_files_or_a_name_and_two_versions(registry: list[str], tmp_path: Path) -> None:
    for words in ([], ["x.sif"], ["x.sif", "a", "b", "c"]):
        result = image("diff", *words, *HPC)
        assert result.exit_code == 2
        assert "give two files, or the name of an image and two of its versions" in result.stderr
    result = image("diff", tmp_path / "1" / "debian.sif", tmp_path / "2" / "debian.sif", *HPC)
    assert result.exit_code == 2
    assert "--controller is for an image of the registry: NAME V1 V2" in result.stderr
