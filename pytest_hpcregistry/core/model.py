"""What a cluster is, as frozen data: built once at the border, then only passed down.

A field of a section is a setting: its type and default are here, and beside them how its text is read and what it
means. From these come the keys of the cluster file and of the controller's config.yaml, the names of the role's
variables, and the JSON Schema: there is no second list.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from . import kinds
from .kinds import setting
from .routes import GATE, Jump, NodeRoute
from .scan import Scan
from .waivers import FindingWaiver

SYNC_METHODS = ("auto", "star", "relay", "shared")
GPU_DRIVERS = ("auto", "nv", "rocm", "none")
TRANSPORTS = ("openssh", "paramiko")


@dataclass(frozen=True)
class Controller:
    """How the workstation reaches the controller, the only machine that it talks to."""

    name: str = field(metadata=setting(kinds.HOST, "What messages and reports call it; host is the default."))
    host: str = field(metadata=setting(kinds.HOST, "Its address, or a name that ssh resolves; name is the default."))
    port: int | None = field(
        default=None, metadata=setting(kinds.PORT, "The port of its sshd, where ssh_config does not say it.")
    )
    user: str = field(
        default="root", metadata=setting(kinds.ACCOUNT, "Who logs in; another one than root needs `sudo -n` there.")
    )
    key: Path | None = field(
        default=None,
        metadata=setting(kinds.LOCAL_FILE, "The private key to log in with; without it, what ssh would use."),
    )
    jump: Jump | None = field(default=None, metadata=setting(GATE, "A machine to go through, [user@]host[:port]."))


@dataclass(frozen=True)
class Registry:
    """The directory tree, the same on the controller and on every node. Modes are the octal numbers themselves."""

    path: str = field(default="/opt/containers", metadata=setting(kinds.REMOTE_PATH, "Where it lies."))
    owner: str = field(default="root", metadata=setting(kinds.ACCOUNT, "The user who owns directories and images."))
    group: str = field(default="slurm", metadata=setting(kinds.ACCOUNT, "The group that they belong to."))
    directory_mode: int = field(
        default=0o755, metadata=setting(kinds.DIRECTORY_MODE, "The mode of directories, octal.")
    )
    file_mode: int = field(default=0o755, metadata=setting(kinds.FILE_MODE, "The mode of images, octal."))
    directories: tuple[str, ...] = field(
        default=("ml-frameworks", "custom-images", "base-images"),
        metadata=setting(kinds.DIRECTORIES, "The directories that hold images."),
    )
    keep: int = field(
        default=2,
        metadata=setting(
            kinds.COUNT,
            "How many older versions of an image are kept beside the current one; a rollback moves nothing then.",
        ),
    )
    sbom: bool = field(
        default=True,
        metadata=setting(
            kinds.SWITCH,
            "Whether a deploy keeps the SBOM of an image, and the scanner's report, in the controller's registry.",
            ours=True,
        ),
    )
    signatures: str = field(
        default="off",
        metadata=setting(
            kinds.SIGNATURES,
            "Whether a name may mean only what one of the signers has signed for it: off, warn (verify reports it), "
            "require (the controller and each node refuse anything else).",
        ),
    )
    signers: tuple[str, ...] = field(
        default=(),
        metadata=setting(kinds.SIGNERS, "Whose signatures count: PRINCIPAL TYPE KEY, such as alice ssh-ed25519 AAAA…."),
    )
    image_keys: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            kinds.IMAGE_KEYS,
            "Public keys, a file for each (armored PGP, or PEM for DSSE): `apptainer verify` must accept each image by "
            "one of them. Without any, signatures that images carry themselves are not looked at.",
        ),
    )
    signing_key: Path | None = field(
        default=None,
        metadata=setting(
            kinds.LOCAL_FILE,
            "The SSH key that this workstation signs images with; its public half, where ssh-agent has the other.",
            ours=True,
        ),
    )

    def __repr__(self) -> str:
        return f"<Registry {self.path}>"


@dataclass(frozen=True)
class Sync:
    """How the controller brings images to the nodes. Times in seconds, `limit_rate` in bytes/s (0: no limit).

    `network` is None where images go to the addresses by which ssh reaches the nodes. `key_from` is alone ``auto``,
    every address of the controller, or ``any``, or it is addresses and networks.
    """

    method: str = field(
        default="auto",
        metadata=setting(
            kinds.one_of(*SYNC_METHODS),
            "star: rsync to each node; relay: from node to node; shared: the registry lies on a shared file system; "
            "auto: the best of them.",
        ),
    )
    limit_rate: int = field(
        default=0,
        metadata=setting(kinds.RATE, "What one machine may send, in bytes/s, or as 500K, 100M, 1G; 0 is no limit."),
    )
    network: str | None = field(
        default=None,
        metadata=setting(kinds.NETWORK, "The network (CIDR) by which images go, where ssh reaches nodes by another."),
    )
    window: int = field(default=64, metadata=setting(kinds.NUMBER, "How many nodes at once."))
    timeout: int = field(default=3600, metadata=setting(kinds.NUMBER, "Seconds for one image on one node."))
    connect_timeout: int = field(
        default=10, metadata=setting(kinds.NUMBER, "Seconds until a node counts as unreachable.")
    )
    key: str = field(
        default="/root/.ssh/id_rsa_registry_sync",
        metadata=setting(kinds.REMOTE_PATH, "The sync key, on the controller; phase 1 makes it."),
    )
    key_from: tuple[str, ...] = field(
        default=("auto",),
        metadata=setting(
            kinds.SOURCES,
            "Where the sync key may log in from: auto, which is every address of the controller, or any, or a list of "
            "addresses and networks (CIDR).",
        ),
    )
    log: str = field(
        default="/var/log/container-registry-sync.log",
        metadata=setting(kinds.REMOTE_PATH, "The log of syncs, on the controller."),
    )


@dataclass(frozen=True)
class Slurm:
    """Slurm on this cluster. `run_as`, `partition` and `max_wait` are for the suites' jobs."""

    container: bool = field(
        default=True, metadata=setting(kinds.SWITCH, "Whether phase 1 sets up `srun --container=NAME.sif`.")
    )
    conf_dir: str = field(
        default="/etc/slurm", metadata=setting(kinds.REMOTE_PATH, "The directory of slurm.conf and oci.conf.")
    )
    run_as: str | None = field(
        default=None,
        metadata=setting(kinds.ACCOUNT, "The ordinary user whose jobs the e2e suite runs.", ours=True),
    )
    partition: str | None = field(
        default=None,
        metadata=setting(kinds.PARTITION, "The partition of those jobs; without it, Slurm's own default.", ours=True),
    )
    max_wait: int = field(
        default=120,
        metadata=setting(kinds.NUMBER, "Seconds that those jobs wait for an idle node, at most.", ours=True),
    )


