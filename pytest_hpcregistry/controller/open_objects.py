"""The controller's objects that a sync has open, for as many rounds and chains as send them."""

from __future__ import annotations

import os
import threading

from ..agent.facts import Refused, open_regular
from ..core.errors import CommandFailed
from ..core.layout import object_path
from ..core.names import CONTROLLER


class OpenObjects:
    """Descriptors by digest, each opened once."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.files: dict[str, int] = {}
        self.opening = threading.Lock()

    def open(self, digest: str) -> int:
        """A descriptor of an object. Raises CommandFailed."""
        with self.opening:
            try:
                if digest not in self.files:
                    self.files[digest] = open_regular(object_path(self.registry, digest))
            except (Refused, OSError) as error:
                raise CommandFailed(f"cannot read object {digest[:12]}: {error}", where=CONTROLLER) from error
            return self.files[digest]

    def close(self) -> None:
        while self.files:
            os.close(self.files.popitem()[1])
