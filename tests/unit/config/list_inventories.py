"""A program for a process of its own: what `ansible-inventory --list` prints for each path given, as one JSON object.

It starts Ansible once for all of them, by the class that is behind that command, and asks for each in a child.
"""

import io
import json
import os
import sys
from contextlib import redirect_stdout

from ansible.cli.inventory import InventoryCLI


def listed(path: str) -> str:
    """JSON: the inventory, or the reason why there is none."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            InventoryCLI(["ansible-inventory", "-i", path, "--list"]).run()
    except SystemExit:
        return printed.getvalue()
    except Exception as error:
        return json.dumps(str(error))
    return printed.getvalue()


def main() -> None:
    said = {}
    for path in sys.argv[1:]:
        reader, writer = os.pipe()
        if child := os.fork():
            os.close(writer)
            with os.fdopen(reader) as stream:
                said[path] = json.load(stream)
            os.waitpid(child, 0)
        else:
            with os.fdopen(writer, "w") as stream:
                stream.write(listed(path))
            os._exit(0)
    sys.stdout.write(json.dumps(said))


main()
