"""`hpc-container-manager`: parse, call one function of the library, show its events, turn errors into exit codes.

Runs on the workstation; Python 3.11.
"""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..core.errors import HpcRegistryError
from . import catalog, convert, deploy, gc, inspect, lab, registry, rollback, schema, status, sync, test, verify
from .show import say, say_error, say_usage_error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hpc-container-manager")
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
    3 could not be determined (unreachable), 4 the work itself failed, 130 interrupted.
    """


COMMANDS = (
    registry.registry_group,
    convert.convert_group,
    inspect.inspect,
    deploy.deploy_group,
    sync.sync,
    verify.verify,
    status.status,
    catalog.catalog_group,
    rollback.rollback,
    gc.gc,
    test.test,
    schema.schema,
    *lab.GROUP,
)
for command in COMMANDS:
    commands.add_command(command)


def main() -> None:
    """The console script."""
    try:
        commands.main(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.Abort:
        say("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        say_usage_error(error)
        sys.exit(error.exit_code)
    except HpcRegistryError as error:
        say_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted", err=True)
        sys.exit(130)