@dataclass(frozen=True)
class Runtime:
    """How Slurm's steps with --container run an image by Apptainer; `environment` and `options` one word for each."""

    gpus: str = field(
        default="auto",
        metadata=setting(
            kinds.one_of(*GPU_DRIVERS),
            "The GPU driver that a step gets into its image when Slurm gave it GPUs: nv (NVIDIA), rocm (AMD), none; "
            "auto: by the devices of the node.",
        ),
    )
    binds: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            kinds.BINDS,
            "Directories of the node that every image sees, SOURCE[:TARGET[:ro]]; home, /tmp and /dev are always seen.",
        ),
    )
    environment: tuple[str, ...] = field(
        default=(),
        metadata=setting(kinds.VARIABLES, "NAME=VALUE, for the variables that a job does not set itself."),
    )
    options: tuple[str, ...] = field(
        default=(), metadata=setting(kinds.RUNTIME_OPTIONS, "More options of `apptainer exec`, such as --no-home.")
    )

    def sources(self) -> list[str]:
        """The node's own part of each bind."""
        return [bind.partition(":")[0] for bind in self.binds]


@dataclass(frozen=True)
class Ssh:
    """Workstation to controller. Seconds."""

    transport: str = field(
        default="openssh",
        metadata=setting(
            kinds.one_of(*TRANSPORTS), "openssh: your own ssh, its configuration and its agent; paramiko: without it."
        ),
    )
    known_hosts: Path | None = field(
        default=None, metadata=setting(kinds.LOCAL_FILE, "Host keys, in place of the user's own known_hosts.")
    )
    config: Path | None = field(
        default=None, metadata=setting(kinds.LOCAL_FILE, "ssh's configuration, in place of the user's own.")
    )
    connect_timeout: int = field(
        default=10, metadata=setting(kinds.NUMBER, "Seconds until the controller counts as unreachable.")
    )


