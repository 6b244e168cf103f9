"""The JSON Schema of the cluster file against every example that the parser takes or refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from pytest_hpcregistry.cli import commands
from pytest_hpcregistry.config.schema import cluster_schema
from pytest_hpcregistry.core.kinds import settings_of
from pytest_hpcregistry.core.model import SECTIONS
from tests import ROOT
from tests.unit.config.examples import (
    BAD_NODES,
    BAD_ROUTES,
    BAD_VALUES,
    EVERY_VALUE,
    GOOD_NODES,
    GOOD_VALUES,
    KEY_FROM,
    MINIMAL,
    file_with,
)

EXAMPLE = (ROOT / "fixtures" / "cluster.yaml").read_text()

# What no schema can see: what a name or a set of names comes to, what YAML has made a number of, files, sums of digits.
ONLY_THE_PARSER = {
    "nodes": {
        "[c1, controller]",
        "c1,c2,c1",
        "c[1-3],c2",
        "[c1, 'c[1-2]']",
        "c1!c1",
        "c[1-",
        "c[1-999999999]",
        "c[1-9999]x[1-9999]",
        "c[1-99],[1-9999999]",
        "{'c[1-2]': {port: 22}, c2: {}}",
        "{'c[1-': {}}",
        "{controller: {}}",
        "{c1: {address: 'fd00::[1-999999999]'}}",
        "{'c[1-3]': {address: '10.0.0.[1-2]'}}",
        "{slurm: {address: 10.0.0.1}}",
        "{'c[1-2]': {address: '10.0.0.1,10.0.0.1'}}",
        "{'c[1-2]': {address: '10.0.0.[01-02]'}}",
        "{'slurm,c1': {port: 22}}",
        "c1,SLURM",
    },
    "controller.port": {"0x16", "2.0"},
    "controller.jump": {"h:0"},
    "registry.signing_key": {"/no/such"},
    "controller.key": {"/no/such", "~nobody-has-this-name/k", "/"},
    "registry.directory_mode": {"0855", "0577"},
    "registry.file_mode": {"0355"},
    "sync.key_from": {"[10.0.0.1/8]"},
    "sync.window": {"1e3"},
    "scan.command": {"['{image}']", "['x={sbmo}']"},
    "scan.waivers": {"[{id: CVE-1, until: 2026-02-30, reason: x}]"},
    "ssh.known_hosts": {"missing"},
    "ssh.config": {"missing"},
}


class Editor(yaml.SafeLoader):
    """Scalars by YAML 1.2's core schema, as editors read them."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for tag, pattern in {
    "null": r"(?:~|null|Null|NULL|)\Z",
    "bool": r"(?:true|True|TRUE|false|False|FALSE)\Z",
    "int": r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z",
}.items():
    Editor.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), None)


def read_int(loader: Editor, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


Editor.add_constructor("tag:yaml.org,2002:int", read_int)
Editor.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(str(node.value)))
SCHEMA = cluster_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def is_valid(text: str) -> bool:
    return bool(VALIDATOR.is_valid(yaml.load(text, Loader=Editor)))  # noqa: S506


def test_the_schema_is_one_and_the_command_prints_it() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    shown = CliRunner().invoke(commands, ["schema"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == SCHEMA


def test_yaml_is_read_as_editors_read_it() -> None:
    """If it were not, what is below would prove less than it says."""
    read = yaml.load("[0755, 0o17, 0x16, no, true, ~, 2.0, 1e3, '1', 10.0.0.1]", Loader=Editor)  # noqa: S506
    assert read == [755, 15, 22, "no", True, None, 2.0, 1000.0, "1", "10.0.0.1"]


@pytest.mark.parametrize("loader", [Editor, yaml.SafeLoader])
@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        re.sub(r"^  # (?=\w+: )", "  ", EXAMPLE, flags=re.MULTILINE),
        MINIMAL,
        EVERY_VALUE,
        MINIMAL + "sync:\n  # window: 3\nslurm:\nregistry: {keep: 0, directories: [2024]}\n",
        MINIMAL + "scan: null\nsync: ~\n",
        *(file_with("sync", "key_from", value) for value, _ in KEY_FROM),
        *(f"{MINIMAL}nodes: {value}\n" for value, _ in GOOD_NODES),
        *(file_with(section, key, value) for section, key, values in GOOD_VALUES for value in values),
    ],
)
def test_what_the_parser_takes_is_valid(text: str, loader: type[yaml.SafeLoader]) -> None:
    data = yaml.load(text, Loader=loader)  # noqa: S506
    assert [f"{list(error.path)}: {error.message}" for error in VALIDATOR.iter_errors(data)] == []


@pytest.mark.parametrize(
    ("place", "text", "value"),
    [
        *(("nodes", f"{MINIMAL}nodes: {value}\n", value) for value, _ in (*BAD_NODES, *BAD_ROUTES)),
        *(
            (f"{section}.{key}", file_with(section, key, value), value)
            for section, key, values in BAD_VALUES
            for value in values
        ),
    ],
)
def test_what_the_parser_refuses_is_not_valid_but_for_what_only_it_can_see(place: str, text: str, value: str) -> None:
    assert is_valid(text) == (value in ONLY_THE_PARSER.get(place, ()))


@pytest.mark.parametrize(
    "text",
    [
        "nodes: slurm\n",
        "controller:\nnodes: slurm\n",
        "controller: {port: 22}\n",
        f"{MINIMAL}sluurm: {{}}\n",
        f"{MINIMAL}sync: {{windw: 3}}\n",
        f"{MINIMAL}sync: {{keep: 3}}\n",
        f"{MINIMAL}registry: [a]\n",
        "just words\n",
    ],
)
def test_keys_that_are_missing_or_not_known_are_not_valid(text: str) -> None:
    assert not is_valid(text)


def test_every_setting_is_described_and_no_other() -> None:
    properties = SCHEMA["properties"]
    assert set(properties) == {*SECTIONS, "nodes", "waivers"}
    for section, part in SECTIONS.items():
        found: dict[str, Any] = properties[section]["properties"]
        assert set(found) == set(settings_of(part.kind))
        for key, one in found.items():
            assert one["description"].endswith("."), key
            if "default" in one:
                jsonschema.Draft7Validator(one).validate(one["default"])
    assert (properties["sync"]["properties"]["window"]["default"], properties["nodes"]["default"]) == (64, "slurm")


def test_the_line_that_the_readme_shows_is_a_comment() -> None:
    line = "# yaml-language-server: $schema=cluster.schema.json"
    assert line in (ROOT / "README.md").read_text()
    assert is_valid(f"{line}\n{MINIMAL}")
