"""`agent.pyz serve --registry PATH`, which phase 1 writes before the sync key in authorized_keys."""

import os
import sys

from .. import __version__
from .serve import serve

SUDO_KEEPS = (
    "hpcregistry: sudo keeps no SSH_CONNECTION and SSH_ORIGINAL_COMMAND: phase 1 wrote that it shall into"
    " /etc/sudoers.d/zz-hpcregistry, is that directory included in /etc/sudoers?"
)


def main() -> None:
    os.umask(0o077)
    if sys.argv[1:] == ["--version"]:  # phase 1 asks before it installs this: all is loaded, so it runs here
        sys.stdout.write(__version__ + "\n")
        return
    if sys.argv[1:3] != ["serve", "--registry"] or len(sys.argv) != 4:
        raise SystemExit("usage: agent.pyz serve --registry PATH")
    try:
        if "SUDO_USER" in os.environ and not {"SSH_CONNECTION", "SSH_ORIGINAL_COMMAND"} & os.environ.keys():
            raise SystemExit(SUDO_KEEPS)
        serve(sys.argv[3], os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    except SystemExit as leave:
        sys.stderr.write(f"{leave}\n")
        sys.stderr.flush()  # before Python 3.9 it is buffered where it is no terminal
        os._exit(1)  # at once: who does not read what was said would keep an orderly end waiting
    os._exit(0)  # all is said and removed; taking the interpreter apart costs every login, and waits for threads
