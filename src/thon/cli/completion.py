"""`thon completion SHELL` prints the script that makes a shell complete thon's commands, flags and jobs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

HELP = """Print what makes the shell complete thon's commands, options and jobs.

\b
bash:  echo 'eval "$(thon completion bash)"' >> ~/.bashrc
zsh:   echo 'eval "$(thon completion zsh)"' >> ~/.zshrc
fish:  thon completion fish > ~/.config/fish/completions/thon.fish
"""


@click.command("completion", help=HELP, short_help="Print what makes the shell complete thon's commands")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command_completion(shell: str) -> None:
    """Print the script."""
    from thon.cli.main import thon  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is not None:
        complete = found(thon, {}, "thon", "_THON_COMPLETE")
        click.echo(complete.source_template % complete.source_vars())
