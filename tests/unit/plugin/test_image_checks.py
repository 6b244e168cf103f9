"""The suite that runs each image's own checks, as a whole pytest run, on a controller that is made up."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET

import pytest

from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.phases import suites_directory
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.images.definitions.checks import LABEL, Check, to_label
from pytest_hpcregistry.testing.facts import DIGEST, NAME, gathered, image, machine
from tests.unit.cluster.test_image_checks import PRINTS, SMI, FakeController

pytest_plugins = "pytester"


def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fake: FakeController, *checks: Check
) -> tuple[pytest.RunResult, dict[str, list[str]]]:
    """The suite on one image with *checks*; and the properties of its case."""
    labels = {LABEL: to_label(checks)} if checks else {}
    entry = Entry(DIGEST, 10, "2025-10-07T12:00:00Z", "me@x", "amd64", labels=labels)
    facts = gathered({"c1": machine(image())}, images={NAME: entry})
    monkeypatch.setattr(ControllerClient, "facts", lambda *_: facts)
    monkeypatch.setattr(client, "open_transport", lambda cluster: fake)
    shutil.copy(suites_directory() / "e2e" / "test_image_checks.py", pytester.path)
    user = f"slurm: {{run_as: {fake.user}}}\n" if fake.user else ""
    (pytester.path / "cluster.yaml").write_text(f"controller: {{host: hpc}}\n{user}")
    words = ["-m", "e2e", "--hpc-cluster=cluster.yaml", "--junitxml=x.xml", "-o", "junit_family=xunit1", "-rs"]
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)
    found: dict[str, list[str]] = {}
    for one in ET.parse("x.xml").iter("property"):  # noqa: S314
        found.setdefault(str(one.get("name")), []).append(str(one.get("value")))
    return result, found


def test_an_image_that_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result, found = run(pytester, monkeypatch, FakeController(), PRINTS, SMI)
    result.assert_outcomes(passed=1)
    assert found["digest"] == [f"sha256:{DIGEST}"]
    assert found["where"] == ["c7"]
    assert found["check"] == ["the container starts: passed", f"{PRINTS.title}: passed", "nvidia-smi: skipped"]


@pytest.mark.parametrize(("state", "why"), [("RUNNING", "exit code 1, not 0: no b"), ("NODE_FAIL", "was ended")])
def test_an_image_that_does_not(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, state: str, why: str
) -> None:
    fake = FakeController(python3=(1, "", "no b\x1b"), state=state)
    result, found = run(pytester, monkeypatch, fake, PRINTS)
    result.assert_outcomes(failed=1)
    assert why in result.stdout.str()
    assert "\x1b" not in result.stdout.str()
    assert found["digest"] == [f"sha256:{DIGEST}"]


def test_a_label_makes_root_run_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeController()
    fake.user = None
    result, _ = run(pytester, monkeypatch, fake, PRINTS)
    result.assert_outcomes(skipped=1)
    assert "slurm.run_as" in result.stdout.str()
    assert fake.steps() == []


@pytest.mark.parametrize(("checks", "why"), [((), "has no checks"), ((SMI,), "all of its 1 checks were skipped")])
def test_an_image_of_which_nothing_was_tested(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, checks: tuple[Check, ...], why: str
) -> None:
    fake = FakeController()
    result, _ = run(pytester, monkeypatch, fake, *checks)
    result.assert_outcomes(skipped=1)
    assert why in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED, "nothing but skipped tests proves nothing"
    assert (fake.steps() == []) == (checks == ())
