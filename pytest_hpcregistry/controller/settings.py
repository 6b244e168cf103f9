"""The registry's config.yaml on this controller."""

from __future__ import annotations

from pathlib import Path

from ..core import documents, settings
from ..core.errors import RUN_SETUP, ConfigError, UsageError
from ..core.names import CONTROLLER, visible
from ..core.settings import Settings

NOT_SET_UP = "has phase 1 been run? hpc-container-manager registry setup"


def load(path: Path) -> Settings:
    """Read config.yaml. Raises UsageError when it is not there, ConfigError when it is not what phase 1 writes."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"{visible(path)}: {error.strerror}", hint=NOT_SET_UP) from None
    try:
        return settings.read(documents.parse(text, str(path)))
    except ConfigError as error:
        raise error.on(CONTROLLER, RUN_SETUP) from None
