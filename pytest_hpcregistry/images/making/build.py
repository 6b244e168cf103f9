"""Build an image from its definition by Podman or Docker, where its inputs have changed."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import __version__
from ...core.cache import OWN_IMAGES
from ...core.errors import CommandFailed, CommandTimeout, UsageError
from ...core.names import excerpt, visible
from ...transports import Transport
from ...transports.local import LocalTransport
from ..definitions import checks
from ..definitions.definition import DOCKERFILE, OURS, REVISION, Definition
from ..workspace import scratch_directory

TOOLS = ("podman", "docker")
LOCAL_BASE = f"{OWN_IMAGES}base"
TAGS = "{{range .RepoTags}}{{.}} {{end}}"
IMAGE = f"{OURS}image"
VERSION = f"{OURS}version"
BASE = f"{OURS}base"
"""Labels: how an image was called, the version of this program that built it, and the ID of the base below it."""
DEADLINE = 4 * 3600.0
SHORT = 60.0
PULL = 900.0
"""Seconds for a base from a registry, which may be large."""
LAST_LINES = 10
# Not kept when the build fails: Podman's intermediate images (it has no --force-rm for these), Docker's containers.
NOTHING_LEFT = {"podman": ["--layers=false", "--force-rm"], "docker": ["--force-rm"]}
Listener = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """An image that is there: `digest` is Podman's or Docker's ID for it, `fresh` whether it was built just now."""

    image: str
    digest: str
    fresh: bool
    seconds: float


class Builder:
    """Builds images on this machine; *report* gets each line of output. Raises UsageError without a tool."""

    def __init__(self, report: Listener, here: Transport | None = None) -> None:
        self.report = report
        self.here = here or LocalTransport()
        self.tool = find_tool(self.here)

    def build(self, definition: Definition, *, force: bool = False) -> Built:
        """Build the image unless the one that is there was made of the same inputs, or in any case with *force*.

        The image that it replaces is removed. Raises CommandFailed with the last lines of what failed; nothing is left
        of it then. Of a build that is interrupted, Podman leaves a working container (`podman ps --all --external`):
        nothing in it says whose it is.
        """
        began = time.monotonic()
        revision = definition.revision()
        fresh = force or bool(self.reason(definition, revision))
        before = self.identity(definition.image)
        if fresh:
            base = self.find_base(definition)  # before the wheels, which may be gigabytes
            with context_of(definition) as context:
                self.download(definition, context)
                self.run_build(definition, context, base, revision)
        now = self.identity(definition.image)
        if before not in ("", now):
            self.remove_replaced(before, definition.image)
        return Built(definition.image, now, fresh, time.monotonic() - began)

    def remove_replaced(self, identity: str, image: str) -> None:
        """Remove what was *image* before, if it was made here and has no name any more; but not from a container."""
        if self.inspect(identity, label(IMAGE)) == image and not self.inspect(identity, TAGS):
            self.here.run([self.tool, "image", "rm", identity], timeout=PULL)

    def reason(self, definition: Definition, revision: str) -> str:
        """Why the image must be built; nothing where it was made of this *revision* and of the base that is there."""
        if not self.identity(definition.image):
            return "there is no such image yet"
        made_of, base = (self.inspect(definition.image, label(name)) for name in (REVISION, BASE))
        if made_of != revision:
            return "its definition has changed"
        now = self.identity(definition.base) if definition.base else ""
        return f"{definition.base} is another image now" if now not in ("", base) else ""

    def identity(self, image: str) -> str:
        """The tool's ID for *image*, nothing where there is no such image."""
        return self.inspect(image, "{{.Id}}")

    def inspect(self, image: str, template: str) -> str:
        """What the tool says of *image*, nothing where there is no such image."""
        result = self.here.run([self.tool, "image", "inspect", "--format", template, image], timeout=SHORT)
        return result.stdout.strip() if result.exit_code == 0 else ""

    def shell(self, definition: Definition) -> list[str]:
        """The command that opens a shell in the image. Raises UsageError when it is not built."""
        if not self.identity(definition.image):
            hint = f"hpc-container-manager image build {definition.directory.name}"
            raise UsageError(f"there is no image {definition.image} on this machine", hint=hint)
        return [self.tool, "run", "--interactive", "--tty", "--rm", definition.image, "/bin/sh"]

    def run_build(self, definition: Definition, context: Path, base: str, revision: str) -> None:
        labels = labels_of(definition, revision, self.identity(base) if base else "")
        argv = build_command(self.tool, definition, str(context), base, labels)
        self.run(argv, f"{self.tool} could not build {definition.image}")

    def present_base(self, definition: Definition) -> str:
        """The base of the definition, or the one made of its `root`, if it is there."""
        bases = filter(None, (definition.base, local_base(definition)))
        return next(filter(self.identity, bases), "")

    def find_base(self, definition: Definition) -> str:
        """The image to begin with: the base of the definition, or one made of its `root` where no registry has it."""
        present, local = self.present_base(definition), local_base(definition)
        if present or not (definition.base or local):
            return present
        if definition.base:
            failure = self.fetch(definition.base)
            if failure is None:
                return definition.base
            why = f"its base {definition.base} cannot be fetched: {failure}"
            if not local:
                hint = "can this machine reach that registry? Or say in image.yaml how to make the base here: root"
                raise CommandFailed(f"{definition.name}: {why}", hint=hint)
            self.report(why)
        self.make_base(definition, local)
        return local

    def fetch(self, image: str) -> str | None:
        """Fetch *image* from its registry; why that failed, if it did."""
        self.report(f"fetching {image}")
        try:
            fetched = self.here.run([self.tool, "pull", "--quiet", image], timeout=PULL)
        except CommandTimeout:
            return f"no end within {PULL:.0f} s"
        return None if fetched.exit_code == 0 else fetched.last_words("no reason given")

    def make_base(self, definition: Definition, image: str) -> None:
        self.report(f"making {image} by {definition.root[0]}")
        with scratch_directory("hpc-base-") as directory:
            tar = directory / "root.tar"
            self.run([*definition.root_command(), str(tar)], f"{definition.root[0]} could not make a root directory")
            self.run([self.tool, "import", str(tar), image], f"{self.tool} could not import a root directory")

    def download(self, definition: Definition, context: Path) -> None:
        """Have pip put the wheels beside the Dockerfile, from wherever this machine's pip takes them."""
        if not definition.wheels:
            return
        self.report(f"downloading {' '.join(definition.wheels)} for Python {definition.python}")
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        argv += ["--python-version", definition.python, "--dest", str(context / "wheels"), *definition.wheels]
        self.run(argv, f"pip cannot download what {definition.name} needs")

    def run(self, argv: Sequence[str], problem: str) -> None:
        """Raise CommandFailed with *problem* and the last lines."""
        last: deque[str] = deque(maxlen=LAST_LINES)

        def on_line(line: str) -> None:
            last.append(line)
            self.report(line)

        result = self.here.run(argv, timeout=DEADLINE, on_line=on_line)
        if result.exit_code != 0:
            said = [*last, *result.stderr.strip().splitlines()][-LAST_LINES:]
            raise CommandFailed("\n  ".join([problem, *map(excerpt, said)]), hint="the lines above are its own")


