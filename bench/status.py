"""What `status` costs beside the two logins that it cannot do without.

    python -m bench.status --cluster CLUSTER.yaml [--rounds 9]

In each round, one after the other: `hpc-container-manager status`, `ssh CONTROLLER true`, and `ssh CONTROLLER ssh NODE
true`, of which the node's login is the difference to the one before. Medians, and ratios of medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_hpcregistry.cluster.client import open_client
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.transports.ssh import destination, ssh_options

from .testbed import say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cluster", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    cluster = load_cluster(asked.cluster)
    with open_client(cluster) as client:
        node = client.list_nodes()[0]
    controller = [*ssh_options(cluster), destination(cluster)]
    tool = Path(sys.executable).with_name("hpc-container-manager")
    commands = {
        "status": [str(tool), "status", "--cluster", str(asked.cluster)],
        "controller": [*controller, "true"],
        "both": [*controller, "ssh", node, "true"],
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, argv in commands.items():
            took[name].append(seconds(argv))
    median = {name: statistics.median(found) for name, found in took.items()}
    say(", ".join(f"{name} {found:.2f} s" for name, found in median.items()))
    say(f"status ÷ both logins, one after the other: {median['status'] / median['both']:.2f}")


def seconds(argv: Sequence[str]) -> float:
    """Whatever the exit code: an empty or a drifted cluster costs as much to ask."""
    began = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode(errors="replace"))
    return time.monotonic() - began


if __name__ == "__main__":
    main()
