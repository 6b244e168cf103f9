"""What a failing run shows: each finding once, on all machines that have it, and what to do; then each test, short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.checks.finding import Finding
from pytest_hpcregistry.checks.images import without_implied
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.phases import suites_directory
from pytest_hpcregistry.core.facts import DAMAGED, MISSING, OLDER
from pytest_hpcregistry.core.machine import MachineFacts, SlurmFacts
from pytest_hpcregistry.plugin import findings as shown_findings
from pytest_hpcregistry.testing.facts import DIGEST, NAME, REGISTRY, entry, gathered
from tests.unit.checks.test_checks import PEERS, SIZE, Sound, never_set_up, path, sound_machine
from tests.unit.plugin.runs import answer, cases_of, properties_of, run

pytest_plugins = "pytester"
SETUP = "→ run phase 1 again: hpc-container-manager registry setup"


def big(monkeypatch: pytest.MonkeyPatch, nodes: int, *, wrong: str = "", gone: str = "", missing: str = "") -> None:
    """A cluster of *nodes*, sound but for one directory's mode on all nodes that begin with *wrong*, and so on."""
    names = [f"n{number:04d}" for number in range(1, nodes + 1)]
    sound = Sound()
    peers = "".join(f"{name} 10.0.0.1\n" for name in names)
    sound.host("controller").texts[PEERS] = sound.host("c1").texts[PEERS] = peers
    good = sound.nodes["c1"]
    assert isinstance(good, MachineFacts)
    bad = Sound()
    path("c1", f"{REGISTRY}/ml-frameworks", mode="0700")(bad)
    bad.host("c1").texts[PEERS] = peers
    without = replace(good, images=[], objects={})

    def facts_of(name: str) -> MachineFacts | str:
        if gone and name.startswith(gone):
            return "no route"
        if missing and name.startswith(missing):
            return without
        found = bad.nodes["c1"] if wrong and name.startswith(wrong) else good
        assert isinstance(found, MachineFacts)
        return found

    slurm = SlurmFacts(nodes=dict.fromkeys(names, "idle"))
    images = {NAME: entry(size=SIZE)}
    known = gathered({name: facts_of(name) for name in names}, images=images, controller=sound.controller, slurm=slurm)
    answer(monkeypatch, known)
    works = dict.fromkeys(names, "works, refuses a shell")
    monkeypatch.setattr(ControllerClient, "try_sync_key", lambda client, nodes=(): works)


@pytest.fixture
def cluster_file(pytester: pytest.Pytester) -> Iterator[str]:
    file = pytester.path / "cluster.yaml"
    file.write_text('controller: {host: hpc}\nslurm: {run_as: alice}\nruntime: {binds: ["/scratch:/data:ro"]}\n')
    yield f"--hpc-cluster={file}"


def suites(pytester: pytest.Pytester, phase: str, *words: str) -> pytest.RunResult:
    """The real suites of a phase, which ask for nothing but facts."""
    only = [suites_directory() / "test_reachable.py", suites_directory() / phase]
    leave_out = f"--ignore={suites_directory() / 'deployment' / 'test_slurm_runs_it.py'}"
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *only, leave_out, "-m", phase, *words)


def summary(result: pytest.RunResult) -> list[str]:
    """The lines of our own summary."""
    begin = next(number for number, line in enumerate(result.outlines) if "= hpc: " in line)
    rest = result.outlines[begin + 1 :]
    return rest[: next(number for number, line in enumerate(rest) if line.startswith("==="))]


