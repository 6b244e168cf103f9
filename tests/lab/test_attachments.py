"""SBOMs and scan reports in a real registry: kept by a deploy, fetched by name, and gone with the bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_hpcregistry.core.digest import hash_file
from tests.fakes.image import DEBIAN, lay, pack

from .conftest import Cli
from .machines import CONTROLLER, OBJECTS, REGISTRY, Machines, edit_cluster, refused

pytestmark = pytest.mark.lab
NAME = "ml-frameworks/packages.sif"
SBOMS, SCANS = f"{REGISTRY}/.registry/sbom", f"{REGISTRY}/.registry/scan"
REPORT = json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "tar"}, {"name": "libc6"}]})


def debian(directory: Path, version: str = "2.36-9", **more: str) -> Path:
    """An image whose libc6 has this version."""
    status = DEBIAN["var/lib/dpkg/status"].replace("2.36-9", version)
    return pack(lay(directory / "root", {**DEBIAN, "var/lib/dpkg/status": status, **more}), directory / "packages.sif")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian(tmp_path_factory.mktemp("new"), "2.41-1")


@pytest.fixture
def both(tool: Cli, machines: Machines, old: Path, new: Path) -> list[str]:
    """Two versions under one name, the newer current, and no other SBOM there; returns their digests, older first."""
    tool("gc", "--keep", "0", "--grace", "0").check()
    machines.tell(CONTROLLER, f"rm -rf {SBOMS} {SCANS}")
    for path in (old, new):
        tool("deploy", "single", "-s", path).check()
    return [hash_file(old), hash_file(new)]


def listed(machines: Machines, place: str, machine: str = CONTROLLER) -> list[str]:
    """What lies in a directory; nothing where there is none."""
    return machines.tell(machine, f"ls -A {place} 2>/dev/null || true").split()


def test_two_versions_are_compared_by_name(tool: Cli, machines: Machines, both: list[str], old: Path) -> None:
    one, two = both
    said = tool("image", "diff", NAME, one[:8], two[:8]).check().stdout.splitlines()
    assert said[1].split() == ["changed", "deb", "libc6", "2.36-9", "2.41-1"]
    assert said[-1] == f"1 package differs between {one[:12]} and {two[:12]}"
    here = tool("image", "sbom", old).check().stdout
    assert tool("image", "sbom", NAME, "--version", one).check().stdout == here
    refused(tool("image", "diff", NAME, one[:8], "ffffff"), 2, NAME, "no version begins with 'ffffff'", two[:12])
    assert sorted(listed(machines, SBOMS)) == sorted(f"{digest}.json" for digest in both)
    assert machines.tell(CONTROLLER, f"stat -c '%a %U:%G' {SBOMS} {SBOMS}/{one}.json").split("\n")[:2] == [
        machines.tell(CONTROLLER, f"stat -c '%a %U:%G' {OBJECTS}").strip(),
        "644 " + machines.tell(CONTROLLER, f"stat -c %U:%G {OBJECTS}").strip(),
    ]
    for node in machines.state.nodes:
        assert listed(machines, SBOMS, node) == [], "nodes get none"
    tool("status").check()


def test_a_rollback_keeps_them_and_gc_takes_them_with_the_bytes(tool: Cli, machines: Machines, both: list[str]) -> None:
    one, two = both
    tool("rollback", NAME).check()
    assert f"sha256:{one}" in tool("image", "sbom", NAME).check().stdout
    would = tool("gc", "--keep", "0", "--grace", "0", "--dry-run").check().stdout
    assert "1 object and 1 attachment would be freed" in would
    assert len(listed(machines, SBOMS)) == 2
    freed = tool("gc", "--keep", "0", "--grace", "0").check().stdout
    assert "1 object and 1 attachment freed" in freed
    assert listed(machines, SBOMS) == [f"{one}.json"]
    assert f"sha256:{one}" in tool("image", "sbom", NAME).check().stdout
    refused(tool("image", "diff", NAME, one[:8], two[:8]), 2, "no version begins with")


def test_a_report_of_a_scan_is_kept_too(tool: Cli, machines: Machines, old: Path, tmp_path: Path) -> None:
    scanner = [sys.executable, "-c", f"print({REPORT!r})", "{sbom}"]
    cluster = edit_cluster(machines.state.cluster_file, tmp_path / "cluster.yaml", scan={"command": scanner})
    said = tool("deploy", "single", old, cluster=cluster).check().stdout
    assert "scanner's report kept beside it" in said
    kept = machines.tell(CONTROLLER, f"cat {SCANS}/{hash_file(old)}.json")
    assert kept == (old.parent / "packages.sif.scan.json").read_text()


def test_what_somebody_else_put_there_is_never_taken_for_one(tool: Cli, machines: Machines, both: list[str]) -> None:
    one, two = both
    machines.tell(CONTROLLER, f"cp {SBOMS}/{one}.json {SBOMS}/{two}.json; echo '{{}}' > {SBOMS}/notes.json")
    refused(tool("image", "sbom", NAME), 3, f"{NAME}, version {two[:12]}", "it is not that of this image", "scp ")
    machines.tell(CONTROLLER, f"echo '<html>' > {SBOMS}/{two}.json")
    refused(tool("image", "diff", NAME, one[:8], two[:8]), 3, f"version {two[:12]}", "it is not JSON")
    machines.tell(CONTROLLER, f"rm {SBOMS}/{two}.json")
    refused(tool("image", "sbom", NAME), 3, f"{NAME}, version {two[:12]}", "the registry has no SBOM of it", "scp ")
    said = tool("gc", "--dry-run").check().stdout
    assert "not in the catalog, left alone: .registry/sbom/notes.json" in said
    machines.tell(CONTROLLER, f"rm {SBOMS}/notes.json")


def test_a_deploy_killed_while_it_keeps_one_leaves_no_half(
    tool: Cli, machines: Machines, both: list[str], new: Path
) -> None:
    """Killed where it has written all of it, and not renamed it yet."""
    _, two = both
    machines.tell(CONTROLLER, f"rm {SBOMS}/{two}.json")
    script = "exec /usr/bin/python3.real -c 'import os, runpy, signal, sys\nreal = os.rename\n"
    script += 'def rename(source, *rest, **more):\n    if source.startswith(".") and ".json." in source: '
    script += "os.kill(os.getpid(), signal.SIGKILL)\n    real(source, *rest, **more)\nos.rename = rename\n"
    script += 'sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name="__main__")\' "$@"'
    with machines.in_front_of(CONTROLLER, "/usr/bin/python3", script):
        refused(tool("deploy", "single", new), 4, "without an answer")
    (half,) = [name for name in listed(machines, SBOMS) if name.startswith(".")]
    assert half.startswith(f".{two}.json.")
    refused(tool("image", "sbom", NAME), 3, "the registry has no SBOM of it")
    assert "its SBOM kept beside it" in tool("deploy", "single", new).check().stdout
    assert "1 leftover freed" in tool("gc", "--grace", "0").check().stdout
    assert sorted(listed(machines, SBOMS)) == sorted(f"{digest}.json" for digest in both)


def test_a_full_disk_keeps_the_image_and_says_so(tool: Cli, machines: Machines, both: list[str], new: Path) -> None:
    _, two = both
    machines.tell(CONTROLLER, f"mv {SBOMS} {SBOMS}.before && mkdir {SBOMS} && mount -t tmpfs -o size=4k none {SBOMS}")
    try:
        machines.run(CONTROLLER, f"dd if=/dev/zero of={SBOMS}/full bs=4k count=2")
        said = tool("deploy", "single", new).check().stdout
        assert f"! {NAME}: its SBOM is not kept in the registry: No space left on device" in said
        assert "already published there" in said
        assert listed(machines, SBOMS) == ["full"]
    finally:
        machines.tell(CONTROLLER, f"umount {SBOMS} && rmdir {SBOMS} && mv {SBOMS}.before {SBOMS}")
    assert machines.digest(CONTROLLER, NAME) == two


def test_one_that_is_too_large_is_not_sent(tool: Cli, machines: Machines, old: Path, tmp_path: Path) -> None:
    code = f"print({REPORT!r}[:-1] + ', \"x\": \"' + 'x' * (16 << 20) + '\"}}')"
    scanner = [sys.executable, "-c", code, "{sbom}"]
    cluster = edit_cluster(machines.state.cluster_file, tmp_path / "cluster.yaml", scan={"command": scanner})
    machines.tell(CONTROLLER, f"rm -rf {SCANS}")
    said = tool("deploy", "single", old, cluster=cluster).check().stdout
    assert f"! {NAME}: its scanner's report is not kept in the registry: it is larger than 16 MiB" in said
    assert listed(machines, SCANS) == []


def test_a_registry_of_the_version_before_gets_its_directories(
    tool: Cli, machines: Machines, both: list[str], new: Path
) -> None:
    machines.tell(CONTROLLER, f"rm -rf {SBOMS} {SCANS}")
    tool("status").check()
    tool("gc", "--dry-run").check()
    assert "its SBOM kept beside it" in tool("deploy", "single", new).check().stdout
    assert listed(machines, SBOMS) == [f"{both[1]}.json"]
