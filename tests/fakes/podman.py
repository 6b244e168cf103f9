"""A program in the place of Podman, which keeps what it is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.images.making.build import Builder

STANDS_IN = """\
import json, os, pathlib, sys, time
home = pathlib.Path(os.environ["STANDS_IN"])
words = sys.argv[1:]
images = json.loads((home / "images").read_text())
with (home / "asked").open("a") as log:
    log.write(json.dumps(words) + "\\n")
if words[0] == "image":
    if words[-1] not in images:
        sys.exit("no such image")
    made_of, _, base = images[words[-1]].partition(" ")
    known = {"definition": made_of, "base": base}
    ids = json.loads((home / "ids").read_text())
    print(known.get(words[3].rpartition(".")[2].rstrip('"}'), "sha256:" + ids.get(words[-1], "a") * 64))
elif words[0] in ("pull", "manifest"):
    if (home / "slow").exists():
        time.sleep(60)
    if words[-1] not in json.loads((home / "registry").read_text()):
        sys.exit("Error: no such host")
elif words[0] == "import":
    images[words[-1]] = pathlib.Path(words[1]).read_text()
elif words[0] == "build":
    context = pathlib.Path(words[-1])
    (home / "context").write_text(json.dumps(sorted(str(path.relative_to(context)) for path in context.rglob("*"))))
    print("STEP 1")
    if (context / "fails").exists():
        print("STEP 2: RUN false")
        sys.exit("error: building at STEP 2: exit status 1")
    labels = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--label")
    base = labels.get("io.hpcregistry.base", "")
    images[words[words.index("--tag") + 1]] = labels["io.hpcregistry.definition"] + " " + base
(home / "images").write_text(json.dumps(images))
"""


class Stand:
    """A machine whose Podman, and pip, only keep what they are asked.

    `images` are what there is, `registry` what can be fetched, `ids` the letters that IDs are made of, otherwise `a`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.keep("images", {})
        self.keep("registry", [])
        self.keep("ids", {})

    def keep(self, name: str, what: Any) -> None:
        (self.directory / name).write_text(json.dumps(what))

    def asked(self, command: str) -> list[list[str]]:
        lines = (self.directory / "asked").read_text().splitlines()
        return [words for words in map(json.loads, lines) if words[0] == command]

    def builder(self) -> Builder:
        return Builder(self.said.append)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    home = tmp_path / "stands-in"
    (home / "bin").mkdir(parents=True)
    (home / "tmp").mkdir()
    program = home / "bin" / "podman"
    program.write_text(f"#!{sys.executable} -IS\n{STANDS_IN}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("STANDS_IN", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(home / "tmp"))
    yield Stand(home)
    assert list((home / "tmp").iterdir()) == [], "nothing is left"
