"""Where something lies on a machine: every path that more than one part of the program knows.

The agent has its own copy of those below the registry, as it imports nothing; a test holds the two together.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from .errors import UsageError
from .names import DIGEST

# What phase 1 installs; the role's vars/main.yml has the same paths.
LIBRARY = "/usr/local/lib/hpcregistry"
PROGRAM = f"{LIBRARY}/controller"  # unpacked from controller.pyz, and compiled
PROGRAM_FILE = f"{PROGRAM}/__main__.py"
AGENT = f"{LIBRARY}/agent.pyz"
CONTAINER_RUN = f"{LIBRARY}/container-run"
RUNTIME = f"{CONTAINER_RUN}.json"
LAUNCHER = "/usr/local/bin/registry-sync-to-nodes.sh"
SUDO = "/usr/bin/sudo"
MORE_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/opt/slurm/bin:/opt/slurm/sbin"
"""Where programs lie that a login for one command does not find: searched after its own PATH, as the role does."""
KNOWN_HOSTS = "/root/.ssh/known_hosts_registry_sync"

# Below the registry.
METADATA = ".registry"
CONFIG = f"{METADATA}/config.yaml"
CATALOG = f"{METADATA}/catalog.yaml"
PEERS = f"{METADATA}/peers"
SIGNERS = f"{METADATA}/allowed_signers"
LOCK = f"{METADATA}/lock"
SYNC_LOCK = f"{METADATA}/sync.lock"
SYNC_NEXT = f"{METADATA}/sync-next.lock"
HISTORY = f"{METADATA}/history.jsonl"  # of the controller alone, as its lock and the older ones HISTORY.1 and so on
HISTORY_LOCK = f"{METADATA}/history.lock"
RUNNING = f"{METADATA}/running"  # of the controller alone, too: a file for each command while it runs
OBJECTS = f"{METADATA}/objects/sha256"
STAGING = f"{METADATA}/staging"
BASES = f"{METADATA}/bases"
QUARANTINE = f"{METADATA}/quarantine"
SBOMS = f"{METADATA}/sbom"
SCANS = f"{METADATA}/scan"


def inside(registry: str, path: str) -> str:
    """A *path* from above, in *registry*."""
    return str(PurePosixPath(registry, path))


def object_path(registry: str, digest: str) -> str:
    """Where the bytes with this SHA-256 *digest* (64 hex digits) lie in *registry*. Raises UsageError if it is none."""
    return inside(registry, f"{OBJECTS}/{check_digest(digest)}")


def attachment_path(registry: str, place: str, digest: str) -> str:
    """Where that which is kept in *place*, SBOMS or SCANS, of these bytes lies. Raises as object_path."""
    return inside(registry, f"{place}/{check_digest(digest)}.json")


def check_digest(digest: str) -> str:
    """Return *digest* if it is one of SHA-256, in hex; raise UsageError if not."""
    if not DIGEST.match(digest):
        raise UsageError(f"{digest!r} is not a SHA-256 digest")
    return digest
