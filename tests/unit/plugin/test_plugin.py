"""The plugin, by whole pytest runs over facts that were written by hand; nothing here may open a connection."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster.phases import suites_directory
from pytest_hpcregistry.core.errors import Unreachable, UsageError
from pytest_hpcregistry.core.events import Failed
from pytest_hpcregistry.core.machine import SlurmFacts, Syncing
from pytest_hpcregistry.core.nodeset import Choice
from pytest_hpcregistry.core.wire import from_line
from pytest_hpcregistry.plugin import session
from pytest_hpcregistry.testing.facts import DIGEST, NAME, entry, gathered, machine
from tests.unit.plugin.runs import ONE_OF_EACH, THREE, answer, cases_of, phase, properties_of, run

pytest_plugins = "pytester"


# --- options and markers


def test_options_and_markers_are_documented(pytester: pytest.Pytester) -> None:
    helped = pytester.runpytest_inprocess("--help").stdout.str()
    for name in (*session.OPTIONS, *session.CHOICES, "allow-changes"):
        assert f"--hpc-{name}" in helped
        assert f"  hpc_{name.replace('-', '_')} (" in helped, "the same in an ini file"
    assert "--hpc-error-file" not in helped  # between two of our programs
    markers = pytester.runpytest_inprocess("--markers").stdout.str()
    for name in ("infrastructure", "deployment", "e2e", "changes"):
        assert f"@pytest.mark.{name}:" in markers


@pytest.mark.parametrize(
    ("expression", "phases"),
    [
        ("", []),
        ("infrastructure", ["infrastructure"]),
        ("deployment or e2e", ["deployment", "e2e"]),
        ("infrastructure and not changes", ["infrastructure"]),
        ("(infrastructure or deployment) and not deployment", ["infrastructure"]),
        ("not slow", []),
        ("not e2e", []),
        ("slow or fast", []),
        ("not lab and not infrastructure and not deployment and not e2e", []),
        ("infrastructure and", []),
        ("infrastructure and slow(level=1)", []),
    ],
)
def test_which_phases_an_expression_asks_for(pytester: pytest.Pytester, expression: str, phases: list[str]) -> None:
    assert session.selected_phases(pytester.parseconfig("-m", expression)) == phases


def test_selects() -> None:
    assert session.selects("not e2e", "infrastructure")
    assert not session.selects("not e2e", "e2e")
    assert session.selects("not e2e")
    assert not session.selects("e2e")
    assert session.selects("e2e and changes", "e2e", "changes")
    assert not session.selects("e2e and changes", "e2e")


@pytest.mark.parametrize(
    ("words", "ini", "environment", "chosen"),
    [
        (["--hpc-controller=one"], "two", "three", "one"),
        ([], "two", "three", "two"),
        ([], "", "three", "three"),
    ],
)
def test_command_line_before_ini_before_environment(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]],
    words: list[str], ini: str, environment: str, chosen: str,
) -> None:  # fmt: skip
    pytester.makeini(f"[pytest]\nhpc_controller = {ini}\n")
    monkeypatch.setenv("TEST_CONTROLLER", environment)
    run(pytester, "-m", "infrastructure", *words)
    assert [trip["cluster"].controller.host for trip in asked] == [chosen]


def test_user_and_key_override_the_cluster_file(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    file = pytester.path / "cluster.yaml"
    file.write_text("controller:\n  host: hpc\n  user: file\n")
    (pytester.path / "my.key").touch()
    run(pytester, "-m", "infrastructure", f"--hpc-cluster={file}", "--hpc-user=me", "--hpc-key=my.key")
    controller = asked[0]["cluster"].controller
    assert (controller.host, controller.user, controller.key) == ("hpc", "me", pytester.path / "my.key")


# --- one trip


def test_phase_1_reads_no_image(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    phase(pytester)
    run(pytester, "-m", "deployment", "--hpc-controller=hpc")
    questions = [trip["question"] for trip in asked]
    assert [(one.content, one.inspect, one.host) for one in questions] == [(False, False, True), (True, True, True)]


def test_syncs_that_never_end_are_no_failed_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = answer(monkeypatch, gathered({"c1": machine()}, syncing=Syncing(meanwhile=True)))
    result = run(pytester, "-m", "deployment", "--hpc-controller=hpc")
    assert result.ret == 3
    assert "Exit: syncs went on all the while" in result.stderr.str()
    result.stdout.fnmatch_lines(["a sync began meanwhile: looking again"] * 3)
    assert len(trips) == 4


def test_without_a_cluster_it_ends_and_says_so(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-m", "infrastructure")
    assert result.ret == 2
    text = result.stderr.str()
    assert "Exit: no cluster is named" in text
    assert "hint: give --cluster FILE" in text
    assert "Traceback" not in text


def test_an_unreachable_controller_is_exit_code_3(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, Unreachable("no route", where="hpc", hint="ssh -v"))
    result = phase(pytester)
    assert result.ret == 3
    assert "Exit: hpc: no route\nhint: ssh -v" in result.stderr.str()
    assert not list(pytester.path.glob("*error*"))


def test_the_session_s_error_is_written_down_for_who_asks(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = Unreachable("no\nroute \udcff", where="hpc", hint="ssh -v")
    answer(monkeypatch, error)
    result = phase(pytester, f"--hpc-error-file={pytester.path / 'error'}")
    assert result.ret == 3
    assert "Exit: hpc: no\nroute \\udcff\nhint: ssh -v" in result.stderr.str()
    event = from_line((pytester.path / "error").read_text())
    assert event == Failed("no\nroute \udcff", hint="ssh -v", exit_code=3, where="hpc")


def test_no_nodes_is_no_success(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered({}))
    result = phase(pytester)
    assert result.ret == 4
    assert "no compute nodes" in result.stderr.str()


def test_workers_are_handed_the_facts(pytester: pytest.Pytester) -> None:
    """Two processes run the tests, a third asked the cluster; each process notes its trips in one file."""
    pytester.makeconftest(
        """
        import os
        from pytest_hpcregistry.cluster import client
        from pytest_hpcregistry.cluster.client import ControllerClient
        class NoTransport:
            def close(self): pass
        from pytest_hpcregistry.testing.facts import gathered, image, machine
        def facts(client, *what):
            with open("trips", "a") as trips:
                trips.write("asked by " + os.environ.get("PYTEST_XDIST_WORKER", "main") + "\\n")
            return gathered({"c2": machine(image()), "c1": machine(image()), "c3": "no route"})
        client.open_transport = lambda cluster: NoTransport()
        ControllerClient.facts = facts
        """
    )
    source = ONE_OF_EACH + "def test_worker(node, worker_id): open('worker-' + worker_id, 'w')\n"
    pytester.makepyfile(test_it=source)
    words = ["-n", "2", "-m", "infrastructure", "--hpc-controller=hpc", "--junitxml=x.xml", "-p", "no:cacheprovider"]
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(passed=8, skipped=3)
    assert Path("trips").read_text() == "asked by main\n"
    assert {path.name for path in pytester.path.glob("worker-*")} <= {"worker-gw0", "worker-gw1"}
    found = {p.get("value") for p in ET.parse("x.xml").iter("property") if p.get("name") == "worker"}  # noqa: S314
    assert found == {"gw0", "gw1"}


# --- parametrisation


def test_one_case_for_each(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    result = phase(pytester, "-v", "-rs")
    result.assert_outcomes(passed=6, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_node?c1? PASSED*",
            "*::test_node?c2? PASSED*",
            "*::test_node?c3? SKIPPED*",
            "*::test_machine?c1? PASSED*",
            "*::test_machine?controller? PASSED*",
            "*::test_sif?ml-frameworks/x.sif? PASSED*",
            "SKIPPED ?1? test_it.py:3: the node could not be asked: see test_node_is_reachable",
        ]
    )


def test_an_unreachable_node_fails_once_with_the_reason(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    shutil.copy(suites_directory() / "test_reachable.py", pytester.path)
    only = ("-k", "test_node_is_reachable")
    result = phase(pytester, "--junitxml=x.xml", "-o", "junit_family=xunit1", *only, source="")
    result.assert_outcomes(passed=2, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*c3: unreachable from the controller: no route*"])
    case = next(case for case in cases_of() if case.find("failure") is not None)
    assert case.get("name") == "test_node_is_reachable[c3]"
    assert properties_of(case) == {"phase": "infrastructure", "worker": "main", "node": "c3", "unreachable": "no route"}


DRAINED = SlurmFacts(nodes={"c3": "drained"}, reasons={"c3": '"disk\x1b swap"'})


def test_a_node_that_is_not_counted_fails_nothing_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, gathered(THREE, slurm=DRAINED))
    shutil.copy(suites_directory() / "test_reachable.py", pytester.path)
    result = phase(pytester, "-rs", "--hpc-require=66%", "-k", "not phase_1")
    result.assert_outcomes(passed=8, skipped=3, deselected=1)
    result.stdout.fnmatch_lines(
        [
            'hpc: not counted: c3 drained "disk\\x1b swap"',
            'SKIPPED ?1? test_it.py:3: the node is not counted: drained "disk\\x1b swap"',
            'SKIPPED * not counted: drained "disk\\x1b swap"',
        ]
    )
    assert result.ret == 0


@pytest.mark.parametrize("ini", [True, False])
def test_too_few_nodes_are_the_end_of_the_session(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ini: bool
) -> None:
    answer(monkeypatch, gathered(THREE, slurm=DRAINED))
    if ini:
        pytester.makeini("[pytest]\nhpc_require = 100%\n")
    result = phase(pytester, *([] if ini else ["--hpc-require=3"]))
    assert result.ret == 3
    text = "3 of 3 nodes (100%) are" if ini else "3 of 3 nodes are"
    assert f"{text} required, 2 could be asked: not c3" in result.stderr.str()


def test_what_requires_nothing_is_wrong_use(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    result = phase(pytester, "--hpc-require=0%")
    assert (result.ret, "hpc_require: write a number of nodes" in result.stderr.str()) == (2, True)


def test_no_node_that_counts_is_no_success(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered({"c3": "no route"}, slurm=DRAINED))
    result = phase(pytester)
    assert (result.ret, "no node could be asked" in result.stderr.str()) == (3, True)


def test_no_images_fail_and_do_not_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered({"c1": machine()}, images={}))
    result = phase(pytester, "-k", "test_sif")
    result.assert_outcomes(errors=1)
    assert "no such image in the catalog" in result.stdout.str()
    assert result.ret == 1


def test_a_broken_catalog_fails_and_does_not_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered({"c1": machine()}, catalog="version: 9\n"))
    result = phase(pytester, "-k", "test_sif")
    result.assert_outcomes(errors=1)
    assert "this program writes version" in result.stdout.str()


@pytest.mark.parametrize(("chosen", "names"), [("y.sif", ["base-images/y.sif"]), (NAME, [NAME])])
def test_one_image_can_be_chosen(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, chosen: str, names: list[str]
) -> None:
    answer(monkeypatch, gathered({"c1": machine()}, images={NAME: entry(), "base-images/y.sif": entry()}))
    monkeypatch.setenv("TEST_IMAGE", chosen)
    result = phase(pytester, "-v", "-k", "test_sif")
    assert [line.split("[")[1].split("]")[0] for line in result.outlines if "test_sif[" in line and "::" in line][
        : len(names)
    ] == names
    assert result.ret == 0


@pytest.mark.parametrize("words", [("-m", "infrastructure"), (), ("--collect-only",)])
def test_an_image_that_is_not_there_is_wrong_use(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    answer(monkeypatch, gathered({"c1": machine()}, images={NAME: entry(), "base-images/pytorch.sif": entry()}))
    result = run(pytester, *words, "--hpc-controller=hpc", "--hpc-image=pytorhc.sif")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        'ERROR: no image "pytorhc.sif" in the catalog (it has 2). Perhaps you meant "base-images/pytorch.sif"?',
        "hint: hpc-container-manager catalog list",
    ]
    assert "test_sif" not in result.stdout.str()


# --- which nodes


def test_nodes_can_be_chosen_and_left_out(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    phase(pytester, "--hpc-nodes=@gpu", "--hpc-exclude=c3")
    pytester.makeini("[pytest]\nhpc_nodes = c[1-2]\n")
    phase(pytester)
    assert [trip["choice"] for trip in asked] == [Choice("@gpu", "c3"), Choice("c[1-2]", "")]


@pytest.mark.parametrize("words", [("-m", "infrastructure"), ()])
def test_a_choice_of_nodes_that_are_not_there_is_wrong_use(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    answer(monkeypatch, UsageError("c9: no such node in this cluster", hint="it has c[1-3]"))
    result = run(pytester, *words, "--hpc-controller=hpc", "--hpc-nodes=c9", f"--hpc-error-file={pytester.path / 'e'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: c9: no such node in this cluster",
        "hint: it has c[1-3]",
    ]


@pytest.mark.parametrize("name", ["nodes", "exclude"])
def test_an_empty_choice_of_nodes_does_not_mean_all(
    pytester: pytest.Pytester, asked: list[dict[str, Any]], name: str
) -> None:
    result = phase(pytester, f"--hpc-{name}= ")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: --hpc-{name} names no node" in result.stderr.str()
    assert asked == []


# --- evidence


def test_all_skipped_is_no_success(pytester: pytest.Pytester, asked: list[dict[str, Any]]) -> None:
    source = "import pytest\n@pytest.mark.infrastructure\n@pytest.mark.changes\ndef test_it(): pass\n"
    result = phase(pytester, source=source)
    result.assert_outcomes(skipped=1)
    assert result.ret == 1
    assert phase(pytester, "--hpc-allow-changes", source=source).ret == 0


def test_cases_carry_image_and_digest(
    pytester: pytest.Pytester, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")  # of a session that this one was started by
    phase(pytester, "-k", "test_sif", "--junitxml=x.xml", "-o", "junit_family=xunit1")
    (case,) = cases_of()
    properties = properties_of(case)
    expected = {"phase": "infrastructure", "worker": "main", "image": NAME, "digest": f"sha256:{DIGEST}"}
    assert properties == expected


# --- other projects

ANOTHER_PROJECT = """\
import pytest
@pytest.fixture
def node(): return "theirs"
def test_node(node): assert node == "theirs"
@pytest.mark.parametrize("sif", ["theirs"])
def test_sif(sif): assert sif == "theirs"
@pytest.mark.changes
def test_changes(): pass
@pytest.mark.slow
def test_slow(): pass
"""


@pytest.mark.parametrize(("words", "passed"), [([], 4), (["-m", "not slow"], 3), (["-m", "slow"], 1)])
def test_another_project_is_left_in_peace(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[dict[str, Any]],
    words: list[str],
    passed: int,
) -> None:
    pytester.makeini("[pytest]\nmarkers = slow\n")
    monkeypatch.setenv("HPC_CLUSTER", "/nowhere/cluster.yaml")
    result = run(pytester, *words, "-v", source=ANOTHER_PROJECT)
    result.assert_outcomes(passed=passed, deselected=4 - passed)
    assert asked == []
    assert "none" not in result.stdout.str()


def test_another_projects_skipped_tests_are_no_failure(pytester: pytest.Pytester) -> None:
    source = "import pytest\ndef test_it(): pytest.skip('not here')\n"
    assert run(pytester, "-m", "not changes", source=source).ret == 0
