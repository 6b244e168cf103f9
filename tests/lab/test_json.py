"""--json of every command on a cluster: what is printed is what its schema says, also where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_hpcregistry.transports import CommandResult

pytestmark = pytest.mark.lab
Cli = Callable[..., CommandResult]
EVENTS = {"deploy single", "gc", "rollback", "sync", "verify"}
COMMANDS = [
    ["status"],
    ["verify"],
    ["sync"],
    ["catalog", "list"],
    ["catalog", "show", "kept.sif"],
    ["history"],
    ["gc", "--dry-run"],
    ["test", "--phase", "infrastructure"],
    ["registry", "setup", "--check"],
]


def validated(tool: Cli, result: CommandResult, *command: str) -> list[dict[str, Any]]:
    """The documents that were printed, each of the form that `schema COMMAND` prints."""
    validator = jsonschema.Draft7Validator(json.loads(tool("schema", *command).check().stdout))
    is_lines = " ".join(command) in EVENTS
    found = [json.loads(line) for line in result.stdout.splitlines()] if is_lines else [json.loads(result.stdout)]
    for document in found:
        validator.validate(document)
    assert found[-1]["exit_code"] == result.exit_code
    return found


def name_of(words: list[str]) -> list[str]:
    return words[:2] if words[0] in ("catalog", "registry") else words[:1]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_is_printed_is_what_the_schema_says(tool: Cli, kept: str, tmp_path: Path, words: list[str]) -> None:
    reports = ["--reports", str(tmp_path)] if words[0] == "test" else []
    result = tool(*words, *reports, "--json").check()
    first, *_ = validated(tool, result, *name_of(words))
    assert first["cluster"]["name"] == "hpc-controller"
    assert result.stderr == ""


def test_deploy_and_rollback(tool: Cli, kept: str, sif: Callable[..., Path]) -> None:
    words = ("deploy", "single", "--sync-nodes", "--verify", "--json")
    deployed = validated(tool, tool(*words, sif("kept")).check(), "deploy", "single")
    assert deployed[-1]["event"] == "ended"
    assert {"image_checked", "published", "node_finished", "verified"} <= {event["event"] for event in deployed}
    validated(tool, tool("rollback", kept, "--json").check(), "rollback")


def test_errors(tool: Cli, kept: str, edited: Callable[..., Path]) -> None:
    nowhere = edited(controller={"port": "1"})
    for words in (["status"], ["sync"], ["catalog", "list"]):
        result = tool(*words, "--json", cluster=nowhere)
        last = validated(tool, result, *name_of(words))[-1]
        assert (result.exit_code, last["exit_code"], bool(last["hint"])) == (3, 3, True)
    result = tool("status", "--json", "--gone")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (2, 2)


def test_verbose_shows_what_ran_on_the_controller(tool: Cli, kept: str) -> None:
    result = tool("status", "-v").check()
    assert "hpc-controller: python3 /usr/local/lib/hpcregistry/controller" in result.stderr
    assert "exit code 0 (" in result.stderr
    assert "PRIVATE KEY" not in tool("sync", "-vv").check().stderr
    assert tool("status", "--quiet").check().stdout == ""
