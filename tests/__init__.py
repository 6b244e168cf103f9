"""This project's own tests: unit/ mirrors the package and takes seconds, lab/ needs a cluster in containers."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
