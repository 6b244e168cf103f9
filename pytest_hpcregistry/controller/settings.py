"""The registry's config.yaml, as phase 1 rendered it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import documents
from ..core.errors import ConfigError, UsageError
from ..core.names import visible

NOT_SET_UP = "has phase 1 been run? hpc-container-manager registry setup"


@dataclass(frozen=True)
class Settings:
    """What the controller program needs. `nodes` None: ask Slurm. `window` is nodes at once; times in seconds.

    `network` (CIDR) is where images go, None: where the controller's ssh came to. `limit_rate` is what one
    machine may send, in bytes/s; 0: no limit. `keep` is how many older versions of an image are kept.
    `key_from` is where the sync key may log in from, addresses and networks (CIDR); empty: anywhere.
    """

    registry: str
    directories: tuple[str, ...]
    file_mode: str
    method: str
    nodes: tuple[str, ...] | None
    window: int
    timeout: int
    connect_timeout: int
    key: str
    known_hosts: str
    log: str
    network: str | None = None
    limit_rate: int = 0
    keep: int = 2
    key_from: tuple[str, ...] = ()


def load(path: Path) -> Settings:
    """Read config.yaml. Raises UsageError when it is not there, ConfigError when it is not what phase 1 writes."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"{visible(path)}: {error.strerror}", hint=NOT_SET_UP) from None
    data: Any = documents.load(text, str(path))
    try:
        registry, sync = data["registry"], data["synchronization"]
        return Settings(
            registry=registry["path"],
            directories=tuple(registry["directories"]),
            file_mode=registry["file_mode"],
            method=sync["method"],
            nodes=None if sync["nodes"] == "slurm" else tuple(sync["nodes"]),
            window=int(sync["window"]),
            timeout=int(sync["timeout"]),
            connect_timeout=int(sync["connect_timeout"]),
            key=sync["key"],
            known_hosts=sync["known_hosts"],
            log=sync["log"],
            network=sync.get("network") or None,
            limit_rate=int(sync.get("limit_rate", 0)),
            keep=int(registry.get("keep", 2)),
            key_from=tuple(sync.get("key_from", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(str(path), [f"{type(error).__name__}: {error}"], hint="run phase 1 again") from None
