"""The registry's config.yaml on a controller; tests/unit/core/test_settings.py has what may be in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.controller.catalog import catalog_of
from pytest_hpcregistry.controller.settings import NOT_SET_UP, load
from pytest_hpcregistry.core.catalog import MEND_CATALOG
from pytest_hpcregistry.core.errors import RUN_SETUP, ConfigError, UsageError
from tests.fakes.settings import config_text, earlier_text, make_settings


@pytest.mark.parametrize("text", [config_text, earlier_text])
def test_what_phase_1_wrote(tmp_path: Path, text: object) -> None:
    assert callable(text)
    settings = make_settings("/r", nodes=("c1", "c2"), window=5)
    (tmp_path / "config.yaml").write_text(text(settings))
    found = load(tmp_path / "config.yaml")
    assert (found.registry, found.sync, found.nodes) == (settings.registry, settings.sync, settings.nodes)


def test_a_controller_without_phase_1(tmp_path: Path) -> None:
    path = tmp_path / "no\nsuch"
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == f"{tmp_path}/no\\nsuch: No such file or directory"
    assert caught.value.hint == NOT_SET_UP
    assert "registry setup" in NOT_SET_UP


@pytest.mark.parametrize(
    "text", ["", "x", "registry: x\nsync: {}\n", "registry: []\nsynchronization: []\n", "{", "sync: {}\n"]
)
def test_a_file_that_phase_1_did_not_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        load(path)


@pytest.mark.parametrize("text", ["x: [", "", "registry: 5\n"])
def test_a_broken_file_is_the_controllers_and_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^controller: {path}: ") as caught:
        load(path)
    assert caught.value.hint == RUN_SETUP
    with pytest.raises(ConfigError, match=r"^controller: ") as caught:
        catalog_of(text, str(tmp_path))
    assert caught.value.hint == MEND_CATALOG
