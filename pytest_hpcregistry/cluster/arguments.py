"""What the controller program is told, as words of its command line."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SyncOptions:
    """How bytes reach the nodes, where that is not as configured; `limit_rate` in bytes/s. `repair`: copies are read
    first, and damaged ones replaced. `no_wait`: where another sync is at work, it fails at once."""

    engine: str | None = None
    limit_rate: int | None = None
    repair: bool = False
    no_wait: bool = False

    def words(self) -> list[str]:
        words = [*option("--engine", self.engine), *option("--limit-rate", self.limit_rate)]
        return [*words, *switch("--repair", self.repair), *switch("--no-wait", self.no_wait)]


def option(name: str, value: object) -> list[str]:
    """An option of the controller program; nothing where there is no value."""
    return [] if value is None else [name, str(value)]


def signed(signature: Mapping[str, str] | None) -> list[str]:
    return ["--signature", json.dumps(signature)] if signature else []


def switch(name: str, on: bool) -> list[str]:
    return [name] if on else []


def operator() -> str:
    """Who this is, for the catalog, the log and the history."""
    return f"{getpass.getuser()}@{platform.node()}"


AS_CONFIGURED = SyncOptions()
