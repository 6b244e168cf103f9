"""This project's own tests: unit/ mirrors the package and takes seconds, lab/ needs a cluster in containers."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGENT_PYTHON = os.environ.get("HPCREG_AGENT_PYTHON") or sys.executable
"""What the agent runs on in tests that start it: an older Python, where one is at hand."""
