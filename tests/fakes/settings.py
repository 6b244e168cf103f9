"""A controller's settings as tests want them: every key by its own name, whatever section it is in."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.kinds import write_nodes
from pytest_hpcregistry.core.model import Registry, Runtime, Slurm, Sync
from pytest_hpcregistry.core.settings import VERSION, Settings, written


def make_settings(registry: Path | str, **given: Any) -> Settings:
    """Settings of a registry, with *given* in place of the defaults."""
    return change(Settings(Registry(path=str(registry)), Sync(), Slurm(), Runtime()), **given)


def change(settings: Settings, **given: Any) -> Settings:
    """*settings* with other values, of the sections `registry` and `sync` or of its own."""
    for name in ("registry", "sync"):
        section = getattr(settings, name)
        known = {field.name for field in fields(section)} & given.keys()
        settings = replace(settings, **{name: replace(section, **{key: given.pop(key) for key in known})})
    return replace(settings, **given)


def config_text(settings: Settings) -> str:
    """The config.yaml that says them."""
    return documents.dump({"version": VERSION, **written(settings), "admitted": settings.admitted})


def earlier_text(settings: Settings) -> str:
    """The config.yaml that phase 1 wrote before its keys were the cluster file's."""
    registry, sync, slurm = (written(settings)[name] for name in ("registry", "sync", "slurm"))
    # The template had `| int` and `| bool | to_json` where there were no quotes.
    return f"""\
# Ansible managed: change the cluster file or the inventory and run the playbook again.
version: 1
registry:
  path: "{registry["path"]}"
  owner: "{registry["owner"]}"
  group: "{registry["group"]}"
  directory_mode: "{registry["directory_mode"]}"
  file_mode: "{registry["file_mode"]}"
  directories: {json.dumps(registry["directories"])}
  keep: {registry["keep"]}
synchronization:
  method: "{sync["method"]}"
  nodes: {json.dumps(write_nodes(settings.nodes))}
  limit_rate: {sync["limit_rate"]}
  network: "{sync["network"]}"
  window: {sync["window"]}
  timeout: {sync["timeout"]}
  connect_timeout: {sync["connect_timeout"]}
  key: "{sync["key"]}"
  key_from: {json.dumps(settings.admitted)}
  known_hosts: "/root/.ssh/known_hosts_registry_sync"
  log: "{sync["log"]}"
container_runtime: "apptainer"
slurm_integration:
  container: {json.dumps(slurm["container"])}
  conf_dir: "{slurm["conf_dir"]}"
catalog:
  file: "{registry["path"]}/.registry/catalog.yaml"
"""
