"""Very many nodes, with made-up answers behind the real controller program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import facts


def test_every_answer_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 64 threads at once onto one output: a line that another one cuts is lost."""
    monkeypatch.setenv("PATH", os.environ["PATH"])  # restored afterwards
    client = facts.made_up_cluster(tmp_path, 150, 50)
    found = facts.measure(client, client.question())
    assert (found["nodes"], found["unreachable"], found["images"], found["present"]) == (150, 0, 7500, 7500)
    assert facts.report(found).startswith("150 nodes, 0 unreachable, 7500 images, 7500 present, ")
