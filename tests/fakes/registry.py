"""One machine's registry, and the agent as phase 1 installs it there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_hpcregistry import agent
from pytest_hpcregistry.cluster.programs import build_agent
from tests import AGENT_PYTHON

NAME = "ml-frameworks/x.sif"
OLD, NEW = b"old image", b"new and longer image"


def make_registry(top: Path) -> Path:
    for name in ("ml-frameworks", "base-images", agent.STAGING, agent.OBJECTS):
        (top / name).mkdir(parents=True, mode=0o700 if name == agent.STAGING else 0o755)
    return top


def make_program(directory: Path) -> Path:
    path = directory / "agent.pyz"
    path.write_bytes(build_agent())
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def stage(registry: Path, data: bytes, name: str | None = None) -> None:
    (registry / agent.STAGING / (name or digest(data))).write_bytes(data)


def request(data: bytes, name: str = NAME, **more: Any) -> dict[str, Any]:
    return {"images": [{"name": name, "digest": digest(data), "size": len(data)}], **more}


def publish(registry: Path, data: bytes, **more: Any) -> dict[str, Any]:
    stage(registry, data)
    answer: dict[str, Any] = agent.publish(str(registry), request(data, **more))
    return answer


def serve(program: Path, registry: Path, command: str, *requests: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the agent as sshd would for the sync key."""
    return subprocess.run(
        [AGENT_PYTHON, program, "serve", "--registry", str(registry)],
        input="".join(json.dumps(request) + "\n" for request in requests),
        env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def converse(program: Path, registry: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    done = serve(program, registry, "session", {"nonce": "n1", "seconds": 20}, *requests)
    assert done.returncode == 0, done.stderr
    return [json.loads(line[len("hpcregistry n1 ") :]) for line in done.stdout.split("\n") if line]


@contextmanager
def talk(program: Path, registry: Path) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """A session that is open until the end."""
    argv = [AGENT_PYTHON, str(program), "serve", "--registry", str(registry)]
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": "session", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask(said: dict[str, Any]) -> dict[str, Any]:
            stdin.write(json.dumps(said) + "\n")
            stdin.flush()
            assert stdout.readline() == "\n"
            answer: dict[str, Any] = json.loads(stdout.readline().removeprefix("hpcregistry n "))
            return answer

        stdin.write('{"nonce": "n", "seconds": 20}\n')
        yield ask
        stdin.close()
        assert process.wait(20) == 0
