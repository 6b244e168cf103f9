"""What happens, as it is told: to people, to a log, and over a wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from ..errors import HpcRegistryError, from_exit_code


@dataclass(frozen=True)
class Event:
    """Sizes in bytes, times in seconds."""


Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Progress(Event):
    """How much has arrived, in all, on the nodes where that has changed."""

    bytes: dict[str, int]


@dataclass(frozen=True)
class UnderWay(Event):
    """How far a transfer is, in words."""

    what: str
    text: str


@dataclass(frozen=True)
class Noticed(Event):
    """Something odd that a person should know."""

    message: str


@dataclass(frozen=True)
class Failed(Event):
    """Something failed: the whole, or the image of this `name`. `where` is a machine or a file."""

    message: str
    hint: Optional[str] = None
    exit_code: Optional[int] = None
    name: Optional[str] = None
    where: Optional[str] = None

    @classmethod
    def of(cls, error: HpcRegistryError) -> Failed:
        """The event of an error that ends the whole."""
        return cls(error.what, hint=error.hint, exit_code=error.exit_code, where=error.where or None)

    def error(self) -> HpcRegistryError:
        """The same kind of error as the one it was made of."""
        return from_exit_code(self.exit_code or 0)(self.message, where=self.where or "", hint=self.hint or "")

    @property
    def text(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
