"""Packer templates whose Ansible run forgets `packer_build=true`, and so would build a registry into a machine image.

HCL is scanned, not parsed: words, strings and brackets, without comments, are all that the question needs. What is not
written in the provisioner itself (a variable, a file of variables) counts as forgotten: it cannot be seen to be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..core import documents
from ..core.documents import KeyPath
from ..core.errors import UsageError
from ..core.names import visible

ANSIBLE = ("ansible", "ansible-local")
EXTRA_VARS = re.compile(r"(?:--extra-vars=|-e)(.+)", re.DOTALL)
SETTING = re.compile(r"""(?<![\w-])["']?packer_build(?:=|["']?\s*:\s*)["']?(\w+)""")
TOKEN = re.compile(
    r"""(?P<space>[^\S\n]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    |<<-?(?P<mark>\w+)[^\n]*\n(?P<heredoc>.*?)^[^\S\n]*(?P=mark)\b
    |"(?P<string>(?:\\.|\$\{(?:"[^"\n]*"|[^}"\n])*\}|[^"\\\n])*)"
    |(?P<word>[\w.-]+)
    |(?P<sign>[^"])""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True)
class Forgotten:
    """An Ansible provisioner that does not set packer_build=true: its file, line and playbook ("" when not said)."""

    file: Path
    line: int
    playbook: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f", playbook {self.playbook}" if self.playbook else "")


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def find_templates_without_packer_build(directory: Path) -> list[Forgotten]:
    """All of *directory* and below, in order. Raises UsageError when it holds no template, or one that is broken."""
    templates = 0
    forgotten: list[Forgotten] = []
    for path in sorted({*directory.rglob("*.pkr.hcl"), *directory.rglob("*.json")}):
        provisioners = read_hcl(path) if path.suffix == ".hcl" else read_json(path)
        if provisioners is not None:
            templates += 1
            forgotten += [found for arguments, found in provisioners if not sets_packer_build(arguments)]
    if templates == 0:
        raise UsageError(
            f"{visible(directory)}: no Packer template there (*.pkr.hcl, *.pkr.json, *.json with provisioners)",
            hint="name the directory that holds the templates",
        )
    return forgotten


def sets_packer_build(arguments: Sequence[str]) -> bool:
    """Whether Ansible would see it as true: of several settings the last one counts, as Ansible has it."""
    values: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        attached = EXTRA_VARS.fullmatch(argument)
        if before in ("-e", "--extra-vars"):
            values += SETTING.findall(argument)
        elif attached:
            values += SETTING.findall(attached[1])
    return bool(values) and values[-1].lower() in ("true", "yes", "on", "1")


def read_hcl(path: Path) -> list[tuple[list[str], Forgotten]]:
    """The strings in extra_arguments of each Ansible provisioner, and what to report of it."""
    tokens = list(scan(documents.read_text(path), path))
    found = []
    for index, (opener, name, brace) in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        if opener.text == "provisioner" and name.text in ANSIBLE and brace.text == "{":
            attributes = read_attributes(tokens[index + 3 :], path, opener.line)
            playbook = "".join(attributes.get("playbook_file", []))
            found.append((attributes.get("extra_arguments", []), Forgotten(path, opener.line, playbook)))
    return found


def scan(text: str, path: Path) -> Iterator[Token]:
    position, line = 0, 1
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise UsageError(f"{visible(path)}:{line}: a string that does not end")
        kind = "string" if match["heredoc"] is not None else match.lastgroup or ""
        value = match["heredoc"] if match["heredoc"] is not None else match[kind]
        if match["string"] is not None:
            value = value.replace('\\"', '"')
        if kind != "space":
            yield Token(kind, value, line)
        line += match[0].count("\n")
        position = match.end()


def read_attributes(tokens: Sequence[Token], path: Path, line: int) -> dict[str, list[str]]:
    """The strings of each attribute of the block that *tokens* begin within, up to its closing brace."""
    attributes: dict[str, list[str]] = {}
    depth, name = 1, ""
    for token, following in zip(tokens, [*tokens[1:], Token("", "", 0)], strict=True):
        if token.kind == "string":
            attributes.setdefault(name, []).append(token.text)
        elif depth == 1 and token.kind == "word" and following.text == "=":
            name = token.text
        elif token.kind == "sign" and token.text in "{[(":
            depth += 1
        elif token.kind == "sign" and token.text in "}])":
            depth -= 1
            if depth == 0:
                return attributes
    raise UsageError(f"{visible(path)}:{line}: a provisioner block that does not end")


def read_json(path: Path) -> list[tuple[list[str], Forgotten]] | None:
    """The same for JSON; None when the file is no template."""
    named = path.name.endswith(".pkr.json")
    if not named and b'"provisioners"' not in path.read_bytes():
        return None
    # JSON is YAML but for tabs before a token, and YAML's reader knows the lines.
    document = documents.parse(documents.read_text(path).expandtabs(), str(path))
    if not named and "provisioners" not in document.data:
        return None
    return [
        (
            [item for item in provisioner.get("extra_arguments", []) if isinstance(item, str)],
            Forgotten(path, document.lines[place], str(provisioner.get("playbook_file", ""))),
        )
        for place, provisioner in find_provisioners(document.data, ())
    ]


def find_provisioners(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Wherever they are: `provisioners: [{type: ansible}]`, or `provisioner: {ansible: {}}` and lists of these."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        place = (*path, key)
        if isinstance(value, dict) and is_ansible(place, value):
            yield place, value
        else:
            yield from find_provisioners(value, place)


def is_ansible(place: KeyPath, value: dict[str, Any]) -> bool:
    names = [part for part in place if isinstance(part, str)]
    if names[-1:] == ["provisioners"]:
        return value.get("type") in ANSIBLE
    return names[-2:-1] == ["provisioner"] and names[-1] in ANSIBLE
