"""The memory that it takes to ask very many nodes: the real controller program, and nodes whose answers are made up.

    python -m bench.facts [--nodes 5000] [--images 50]

`ssh` is a shell script that prints one prepared answer, so that what is measured is the controller program and the
workstation. Peaks are of resident memory: the workstation's of this process, the controller's of the largest child.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog, Entry
from pytest_hpcregistry.core.machine import Question
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.core.nodeset import expand
from pytest_hpcregistry.core.records import plain
from pytest_hpcregistry.testing.facts import host, image, machine
from pytest_hpcregistry.transports.local import LocalTransport

from .testbed import say

SSH = """#!/bin/sh
for word; do :; done
eval "set -- $word" # sh -c SCRIPT sh NONCE REQUEST
printf '\\nhpcregistry %s ' "$5"
exec cat {answer}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--images", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        client = made_up_cluster(Path(directory), asked.nodes, asked.images)
        for name, question in {"status": client.question(), "suites": client.question(host=True)}.items():
            say(f"{name}: {report(measure(client, question))}")


def made_up_cluster(directory: Path, nodes: int, images: int) -> ControllerClient:
    """A controller that is this machine, with a catalog, and nodes that all give the same answer."""
    registry, programs = directory / "registry", directory / "bin"
    (registry / ".registry").mkdir(parents=True)
    programs.mkdir()
    names = {f"ml-frameworks/pytorch-2.{number}-cuda12.sif": f"{number:064x}" for number in range(images)}
    entries = {name: Entry(digest, 10, "2025-10-07T12:00:00Z", "me@laptop", "amd64") for name, digest in names.items()}
    (registry / ".registry/catalog.yaml").write_text(Catalog(entries).to_text())
    found = [image(name, digest, header="ab" * 128) for name, digest in names.items()]
    answer = machine(*found, host=host(texts={f"/etc/{number}": "x" * 1000 for number in range(3)}))
    (directory / "answer.json").write_text(json.dumps(plain(answer)) + "\n")
    (programs / "ssh").write_text(SSH.format(answer=directory / "answer.json"))
    (programs / "ssh").chmod(0o755)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    cluster = Cluster(
        Controller("here", "localhost"), nodes=tuple(expand(f"c[1-{nodes}]")), registry=Registry(path=str(registry))
    )
    return ControllerClient(cluster, LocalTransport())


def measure(client: ControllerClient, question: Question) -> dict[str, Any]:
    began = time.monotonic()
    found = client.facts(question)
    return {
        "nodes": len(found.nodes),
        "unreachable": len(found.unreachable),
        "images": sum(len(node.images) for node in found.nodes.values()),
        "present": sum(list(row.values()).count("present") for row in found.matrix().values()),
        "seconds": time.monotonic() - began,
        "workstation": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "controller": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10,
    }


def report(found: dict[str, Any]) -> str:
    return (
        f"{found['nodes']} nodes, {found['unreachable']} unreachable, {found['images']} images,"
        f" {found['present']} present, {found['seconds']:.0f} s; peak on the workstation"
        f" {found['workstation'] / 1e6:.0f} MB, on the controller {found['controller'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
