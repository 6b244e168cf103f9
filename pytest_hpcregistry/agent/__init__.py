"""The agent: what runs on a node, and on the controller for its own registry. Standard library only, Python >= 3.6.

`facts.py` reads; it is piped to a node, by itself. All of it together is `agent.pyz`, the forced command of the sync
key, which writes. This page names what the controller program uses of it.
"""

from .attachments import SBOMS, SCANS, attach
from .facts import (
    BASES,
    CATALOG,
    LOCK,
    OBJECTS,
    PEERS,
    SIGNERS,
    STAGING,
    NotThere,
    Refused,
    filesystem,
    gather,
    hash_file,
)
from .publish import (
    apply,
    locked,
    opened,
    opened_private,
    opened_registry,
    prove,
    publish,
    publish_catalog,
    unlink_if_there,
)
from .removal import list_users, remove_names, remove_under_lock
from .repair import QUARANTINE, put_away_damaged
from .signatures import SIGNED, accept, is_named

__all__ = [
    "BASES",
    "CATALOG",
    "LOCK",
    "OBJECTS",
    "PEERS",
    "QUARANTINE",
    "SBOMS",
    "SCANS",
    "SIGNED",
    "SIGNERS",
    "STAGING",
    "NotThere",
    "Refused",
    "accept",
    "apply",
    "attach",
    "filesystem",
    "gather",
    "hash_file",
    "is_named",
    "list_users",
    "locked",
    "opened",
    "opened_private",
    "opened_registry",
    "prove",
    "publish",
    "publish_catalog",
    "put_away_damaged",
    "remove_names",
    "remove_under_lock",
    "unlink_if_there",
]