@dataclass(frozen=True)
class Section:
    """What stands beside a section's field of Cluster. `ours`: the workstation's own, so it is not in config.yaml."""

    kind: type
    help: str
    ours: bool = False


def section(kind: type, help: str, *, ours: bool = False) -> dict[str, Section]:  # noqa: A002
    """The metadata of a field of Cluster that is a section."""
    return {"section": Section(kind, help, ours)}


@dataclass(frozen=True)
class Cluster:
    """A whole cluster. `nodes` is None when the controller shall ask Slurm for them."""

    controller: Controller = field(
        metadata=section(Controller, "How the workstation reaches the controller.", ours=True)
    )
    nodes: tuple[str, ...] | None = field(
        default=None,
        metadata=setting(
            kinds.NODES,
            "The compute nodes, by the names that the controller knows them by: slurm (ask Slurm), a node set such as "
            "c[001-064], a list of names and node sets, or how they are reached by node set or slurm: "
            "{c[001-064]: {port: 2222}}.",
        ),
    )
    registry: Registry = field(
        default_factory=Registry,
        metadata=section(Registry, "The directory tree, the same on the controller and on every node."),
    )
    sync: Sync = field(default_factory=Sync, metadata=section(Sync, "How the controller brings images to the nodes."))
    slurm: Slurm = field(default_factory=Slurm, metadata=section(Slurm, "Slurm on this cluster."))
    runtime: Runtime = field(
        default_factory=Runtime, metadata=section(Runtime, "How a step with --container runs an image.")
    )
    scan: Scan = field(
        default_factory=Scan,
        metadata=section(Scan, "How an image is scanned for known vulnerabilities before it is deployed.", ours=True),
    )
    ssh: Ssh = field(
        default_factory=Ssh, metadata=section(Ssh, "The connection from the workstation to the controller.", ours=True)
    )

    waivers: tuple[FindingWaiver, ...] = field(
        default=(),
        metadata=setting(
            kinds.WAIVERS,
            "The file of findings that are known, and fail nothing until a day: see `schema waivers`.",
            ours=True,
        ),
    )
    nodes_by_slurm: bool = False
    """Whether the controller asks Slurm where a sync goes to, though *nodes* are listed: so the role has it of an
    inventory, whose hosts are those that phase 1 sets up."""
    role: tuple[tuple[str, Any], ...] = ()
    """What an Ansible inventory says of the role's variables, word for word: no key of a cluster file."""

    routes: tuple[NodeRoute, ...] = ()
    """What `nodes` says beside names: how they are reached."""

    def __repr__(self) -> str:
        return f"<Cluster {self.controller.name}>"


SECTIONS: dict[str, Section] = {
    one.name: one.metadata["section"] for one in fields(Cluster) if "section" in one.metadata
}
"""The sections of a cluster file; its keys beside them are `nodes` and `waivers`."""
NODES: kinds.Setting = {one.name: one for one in fields(Cluster)}["nodes"].metadata["setting"]
