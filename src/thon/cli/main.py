"""The command `thon`. Nothing is imported before it is needed, so that help and completion answer at once."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import TYPE_CHECKING

import click

from thon.cli.faults import guarded
from thon.cli.typed import TYPED
from thon.job.registry import Listing, listings

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "jobs": ("thon.cli.look", "List the jobs of a project"),
    "show": ("thon.cli.look", "Show a job, or the options of a job type"),
    "log": ("thon.cli.ledger", "Tell what ran, when, by whom, how long, at what cost"),
    "why": ("thon.cli.why", "Tell the whole history of a file"),
    "cost": ("thon.cli.ledger", "Add up time, energy and money by job, user, month or type"),
    "sql": ("thon.cli.ledger", "Ask the index in SQL, read only"),
    "records": ("thon.cli.ledger", "Write a table of the index as Parquet or CSV"),
    "clean": ("thon.cli.keep", "Free disk space, but of what final results go back to"),
    "note": ("thon.cli.note", "Write a note, tags or a title on a job"),
    "keep": ("thon.cli.keep", "Mark results as final, which `thon clean` protects"),
    "export": ("thon.cli.keep", "Write the project, or some results, for another machine"),
    "unpack": ("thon.cli.keep", "Make a project of what `thon export` wrote"),
    "relocate": ("thon.cli.keep", "Find raw data that have moved, by their hashes"),
    "reindex": ("thon.cli.ledger", "Make the index anew from the job folders"),
    "repeat": ("thon.cli.again", "Do a job again, as a new job"),
    "clone": ("thon.cli.plan_jobs", "Make a new job like an earlier one, with changes"),
    "restart": ("thon.cli.plan_jobs", "Do a job that did not finish from its beginning"),
    "run": ("thon.cli.plan_jobs", "Run jobs that wait, each when those before it are finished"),
    "stop": ("thon.cli.lanes", "Stop jobs that run, or that were asked for"),
    "append": ("thon.cli.plan_jobs", "Do what is new, taking over what an earlier job has finished"),
    "session": ("thon.cli.live_session", "Pause, scale or stop a live session, and say what items must pass"),
    "lanes": ("thon.cli.lanes", "List where jobs can run, show and test it"),
    "workflow": ("thon.cli.plan_jobs", "Write a project's jobs as a template, or run one"),
    "serve": ("thon.web.command", "Serve projects to browsers"),
    "resume": ("thon.cli.again", "Go on with a job that was interrupted or failed"),
    "completion": ("thon.cli.completion", "Print what makes the shell complete thon's commands"),
}
"""Commands that are no jobs: module and summary. Each is an attribute `command_NAME` of its module."""

STAGES = (
    "live",
    "import",
    "preprocess",
    "tomography",
    "particles",
    "classify",
    "refine",
    "post-process",
    "simulate",
    "tools",
)
"""Headings of the list of jobs, in the order of the work; those of other stages come after them."""

FAMILIES = {"simulate": "Simulate what a microscope writes, with the truth"}
"""Stages whose jobs `STAGE-NAME` are the commands `thon STAGE NAME`."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Family(click.Group):
    """The jobs of one stage, by what follows the stage in their names.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: str):
        self.stage = stage
        super().__init__(stage, help=f"{FAMILIES[stage]}.", short_help=FAMILIES[stage], no_args_is_help=True)
        self.context_settings = dict(CONTEXT)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the jobs without the stage."""
        return [name.removeprefix(f"{self.stage}-") for name, one in listings().items() if family(one) == self.stage]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a job; None if there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        from thon.cli.job_command import job_command  # noqa: PLC0415

        command = job_command(f"{self.stage}-{cmd_name}")
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the jobs, none of which needs loading for it."""
        rows = [(name, listings()[f"{self.stage}-{name}"].summary) for name in self.list_commands(ctx)]
        with formatter.section(self.stage.capitalize()):
            formatter.write_dl(rows)


def family(listing: Listing) -> str | None:
    """The stage whose command leads to a job; None where the job is a command of its own."""
    inside = listing.stage in FAMILIES and listing.name.startswith(f"{listing.stage}-")
    return listing.stage if inside else None


class Faces(click.Group):
    """A group whose commands are the job types and `COMMANDS`, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        names = (family(one) or name for name, one in listings().items() if name not in COMMANDS)
        return [*dict.fromkeys(names), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None if there is none."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(COMMANDS[cmd_name][0])
            return getattr(module, f"command_{cmd_name}")
        if cmd_name in FAMILIES:
            return Family(cmd_name)
        if cmd_name in listings():
            from thon.cli.job_command import job_command  # noqa: PLC0415

            return job_command(cmd_name)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed, or an error with what may have been meant."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `thon --help` lists them."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the jobs by stage, in the order of the work, then the other commands."""
        stages: dict[str, list[tuple[str, str]]] = {}
        for name, listing in listings().items():
            if family(listing) is not None:
                stages[listing.stage] = [(listing.stage, FAMILIES[listing.stage])]
            elif name not in COMMANDS:
                stages.setdefault(listing.stage, []).append((name, listing.summary))
        for stage, rows in sorted(stages.items(), key=lambda entry: _place(entry[0])):
            with formatter.section(stage.capitalize()):
                formatter.write_dl(rows)
        with formatter.section("Projects"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415

        click.echo(f"thon {version('thon')}")
        ctx.exit()


@click.group(cls=Faces, no_args_is_help=True, context_settings=CONTEXT)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def thon() -> None:
    """From what the microscope writes to a structure.

    Each job takes files or earlier jobs (J001) and writes a new job into a project's folder; `thon JOB --help` tells
    its options.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    TYPED.set(tuple(given))
    return guarded(
        lambda: thon.main(given, prog_name="thon", standalone_mode=False), show_traceback="--traceback" in given
    )


if __name__ == "__main__":
    sys.exit(main())
