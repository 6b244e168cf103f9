"""`image build --dry-run`: everything is asked, and nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_hpcregistry.images.definitions.definition import find_definitions, read
from pytest_hpcregistry.images.making.plan import Plan, plan
from tests.fakes.podman import Stand
from tests.unit.images.definitions.test_definition import FIXTURES, define
from tests.unit.images.making.test_build import BASE, root_script

NO_HOST = "Error: no such host"


def plan_of(stand: Stand, place: Path, *, force: bool = False) -> Plan:
    before = (stand.directory / "images").read_text()
    found = plan(stand.builder(), read(place), force=force)
    assert (stand.directory / "images").read_text() == before
    return found


def test_why_an_image_would_be_built(stand: Stand, tmp_path: Path) -> None:
    stand.keep("images", {"docker.io/library/debian:trixie": ""})
    place = define(tmp_path, BASE)
    assert plan_of(stand, place).reason == "there is no such image yet"
    stand.builder().build(read(place))
    assert plan_of(stand, place).reason == ""
    assert plan_of(stand, place).lines()[0] == "x:latest: up to date"
    assert plan_of(stand, place, force=True).reason == "that is asked for"
    images = json.loads((stand.directory / "images").read_text())
    stand.keep("images", {**images, "x:latest": images["x:latest"].replace("a" * 64, "b" * 64)})
    assert plan_of(stand, place).reason == "docker.io/library/debian:trixie is another image now"
    (place / "Dockerfile").write_text("FROM scratch\n")
    assert plan_of(stand, place).reason == "its definition has changed"
    assert plan_of(stand, place).lines()[0] == "x:latest: would be built: its definition has changed"


def test_the_command_is_that_of_the_build(stand: Stand, tmp_path: Path) -> None:
    stand.keep("images", {"docker.io/library/debian:trixie": ""})
    place = define(tmp_path, f"{BASE}labels: {{a: b c}}\n")
    planned = plan_of(stand, place)
    stand.builder().build(read(place))
    (built,) = stand.asked("build")
    context = built[-1]
    assert planned.argv == ["podman", *(word.replace(context, "CONTEXT") for word in built)]
    assert planned.lines(in_full=True)[-1].startswith(
        "  $ podman build --layers=false --force-rm --tag x:latest --build-arg BASE="
    )
    assert "--label 'a=b c'" in planned.lines(in_full=True)[-1]
    assert [line for line in planned.lines(in_full=True) if line.startswith("  label: ")] == [
        f"  label: {name}={value}" for name, value in planned.labels.items()
    ]
    ours = {f"io.hpcregistry.{name}" for name in ("image", "definition", "version", "base")}
    assert set(planned.labels) == {"a", *ours}
    assert planned.labels["io.hpcregistry.base"] == "sha256:" + "a" * 64


def test_where_the_base_would_come_from(stand: Stand, tmp_path: Path) -> None:
    root_script(tmp_path, "exit 1")
    debian, root = "docker.io/library/debian:trixie", "root: [../make.sh, one]\n"
    both = define(tmp_path, BASE + root, "both")
    local = f"localhost/hpcregistry-base:{read(both).root_revision()[:12]}"
    made = f"{local}, made by ../make.sh one"
    for place, base, problem in (
        (define(tmp_path, "name: x\n", "none"), "what the Dockerfile names", ""),
        (define(tmp_path, f"name: x\n{root}", "root"), made, ""),
        (both, f"{made}, as {debian} cannot be fetched ({NO_HOST})", ""),
        (define(tmp_path, BASE, "base"), f"{debian}, to be fetched", f"{debian}: {NO_HOST}"),
    ):
        planned = plan_of(stand, place)
        assert (planned.base, planned.problem) == (base, problem)
    stand.keep("registry", [debian])
    assert (plan_of(stand, both).base, plan_of(stand, both).problem) == (f"{debian}, to be fetched", "")
    stand.keep("images", {local: ""})
    assert plan_of(stand, both).base == f"{local}, present"
    stand.keep("images", {local: "", debian: ""})
    assert plan_of(stand, both).base == f"{debian}, present"


def test_a_registry_that_never_answers(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = define(tmp_path, BASE)
    monkeypatch.setattr("pytest_hpcregistry.images.making.plan.SHORT", 0.5)
    (stand.directory / "slow").touch()
    assert plan_of(stand, place).problem == "docker.io/library/debian:trixie: no answer within 0 s"


def test_what_cannot_be_built_here_says_so(stand: Stand) -> None:
    """The seed's own image: its base is in a registry only."""
    (definition,) = find_definitions(FIXTURES, "pytorch-cuda")
    planned = plan_of(stand, definition.directory)
    assert planned.problem == f"{definition.base}: {NO_HOST}"
    shown = "\n".join(planned.lines(in_full=True))
    for words in (
        "pytorch-cuda12.1-mpi4.1:latest: would be built: there is no such image yet\n",
        "  wheels: torch==2.4.1, numpy==1.26.4, by pip for Python 3.10\n",
        f"  CONTEXT: a copy of {definition.directory}, with wheels/\n",
    ):
        assert words in shown
