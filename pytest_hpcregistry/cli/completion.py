"""completion: what a shell needs to complete this program's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .output import answers
from .show import show_document

PROGRAM = "hpc-container-manager"
VARIABLE = "_HPC_CONTAINER_MANAGER_COMPLETE"
"""By which click asks the program for completions."""


@click.command("completion")
@answers(None)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete words.

    Commands, options, and names of images and nodes: those that the last status, verify or catalog list saw, of the
    cluster that $HPC_CLUSTER names, or --cluster before them. No machine is asked.

    Where they lie below, the shells look for them; zsh where fpath in ~/.zshrc names ~/.zfunc.

    \b
    Examples:
      mkdir -p ~/.local/share/bash-completion/completions ~/.zfunc ~/.config/fish/completions
      hpc-container-manager completion bash > ~/.local/share/bash-completion/completions/hpc-container-manager
      hpc-container-manager completion zsh > ~/.zfunc/_hpc-container-manager
      hpc-container-manager completion fish > ~/.config/fish/completions/hpc-container-manager.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, PROGRAM, VARIABLE)
    show_document(script.source_template % script.source_vars())
