"""The names of the role's variables: of those that are settings of the cluster file, and of the others."""

from __future__ import annotations

from .documents import KeyPath
from .kinds import settings_of
from .model import SECTIONS

EARLIER_NAMES = {
    "container_registry_directory_mode": "container_registry_dir_mode",
    "container_registry_directories": "container_registry_subdirs",
    "container_registry_nodes": "container_registry_sync_nodes",
    "container_registry_slurm_container": "container_registry_slurm_integration",
}
"""What four of the role's settings were called; they still are taken where they are set."""
OTHERS = (
    "packer_build",
    "container_registry_out_of_service",
    "container_runtime",
    "container_registry_storage_backend",
    "container_registry_paths",
    "container_registry_sync_enabled",
    "container_registry_sync_log_group",
    "container_registry_authorized_keys",
    "container_registry_logrotate_dir",
    "container_registry_remove_tree",
    "container_registry_search_path",
)
"""Variables of the role that are no settings: all others in its defaults."""
PATHS = {
    "local": "/opt/containers",
    "nfs": "/opt/containers",
    "beegfs": "/mnt/beegfs/containers",
    "custom": "/opt/containers",
}
"""container_registry_paths: where the registry lies by default, for each container_registry_storage_backend."""


def role_variable(*path: str) -> str:
    """The name of a setting in the role: `sync`, `keep` -> container_registry_sync_keep.

    The section `registry` is left out: all of it is the registry's.
    """
    return "_".join(("container_registry", *(part for part in path if part != "registry")))


def settings_in_role() -> dict[str, KeyPath]:
    """Each variable of the role that is a setting, and which one; a later name, which wins, after its earlier one."""
    named: dict[str, KeyPath] = {role_variable("nodes"): ("nodes",)} | named_settings(ours=False)
    return {earlier: named[name] for name, earlier in EARLIER_NAMES.items()} | named


def settings_beside_role() -> dict[str, KeyPath]:
    """Names of the same form for settings of these sections that only this package has, such as slurm.run_as: for an
    inventory, which has no other place for them."""
    return named_settings(ours=True)


def named_settings(ours: bool) -> dict[str, KeyPath]:
    return {
        role_variable(section, key): (section, key)
        for section, part in SECTIONS.items()
        if not part.ours
        for key, one in settings_of(part.kind).items()
        if one.ours is ours
    }
