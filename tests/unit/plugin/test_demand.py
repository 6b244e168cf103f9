"""Tests of a project of its own: whichever asks for our fixtures gets them, without marks and `-m`; and no other one
costs a login.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.core.machine import Ended
from pytest_hpcregistry.testing.facts import NAME, file, gathered, host, image, machine
from tests import ROOT
from tests.unit.plugin.runs import THREE, answer, run

pytest_plugins = "pytester"
Asked = list[dict[str, Any]]
HPC = "--hpc-controller=hpc"
SITE = """\
def test_node(node): assert node.name
def test_image(sif): assert sif[1].size == 10
def test_unit(): pass
"""
WORKERS = """\
import os
from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.testing.facts import gathered, image, machine
class NoTransport:
    def close(self): pass
def note(what):
    with open("trips", "a") as trips:
        trips.write(what + "\\n")
    if os.path.exists("gone"):
        raise Unreachable("no route", where="hpc")
KNOWN = gathered({"c2": machine(image()), "c1": machine(image()), "c3": "no route"})
def facts(client, *what): note("facts"); return KNOWN
def list_nodes(client): note("nodes"); return ["c1", "c2", "c3"]
client.open_transport = lambda cluster: NoTransport()
ControllerClient.facts, ControllerClient.list_nodes = facts, list_nodes
ControllerClient.catalog = lambda client: KNOWN.catalog
"""


def collected(result: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


# --- who asks


def test_no_mark_is_needed(pytester: pytest.Pytester, asked: Asked) -> None:
    result = run(pytester, HPC, "-rs", source=SITE)
    result.assert_outcomes(passed=4, skipped=1)
    (trip,) = asked
    assert (trip["question"].host, trip["question"].content) == (True, False), "no image is read for these tests"
    result.stdout.fnmatch_lines(["hpc: 2 of 3 nodes answered, 1 could not be asked"])


def test_marks_say_what_is_read(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "import pytest\n@pytest.mark.deployment\ndef test_it(sif): pass\n"
    run(pytester, HPC, source=source).assert_outcomes(passed=1)
    assert [trip["question"].content for trip in asked] == [True]


def test_a_mark_of_their_own(pytester: pytest.Pytester, asked: Asked) -> None:
    pytester.makeini("[pytest]\nmarkers = gpu\n")
    source = "import pytest\n@pytest.mark.gpu\ndef test_it(node): pass\n" + SITE
    run(pytester, HPC, "-m", "gpu", source=source).assert_outcomes(passed=2, skipped=1, deselected=3)
    assert len(asked) == 1


@pytest.mark.parametrize("words", [("-m", "not gpu"), ("-k", "unit")])
def test_what_is_not_run_costs_no_login(pytester: pytest.Pytester, asked: Asked, words: tuple[str, ...]) -> None:
    pytester.makeini("[pytest]\nmarkers = gpu\n")
    source = "import pytest\n@pytest.mark.gpu\ndef test_it(node): pass\ndef test_unit(): pass\n"
    assert run(pytester, HPC, *words, source=source).ret == 0
    assert asked == []


def test_a_deselected_test_asks_not_even_for_names(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(client: ControllerClient) -> list[str]:
        raise AssertionError("nobody is to be asked")

    monkeypatch.setattr(ControllerClient, "list_nodes", never)
    source = "import pytest\n@pytest.mark.e2e\ndef test_it(node): pass\ndef test_unit(): pass\n"
    run(pytester, HPC, "-m", "not e2e", source=source).assert_outcomes(passed=1, deselected=1)


def test_a_fixture_that_is_asked_for_by_name(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "def test_it(request): assert request.getfixturevalue('controller').name == 'controller'\n"
    run(pytester, HPC, source=source).assert_outcomes(passed=1)
    assert len(asked) == 1


def test_a_fixture_of_theirs_over_ours(pytester: pytest.Pytester, asked: Asked) -> None:
    source = (
        "import pytest\n@pytest.fixture\ndef node(node): return node.name\ndef test_it(node): assert node in 'c1 c2'\n"
    )
    run(pytester, HPC, source=source).assert_outcomes(passed=2, skipped=1)


def test_a_fixture_of_theirs_beside_ours(pytester: pytest.Pytester, asked: Asked) -> None:
    source = """\
