"""Known findings are waived on the machines that are meant, until a day, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from pytest_hpcregistry import checks
from pytest_hpcregistry.checks.finding import Finding
from pytest_hpcregistry.checks.waivers import fits, judge, unused
from pytest_hpcregistry.core.waivers import FindingWaiver
from pytest_hpcregistry.testing.facts import NAME
from tests.unit.checks.test_checks import BROKEN, CLUSTER, Sound

DAY = date(2026, 11, 27)
MISSING = Finding("images.state", "c[1-3]", NAME, "missing", "present")
DRAINED = Finding("slurm.usable", "c2", "node", "Slurm says drained")


def waiver(until: date = DAY, **about: object) -> FindingWaiver:
    return FindingWaiver(until, "alice", "disk swap", **about)  # type: ignore[arg-type]


def where(findings: list[Finding]) -> list[str]:
    return [one.where for one in findings]


def test_without_waivers_all_is_open_and_as_it_was() -> None:
    judged = judge([MISSING, DRAINED], (), DAY)
    assert (judged.open, judged.waived) == ([MISSING, DRAINED], [])


def test_only_the_nodes_that_are_meant_are_waived() -> None:
    judged = judge([MISSING], [waiver(nodes=("c2", "c3", "c9"))], DAY)
    assert where(judged.open) == ["c1"]
    assert where(judged.waived) == ["c[2-3]"]
    assert judged.open == [replace(MISSING, where="c1")]
    assert str(judged.waived[0]).endswith("missing, should be present; waived until 2026-11-27 by alice: disk swap")


def test_it_holds_on_its_last_day_and_not_on_the_next() -> None:
    one = [waiver(nodes=("c2",))]
    assert where(judge([DRAINED], one, DAY).waived) == ["c2"]
    judged = judge([DRAINED], one, date(2026, 11, 28))
    assert judged.waived == []
    assert judged.open[0].waiver == "waiver of alice expired 2026-11-27: disk swap"


def test_one_that_holds_counts_more_than_one_that_has_expired() -> None:
    judged = judge([DRAINED], [waiver(date(2026, 1, 1), check="slurm.*"), waiver(nodes=("c2",))], DAY)
    assert (judged.open, where(judged.waived)) == ([], ["c2"])


@pytest.mark.parametrize(
    ("about", "fitting"),
    [
        ({"check": "images.state"}, True),
        ({"check": "images.*"}, True),
        ({"check": "images.stat"}, False),
        ({"check": "slurm.*"}, False),
        ({"image": NAME}, True),
        ({"image": "x.sif"}, True),
        ({"image": "ml-frameworks/*"}, True),
        ({"image": "*.sif"}, True),
        ({"image": "ax.sif"}, False),
        ({"image": "frameworks/x.sif"}, False),
        ({"image": "x.sif", "check": "slurm.*"}, False),
        ({"nodes": ("c9",)}, True),
    ],
)
def test_checks_and_images_are_patterns(about: dict[str, object], fitting: bool) -> None:
    assert fits(waiver(**about), MISSING) is fitting  # type: ignore[arg-type]


def test_what_is_about_no_image_no_pattern_of_images_takes() -> None:
    assert not fits(waiver(image="*"), DRAINED)
    assert fits(waiver(image="x.sif"), replace(MISSING, what=f"/opt/containers/{NAME}"))
    assert fits(waiver(image="x.sif"), replace(MISSING, id="images.checks", what=f"{NAME}: nvidia-smi"))


def test_a_place_that_is_no_node_set_is_open() -> None:
    odd = [replace(MISSING, where=place) for place in ("c[1-", "", "this one")]
    assert judge(odd, [waiver(nodes=("c1",))], DAY).open == odd


def test_every_check_has_an_id_that_a_waiver_can_name() -> None:
    found = {check for check, _, _ in BROKEN}
    assert found
    assert found <= set(checks.IDS)
    assert len(set(checks.IDS)) == len(checks.IDS)


def test_a_waiver_of_nothing_is_named() -> None:
    sound = Sound()
    sound.host("c1").programs["rsync"] = None
    waivers = (waiver(nodes=("c1",)), waiver(nodes=("c2",)), waiver(check="slurm.*"), waiver(check="images.checks"))
    assert unused(sound.facts(), replace(CLUSTER, waivers=waivers)) == [
        "the waiver of alice (c2) matches nothing that was found: is it still needed?",
        "the waiver of alice (slurm.*) matches nothing that was found: is it still needed?",
    ]
