"""The forced command of the sync key: what its holder may ask of a node, and nothing else.

Standard library only, Python >= 3.6.
"""

import os
import re
import sys
from typing import List

from .facts import BASES, RESERVE, RUN_SETUP, STAGING, Refused, filesystem
from .publish import clear_directories, opened_private
from .session import Session

# What rsync's client of 3.1 to 3.5 asks for when engines/star.py calls it, word by word: -W (--whole-file) or not, -I
# (--ignore-times), and after -e. what the client's protocol can do. A word more would be one that star never sends.
RSYNC = re.compile(
    r"rsync --server (?P<short>-W?Ie\.L?s?f(?:xC(?:Ivu)?)?)"
    r" (?P<long>--timeout=60(?: --bwlimit=[1-9][0-9]{0,9})?(?: --info=STATS)?) \. \.\Z"
)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def serve(registry: str, command: str) -> None:
    """Do what the holder of the sync key asks for in *command* (SSH_ORIGINAL_COMMAND), if it is one of two things."""
    transfer = RSYNC.match(command)
    if transfer:
        receive_by_rsync(registry, transfer.group("short"), transfer.group("long").split())
    elif command == "session":
        Session(registry, sys.stdin.buffer).run()
    else:
        raise SystemExit("hpcregistry: this key can only sync the registry")


def receive_by_rsync(registry: str, short: str, long: List[str]) -> None:
    """Become rsync's server, which writes into staging/: no options that give a file anything but bytes.

    Nothing that is published has a name there. Where a difference comes (no -W), rsync compares with what `prepare`
    has put into bases/, which it only reads.
    """
    try:
        with opened_private(os.path.join(registry, STAGING)) as staging:
            clear_directories(staging)
            os.fchdir(staging)
    except FileNotFoundError as error:
        raise SystemExit(f"hpcregistry: {error.filename} does not exist: {RUN_SETUP}") from None
    except (OSError, Refused) as error:
        raise SystemExit(f"hpcregistry: {error}") from None
    long.append(f"--max-size={max(0, filesystem(registry)['free'] - RESERVE)}")
    if "W" not in short:
        long.append("--compare-dest=" + os.path.join(registry, BASES))
    os.execve("/usr/bin/rsync", ["rsync", "--server", short, *long, ".", "."], ENVIRONMENT)
