"""The images of the lab's machines: Debian 13 or 12 with sshd, Slurm, munge, rsync, and Apptainer from Debian's sid."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ..core.cache import OWN_IMAGES, cache_directory
from ..core.errors import UsageError
from ..transports.process import run_process
from .podman import podman

SOURCES = {"trixie": ("trixie", "sid"), "bookworm": ("bookworm", "trixie", "sid")}
"""The releases that there are images of, and the suites that each is made of: the first gives all that it has."""
PACKAGES = [
    *["openssh-server", "sudo", "tini", "iproute2", "procps", "ca-certificates", "python3", "clustershell"],
    *["slurmd", "slurmctld", "slurm-client", "munge", "rsync", "logrotate"],
    *["squashfs-tools", "squashfuse", "fuse3", "uidmap"],
    *["tcsh", "fish", "locales", "bindfs", "sshfs"],  # what other people's sites have
    *["pdsh", "aria2", "python3-libtorrent"],  # other ways of bringing files to nodes, to compare with
]
APPTAINER = {"trixie": ["apptainer"], "bookworm": ["containernetworking-plugins", "patchelf"]}
"""Apptainer, or what it and files/setup-bookworm.sh need."""
BUILD_TIMEOUT = 900  # seconds; two minutes is what it takes on two cores


def mirror() -> str:
    """The mirror that this machine's own apt uses for Debian, or $HPCREGISTRY_MIRROR. Raises UsageError without one."""
    if os.environ.get("HPCREGISTRY_MIRROR"):
        return os.environ["HPCREGISTRY_MIRROR"]
    fields = "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(RELEASE)"
    argv = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    return choose_mirror(run_process("this machine", argv, timeout=30).stdout)


def choose_mirror(index_targets: str) -> str:
    """The first source of Debian's main that is no updates, security or backports suite."""
    for line in index_targets.splitlines():
        uri, origin, component, release = ([*line.split(), "", "", "", ""])[:4]
        if origin == "Debian" and component == "main" and "-" not in release:
            return uri
    raise UsageError(
        "this machine's apt knows no mirror of Debian",
        hint="apt-get update fetches the lists; or set HPCREGISTRY_MIRROR=URL to one with bookworm, trixie and sid",
    )


def packages(release: str) -> list[str]:
    return PACKAGES + APPTAINER[release]


def recipe(release: str) -> str:
    """Everything that the image is made of, so that a change of it makes another image."""
    return "\n".join([*SOURCES[release], *packages(release), *hooks(release).values()])


def hooks(release: str) -> dict[str, str]:
    """The scripts that end the making of the root directory, by their names, in their order."""
    names = ["setup-image.sh"] if release == "trixie" else [f"setup-{release}.sh", "setup-image.sh"]
    return {name: resources.files(__package__).joinpath("files", name).read_text() for name in names}


def name(release: str) -> str:
    """The image's name, by the digest of its recipe."""
    return f"{OWN_IMAGES}lab:{hashlib.sha256(recipe(release).encode()).hexdigest()[:12]}"


def exists(release: str) -> bool:
    return podman("image", "exists", name(release)).exit_code == 0


def build(release: str, source: str | None = None) -> None:
    """Make the root directory, from the mirror *source*, and import it into Podman: one at a time, by only_one.

    Raises UsageError without any mirror, CommandFailed with mmdebstrap's last words.
    """
    source = source or mirror()
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "lab.tar"  # always these names: what a killed build has left goes with the next
    scripts = {cache / name: text for name, text in hooks(release).items()}
    try:
        for script, text in scripts.items():
            script.write_text(text)
            script.chmod(0o755)
        run_process("this machine", mmdebstrap(release, root, [*scripts], source), timeout=BUILD_TIMEOUT).check()
        podman("import", str(root), name(release), timeout=BUILD_TIMEOUT).check()
    finally:
        for path in (root, *scripts):
            path.unlink(missing_ok=True)


def mmdebstrap(release: str, target: Path, hooks: Sequence[Path], source: str) -> list[str]:
    """The command; APT::Default-Release lets the newer suites give only what *release* has not."""
    options = [f'APT::Default-Release "{release}"', 'Acquire::Check-Valid-Until "false"', 'Acquire::Languages "none"']
    excluded = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages(release))}"]
    argv += [f"--aptopt={option}" for option in options]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in excluded]
    argv += [*(f"--customize-hook={hook}" for hook in hooks), release, str(target)]
    return argv + [f"deb {source} {suite} main" for suite in SOURCES[release]]
