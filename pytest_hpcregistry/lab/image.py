"""The image of the lab's machines: Debian 13 with sshd, Slurm, munge, rsync, and Apptainer from Debian's sid."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

from ..core.cache import OWN_IMAGES, cache_directory
from ..core.errors import UsageError
from ..transports.process import run_process
from .podman import podman

SUITE, APPTAINER_SUITE = "trixie", "sid"
PACKAGES = [
    *["openssh-server", "sudo", "tini", "iproute2", "procps", "ca-certificates", "python3", "clustershell"],
    *["slurmd", "slurmctld", "slurm-client", "munge", "rsync", "logrotate"],
    *["apptainer", "squashfs-tools", "squashfuse", "fuse3"],
    *["tcsh", "locales", "bindfs"],  # what other people's sites have
    *["pdsh", "aria2", "python3-libtorrent"],  # other ways of bringing files to nodes, to compare with
]
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
        hint="apt-get update fetches the lists; or set HPCREGISTRY_MIRROR=URL to a mirror that has trixie and sid",
    )


def recipe() -> str:
    """Everything that the image is made of, so that a change of it makes another image."""
    return "\n".join([SUITE, APPTAINER_SUITE, *PACKAGES, setup_script()])


def setup_script() -> str:
    return resources.files(__package__).joinpath("files", "setup-image.sh").read_text()


def name() -> str:
    """The image's name, by the digest of its recipe."""
    return f"{OWN_IMAGES}lab:{hashlib.sha256(recipe().encode()).hexdigest()[:12]}"


def exists() -> bool:
    return podman("image", "exists", name()).exit_code == 0


def build(source: str | None = None) -> None:
    """Make the root directory, from the mirror *source*, and import it into Podman: one at a time, by only_one.

    Raises UsageError without any mirror, CommandFailed with mmdebstrap's last words.
    """
    source = source or mirror()
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    root, hook = cache / "lab.tar", cache / "setup-image.sh"  # always these: of a killed build they go with the next
    try:
        hook.write_text(setup_script())
        hook.chmod(0o755)
        run_process("this machine", mmdebstrap(root, hook, source), timeout=BUILD_TIMEOUT).check()
        podman("import", str(root), name(), timeout=BUILD_TIMEOUT).check()
    finally:
        root.unlink(missing_ok=True)
        hook.unlink(missing_ok=True)


def mmdebstrap(target: Path, hook: Path, source: str) -> list[str]:
    """The command; APT::Default-Release lets sid give only what trixie has not: Apptainer."""
    options = [f'APT::Default-Release "{SUITE}"', 'Acquire::Check-Valid-Until "false"', 'Acquire::Languages "none"']
    excluded = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    argv += [f"--aptopt={option}" for option in options]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in excluded]
    argv += [f"--customize-hook={hook}", SUITE, str(target)]
    return argv + [f"deb {source} {suite} main" for suite in (SUITE, APPTAINER_SUITE)]