import pytest
@pytest.fixture
def node(): return "theirs"
def test_it(node, cluster_facts): assert node == "theirs" and len(cluster_facts.nodes) == 3
"""
    run(pytester, HPC, source=source).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marks", "arguments", "passed"),
    [
        ('"node", ["c1", "c9"]', "node", 2),
        ('"x, node", [(1, "c1")]', "x, node", 1),
        ('["x", "node"], [(1, "c1")]', "x, node", 1),
    ],
)
def test_own_parameters_are_left_alone(
    pytester: pytest.Pytester, asked: Asked, marks: str, arguments: str, passed: int
) -> None:
    source = (
        f"import pytest\n@pytest.mark.parametrize({marks})\ndef test_it({arguments}): assert node in ('c1', 'c9')\n"
    )
    run(pytester, source=source).assert_outcomes(passed=passed)
    assert asked == [], "a text asks nobody"


def test_own_parameters_for_our_fixture(pytester: pytest.Pytester, asked: Asked) -> None:
    source = """\
import pytest
@pytest.mark.parametrize("node", ["c1", "c9"], indirect=True)
def test_it(node, sif): assert node.name == "c1"
"""
    result = run(pytester, HPC, source=source)
    result.assert_outcomes(passed=1, errors=1)
    assert "c9 is no machine of this cluster" in result.stdout.str()


def test_parameters_of_a_hook_of_theirs(pytester: pytest.Pytester, asked: Asked) -> None:
    pytester.makeconftest("def pytest_generate_tests(metafunc): metafunc.parametrize('node', ['c1'], indirect=True)\n")
    run(pytester, HPC, source="def test_it(node): assert node.name == 'c1'\n").assert_outcomes(passed=1)


# --- collecting, and running again


def cached(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=SITE)
    return pytester.runpytest_inprocess(HPC, *words)


@pytest.mark.parametrize("words", [(), ("-m", "deployment or not deployment")])
def test_collecting_has_real_ids_and_asks_no_node(
    pytester: pytest.Pytester, asked: Asked, words: tuple[str, ...]
) -> None:
    result = cached(pytester, "--co", "-q", *words)
    assert result.ret == 0
    ids = ["test_node[c1]", "test_node[c2]", "test_node[c3]", f"test_image[{NAME}]", "test_unit"]
    assert collected(result) == ids
    assert asked == []


def test_collecting_a_phase_is_no_failure(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "import pytest\n@pytest.mark.deployment\ndef test_it(sif): pass\n"
    result = run(pytester, HPC, "--co", "-q", "-m", "deployment", source=source)
    assert (result.ret, collected(result), asked) == (0, [f"test_it[{NAME}]"], [])


@pytest.mark.parametrize("words", [(), ("--hpc-gather=never",)])
def test_collecting_knows_what_the_last_run_has_seen(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    answer(monkeypatch, gathered(THREE))
    assert cached(pytester).ret == 0
    answer(monkeypatch, Unreachable("no route"))
    assert "test_node[c2]" in collected(cached(pytester, "--co", "-q", *words))
    elsewhere = pytester.runpytest_inprocess("--hpc-controller=other", "--co", "-q")
    assert "test_node[none]" in collected(elsewhere), "the nodes of another cluster"
    assert "test_node[none]" in collected(cached(pytester, "--co", "-q", "--cache-clear"))


def test_collecting_without_any_cluster(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--co", source=SITE)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["hpc: nodes and images are not known: no cluster is named"])


def test_a_single_case_and_only_the_last_failures(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "def test_node(node): assert node.name != 'c2'\n"
    pytester.makepyfile(test_it=source)
    pytester.runpytest_inprocess(HPC, "test_it.py::test_node[c1]").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(HPC).assert_outcomes(passed=1, failed=1, skipped=1)
    result = pytester.runpytest_inprocess(HPC, "--lf", "-v")
    result.assert_outcomes(failed=1)
    assert "test_node[c2]" in result.stdout.str()


# --- when nothing is to be had


def test_a_cluster_that_cannot_be_asked_fails_the_tests_that_ask(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer(monkeypatch, Unreachable("no route", where="hpc", hint="ssh -v"))
    result = run(pytester, HPC, source=SITE)
    result.assert_outcomes(passed=1, errors=2)
    assert asked == []
    result.stdout.fnmatch_lines(["* hpc: 1 finding *", "  cluster  could not be asked: hpc: no route", "* → ssh -v"])
    assert "Traceback" not in result.stdout.str()


def test_never_is_never(pytester: pytest.Pytester, asked: Asked) -> None:
    pytester.makeini("[pytest]\nhpc_gather = never\n")
    for words in ((), ("-m", "infrastructure or not infrastructure")):
        result = run(pytester, HPC, *words, source=SITE)
        result.assert_outcomes(passed=1, errors=2)
        assert "give --hpc-gather=auto" in result.stdout.str()
    assert asked == []
    pytester.makeini("[pytest]\nhpc_gather = perhaps\n")
    result = run(pytester, HPC, source=SITE)
    assert "hpc_gather: 'perhaps' is none of auto, never" in result.stdout.str() + result.stderr.str()
    assert result.ret != 0


def test_what_changes_while_tests_are_collected(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    """A node that came in between has no case: that is not to be green."""
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: ["c1", "c2"])
    result = run(pytester, HPC, source=SITE)
    result.assert_outcomes(passed=1, errors=3)
    assert "nodes or images changed while the tests were collected" in result.stdout.str()


def test_an_image_of_a_broken_catalog(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered({"c1": machine()}, catalog="version: 9\n"))
    result = run(pytester, HPC, source=SITE)
    result.assert_outcomes(passed=2, errors=1)
    assert "this program writes version" in result.stdout.str()


def test_only_skipped_tests_of_a_cluster_are_no_success(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "import pytest\ndef test_it(node): pytest.skip('not now')\n"
    assert run(pytester, HPC, source=source).ret == 1
    assert run(pytester, HPC, source=source + SITE).ret == 0


def test_changes_may_be_allowed_in_the_ini_file(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "import pytest\n@pytest.mark.e2e\n@pytest.mark.changes\ndef test_it(nodes): pass\n"
    run(pytester, HPC, source=source).assert_outcomes(skipped=1)
    pytester.makeini("[pytest]\nhpc_allow_changes = true\n")
    run(pytester, HPC, source=source).assert_outcomes(passed=1)


# --- workers


def workers(pytester: pytest.Pytester) -> pytest.RunResult:
    pytester.makeconftest(WORKERS)
    pytester.makepyfile(test_it=SITE)
    return pytester.runpytest_subprocess("-n", "2", HPC, "-p", "no:cacheprovider")


def test_one_worker_asks_for_all(pytester: pytest.Pytester) -> None:
    workers(pytester).assert_outcomes(passed=4, skipped=1)
    assert sorted(Path("trips").read_text().split()) == ["facts", "nodes"]


def test_one_worker_fails_for_all(pytester: pytest.Pytester) -> None:
    (pytester.path / "gone").touch()
    result = workers(pytester)
    result.assert_outcomes(passed=1, errors=2)
    assert Path("trips").read_text().split() == ["nodes"]
    result.stdout.fnmatch_lines(["* hpc: 1 finding *", "  cluster  could not be asked: hpc: no route"])


# --- more questions


def test_paths_and_texts_of_a_site(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    motd = machine(host=host(paths={"/etc/motd": None}, texts={"/etc/os-release": "ID=debian"}))
    asked = answer(monkeypatch, gathered({"c1": motd}))
    pytester.makeini("[pytest]\nhpc_paths =\n    /etc/motd\n    /scratch/\n")
    pytester.makeconftest("def pytest_hpc_request(request): request.texts.append('/etc/os-release')\n")
    source = """\
