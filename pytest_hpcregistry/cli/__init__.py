"""`hpc-container-manager`: parse, call one function of the library, show its events, turn errors into exit codes.

Runs on the workstation; Python 3.11.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from .. import __version__
from ..core.errors import HpcRegistryError, UsageError
from ..core.terminal import never_fail_to_encode
from .endings import ended_by_signals, failure_of, interruption
from .groups import Group
from .output import how_much, one_run
from .show import say, say_error, say_usage_error

# Command -> its help in one line. It is the module of that name, which is imported when it is run: each needs other
# parts of the library, and nobody who asks for help waits for all of them.
COMMANDS = {
    "cache": "Show and empty the caches of this machine.",
    "cancel": "End what is at work on the controller.",
    "catalog": "Show, remove and restore images.",
    "completion": "Print what a shell needs to complete words.",
    "convert": "Make a SIF file of a Docker or Podman image.",
    "deploy": "Copy SIF files to the cluster.",
    "docker": "As image, by the bash framework's name.",
    "gc": "Free the bytes that nothing refers to.",
    "history": "Show who changed what and how it ended.",
    "image": "Build images, and list what is in one.",
    "inspect": "Show what is in a SIF file.",
    "job": "Make job scripts that run an image.",
    "lab": "Run a cluster in containers, for trials.",
    "registry": "Set up the registry, or take that back.",
    "rollback": "Go back to an older version of an image.",
    "running": "Show what runs on the controller.",
    "scan": "Scan a SIF file for vulnerabilities.",
    "schema": "Print the JSON Schema of an input or output.",
    "sign": "Sign images of the catalog with your key.",
    "status": "Show every image on every node.",
    "sync": "Bring the catalog's images to every node.",
    "test": "Test an image, or a cluster phase by phase.",
    "verify": "Read images back from every disk.",
}


class Commands(Group):
    """Commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = import_module(f".{cmd_name}", __name__).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As any group's, without importing all commands."""
        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found if incomplete.isalpha() or not incomplete else super().shell_complete(ctx, incomplete)

    def main(self, args: Sequence[str] | None = None, *words: Any, **more: Any) -> Any:
        """As any group's; with --json its end is JSON, however it ends."""
        with one_run(sys.argv[1:] if args is None else list(args)):
            return super().main(args, *words, **more)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hpc-container-manager")
@how_much
def commands() -> None:
    """Bring Apptainer images to a Slurm cluster, and prove that every node has the same ones.

    \b
    Examples:
      hpc-container-manager registry setup --cluster cluster.yaml
      hpc-container-manager convert to-apptainer pytorch:latest build/pytorch.sif
      hpc-container-manager deploy single -s -v build/pytorch.sif
      hpc-container-manager status

    The cluster is named by --cluster FILE or $HPC_CLUSTER, or just by --controller HOST or $TEST_CONTROLLER.

    Exit codes: 0 done and proven, 1 a check failed or drift was found, 2 wrong use or configuration,
    3 could not be determined (a machine is unreachable, syncs never ended, a scanner gave no report),
    4 the work itself failed or was cancelled, 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.
    """


def main() -> None:
    """The console script."""
    never_fail_to_encode(sys.stdout, sys.stderr)
    try:
        with ended_by_signals():
            need_output()
            commands.main(standalone_mode=False)
            sys.stdout.flush()  # what cannot be written must not end as done
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.Abort as abort:  # which click makes of KeyboardInterrupt
        interrupted(abort.__cause__)
    except click.ClickException as error:
        say_usage_error(error)
        sys.exit(error.exit_code)
    except HpcRegistryError as error:
        say_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        reader_has_gone()
    except SystemExit as leave:
        if leave.code == 1:  # what click makes of a BrokenPipeError; it is drift here
            reader_has_gone()
        raise  # it has printed what a shell completes
    except OSError as error:
        let_go_of_output()
        say_error(failure_of(error))
        sys.exit(HpcRegistryError.exit_code)
    except KeyboardInterrupt as interrupt:
        interrupted(interrupt)


def need_output() -> None:
    """Raise UsageError where standard output is closed, as by `>&-`: nothing that is found could be said."""
    if sys.stdout is None:
        raise UsageError("standard output is closed", hint="nothing was begun; write to /dev/null")


def reader_has_gone() -> NoReturn:
    """Who reads has seen enough, as after `| head`: leave as a program that SIGPIPE ends."""
    let_go_of_output()
    sys.exit(128 + signal.SIGPIPE)


def let_go_of_output() -> None:
    """What is buffered cannot be written: drop it, or Python would say so at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def interrupted(cause: BaseException | None) -> NoReturn:
    """Leave with the exit code that a shell would give for the signal."""
    ending = interruption(cause)
    say(str(ending.error), err=True)
    sys.exit(ending.exit_code)
