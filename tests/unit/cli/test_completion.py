"""Completion: what the shells get, and names out of a file that nobody trusts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import known_names
from pytest_hpcregistry.cli.known_names import Names
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.testing.facts import NAME, gathered, image, machine
from pytest_hpcregistry.testing.transport import FakeTransport

IMAGES = ("custom-images/py.sif", "ml-frameworks/pytorch.sif", "ml-frameworks/tools.sif")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER"):
        monkeypatch.delenv(name, raising=False)


def complete(*words: str) -> list[str]:
    """What bash gets for the last of *words*, which is not complete."""
    asked = {
        "_HPC_CONTAINER_MANAGER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["hpc-container-manager", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = "from pytest_hpcregistry import cli; import sys; sys.argv[0] = 'hpc-container-manager'; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.split()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli.commands, ["completion", shell])
    assert result.exit_code == 0
    assert f"_HPC_CONTAINER_MANAGER_COMPLETE={shell}_complete" in result.stdout
    assert "hpc-container-manager" in result.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=result.stdout, text=True, check=True)


def test_words_and_names_of_the_cluster_are_completed() -> None:
    known_names.write(known_names.place(None, "hpc"), ["c001", "c002", "gpu1"], IMAGES, "ml-frameworks")
    here = ("--controller", "hpc")
    assert complete("roll") == ["rollback"]
    assert complete("rollback", *here, "py") == ["pytorch.sif"]
    assert complete("rollback", *here, "") == ["pytorch.sif", "tools.sif", "custom-images/py.sif"]
    assert complete("verify", *here, "ml-frameworks/p") == ["ml-frameworks/pytorch.sif"]
    assert complete("verify", *here, "c") == ["custom-images/py.sif"]
    assert complete("status", *here, "-w", "c001,c") == ["c001,c001", "c001,c002"]
    assert complete("rollback", "--controller", "another", "py") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"nodes": 1, "images": {"a": 1}, "short": []}',
        '{"nodes": ["c\\u001b[2J", 5], "images": ["../x.sif"]}',
    ],
)
def test_a_damaged_file_is_no_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    assert known_names.read(path) == Names()
    assert known_names.read(tmp_path / "gone") == Names()


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"nodes": ["c1"], "images": [], "x": " " * known_names.LARGEST}))
    assert known_names.read(path) == Names()
    known_names.write(path, (f"c{number}" for number in range(known_names.MOST + 5)), [], "x")
    assert len(known_names.read(path).nodes) == known_names.MOST


def test_status_leaves_what_it_saw_and_a_choice_of_nodes_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: FakeTransport())
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: gathered({"c1": machine(image())}))

    def status(*words: str) -> Names:
        assert CliRunner().invoke(cli.commands, ["status", "--controller", "hpc", *words]).exit_code == 0
        return known_names.read(known_names.place(None, "hpc"))

    assert status("-w", "c1") == Names()
    assert status() == Names(("c1",), (NAME,), "ml-frameworks")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert status() == Names(), "where it cannot be kept, nobody minds"


def test_clusters_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    one = known_names.place("a.yaml", None)
    assert one == known_names.place(tmp_path / "a.yaml", None)
    assert one == known_names.place(None, None, {"HPC_CLUSTER": "a.yaml"})
    assert len({one, known_names.place("b.yaml", None), known_names.place("a.yaml", "hpc")}) == 3