def test_it(node):
    assert node.path("/etc/motd") is None
    assert node.text("/etc/os-release") == "ID=debian"
def test_not_asked(node): node.path("/etc/shadow")
"""
    result = run(pytester, HPC, source=source)
    result.assert_outcomes(passed=1, failed=1)
    question = asked[0]["question"]
    assert {"/etc/motd", "/scratch"} <= set(question.paths)
    assert "/etc/os-release" in question.texts
    shown = result.stdout.str()
    assert "c1 was not asked for /etc/shadow: name it in hpc_paths" in shown
    assert "core/facts.py" not in shown, "the fault is not in there"


def test_commands_of_a_site(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine(host=host(commands={"uname -r": Ended(0, "5.14.0\n"), "nvidia-smi -L": Ended(127, "")}))
    asked = answer(monkeypatch, gathered({"c1": kernel}))
    pytester.makeini("[pytest]\nhpc_commands =\n    uname -r\n")
    pytester.makeconftest("def pytest_hpc_request(request): request.commands.append('nvidia-smi -L')\n")
    source = """\
def test_it(node):
    assert node.command("uname -r").stdout.startswith("5.14")
    assert node.command("nvidia-smi -L").returncode == 127
def test_not_asked(node): node.command("uname")
"""
    result = run(pytester, HPC, source=source)
    result.assert_outcomes(passed=1, failed=1)
    assert asked[0]["question"].commands == {"uname -r": ["uname", "-r"], "nvidia-smi -L": ["nvidia-smi", "-L"]}
    assert "c1 was not asked for uname: name it in hpc_paths, hpc_commands" in result.stdout.str()


@pytest.mark.parametrize(
    "command", ["", "echo 'a", "a\x1b", "-x", "'' a", "a" * 1001, "nvidia-smi -L | wc", "a && b", "echo a > /etc/x"]
)
def test_what_is_no_command(pytester: pytest.Pytester, asked: Asked, command: str) -> None:
    """Least of all one that only a shell would understand."""
    pytester.makeconftest(f"def pytest_hpc_request(request): request.commands.append({command!r})\n")
    result = run(pytester, HPC, source=SITE)
    result.assert_outcomes(passed=1, errors=4)
    assert "hpc_commands: " in result.stdout.str()
    assert asked == []


def test_what_the_readme_shows(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "README.md").read_text().partition("## In pytest")[2].partition("\n## ")[0]
    files = re.findall(r"```(?:ini|python)\n# (\S+)\n(.*?)```", section, re.DOTALL)
    for name, text in [*files, ("cluster.yaml", "controller: {host: hpc}\n")]:
        (pytester.path / name).write_text(text)
    scratch = file(type="directory", mode="1777")
    commands = {"uname -r": Ended(0, "5.14.0-503.el9\n")}
    ready = machine(host=host(paths={"/scratch": scratch}, programs={"apptainer": "1.4"}, commands=commands))
    asked = answer(monkeypatch, gathered({"c1": ready, "c2": ready}))
    pytester.runpytest_inprocess().assert_outcomes(passed=6)
    assert "/scratch" in asked[0]["question"].paths


@pytest.mark.parametrize("path", ["etc/motd", "/a/../b", "/a\x07b", "/\udcff", "/" + "a" * 5000])
def test_what_is_no_path(pytester: pytest.Pytester, asked: Asked, path: str) -> None:
    pytester.makeconftest(f"def pytest_hpc_request(request): request.paths.append({path!r})\n")
    result = run(pytester, HPC, source=SITE)
    result.assert_outcomes(passed=1, errors=4)
    assert "hpc_paths: " in result.stdout.str()
    assert asked == []


@pytest.mark.parametrize(
    ("adds", "says"),
    [
        ("texts += [f'/{n}' for n in range(21)]", "21 texts are more than 20"),
        ("paths += [f'/{n:100}'.replace(' ', 'x') for n in range(400)]", "together are longer than 32 KiB"),
    ],
)
def test_no_more_is_asked_than_fits(pytester: pytest.Pytester, asked: Asked, adds: str, says: str) -> None:
    pytester.makeconftest(f"def pytest_hpc_request(request): request.{adds}\n")
    assert says in run(pytester, HPC, source=SITE).stdout.str()
    assert asked == []


def test_values_are_short_in_a_traceback(pytester: pytest.Pytester, asked: Asked) -> None:
    source = "def test_it(cluster_facts, cluster, registry, catalog, sif, node): assert node.name == 'x'\n"
    shown = run(pytester, HPC, source=source).stdout.str()
    for short in ("<Facts: 3 nodes, 1 images>", "<Cluster hpc>", "<Registry /opt/containers>", "<Catalog: 1 images>"):
        assert short in shown
    assert "node = <Machine c1>" in shown


def test_a_machine_with_an_image_is_short_too() -> None:
    assert repr(machine(image())) == "<MachineFacts: 1 images, 1 objects>"
