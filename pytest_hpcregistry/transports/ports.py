"""Whether the controller itself reaches the sshd of a node: asked where `ssh -W` through it only says that it does not.

A connection that is shared keeps the reason to itself, so a session is what can be asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.routes import Route
from .routes import SSH_PORT, Run

SECONDS = 5  # to wait for each node's answer; they are asked side by side
ASK = f"""\
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def knock(host, port):
    try:
        socket.create_connection((host, int(port)), {SECONDS}).close()
    except ConnectionRefusedError:
        return "refused"
    except socket.gaierror:
        return "name"
    except socket.timeout:
        return "late"
    except OSError:
        return "route"
    return "reached"

def ask(line):
    node, host, port = line.split()
    return node + " " + knock(host, port)

with ThreadPoolExecutor(32) as pool:
    for said in pool.map(ask, sys.stdin.read().splitlines()):
        print(said)
"""
"""Reads NODE HOST PORT, a line each."""
REASONS = {
    "refused": "connection refused by the port {port}",
    "name": "the controller does not know the name {host}",
    "late": "no answer in time from the port {port}",
    "route": "no route from the controller",
    "reached": "the controller reaches it, but its sshd passes nothing on to it (AllowTcpForwarding, PermitOpen)",
}


def why_not_reached(run: Run, routes: Mapping[str, Route]) -> dict[str, str]:
    """Node -> why the controller passes no connection on to it, for those of *routes* that it goes to directly.

    Nothing is said of a node that the controller does not answer for. Raises what *run* raises.
    """
    wanted = {
        node: (route.address or node, route.port or SSH_PORT) for node, route in routes.items() if not route.proxy
    }
    if not wanted:
        return {}
    lines = "".join(f"{node} {host} {port}\n" for node, (host, port) in wanted.items())
    seconds = 20 + SECONDS * (1 + len(wanted) // 32)
    said = run(["python3", "-c", ASK], lines.encode(), seconds).stdout
    answers = dict(words for words in map(str.split, said.splitlines()) if len(words) == 2)
    return {
        node: REASONS[answers[node]].format(host=host, port=port)
        for node, (host, port) in wanted.items()
        if answers.get(node) in REASONS
    }