def test_one_wrong_mode_on_many_nodes_is_one_finding(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    monkeypatch.chdir(suites_directory())  # the names of files take as many lines wherever the suites lie
    big(monkeypatch, 1000, wrong="n")
    result = suites(pytester, "infrastructure", cluster_file)
    assert result.ret == 1
    assert " ".join(map(str.strip, summary(result))) == (
        f"n[0001-1000]  {REGISTRY}/ml-frameworks: directory 0700 root:slurm, "
        f"should be directory 0755 root:slurm {SETUP}"
    )
    assert len(result.outlines) < 40
    assert result.stdout.str().index("= hpc: 1 finding =") < result.stdout.str().index("= FAILURES =")


def test_a_case_for_each_node_is_short(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, wrong="n")
    result = suites(pytester, "infrastructure", cluster_file)
    result.assert_outcomes(failed=3, passed=83, deselected=0)
    shown = result.stdout.str()
    assert shown.count("run phase 1 again") == 4, "once for all, and once for each test"
    for own in ("assert find_on_machines", "functools.partial", "<Machine"):
        assert own not in shown, "nobody wants to read our source"
    assert len(summary(result)) == 3
    case = next(case for case in cases_of_run(pytester, cluster_file) if case.find("failure") is not None)
    failure = case.find("failure")
    assert failure is not None
    assert str(failure.get("message")).startswith(f"n0001: {REGISTRY}/ml-frameworks: directory 0700")


def cases_of_run(pytester: pytest.Pytester, cluster_file: str) -> list[Any]:
    suites(pytester, "infrastructure", cluster_file, "--junitxml=x.xml")
    return cases_of()


def test_who_asks_for_a_traceback_gets_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, wrong="n0001")
    result = suites(pytester, "infrastructure", cluster_file, "--tb=long")
    assert "assert find_on_machines(structure.modes) == []" in result.stdout.str()
    assert len(summary(result)) == 3


def test_an_image_that_is_missing_is_said_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    """Seven checks see it."""
    big(monkeypatch, 12, missing="n000")
    result = suites(pytester, "deployment", cluster_file)
    assert [line.split() for line in summary(result)] == [
        f"n[0001-0009] {NAME}: missing, should be present".split(),
        ["→", "hpc-container-manager", "sync"],
    ]
    assert result.parseoutcomes()["failed"] == 7 * 9 - 1 * 9, "all but the one of who can read it"


def test_nodes_that_could_not_be_asked(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 12, gone="n000")
    for grain in ("cell", "image", "node"):
        result = suites(pytester, "deployment", cluster_file, f"--hpc-grain={grain}")
        assert result.parseoutcomes()["failed"] == 9
        assert [line.strip() for line in summary(result)] == [
            "n[0001-0009]  unreachable from the controller: no route"
        ], grain


