"""The fixtures by their short names: no other plugin's, and there also where hpc_short_names is false."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.plugin import fixtures

globals().update({name: one for name, one in vars(fixtures.SHORT).items() if not name.startswith("_")})


def pytest_configure(config: pytest.Config) -> None:
    """Without the plugin, each test would end with words about unknown marks and fixtures."""
    if not hasattr(config.option, "hpc_cluster"):
        raise pytest.UsageError("the suites need their plugin, which pytest was told not to load: -p hpcregistry")
