"""Podman or Docker with images in memory: what they are called, what they stand on, and who uses them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_hpcregistry.transports import Command, CommandResult, Transport


@dataclass
class Image:
    """`layers` are directories, the topmost first; `step` is the newest of its history."""

    id: str
    names: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    layers: Sequence[str] = ()
    created: str = "2026-01-02T03:04:05.678901234Z"
    step: str = ""
    used: bool = False

    def described(self) -> dict[str, Any]:
        upper, *lower = self.layers or [""]
        data = {"UpperDir": upper, "LowerDir": ":".join(lower)} if self.layers else None
        return {
            "Id": self.id,
            "RepoTags": self.names,
            "Created": self.created,
            "Size": 1000,
            "Config": {"Labels": self.labels or None},
            "GraphDriver": {"Name": "overlay", "Data": data},
        }


class Tool(Transport):
    """A machine with one of them. Each layer takes 100 bytes, as long as an image needs it."""

    def __init__(self, name: str, *images: Image, root: str = "/var/lib/images") -> None:
        self.name, self.root = name, root
        self.images = list(images)
        self.asked: list[list[str]] = []
        self.wrong = ""
        """What it says when it cannot be asked."""

    def execute(self, command: Command) -> CommandResult:
        program, *words = command.argv
        self.asked.append([program, *words])
        if program == "du":
            there = {layer for image in self.images for layer in image.layers}
            shown = "".join(f"100\t{word}\0" for word in words[words.index("--") + 1 :] if word in there)
            return CommandResult("here", tuple(command.argv), 0, shown, "", 0.0)
        problem = self.wrong if program == self.name else f"no {program}"
        shown = "" if problem else self.containers(words) if words[0] == "container" else self.answer(words)
        if shown.startswith("Error"):
            problem, shown = shown, ""
        return CommandResult("here", tuple(command.argv), 125 if problem else 0, shown, problem, 0.0)

    def answer(self, words: list[str]) -> str:
        verb = " ".join(words[:2])
        if words[0] == "info":
            return self.root
        if verb == "image ls":
            return "\n".join(image.id for image in self.images if self.matches(image, words[-1]))
        if "--format" in words and verb == "image inspect":
            return self.inspect(*words[3:])
        if words[0] == "build":
            return self.build(words)
        if verb == "image inspect":
            return json.dumps([self.find(word).described() for word in words[2:]])
        if words[0] == "history":
            return self.find(words[-1]).step + "\nolder steps"
        if verb == "image rm":
            image = self.find(words[-1])
            if image.used:
                return "Error: image used by 0123: image is in use by a container"
            self.images.remove(image)
        return ""

    def containers(self, words: list[str]) -> str:
        """Of each image that is used there is one."""
        if words[1] == "ls":
            return "\n".join(f"of-{image.id}" for image in self.images if image.used)
        return "\n".join(word.removeprefix("of-") for word in words[4:])

    def inspect(self, template: str, word: str) -> str:
        """What Builder asks of an image."""
        try:
            image = self.find(word)
        except StopIteration:
            return "Error: no such image"
        if "Labels" in template:
            return image.labels.get(template.split('"')[1], "")
        return image.id if template == "{{.Id}}" else " ".join(image.names)

    def build(self, words: list[str]) -> str:
        """A new image, which takes its name from the one that had it."""
        name = words[words.index("--tag") + 1]
        for image in self.images:
            image.names = [other for other in image.names if other != name]
        labels = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--label")
        self.images.append(Image(f"{len(self.asked):064}", [name], labels))
        return ""

    def find(self, word: str) -> Image:
        return next(image for image in self.images if word == image.id or word in image.names)

    def matches(self, image: Image, wanted: str) -> bool:
        kind, _, value = wanted.partition("=")
        if kind == "label":
            return value in image.labels
        return any(name.startswith(value.rstrip("*")) for name in image.names)
