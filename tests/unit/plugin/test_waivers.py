"""What is known and waived is an expected failure, and shown; what is not, or not any more, fails as ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from pytest_hpcregistry.core.waivers import today
from tests.unit.plugin.runs import cases_of, properties_of
from tests.unit.plugin.test_findings import big, suites, summary

pytest_plugins = "pytester"
TODAY = today()
LATER, EARLIER = (TODAY + timedelta(days=days) for days in (30, -1))


@pytest.fixture
def cluster_file(pytester: pytest.Pytester) -> Iterator[str]:
    file = pytester.path / "cluster.yaml"
    file.write_text(
        "controller: {host: hpc}\nslurm: {run_as: alice}\nruntime: {binds: ['/scratch:/data:ro']}\nwaivers: w.yaml\n"
    )
    yield f"--hpc-cluster={file}"


def waive(*about: str, until: date = LATER) -> None:
    lines = [f"- {{{one}, until: {until.isoformat()}, who: alice, reason: disk swap}}\n" for one in about]
    Path("w.yaml").write_text("".join(lines))


def test_a_known_finding_is_an_expected_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, wrong="n0002")
    waive("nodes: n0002")
    result = suites(pytester, "infrastructure", cluster_file, "--junitxml=x.xml", "-rx")
    assert result.ret == 0
    assert result.parseoutcomes()["xfailed"] == 1
    assert "failed" not in result.parseoutcomes()
    text = f"waived until {LATER.isoformat()} by alice: disk swap"
    assert "= hpc: 0 findings, 1 waived =" in result.stdout.str()
    assert f"should be directory 0755 root:slurm; {text}" in " ".join(" ".join(summary(result)).split())
    assert f" - {text}" in result.stdout.str(), "pytest's own summary of expected failures, -rx"
    (case,) = [one for one in cases_of() if "waiver" in properties_of(one)]
    skipped = case.find("skipped")
    assert skipped is not None
    assert (skipped.get("type"), skipped.get("message")) == ("pytest.xfail", text)
    assert (properties_of(case)["waiver"], case.get("name")) == (text, "test_modes_and_ownership[n0002]")


def test_an_expired_one_fails_again_and_says_whose_it_was(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, wrong="n0002")
    waive("nodes: n0002", until=EARLIER)
    result = suites(pytester, "infrastructure", cluster_file)
    assert result.ret == 1
    assert f"waiver of alice expired {EARLIER.isoformat()}: disk swap" in " ".join(" ".join(summary(result)).split())


def test_what_is_not_meant_fails_beside_what_is(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    """In one test, as the grain has it, of all nodes."""
    big(monkeypatch, 3, wrong="n000")
    waive("nodes: 'n[0002-0003]', check: structure.*")
    result = suites(pytester, "infrastructure", cluster_file, "--hpc-grain=image")
    assert result.ret == 1
    assert result.parseoutcomes()["failed"] == 1
    shown = summary(result)
    assert shown[0].startswith("  n0001 ")
    assert any(line.startswith("  n[0002-0003] ") for line in shown)
    assert "= hpc: 1 finding, 1 waived =" in result.stdout.str()


def test_a_missing_image_is_waived_in_all_that_follows_from_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, missing="n0002")
    waive("nodes: n0002, image: '*.sif'")
    result = suites(pytester, "deployment", cluster_file)
    assert result.ret == 0
    assert "= hpc: 0 findings, 1 waived =" in result.stdout.str()


def test_an_unreachable_node_is_waived_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 3, gone="n0002")
    waive("check: reachable.reached, nodes: n0002")
    assert suites(pytester, "deployment", cluster_file).ret == 0


@pytest.mark.parametrize("words", [("-k", "test_modes_and_ownership and n0"), ("-k", "test_directories")])
def test_a_run_in_which_all_is_waived_is_no_success(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str, words: tuple[str, ...]
) -> None:
    big(monkeypatch, 2, wrong="n000")
    waive("nodes: 'n[0001-0002]'")
    result = suites(pytester, "infrastructure", cluster_file, *words)
    assert result.ret == (1 if "test_directories" not in words else 0)


def test_a_waiver_of_nothing_is_said_once_and_fails_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 2)
    waive("nodes: n0002")
    result = suites(pytester, "deployment", cluster_file)
    assert result.ret == 0
    said = "the waiver of alice (n0002) matches nothing that was found: is it still needed?"
    assert result.stdout.str().count(said) == 1
    assert said not in suites(pytester, "infrastructure", cluster_file).stdout.str()
    assert said not in suites(pytester, "deployment", cluster_file, "--hpc-nodes=n0001").stdout.str()


def test_a_broken_file_is_wrong_use(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cluster_file: str
) -> None:
    big(monkeypatch, 2)
    waive("node: n0002")
    result = suites(pytester, "infrastructure", cluster_file)
    assert result.ret == 2
    assert 'w.yaml:1: node: unknown key. Perhaps you meant "nodes"?' in result.stderr.str()