def local_base(definition: Definition) -> str:
    """The name of the base that is made of the definition's `root`; nothing without one."""
    return f"{LOCAL_BASE}:{definition.root_revision()[:12]}" if definition.root else ""


def labels_of(definition: Definition, revision: str, base_id: str) -> dict[str, str]:
    """All labels that an image is built with: its own, and what it was made of and by."""
    ours = {IMAGE: definition.image, REVISION: revision, VERSION: __version__}
    ours |= {BASE: base_id} if base_id else {}
    ours |= {checks.LABEL: checks.to_label(definition.checks)} if definition.checks else {}
    return {**definition.labels, **ours}


def build_command(tool: str, definition: Definition, context: str, base: str, labels: Mapping[str, str]) -> list[str]:
    """The command that builds *definition*, of which *context* is the copy, on *base*, if it takes one."""
    argv = [tool, "build", *NOTHING_LEFT[tool], "--tag", definition.image]
    argv += ["--build-arg", f"BASE={base}"] if base else []
    argv += [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    return [*argv, "--file", f"{context}/{DOCKERFILE}", context]


def label(name: str) -> str:
    """The template that shows a label."""
    return f'{{{{index .Config.Labels "{name}"}}}}'


def find_tool(here: Transport) -> str:
    """Podman, else Docker. Raises UsageError without either."""
    for tool in TOOLS:
        with contextlib.suppress(CommandFailed):
            if here.run([tool, "--version"], timeout=SHORT).exit_code == 0:
                return tool
    raise UsageError("Podman or Docker is needed to build an image", hint="install the package podman")


@contextlib.contextmanager
def context_of(definition: Definition) -> Iterator[Path]:
    """A copy of the definition for the build to see, where wheels can be put beside it."""
    with scratch_directory("hpc-build-") as directory:
        context = directory / "context"
        try:
            shutil.copytree(definition.directory, context, symlinks=True)
        except (OSError, shutil.Error) as error:
            raise UsageError(f"{visible(definition.directory)}: cannot be copied: {excerpt(str(error))}") from error
        yield context
