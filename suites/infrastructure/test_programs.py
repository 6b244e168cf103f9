"""What phase 1 installs, and what it needs: programs, agent, log."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import programs
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_sync_program_is_on_the_controller(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.controller_program(controller, cluster_facts, cluster)) == []


def test_agent_is_installed(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.agent(machine, cluster_facts, cluster)) == []


def test_only_root_can_change_what_starts_an_image(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.guarded(machine, cluster_facts, cluster)) == []


def test_programs_are_installed(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.installed(machine, cluster_facts, cluster)) == []


def test_sync_log(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.log(controller, cluster_facts, cluster)) == []
