"""The file of waivers: what it may say, and every mistake in it at once, with its line, beside the cluster file's."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import jsonschema
import pytest

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.config.waivers import read, waivers_schema
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.errors import ConfigError
from pytest_hpcregistry.core.waivers import FindingWaiver

TODAY = date(2026, 11, 27)
GOOD = """\
- nodes: c[007-008]
  image: ml-frameworks/pytorch.sif
  check: images.*
  until: 2026-12-31
  who: alice
  reason: "disk swap, ticket #12"
- {check: slurm.usable, until: 2026-11-01, who: bob, reason: off}
"""
REST = "until: 2026-12-31, who: alice, reason: x"
BAD = [
    ("{nodes: c7, until: soon, who: a, reason: b}", "w.yaml:1: until: 'soon' is not a day, such as 2026-12-31"),
    ("{nodes: c7, until: 2026-02-30, who: a, reason: b}", "w.yaml:1: until: '2026-02-30' is not a day"),
    ("{nodes: c7, until: 2027-11-29, who: a, reason: b}", "w.yaml:1: until: 2027-11-29 is more than a year off"),
    (f"{{nodes: 'c[1-', {REST}}}", "w.yaml:1: nodes: 'c[1-' is not a node set"),
    (f"{{nodes: '@gpu', {REST}}}", "w.yaml:1: nodes: '@gpu' must not use groups"),
    (f"{{nodes: [c7], {REST}}}", "w.yaml:1: nodes: must be one value"),
    (f"{{check: images.stat, {REST}}}", "w.yaml:1: check: 'images.stat' is no check. Perhaps you meant \"images.st"),
    (f"{{check: 'gpu.*', {REST}}}", "w.yaml:1: check: 'gpu.*' is no check."),
    (f"{{image: pytorch, {REST}}}", "w.yaml:1: image: 'pytorch' is not an image"),
    (f"{{image: '../x.sif', {REST}}}", "w.yaml:1: image: '../x.sif' is not an image"),
    ("{nodes: c7, who: a, reason: b}", "w.yaml:1: until is missing"),
    ("{nodes: c7, until: 2026-12-31, reason: b}", "w.yaml:1: who is missing"),
    ("{nodes: c7, until: 2026-12-31, who: a, reason: null}", "w.yaml:1: reason is missing"),
    ('{nodes: c7, until: 2026-12-31, who: a, reason: "a\\nb"}', "w.yaml:1: reason: the reason of a waiver is text of"),
    ('{nodes: c7, until: 2026-12-31, who: "a\\e", reason: b}', "w.yaml:1: who: 'a\\x1b' is not a name"),
    (f"{{{REST}}}", "w.yaml:1: of what? One of nodes, image, check must be there"),
    (f"{{node: c7, {REST}}}", 'w.yaml:1: node: unknown key. Perhaps you meant "nodes"?'),
    ("c7", "w.yaml:1: must be a mapping with nodes, image, check, until, who, reason"),
]


def load(folder: Path, text: str) -> tuple[FindingWaiver, ...]:
    path = folder / "w.yaml"
    path.write_text(text)
    return read(path, "w.yaml", TODAY)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 2
    return list(caught.value.mistakes)


def test_what_it_says(tmp_path: Path) -> None:
    first = FindingWaiver(
        date(2026, 12, 31),
        "alice",
        "disk swap, ticket #12",
        nodes=("c007", "c008"),
        image="ml-frameworks/pytorch.sif",
        check="images.*",
    )
    assert load(tmp_path, GOOD) == (first, FindingWaiver(date(2026, 11, 1), "bob", "off", check="slurm.usable"))
    for nothing in ("[]", "", "# the last one has gone\n", "---\n"):
        assert load(tmp_path, nothing) == ()


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_it_may_not_say(tmp_path: Path, text: str, said: str) -> None:
    assert any(mistake.startswith(said) for mistake in mistakes(tmp_path, f"- {text}\n")), mistakes(
        tmp_path, f"- {text}\n"
    )


def test_a_day_just_a_year_off_is_none_too_many(tmp_path: Path) -> None:
    last = (TODAY + timedelta(days=366)).isoformat()
    assert load(tmp_path, f"- {{nodes: c7, until: {last}, who: a, reason: b}}")
    assert load(tmp_path, "- {nodes: c7, until: 2020-01-01, who: a, reason: b}"), "an expired one is to be shown"


def test_every_mistake_and_not_the_first(tmp_path: Path) -> None:
    text = f"- {{nodes: c7, until: soon, who: a}}\n- {{check: x.y, {REST}}}\n- {{nodes: c7, {REST}}}\n"
    found = [mistake.split(":")[1:3] for mistake in mistakes(tmp_path, text)]
    same = " of the same as the one at w.yaml"
    assert found == [["1", " until"], ["1", " reason is missing"], ["2", " check"], ["3", same]]


def test_a_list_is_wanted(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "waivers: []\n") == ["w.yaml:1: must be a list of waivers: `- nodes: c007`, and so on"]


def test_the_cluster_file_names_it_beside_itself(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "w.yaml").write_text("- {nodes: c7, until: 2020-01-01, who: alice, reason: x}\n")
    (site / "c.yaml").write_text("controller: {host: h}\nwaivers: w.yaml\n")
    assert [one.who for one in load_cluster(site / "c.yaml", environ={}).waivers] == ["alice"]
    (site / "c.yaml").write_text("controller: {host: h}\nwaivers:\n")
    assert load_cluster(site / "c.yaml", environ={}).waivers == ()


def test_mistakes_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("- {nodes: c7, until: 2020-01-01, who: alice}\n")
    (tmp_path / "c.yaml").write_text("controller: {host: h, port: x}\nwaivers: w.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load_cluster(tmp_path / "c.yaml", environ={})
    assert [mistake.partition(": ")[0] for mistake in caught.value.mistakes] == [f"{tmp_path}/c.yaml:1", "w.yaml:1"]
    (tmp_path / "c.yaml").write_text("controller: {host: h}\nwaivers: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"c.yaml:2: waivers: no such file: .*gone.yaml"):
        load_cluster(tmp_path / "c.yaml", environ={})


def test_two_waivers_of_one_vulnerability_are_a_mistake(tmp_path: Path) -> None:
    one = "{id: CVE-1, until: 2026-12-31, reason: x}"
    text = f"controller: {{host: h}}\nscan:\n  waivers:\n    - {one}\n    - {one.replace('x', 'y')}\n"
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_cluster(tmp_path / "c.yaml", environ={})
    said = "c.yaml:5: scan.waivers: there is a waiver of CVE-1 above: keep one of them"
    assert list(caught.value.mistakes) == [f"{tmp_path}/{said}"]


# Which checks there are, which days, and what is a node set or an image, only the parser sees.
ONLY_THE_PARSER = {"soon": False, "2026-02-30": True, "2027-11-29": True, "'c[1-'": True, "images.stat,": True,
                   "'gpu.*'": True, "pytorch,": True, "a\\e": True}  # fmt: skip


def test_the_schema_takes_what_the_parser_takes() -> None:
    jsonschema.Draft7Validator.check_schema(waivers_schema())
    validator = jsonschema.Draft7Validator(waivers_schema())
    assert not list(validator.iter_errors(documents.load(GOOD, "w")))
    for text, said in BAD:
        seen = next((valid for word, valid in ONLY_THE_PARSER.items() if word in text), False)
        # Of `null` our reader makes text, an editor nothing.
        assert validator.is_valid(documents.load(f"- {text}", "w")) == (seen or "null" in text), said
