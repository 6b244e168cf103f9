"""`registry setup` on a cluster of which some nodes are out of service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.setup.transcript import HostRecap, Recap
from pytest_hpcregistry.testing.transport import FakeTransport

SINFO = "c1 idle root|Unknown|none\nc2 drained root|2026-01-30T10:00:00|disk swap\nc3 down* Unknown|Unknown|none\n"


def run(monkeypatch: pytest.MonkeyPatch, *words: str, silent: tuple[str, ...]) -> tuple[Result, dict[str, Any]]:
    given: dict[str, Any] = {}

    def set_up(cluster: Any, nodes: Any, **how: Any) -> Recap:
        given.update(how)
        hosts = {name: HostRecap(ok=1, changed=0, unreachable=int(name in silent), failed=0) for name in nodes}
        return Recap(hosts, 1.0)

    monkeypatch.setattr(playbook, "set_up", set_up)
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: ["c1", "c2", "c3"])
    monkeypatch.setattr(client, "open_transport", lambda cluster: FakeTransport(*SINFO.splitlines()))
    return CliRunner().invoke(cli.commands, ["registry", "setup", "--controller", "hpc", *words]), given


def test_what_slurm_does_not_count_on_is_named_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    result, given = run(monkeypatch, silent=("c2",))
    assert result.exit_code == 0, result.output
    assert '! not counted: c2 drained "disk swap" (root, since 2026-01-30)' in result.output
    assert "c3" not in result.output, "it has answered"
    assert set(given["out_of_service"]) == {"c2", "c3"}


def test_programs_get_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, "--json", silent=("c2",))
    assert json.loads(result.stdout)["not_counted"] == {"c2": 'drained "disk swap" (root, since 2026-01-30)'}


def test_where_no_node_counts_nothing_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.cli.test_registry_setup.SINFO", SINFO.replace("c1 idle", "c1 down"))
    result, _ = run(monkeypatch, silent=("c1", "c2", "c3"))
    assert isinstance(result.exception, Unreachable)
    assert "no node could be asked" in str(result.exception)
