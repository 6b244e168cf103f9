"""The catalog's file on the controller, read and written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import agent
from ..agent.requests import MOST_OBJECTS
from ..core.catalog import KEEP_FEWER, LARGEST, MEND_CATALOG, Catalog, check_size, from_text
from ..core.errors import ConfigError, HpcRegistryError, UsageError
from ..core.names import CONTROLLER
from .settings import NOT_SET_UP


def read_catalog_text(registry: str) -> str:
    """The catalog file as it is. Raises UsageError when phase 1 has not made one, ConfigError when it is no text."""
    path = Path(registry, agent.CATALOG)
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1).decode()
    except OSError as error:
        raise UsageError(error.strerror, where=path, hint=NOT_SET_UP) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not UTF-8 text (byte {error.start})"]).on(CONTROLLER, MEND_CATALOG) from None


def read_catalog(registry: str) -> Catalog:
    """The catalog. Raises ConfigError when it is broken."""
    return catalog_of(read_catalog_text(registry), registry)


def catalog_of(text: str, registry: str) -> Catalog:
    """The catalog that *text*, the file's, means. Raises ConfigError when it is broken."""
    try:
        return from_text(text, str(Path(registry, agent.CATALOG)))
    except ConfigError as error:
        raise error.on(CONTROLLER, MEND_CATALOG) from None


def text_of(catalog: Catalog, registry: str) -> str:
    """The text of a catalog that can be written, and read again.

    Raises ConfigError when it is too large, UsageError when something in it is not Unicode.
    """
    text, path = catalog.to_text(), str(Path(registry, agent.CATALOG))
    check_size(text, path)
    if len(catalog.digests()) > MOST_OBJECTS:
        raise ConfigError(path, [f"more than {MOST_OBJECTS} versions"], hint=KEEP_FEWER)
    return text


@contextmanager
def replaced(root: int, text: str, is_done: Callable[[], bool]) -> Iterator[None]:
    """The catalog is *text* from here on, for a caller who holds the lock of the registry *root*. If what follows
    fails, and is not done in spite of that, the one before is put back.

    Raises OSError when the catalog cannot be written, HpcRegistryError when it cannot be put back.
    """
    directory, _, name = agent.CATALOG.rpartition("/")
    before = f".{name}.{os.getpid()}0"
    with agent.opened(directory, root) as metadata:
        agent.unlink_if_there(before, metadata)  # of a process that had the same number and was killed
        # A second name: to put it back takes no room on a disk that is full.
        os.link(name, before, src_dir_fd=metadata, dst_dir_fd=metadata, follow_symlinks=False)
        try:
            agent.publish_catalog(root, text, [])
            yield
        except BaseException as error:
            if not is_done():
                put_back(before, name, metadata, error)
            raise
        finally:
            agent.unlink_if_there(before, metadata)


def put_back(before: str, name: str, metadata: int, error: BaseException) -> None:
    try:
        os.rename(before, name, src_dir_fd=metadata, dst_dir_fd=metadata)
        os.fsync(metadata)
    except OSError as failure:
        raise HpcRegistryError(
            f"the catalog is new and the image's name is not, since {error!r}, and then {failure!r}",
            where=CONTROLLER,
            hint="hpc-container-manager sync lets the name follow the catalog",
        ) from failure
