"""What phase 1 installs, and what it needs: programs, agent, log."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, programs
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_infrastructure


def test_sync_program_is_on_the_controller(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.controller_program(controller, cluster_facts, cluster)) == []


def test_agent_is_installed(find_on_machines: Find) -> None:
    assert find_on_machines(programs.agent) == []


def test_only_root_can_change_what_starts_an_image(find_on_machines: Find) -> None:
    assert find_on_machines(programs.guarded) == []


def test_programs_are_installed(find_on_machines: Find) -> None:
    assert find_on_machines(programs.installed) == []


def test_sync_log(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(programs.log(controller, cluster_facts, cluster)) == []
