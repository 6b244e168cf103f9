"""The registry's config.yaml as phase 1 renders it, and what is not that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller.settings import NOT_SET_UP, Settings, load
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.errors import ConfigError, UsageError

REGISTRY = {"path": "/r", "directories": ["a-images", "b-images"], "file_mode": "0750"}
SYNC = {
    "method": "relay", "nodes": "slurm", "window": "64", "timeout": "600", "connect_timeout": "10", "key": "/k",
    "known_hosts": "/h", "log": "/l",
}  # fmt: skip
LEAST = Settings("/r", ("a-images", "b-images"), "0750", "relay", None, 64, 600, 10, "/k", "/h", "/l")


def read(directory: Path, registry: dict[str, Any], synchronization: dict[str, Any]) -> Settings:
    path = directory / "config.yaml"
    path.write_text(documents.dump({"registry": registry, "synchronization": synchronization}))
    return load(path)


def test_what_an_older_phase_1_wrote(tmp_path: Path) -> None:
    found = read(tmp_path, REGISTRY, SYNC)
    assert found == LEAST
    assert (found.network, found.limit_rate, found.keep, found.key_from) == (None, 0, 2, ())


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    more = {"nodes": ["c1", "c2"], "network": "10.0.0.0/8", "limit_rate": "1000", "key_from": ["10.0.0.1", "fd00::/8"]}
    found = read(tmp_path, {**REGISTRY, "keep": "5"}, {**SYNC, **more})
    assert (found.nodes, found.network, found.limit_rate) == (("c1", "c2"), "10.0.0.0/8", 1000)
    assert (found.keep, found.key_from) == (5, ("10.0.0.1", "fd00::/8"))


def test_no_network_is_written_as_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, REGISTRY, {**SYNC, "network": ""}) == LEAST


def test_a_controller_without_phase_1(tmp_path: Path) -> None:
    path = tmp_path / "no\nsuch"
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == f"{tmp_path}/no\\nsuch: No such file or directory"
    assert caught.value.hint == NOT_SET_UP
    assert "registry setup" in NOT_SET_UP


@pytest.mark.parametrize("missing", [*REGISTRY, *SYNC])
def test_a_setting_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    registry, sync = ({key: one for key, one in part.items() if key != missing} for part in (REGISTRY, SYNC))
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, registry, sync)
    assert str(caught.value).startswith(str(tmp_path / "config.yaml"))
    assert caught.value.mistakes == (f"KeyError: '{missing}'",)
    assert caught.value.hint == "run phase 1 again"


@pytest.mark.parametrize(
    "text", ["", "x", "registry: x\nsynchronization: {}\n", "registry: []\nsynchronization: []\n", "{"]
)
def test_a_file_that_phase_1_did_not_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        load(path)


@pytest.mark.parametrize("key", ["window", "timeout", "connect_timeout"])
def test_a_number_that_is_none(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="ValueError"):
        read(tmp_path, REGISTRY, {**SYNC, key: "many"})
