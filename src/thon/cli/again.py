"""`thon repeat` and `thon resume`."""

from __future__ import annotations

from pathlib import Path

import click

from thon.base.errors import InputError
from thon.cli.lanes import launch_of, on_lane
from thon.cli.progress import make_teller
from thon.cli.shell import JobName
from thon.cli.typed import typed_command
from thon.engine.run import Run, repeat, resume
from thon.job.folder import JobFolder
from thon.project.project import Project, find_job
from thon.project.request import changed_inputs

_job = click.argument("job", type=JobName(), metavar="JOB")
_project = click.option("-o", "--output", type=click.Path(), metavar="FOLDER", help="The project's folder.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print events and results as JSON lines.")
_traceback = click.option("--traceback", is_flag=True, help="Show where an error came from.")


@click.command("repeat", short_help="Do a job again, as a new job")
@_job
@on_lane
@_project
@_quiet
@_json
@_traceback
def command_repeat(job: str, lane: str | None, output: str | None, quiet: bool, as_json: bool, traceback: bool) -> int:
    """Do a job again, as a new job with the same options, inputs and seed.

    Inputs that are not what they were are named.
    """
    folder = named_job(job, output)
    for change in changed_inputs(folder):
        click.echo(f"{click.style('warning', fg='yellow')}: {change}", err=True)
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    with teller:
        command = typed_command(folder.root)
        launch = launch_of(Project(folder.root), teller, lane)
        again, code = repeat(folder, announce=teller.announce, watch=teller.watch, command=command, launch=launch)
    teller.results(Run((again,), code))
    return code


@click.command("resume", short_help="Go on with a job that was interrupted or failed")
@_job
@on_lane
@_project
@_quiet
@_json
@_traceback
def command_resume(job: str, lane: str | None, output: str | None, quiet: bool, as_json: bool, traceback: bool) -> int:
    """Go on with a job that was interrupted or failed.

    Finished items are kept; half-written ones and those that failed are done anew. To go on with a chain, give its
    command again.
    """
    folder = named_job(job, output)
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    with teller:
        launch = launch_of(Project(folder.root), teller, lane)
        code = resume(folder, announce=teller.announce, watch=teller.watch, launch=launch)
    teller.results(Run((folder,), code))
    return code


def named_job(job: str, output: str | None) -> JobFolder:
    """The job of a name, in the project named or the one around this folder.

    Raises:
        InputError: No such job or project.
    """
    if output is not None:
        return find_job(job, Project.open(Path(output)))
    try:
        around = Project.open(Path.cwd())
    except InputError:
        around = None
    return find_job(job, around)
