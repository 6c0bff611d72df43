"""What the shell is told when it completes an argument that is a job or a file."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


class JobOrFile(click.ParamType):
    """An earlier job (J002, OUT/J002) or a file."""

    name = "job or file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Jobs of the project around this folder, then files."""
        return [*complete_jobs(incomplete), CompletionItem(incomplete, type="file")]


class JobName(click.ParamType):
    """An earlier job (J002, OUT/J002)."""

    name = "job"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Jobs of the project around this folder, then folders."""
        return [*complete_jobs(incomplete), CompletionItem(incomplete, type="dir")]


def complete_jobs(incomplete: str) -> list[CompletionItem]:
    """Job numbers of the project around this folder that begin like this."""
    here = Path.cwd()
    for root in (here, *here.parents):
        if (root / "project.json").exists():
            names = sorted(path.name for path in root.glob("J*-*") if path.is_dir())
            return [
                CompletionItem(name.split("-")[0], help=name.split("-", 1)[1])
                for name in names
                if name.startswith(incomplete)
            ]
    return []
