"""What Podman is told on this machine, and what is said where it can't run."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import podman


def test_an_ordinary_machine_keeps_podmans_own_settings() -> None:
    assert podman.containers_conf(hybrid_cgroups=False, may_raise_limits=True) == ""


def test_each_setting_is_given_only_where_its_reason_is() -> None:
    hybrid = tomllib.loads(podman.containers_conf(hybrid_cgroups=True, may_raise_limits=True))
    assert hybrid == {"engine": {"runtime": "runc", "cgroup_manager": "cgroupfs"}}
    limited = tomllib.loads(podman.containers_conf(hybrid_cgroups=False, may_raise_limits=False))
    assert limited == {"containers": {"default_ulimits": ["nofile=1024:20000", "nproc=1024:1024"]}}
    assert tomllib.loads(podman.containers_conf(hybrid_cgroups=True, may_raise_limits=False)) == {**hybrid, **limited}


def installed(*programs: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in programs else None


def test_an_ordinary_user_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", installed())
    with pytest.raises(UsageError, match="root") as caught:
        podman.require()
    assert "sudo" in caught.value.hint


@pytest.mark.parametrize(
    ("present", "hybrid", "packages"),
    [
        ([], False, "podman mmdebstrap openssh-client"),
        (["podman", "ssh-keygen"], False, "mmdebstrap"),
        (["mmdebstrap", "ssh-keygen"], False, "podman"),
        (["podman", "mmdebstrap", "ssh-keygen"], True, "runc"),
    ],
)
def test_everything_missing_is_named_by_its_package(
    monkeypatch: pytest.MonkeyPatch, present: list[str], hybrid: bool, packages: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", installed(*present))
    monkeypatch.setattr(podman, "has_hybrid_cgroups", lambda: hybrid)
    with pytest.raises(UsageError) as caught:
        podman.require()
    assert caught.value.hint == f"apt-get install {packages}"
    monkeypatch.setattr(shutil, "which", installed("podman", "mmdebstrap", "ssh-keygen", "runc"))
    podman.require()
