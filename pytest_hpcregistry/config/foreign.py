"""What a file is that describes no cluster here, and what to do with it: people have many that name their machines."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

WAY = (
    "write a cluster file (controller: {host: NAME}, nodes: slurm or a node set), or an inventory with the groups"
    " controller and compute"
)
SLURM = re.compile(
    r"^\s*(?:ClusterName|SlurmctldHost|ControlMachine|NodeName|PartitionName|SwitchName|SlurmUser|AuthType)\s*=",
    re.M | re.I,
)
PLUGIN = re.compile(r"^[\"']?plugin[\"']?:\s*[\"']?([\w.]+)", re.MULTILINE)
SSH = re.compile(r"^\s*(?:Host|Match|HostName|ProxyJump)\s+\S", re.MULTILINE)
LISTED = re.compile(r"^\s*\{.*\"_meta\"\s*:\s*\{", re.DOTALL)
ADDRESS = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f:]+")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]*")
ATTRIBUTES = re.compile(r"[A-Za-z_][\w%=.,:/-]*")
SINFO = re.compile(r"\A\s*(?:PARTITION|NODELIST|NodeName)\b.*\b(?:STATE|NODES|AVAIL)\b", re.IGNORECASE)


def describe_program(path: Path, text: str, source: Path) -> tuple[str, str] | None:
    """What the file at *path* is if Ansible would run it, or what it names, to make the inventory *source*; and what to
    do.
    """
    hint = "make an inventory of what it says: "
    hint += f"ansible-inventory -i {shlex.quote(str(source))} --list --yaml --output hosts.yaml"
    if text.startswith("#!") and os.access(path, os.X_OK):
        return "an inventory script, which is not run here", hint
    if plugin := PLUGIN.search(text):
        return f"the configuration of Ansible's inventory plugin {plugin[1]}, which is not run here", hint
    return None


def describe(path: Path, text: str) -> tuple[str, str] | None:
    """What the file at *path* is, and what to do; None when it is nothing known."""
    if LISTED.match(text):
        return (
            "what ansible-inventory --list prints",
            "take what ansible-inventory --list --yaml prints, a real inventory",
        )
    if SLURM.search(text):
        return "a configuration file of Slurm", f"with nodes: slurm the controller asks Slurm itself; {WAY}"
    if SSH.search(text):
        return "a configuration file of ssh", f"a cluster file names it: ssh: {{config: {path.name}}}; {WAY}"
    if SINFO.match(text):
        return "what sinfo prints", f"with nodes: slurm the controller asks Slurm itself; {WAY}"
    return of_lines([line.split("#")[0].split() for line in text.splitlines()])


def of_lines(lines: list[list[str]]) -> tuple[str, str] | None:
    """What a file without sections and keys is, by the words of its lines."""
    lines = [words for words in lines if words]
    if not lines or any(not words[0] or words[0].endswith(":") for words in lines):
        return None
    if all(ADDRESS.fullmatch(words[0]) and len(words) > 1 for words in lines):
        return "a list of addresses and names such as /etc/hosts", WAY
    if any("=" in word and "ansible_" in word for words in lines for word in words):
        return "an Ansible inventory without groups", "put its hosts into the groups controller and compute"
    if not all(NAME.fullmatch(words[0]) for words in lines):
        return None
    if all(len(words) == 1 for words in lines):
        return "a list of names", WAY
    if all(len(words) <= 2 and all(map(ATTRIBUTES.fullmatch, words[1:])) for words in lines):
        return "a genders file", WAY
    return None