def test_workers_hand_over_what_they_found(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from pytest_hpcregistry.cluster import client
        from pytest_hpcregistry.cluster.client import ControllerClient
        from pytest_hpcregistry.testing.facts import gathered, machine
        class NoTransport:
            def close(self): pass
        client.open_transport = lambda cluster: NoTransport()
        ControllerClient.facts = lambda client, *what: gathered({"c2": machine(), "c1": machine()})
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from pytest_hpcregistry.checks.finding import Finding
        @pytest.mark.infrastructure
        def test_it(node): assert [Finding("a.b", node.name, "/x", "is \\udcff red \\x1b[31m", hint="paint")] == []
        """
    )
    words = ("-n", "2", "-m", "infrastructure", "--hpc-controller=hpc", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(failed=2)
    assert [line.strip() for line in summary(result)] == [r"c[1-2]  /x: is \udcff red \x1b[31m", "→ paint"]


def test_another_assertion_keeps_its_own_words(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    source = """\
import pytest
from pytest_hpcregistry.checks.finding import Finding
def test_it(nodes):
    with pytest.raises(AssertionError):
        assert [Finding("a.b", "c1", "/x", "red")] == []
    assert 1 == 2
"""
    result = run(pytester, "--hpc-controller=hpc", source=source)
    result.assert_outcomes(failed=1)
    assert "assert 1 == 2" in result.stdout.str()
    assert "hpc: 1 finding" not in result.stdout.str()


def test_a_test_that_is_run_again_has_not_failed_yet() -> None:
    """As pytest-rerunfailures has it: a report that is neither failed nor passed."""
    collected = shown_findings.Findings()
    said = [{"id": "a.b", "where": "c1", "what": "/x", "found": "red", "expected": "", "hint": ""}]
    for outcome in ("rerun", "failed"):
        assert collected.findings == {}
        report = pytest.TestReport("x", ("x", 0, "x"), {}, outcome, None, "call", hpc_findings=said)  # type: ignore[arg-type]
        collected.pytest_runtest_logreport(report)
    assert list(collected.findings) == [Finding("a.b", "c1", "/x", "red", hint="")]


def test_very_many_findings_are_cut() -> None:
    many = [Finding("a.b", "c1", f"/{number}", "red", hint="paint") for number in range(100)]
    lines = shown_findings.describe(shown_findings.fold(many), 80)
    assert len(lines) == shown_findings.MOST_SHOWN + 2
    assert lines[-1] == "  and 75 more: below, with their tests"


def test_a_wide_node_set_stands_above() -> None:
    odd = ",".join(f"n{number}" for number in range(1, 40, 2))
    lines = shown_findings.describe(shown_findings.fold([Finding("a.b", odd, "/x", "red", hint="paint")]), 60)
    assert [line.strip() for line in lines] == [
        "n[1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39]", "/x: red", "→ paint",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (MISSING, {"images.state"}),
        (OLDER, {"images.state", "images.modes"}),
        (f"{DAMAGED}: {DIGEST}", {"images.state", "images.modes"}),
    ],
)
def test_what_follows_from_an_images_state(state: str, left: set[str]) -> None:
    found = [
        Finding("images.state", "c[1-2]", NAME, state),
        *(Finding(f"images.{check}", "c[1-3]", NAME, "x") for check in ("whole", "intact", "modes")),
        Finding("images.whole", "c1", "another", "x"),
    ]
    kept = without_implied(found)
    assert {one.id for one in kept if (one.what == NAME and "c1" in one.where) or one.where == "c[1-3]"} <= left | {
        "images.modes"
    }
    assert {one.where for one in kept if one.id == "images.whole"} == {"c3", "c1"}, "of c3 nothing else is known"
    assert {one.where for one in kept if one.id == "images.modes"} == {"c3" if state == MISSING else "c[1-3]"}


# --- the grain


@pytest.mark.parametrize(
    ("grain", "nodes", "ids"),
    [
        ("cell", 2, [f"[{NAME}-controller]", f"[{NAME}-n0001]", f"[{NAME}-n0002]"]),
        ("image", 2, [f"[{NAME}]"]),
        ("node", 2, ["[controller]", "[n0001]", "[n0002]"]),
        ("auto", 999, 1000),
        ("auto", 1000, 1),
    ],
)
def test_the_cases_of_a_grain(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str,
    grain: str, nodes: int, ids: list[str] | int,
) -> None:  # fmt: skip
    big(monkeypatch, nodes)
    pytester.makeini(f"[pytest]\nhpc_grain = {grain}\n")
    words = ("-c", "tox.ini", "--co", "-q", "-k", "test_image_is_intact")
    result = suites(pytester, "deployment", cluster_file, *words)
    found = [line.partition("test_image_is_intact")[2] for line in result.outlines if "::" in line]
    assert (found if isinstance(ids, list) else len(found)) == ids


@pytest.mark.parametrize("grain", ["cell", "image", "node"])
@pytest.mark.parametrize("phase", ["infrastructure", "deployment"])
def test_each_grain_sees_the_same(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str, grain: str, phase: str
) -> None:
    how = {"infrastructure": {"wrong": "n0002"}, "deployment": {"missing": "n0002"}}[phase]
    big(monkeypatch, 3, **how)
    result = suites(pytester, phase, cluster_file, f"--hpc-grain={grain}", "--junitxml=x.xml")
    assert result.ret == 1
    assert summary(result)[0].startswith("  n0002  ")
    said = [properties_of(case) for case in cases_of()]
    assert {one["node"] for one in said if "node" in one} >= {"n0001", "n0002", "n0003"}, "each was asked, it says"
    if phase == "deployment" and grain != "node":
        assert {(one["image"], one["digest"]) for one in said if "image" in one} == {(NAME, f"sha256:{DIGEST}")}
    big(monkeypatch, 3)
    assert suites(pytester, phase, cluster_file, f"--hpc-grain={grain}").ret == 0


@pytest.mark.parametrize("grain", ["cell", "image", "node"])
def test_no_image_is_green_at_no_grain(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str, grain: str
) -> None:
    answer(monkeypatch, gathered({"c1": sound_machine()}, images={}))
    result = suites(pytester, "deployment", cluster_file, f"--hpc-grain={grain}", "-k", "test_image_is_intact")
    result.assert_outcomes(errors=1)
    assert "no such image in the catalog" in result.stdout.str()


# --- JUnit


def test_class_names_do_not_depend_on_where_one_stands(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 2)
    found = []
    for directory in (pytester.path, pytester.mkdir("below"), suites_directory()):
        monkeypatch.chdir(directory)
        report = pytester.path / "x.xml"
        suites(pytester, "infrastructure", cluster_file, f"--junitxml={report}", f"--rootdir={directory}")
        found.append({(case.get("classname"), case.get("file")) for case in cases_of(str(report))})
    assert found[0] == found[1] == found[2]
    assert ("hpcregistry.infrastructure.test_structure", "suites/infrastructure/test_structure.py") in found[0]
    assert all(str(name).startswith("hpcregistry.") for name, _ in found[0])


def test_own_class_names_are_left_alone(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    run(pytester, "--hpc-controller=hpc", "--junitxml=x.xml", source="def test_it(nodes): pass\n")
    assert [case.get("classname") for case in cases_of()] == ["test_it"]


def test_a_suite_says_of_which_cluster_it_is(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    import xml.etree.ElementTree as ET

    big(monkeypatch, 2, gone="n0002")
    suites(pytester, "infrastructure", cluster_file, "--junitxml=x.xml")
    (suite,) = ET.parse("x.xml").getroot()  # noqa: S314
    found = properties_of(suite)
    assert found.pop("hpc.version")
    assert found == {
        "hpc.cluster": "hpc", "hpc.registry": REGISTRY, "hpc.nodes": "2", "hpc.unreachable": "1", "hpc.images": "1",
        "hpc.asked": "1970-01-01T00:00:00+00:00", "hpc.grain": "cell", "hpc.controller.srun": "23.02.1",
        "hpc.controller.apptainer": "1.3",
    }  # fmt: skip


def test_without_a_report_or_a_cluster_there_is_nothing_to_say(pytester: pytest.Pytester) -> None:
    assert run(pytester, "--junitxml=x.xml", source="def test_it(): pass\n").ret == 0
    assert "hpc." not in Path("x.xml").read_text()


# --- before phase 1


@pytest.mark.parametrize("phase", ["infrastructure", "deployment"])
def test_before_phase_1_there_is_one_finding(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str, phase: str
) -> None:
    """And nothing that goes through what phase 1 installs is tried."""
    sound = Sound()
    never_set_up(sound)
    sound.more["catalog"] = None
    answer(monkeypatch, sound.facts())
    monkeypatch.setattr(ControllerClient, "try_sync_key", lambda client, nodes=(): 1 // 0)
    result = suites(pytester, phase, cluster_file, "-rfEs")
    assert result.ret == 1
    assert summary(result)[:2] == [
        "  controller  phase 1 has not been run",
        "              → hpc-container-manager registry setup",
    ]
    assert result.parseoutcomes()["failed"] == 1
    assert len(result.outlines) < 40
    assert "Traceback" not in result.stdout.str()
