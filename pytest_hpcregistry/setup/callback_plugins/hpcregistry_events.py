"""An Ansible callback plugin: what fails in a run, and how it ends on each host, as JSON lines in a file.

Ansible loads it because its folder lies beside the playbook. It runs in Ansible's own process, on whatever Python that
has: standard library and Ansible only. `setup/transcript.py` reads the lines, each {"event": …, "host": …, …}:

  failed, unreachable  with `task`, and of what the module returned `message` and `stderr`
  ended                with the host's counts, as Ansible sums them up
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: hpcregistry_events
type: aggregate
short_description: writes what fails, and how a run ends on each host, as JSON lines
description: For hpc-container-manager. Without the option, as in a plain run of the playbook, it does nothing.
options:
  path:
    description: The file to append to.
    type: path
    env:
      - name: HPCREGISTRY_EVENTS
"""
LONGEST = 16 << 10  # characters of a text: a host may return megabytes, of which nobody will see more than some lines


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Ansible calls it for each event, with no_log already applied to results.

    `_host` and `_result` are what Ansible 2.17 has; the names without underscore came with 2.19.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "hpcregistry_events"
    CALLBACK_NEEDS_ENABLED = False

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        super().set_options(*args, **kwargs)
        self.disabled = not self.get_option("path")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self.write("failed", result._host.get_name(), task=result.task_name, **words(result._result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.write("unreachable", result._host.get_name(), task=result.task_name, **words(result._result))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            self.write("ended", host, **stats.summarize(host))

    def write(self, event: str, host: str, **fields: Any) -> None:
        with Path(self.get_option("path")).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "host": host, **fields}) + "\n")


def words(result: Mapping[str, Any]) -> dict[str, str]:
    """Why a task failed: of a loop, why its first item that failed did; of a no_log task, that it is hidden."""
    items = result.get("results")
    failed = (
        [item for item in items if isinstance(item, dict) and item.get("failed")] if isinstance(items, list) else []
    )
    source = failed[0] if failed else result
    message = source.get("msg", source.get("censored", ""))
    stderr = source.get("stderr") or source.get("module_stderr", "")
    return {"message": str(message)[:LONGEST], "stderr": str(stderr)[-LONGEST:]}
