"""One of the lab's sites, another one each day: the walk of `make sites`. HPCREG_SITE=NAME chooses one."""

from __future__ import annotations

import datetime
import os

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.lab import site
from tests.sites.__main__ import on_site
from tests.sites.matrix import verdicts
from tests.sites.walk import FAILED

pytestmark = pytest.mark.lab
PREFIX = os.environ.get("HPCREG_TEST_LAB", "tests")


def of_the_day(names: list[str], day: int) -> str:
    """Each in its turn, but the demo's, which every other lab test has."""
    foreign = [name for name in names if name != site.DEMO]
    return foreign[day % len(foreign)]


def test_the_walk_on_the_site_of_the_day() -> None:
    today = datetime.datetime.now(datetime.UTC).timetuple().tm_yday
    name = os.environ.get("HPCREG_SITE") or of_the_day(site.names(), today)
    done = on_site(name, f"{PREFIX}-site")
    assert done
    assert [one for one in done if one.verdict == FAILED] == [], name
    assert "yes" in verdicts(done).values() or site.load(name).refused, name
    assert lab.state_directory(f"{PREFIX}-site").exists() is False
