"""The controller program's command line. Operators know it as `registry-sync-to-nodes.sh [SUBDIR]`."""

from __future__ import annotations

import argparse
import getpass
import json
import platform
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..core import layout
from ..core.history import SINCE, read_age, read_grace, read_since
from ..core.model import SYNC_METHODS
from ..core.names import visible


class Parser(argparse.ArgumentParser):
    """argparse quotes words that it does not know as they are."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def parse() -> argparse.Namespace:
    parser = Parser(prog="controller.pyz", description="The controller program of the container registry.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--config", type=Path, default=Path(layout.inside("/opt/containers", layout.CONFIG)))
    parser.add_argument("--json", action="store_true", help="events as JSON lines, for programs")
    parser.add_argument("--expect", metavar="VERSION", help="do nothing unless this is that version of the program")
    commands = parser.add_subparsers(dest="command", required=True)
    # Operators run this one, as `registry-sync-to-nodes.sh [SUBDIR]`: the launcher adds `sync`.
    bring = "bring the catalog's images to all nodes"
    one = commands.add_parser(
        "sync", prog="registry-sync-to-nodes.sh", help=bring, description=f"{bring.capitalize()}."
    )
    one.add_argument("subdirectory", nargs="?", metavar="SUBDIR", help="only this one, for example ml-frameworks")
    one.add_argument("--engine", help=f"{', '.join(SYNC_METHODS[:-1])} or {SYNC_METHODS[-1]}, instead of sync.method")
    one.add_argument(
        "--limit-rate", type=int, metavar="BYTES", help="the most that one machine sends in a second; 0: no limit"
    )
    one.add_argument(
        "--repair", action="store_true", help="first read the images everywhere, and replace copies that are damaged"
    )
    one.add_argument(
        "--assume",
        type=mapping,
        default={},
        metavar="JSON",
        help="with --dry-run: as if these images were published, name to `digest` and `size`",
    )
    one.add_argument("--name", action="append", help="only this image, DIRECTORY/NAME.sif; may be repeated")
    back = commands.add_parser("rollback", help="let a name mean an older version again, here and on all nodes")
    back.add_argument("name", metavar="DIRECTORY/NAME.sif")
    back.add_argument("--to", metavar="VERSION", help="the beginning of its digest, instead of the version before")
    free = commands.add_parser("gc", help="remove objects that nothing references, here and on all nodes")
    free.add_argument(
        "--keep", type=natural, metavar="N", help="older versions of each image to keep, instead of registry.keep"
    )
    free.add_argument(
        "--grace", type=read_grace, metavar="TIME", help="how long an object must have been unreferenced [1h]"
    )
    gone = commands.add_parser("remove", help="remove images: their names, here and on all nodes; gc frees their bytes")
    gone.add_argument("names", nargs="+", metavar="DIRECTORY/NAME.sif")
    gone.add_argument("--after", type=read_age, default="14d", metavar="TIME", help="keep the bytes so long [14d]")
    again = commands.add_parser("restore", help="let a removed image have its name again, here and on all nodes")
    again.add_argument("name", metavar="DIRECTORY/NAME.sif")
    again.add_argument("--to", metavar="VERSION", help="the beginning of its digest, instead of what it was last")
    for command in (back, again):
        command.add_argument(
            "--signature",
            type=mapping,
            default={},
            metavar="JSON",
            help="`signed` and `signature`, made on the workstation",
        )
    for command in (one, back, free, gone, again):
        command.add_argument("--dry-run", action="store_true", help="only report what would be done")
    for command in (one, back, free, gone, again):
        command.add_argument(
            "--settings",
            type=mapping,
            metavar="JSON",
            help="settings of a cluster file: those not in force are reported",
        )
        command.add_argument("--no-wait", action="store_true", help="fail at once where another sync or gc is at work")
    chosen = commands.add_parser("nodes", help="which nodes are meant")
    chosen.add_argument("--configured", metavar="NODESET", help="of these, instead of those that Slurm knows")
    for command in (one, back, gone, again, chosen):
        command.add_argument(
            "-w", "--nodes", default="", metavar="NODESET", help="only these nodes: c[001-010], or a group, @gpu"
        )
        command.add_argument("-x", "--exclude", default="", metavar="NODESET", help="all nodes but these")
    commands.add_parser("facts", help="facts of the controller and all nodes; a JSON request on the command line")
    commands.choices["facts"].add_argument("request")
    two = commands.add_parser("receive", help="receive an object from standard input, unless it is present")
    two.add_argument("digest")
    two.add_argument("size", type=int)
    commands.add_parser("has", help="report whether an object is present")
    commands.choices["has"].add_argument("digest")
    commands.choices["has"].add_argument("size", type=int)
    commands.add_parser("try-key", help="whether the sync key works on every node, and does nothing but sync")
    commands.choices["try-key"].add_argument("nodes", nargs="*", metavar="NODE", help="instead of all")
    give = commands.add_parser(
        "publish", help="publish received bytes on the controller; a JSON request on standard input"
    )
    note = commands.add_parser(
        "note", help="add to the history what was done elsewhere; a JSON record on standard input"
    )
    commands.add_parser("running", help="report what runs here, as JSON")
    stop = commands.add_parser("cancel", help="end the sync or gc that is at work, as Ctrl-C would")
    stop.add_argument("--id", help="instead: the command with this id, if it still waits for its turn")
    for command in (one, back, free, gone, again, give, note, stop):
        command.add_argument("--by", default="", metavar="USER@HOST", help="who the sender says to be, for the history")
    past = commands.add_parser("history", help="report what the history says, the newest last; always JSON lines")
    past.add_argument("--since", type=read_since, metavar="WHEN", help=SINCE)
    past.add_argument("--image", metavar="DIRECTORY/NAME.sif", help="only what names this one")
    past.add_argument("--last", type=natural, metavar="N", help="only so many")
    text = "what Apptainer says of the signatures that images carry; a JSON request on standard input"
    commands.add_parser("signatures", help=text)
    commands.add_parser("unpack", help="unpack this archive beside itself, compiled; phase 1 does it")
    return parser.parse_args()


def mapping(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError, which argparse reports."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError
    return found


def natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def sender(arguments: argparse.Namespace) -> str:
    """Who, for the log: as the sender says, or who runs this program."""
    return arguments.by or f"{getpass.getuser()}@{platform.node()}"
