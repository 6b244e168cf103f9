"""Files and names that are wrong or hostile: refused with what is wrong, and not one byte changed anywhere."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli
from .machines import CATALOG, CONTROLLER, LAUNCHER, Machines, refused

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("untouched")]
HOSTILE = ["../x.sif", "-x.sif", "two words.sif", "new\nline.sif", "x.sif;id", "$(id).sif", "/etc/passwd"]
BROKEN_CATALOGS = {
    "no YAML": "version: 1\nimages: [oops\n",
    "a list": "version: 1\nimages:\n  - one\n",
    "another version": "version: 2\nimages: {}\n",
    "a hostile name": "version: 1\nimages:\n  ../../etc/passwd: {digest: x}\n",
    "empty": "",
}


def test_file_that_is_no_sound_sif(tool: Cli, sif: Callable[..., Path], tmp_path: Path) -> None:
    whole = sif("whole", 256).read_bytes()
    wrong = {
        "truncated": whole[: len(whole) // 3],
        "cut": whole[:-1],
        "page": b"<!DOCTYPE html><html>Please log in</html>",
        "zeros": bytes(65536),
        "empty": b"",
    }
    for name, data in wrong.items():
        path = tmp_path / f"{name}.sif"
        path.write_bytes(data)
        refused(tool("deploy", "single", "-s", path), 2, str(path))
    refused(tool("deploy", "single", tmp_path / "not-there.sif"), 2, "not-there.sif")
    refused(tool("deploy", "all", "-s", tmp_path), 2, str(tmp_path))


def test_bytes_that_the_controller_finds_wrong_are_not_kept_there(tool: Cli, machines: Machines) -> None:
    """As after a workstation of another version: its own check let something through."""
    program = "python3 /usr/local/lib/hpcregistry/controller.pyz --json"
    digest = machines.tell(CONTROLLER, "echo foreign | tee /root/foreign | sha256sum").split()[0]
    request = (
        f'{{"name": "ml-frameworks/f.sif", "digest": "{digest}", "size": 8, "by": "", "architecture": "",'
        ' "source": "", "labels": {}}'
    )
    machines.tell(CONTROLLER, f"{program} receive {digest} 8 < /root/foreign")
    answer = machines.run(CONTROLLER, f"echo {shlex.quote(request)} | {program} publish")
    assert '"event": "failed"' in answer.stdout
    assert answer.exit_code == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name(name: str, tool: Cli, sif: Callable[..., Path]) -> None:
    image = sif("sound")
    refused(tool("deploy", "to-cluster", "-s", image, "--", name), 2, "hint: ")
    refused(tool("deploy", "to-cluster", image, "--", f"/opt/containers/ml-frameworks/{name}"), 2, "hint: ")
    for words in (["verify"], ["catalog", "show"], ["sync"]):
        result = tool(*words, "--", name)
        refused(result, 2, "hint: ")
        assert "uid=0" not in result.stdout + result.stderr


def test_hostile_directory_for_the_launcher(machines: Machines, kept: str) -> None:
    for name in [*HOSTILE, "..", ".registry", "", "ml-frameworks/../../etc"]:
        result = machines.run(CONTROLLER, f"{LAUNCHER} {shlex.quote(name)}")
        refused(result, 2)
        assert "uid=0" not in result.stdout + result.stderr
        result = machines.run(CONTROLLER, f"{LAUNCHER} --name {shlex.quote(name)}")
        refused(result, 2)


def test_broken_cluster_file_and_no_nodes(tool: Cli, sif: Callable[..., Path], tmp_path: Path) -> None:
    path, image = tmp_path / "cluster.yaml", sif("never")
    texts = {
        "controller: [oops\n": "cluster.yaml",
        "controller: {host: x}\nnodes: []\n": "no node is listed",
        "controller: {host: x}\nregistri: {}\n": "unknown key",
    }
    for text, said in texts.items():
        path.write_text(text)
        for words in (["deploy", "single", "-s", image], ["sync"], ["status"]):
            refused(tool(*words, cluster=path), 2, said)
    refused(tool("status", cluster=tmp_path / "no-such-file"), 2, "no-such-file")


@pytest.mark.parametrize("text", BROKEN_CATALOGS.values(), ids=list(BROKEN_CATALOGS))
def test_catalog_that_was_broken_by_hand(text: str, tool: Cli, machines: Machines, sif: Callable[..., Path]) -> None:
    """Everything says so, and nothing is done on its word; put back, all is as before."""
    machines.tell(CONTROLLER, f"cp -p {CATALOG} /root/catalog && printf %s {shlex.quote(text)} > {CATALOG}")
    try:
        broken = machines.trees()
        refused(tool("status"), 1, CATALOG)
        refused(tool("sync"), 2, CATALOG)
        refused(tool("deploy", "single", "-s", sif("never")), 2, CATALOG)
        refused(tool("catalog", "list"), 2, CATALOG)
        assert machines.trees() == broken
    finally:
        machines.tell(CONTROLLER, f"cp -p /root/catalog {CATALOG}")
