"""The catalog's file on the controller, read and written."""

from __future__ import annotations

from pathlib import Path

from .. import agent
from ..core import documents
from ..core.catalog import MEND_CATALOG, Catalog, from_data
from ..core.errors import ConfigError, UsageError
from ..core.names import CONTROLLER
from .settings import NOT_SET_UP


def read_catalog_text(registry: str) -> str:
    """The catalog file as it is. Raises UsageError when phase 1 has not made one."""
    path = Path(registry, agent.CATALOG)
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(error.strerror, where=path, hint=NOT_SET_UP) from None


def read_catalog(registry: str) -> Catalog:
    """The catalog. Raises ConfigError when it is broken."""
    return catalog_of(read_catalog_text(registry), registry)


def catalog_of(text: str, registry: str) -> Catalog:
    """The catalog that *text*, the file's, means. Raises ConfigError when it is broken."""
    path = str(Path(registry, agent.CATALOG))
    try:
        return from_data(documents.load(text, path), path)
    except ConfigError as error:
        raise error.on(CONTROLLER, MEND_CATALOG) from None


def text_of(catalog: Catalog, registry: str) -> str:
    """The text of a catalog that can be written, and read again.

    Raises ConfigError when it is too large, UsageError when something in it is not Unicode.
    """
    text = documents.dump(catalog.to_data())
    documents.check_size(text, str(Path(registry, agent.CATALOG)))
    return text


def write_catalog(root: int, catalog: Catalog, registry: str) -> str:
    """Write the catalog, for a caller who holds the lock. Returns its text. Raises as `text_of`."""
    text = text_of(catalog, registry)
    agent.publish_catalog(root, text, [])
    return text
