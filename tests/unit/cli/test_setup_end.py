"""The last lines of `registry setup`: what was set up where, and what comes next."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import registry
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.setup.transcript import HostRecap, Recap

CHANGED, SAME, SILENT = HostRecap(9, 2, 0, 0), HostRecap(9, 0, 0, 0), HostRecap(0, 0, 1, 0)


@pytest.mark.parametrize(
    ("hosts", "words", "said"),
    [
        (
            {"controller": SAME, "c1": CHANGED, "c2": CHANGED, "c3": SILENT},
            [],
            [
                "✓ phase 1: nothing to change on controller, changed on c[1-2] (65 s)",
                "  next: hpc-container-manager test --phase infrastructure",
            ],
        ),
        (
            {"controller": CHANGED, "c1": CHANGED},
            ["--check"],
            [
                "✓ phase 1, only looked at: would change on controller,c1 (65 s)",
                "  next: hpc-container-manager registry setup",
            ],
        ),
        (
            {"controller": SAME, "c1": SAME},
            ["--check"],
            [
                "✓ phase 1, only looked at: nothing to change on controller,c1 (65 s)",
                "  next: hpc-container-manager test --phase infrastructure",
            ],
        ),
    ],
)
def test_a_setup_ends_with_what_was_changed_where_and_what_is_next(
    monkeypatch: pytest.MonkeyPatch, hosts: dict[str, HostRecap], words: list[str], said: list[str]
) -> None:
    monkeypatch.setattr(ControllerClient, "require_root", lambda client: None)
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: ["c1"])
    monkeypatch.setattr(registry, "away", lambda client: {})
    monkeypatch.setattr(registry, "routes_to", lambda nodes, client: {})
    monkeypatch.setattr(playbook, "set_up", lambda *given, **how: Recap(hosts, 65.2))
    result = CliRunner().invoke(cli.commands, ["registry", "setup", "--controller", "hpc", *words])
    assert (result.exit_code, result.stdout.splitlines()) == (0, said)
