"""The forced command of the sync key: what its holder may ask of a node, and nothing else.

Standard library only, Python >= 3.6.
"""

import os
import re
import shlex
import sys
from typing import List

from .facts import STAGING
from .session import Session

# What rsync's client asks for when engines/star.py calls it; whatever else someone with the key asks for is refused.
RSYNC_SHORT = re.compile(r"-[A-Za-z.]+\Z")
RSYNC_LONG = re.compile(
    r"--(log-format=[%a-zA-Z]*|timeout=\d+|bwlimit=\d+|fsync|no-W|info=STATS|new-compress|whole-file)\Z"
)


def serve(registry: str, command: str) -> None:
    """Do what the holder of the sync key asks for in *command* (SSH_ORIGINAL_COMMAND), if it is one of two things."""
    words = shlex.split(command)
    if words[:2] == ["rsync", "--server"]:
        receive_by_rsync(registry, words)
    elif words == ["session"]:
        Session(registry, sys.stdin.buffer).run()
    else:
        raise SystemExit("hpcregistry: this key can only sync the registry")


def receive_by_rsync(registry: str, words: List[str]) -> None:
    """Hand over to rrsync, which confines rsync to writing below staging/, after allowing only what we ever send."""
    options, places = words[2:-2], words[-2:]
    if places != [".", "."] or not all(RSYNC_SHORT.match(word) or RSYNC_LONG.match(word) for word in options):
        raise SystemExit("hpcregistry: this key can only send files to the registry's staging directory")
    os.environ["SSH_ORIGINAL_COMMAND"] = " ".join(words)
    os.execvp("rrsync", ["rrsync", "-wo", "-no-del", "-no-lock", os.path.join(registry, STAGING)])
