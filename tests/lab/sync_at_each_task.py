"""An Ansible callback plugin: before each task of a run, a sync that has something to do, and how it ended.

The state of the cluster there is the one that a run leaves behind that was stopped just before this task. Standard
library and Ansible only. In the environment:

  BEFORE_EACH_TASK  the command, as a JSON list
  WRITE_TO          a file that gets a JSON line for each task: [TASK, EXIT CODE, OUTPUT]
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = (
    "name: sync_at_each_task\ntype: aggregate\nshort_description: a sync before each task\ndescription: []\n"
)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "sync_at_each_task"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.sync(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.sync(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.sync("the end")

    def sync(self, before: str) -> None:
        argv = json.loads(os.environ["BEFORE_EACH_TASK"])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        with Path(os.environ["WRITE_TO"]).open("a") as record:
            record.write(json.dumps([before, done.returncode, done.stdout + done.stderr]) + "\n")
