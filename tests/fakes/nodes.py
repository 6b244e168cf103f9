"""Compute nodes that are directories: `ssh` and `rsync` on PATH run the real agent against the node's own directory."""

from __future__ import annotations

import hashlib
import os
import sys
from io import BytesIO
from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.cluster.programs import build_agent
from pytest_hpcregistry.controller import publish as controller_registry
from pytest_hpcregistry.controller.catalog import read_catalog
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.testing.sif import Sif, system_partition
from tests import AGENT_PYTHON
from tests.fakes.settings import make_settings
from tests.fakes.signer import Signer

# How a node misbehaves is the text of NODE/trouble: for ssh, or for rsync alone.
SSH = """\
#!/bin/sh
[ "$1" != -G ] || exit 0  # ssh_config says nothing of these
echo "$@" >> {root}/calls
while case $1 in -*) true ;; *) false ;; esac; do
    case $1 in -o | -i | -p | -F | -l) shift ;; esac
    shift
done
node=${{1#root@}}
agent={agent}
shift
cd "{root}/$node" 2>/dev/null || {{ echo "ssh: Could not resolve hostname $node: Name not known" >&2; exit 255; }}
echo "$*" >> asked
[ -e chatty ] && echo "Welcome to $node!"
case $(cat trouble 2>/dev/null) in
    refused) echo "root@$node: Permission denied (publickey)." >&2; exit 255 ;;
    changed) echo "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @" >&2; exit 255 ;;
    silent) exit 0 ;;
    no-python) echo "bash: python3: command not found" >&2; exit 127 ;;
    cut) nonce=$(head -n 1 | sed 's/.*"nonce": "\\([0-9a-f]*\\)".*/\\1/')
        printf 'hpcregistry %s {{"protocol": 1, "obj' "$nonce"; exit 255 ;;
    nonsense) nonce=$(head -n 1 | sed 's/.*"nonce": "\\([0-9a-f]*\\)".*/\\1/')
        printf 'hpcregistry %s {{"id": 1, "objects": 7}}\n' "$nonce"; exec cat ;;
    list) nonce=$(head -n 1 | sed 's/.*"nonce": "\\([0-9a-f]*\\)".*/\\1/')
        printf 'hpcregistry %s [1]\n' "$nonce"; exec cat ;;
    lies) agent={root}/liar.pyz ;;  # all liars tell the same lie
    open) case "$*" in echo*) exec sh -c "$*" ;; esac ;;
esac
case "$*" in
    "cat "*) exec sh -c "$(echo "$*" | sed "s|{registry}|{root}/$node/registry|g")" ;;
    *"exec python3 - facts"*) # The agent sees the path that all nodes have, in the question and in its answer.
        sh -c "$(echo "$*" | sed "s|{registry}|{root}/$node/registry|g")" | sed "s|{root}/$node/registry|{registry}|g"
        exit ;;
esac
export SSH_CONNECTION="127.0.0.1 1 $(cat address) 22"
SSH_ORIGINAL_COMMAND="$*" exec {python} -I -S "$agent" serve --registry "{root}/$node/registry"
"""
RSYNC = """\
#!/bin/sh
for target; do :; done
node=${{target#root@}}
node=${{node%:.}}
cd "{root}/$node" || exit 1
echo "$@" >> rsynced
case $(cat trouble 2>/dev/null) in
    exit-*) code=$(sed s/exit-// trouble); echo "rsync: what happened" >&2; exit "$code" ;;
    lost) exit 0 ;;
esac
for word; do
    case $word in /*.registry/objects/*) cp --remove-destination "$word" registry/.registry/staging/ ;; esac
done
[ "$(cat trouble 2>/dev/null)" = rotten ] && for file in registry/.registry/staging/*; do printf X >> "$file"; done
exit 0
"""


class FakeNodes:
    """A controller's registry and some nodes below one directory."""

    def __init__(self, root: Path, *names: str, real_rsync: bool = False) -> None:
        self.root = root
        self.registry = root / "controller"
        make_registry(self.registry)
        (self.registry / agent.CATALOG).write_text("version: 1\nimages: {}\n")
        addresses = {name: f"127.1.{number // 250}.{number % 250 + 1}" for number, name in enumerate(names)}
        peers = "".join(f"{name} {address}\n" for name, address in addresses.items())
        (self.registry / agent.PEERS).write_text(peers)
        for name in names:
            make_registry(root / name / "registry")
            (root / name / "registry" / agent.PEERS).write_text(peers)
            (root / name / "address").write_text(addresses[name])
        program = root / "agent.pyz"
        program.write_bytes(build_agent())
        words = {"root": root, "registry": self.registry, "python": AGENT_PYTHON, "agent": program}
        bin_directory = root / "bin"
        bin_directory.mkdir()
        for name, text in (("ssh", SSH),) if real_rsync else (("ssh", SSH), ("rsync", RSYNC)):
            (bin_directory / name).write_text(text.format(**words))
            (bin_directory / name).chmod(0o755)
        if sys.executable != AGENT_PYTHON:
            (bin_directory / "python3").symlink_to(AGENT_PYTHON)
        self.settings = self.make_settings(nodes=names)

    def make_settings(self, *, nodes: tuple[str, ...] | None, window: int = 8) -> Settings:
        return make_settings(
            self.registry,
            directories=("ml-frameworks", "base-images"),
            nodes=nodes,
            window=window,
            timeout=20,
            connect_timeout=2,
            key="/root/.ssh/key",
            log=str(self.root / "sync.log"),
        )

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", f"{self.root}/bin:{os.environ['PATH']}")

    def trouble(self, node: str, what: str) -> None:
        (self.root / node / "trouble").write_text(what)

    def asked(self, node: str) -> list[str]:
        file = self.root / node / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def files(self, node: str) -> set[str]:
        """Everything below the node's registry, directories left out."""
        top = self.root / node / "registry"
        return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}

    def publish(self, name: str, content: bytes = b"1", signer: Signer | None = None) -> str:
        """Receive and publish an image on the controller, as a deploy does, perhaps signed; returns its digest."""
        data = Sif(parts=(system_partition(content=content),)).to_bytes()
        digest = send(self.registry, data)
        words = {"by": "me@x", "architecture": "amd64", "source": "", "labels": {}}
        signature = signer.for_image(name, digest, len(data)) if signer else {}
        image = {"name": name, "digest": digest, "size": len(data), **words, **signature}
        controller_registry.publish(self.settings, image)
        return digest

    def catalog(self) -> Catalog:
        return read_catalog(str(self.registry))


def make_registry(top: Path) -> None:
    for name in ("ml-frameworks", "base-images", agent.STAGING, agent.OBJECTS):
        (top / name).mkdir(parents=True, mode=0o700 if name == agent.STAGING else 0o755)


def send(registry: Path, data: bytes) -> str:

    digest = hashlib.sha256(data).hexdigest()
    controller_registry.receive(str(registry), digest, len(data), BytesIO(data))
    return digest
