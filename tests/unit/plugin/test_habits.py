"""Options and names of other people: what they are used to works, and what is theirs stays theirs."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry.cluster.phases import suites_directory

pytest_plugins = ["pytester"]
Asked = list[dict[str, Any]]
PHASE = ("-m", "infrastructure", "-p", "no:cacheprovider")
THEIRS = """\
import pytest
pytestmark = pytest.mark.e2e
@pytest.fixture
def node(): return "theirs"
@pytest.fixture
def cluster(): return "theirs"
def test_theirs(node, cluster): assert (node, cluster) == ("theirs", "theirs")
def test_ours(hpc_node, hpc_machine, hpc_cluster, node): assert hpc_node.name != node and hpc_cluster != node
"""


@pytest.fixture(autouse=True)
def cluster_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_CLUSTER", str(pytester.makefile(".yaml", cluster="controller: {name: ctl, host: ctl}\n")))


def reachable(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    """The suite of what could be asked: two nodes could, and c3 could not."""
    ini = pytester.path / "tox.ini"
    ini.touch()
    suite = str(suites_directory() / "test_reachable.py")
    return pytester.runpytest_inprocess("-c", str(ini), suite, "-k", "node", *words)


@pytest.mark.parametrize(
    "words", [("-W", "error"), ("-p", "no:junitxml"), ("--junitxml=x.xml", "-W", "error"), ("--strict-markers",)]
)
def test_what_others_run_pytest_with(pytester: pytest.Pytester, asked: Asked, words: tuple[str, ...]) -> None:
    result = reachable(pytester, *PHASE, *words)
    result.assert_outcomes(passed=2, failed=1, deselected=1)


@pytest.mark.parametrize("mark", ["infrastructure", "hpc_infrastructure", "deployment", "hpc_e2e and not changes"])
def test_each_mark_has_two_names(pytester: pytest.Pytester, asked: Asked, mark: str) -> None:
    reachable(pytester, "-m", mark).assert_outcomes(passed=2, failed=1, deselected=1)


def test_only_the_long_names(pytester: pytest.Pytester, asked: Asked) -> None:
    """`e2e`, `node` and `cluster` are the project's own; the suites, run there, are the same."""
    pytester.makeini("[pytest]\nhpc_short_names = false\nmarkers =\n    e2e: of our web site\n")
    pytester.makepyfile(THEIRS)
    result = pytester.runpytest_inprocess("--strict-markers", "-m", "e2e", "-v")
    result.assert_outcomes(passed=1 + 2 * 3, skipped=3 * 4 - 2 * 3)
    reachable(pytester, "-m", "hpc_e2e").assert_outcomes(passed=2, failed=1, deselected=1)
    assert reachable(pytester, "-m", "infrastructure").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "@pytest.mark.infrastructure" not in pytester.runpytest_inprocess("--markers").stdout.str()
    assert "@pytest.mark.hpc_infrastructure" in pytester.runpytest_inprocess("--markers").stdout.str()


def test_their_names_beside_ours(pytester: pytest.Pytester, asked: Asked) -> None:
    pytester.makepyfile(THEIRS)
    result = pytester.runpytest_inprocess("-v", "-m", "e2e")
    result.assert_outcomes(passed=1 + 2 * 3, skipped=3 * 4 - 2 * 3)


def test_the_suites_without_the_plugin(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(suites_directory().parent))
    result = pytester.runpytest_subprocess(str(suites_directory()), "-m", "infrastructure")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the suites need their plugin, which pytest was told not to load: -p hpcregistry*"])
    result = pytester.runpytest_subprocess(str(suites_directory()), "-p", "hpcregistry", "--markers")
    assert "@pytest.mark.infrastructure" in result.stdout.str()
