"""What a cluster is, as frozen data: built once by config.py, then only passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_DIRECTORIES = ("ml-frameworks", "custom-images", "base-images")


@dataclass(frozen=True)
class Jump:
    """A machine to go through. Without a user it is the local one, without a port ssh's own: as `ssh -J` has it."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def destination(self) -> str:
        """`[user@]host`, as ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


@dataclass(frozen=True)
class Controller:
    """How the workstation reaches the controller, the only machine that it talks to.

    `host` is an address or a name that ssh resolves; `name` is what people call it.
    """

    name: str
    host: str
    port: int = 22
    user: str = "root"
    key: Path | None = None
    jump: Jump | None = None


@dataclass(frozen=True)
class Registry:
    """The directory tree, the same on the controller and on every node. Modes are the octal numbers themselves.

    `keep` is how many older versions of an image are kept, besides the current one, so that a rollback moves nothing.
    """

    path: str = "/opt/containers"
    owner: str = "root"
    group: str = "slurm"
    directory_mode: int = 0o755
    file_mode: int = 0o755
    directories: tuple[str, ...] = DEFAULT_DIRECTORIES
    keep: int = 2


@dataclass(frozen=True)
class Sync:
    """How the controller brings images to the nodes. Times in seconds; `window` is how many nodes at once.

    `limit_rate` is what one machine may send, in bytes/s, 0: no limit. `network` (CIDR) is where images go, when not
    where the controller reaches the nodes by ssh. `key_from` is where `key` may log in from: addresses and networks,
    or alone ``auto``, every address of the controller, or ``any``.
    """

    method: str = "auto"
    limit_rate: int = 0
    network: str | None = None
    window: int = 64
    timeout: int = 3600
    connect_timeout: int = 10
    key: str = "/root/.ssh/id_rsa_registry_sync"
    key_from: tuple[str, ...] = ("auto",)
    log: str = "/var/log/container-registry-sync.log"


@dataclass(frozen=True)
class Slurm:
    """`container`: phase 1 sets up `srun --container`. `run_as`: the ordinary user whose jobs the e2e suite runs."""

    container: bool = True
    conf_dir: str = "/etc/slurm"
    run_as: str | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Ssh:
    """Workstation to controller. `known_hosts` and `config` replace the user's own files when given. Seconds."""

    transport: str = "openssh"
    known_hosts: Path | None = None
    config: Path | None = None
    connect_timeout: int = 10


@dataclass(frozen=True)
class Cluster:
    """A whole cluster. `nodes` is None when the controller shall ask Slurm for them."""

    controller: Controller
    nodes: tuple[str, ...] | None = None
    registry: Registry = field(default_factory=Registry)
    sync: Sync = field(default_factory=Sync)
    slurm: Slurm = field(default_factory=Slurm)
    ssh: Ssh = field(default_factory=Ssh)
