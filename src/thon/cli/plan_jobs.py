"""Jobs that wait: `thon clone`, `restart`, `run`, and `thon workflow`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from thon.base.errors import InputError
from thon.base.options import Options
from thon.cli.again import named_job
from thon.cli.around import in_project, index_of, jobs_of, number_of, project_of, with_traceback
from thon.cli.flags import change_options, flags_of
from thon.cli.lanes import front_of, on_lane
from thon.cli.progress import Teller, make_teller
from thon.cli.shell import JobName
from thon.cli.typed import typed_command
from thon.engine.append import append
from thon.engine.graph import waiting_jobs
from thon.engine.inputs import is_job
from thon.engine.run import Run
from thon.engine.scheduler.asked import asked_of
from thon.engine.scheduler.front import run_waiting
from thon.engine.waiting import Changes, clone, restart, sources_of, valid_options
from thon.engine.workflow import add_workflow, read_workflow
from thon.engine.workflow_export import export, write_workflow
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.registry import load_job
from thon.project.history import ancestors
from thon.project.project import Project, check_writable

_quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print events and results as JSON lines.")
_run = click.option("--run/--no-run", default=True, help="Run it now, or let it wait for `thon run`.")
_inputs = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=JOB|FILE", help="What goes in there; may be given again."
)

_after = click.option("--after", multiple=True, type=JobName(), metavar="JOB", help="Wait for this job too.")


@click.command("clone", short_help="Make a new job like an earlier one, with changes")
@click.argument("job", type=JobName(), metavar="JOB")
@click.option("--set", "changes", multiple=True, metavar="OPTION=VALUE", help="An option; may be given again.")
@_inputs
@_after
@click.option("--iteration", type=int, help="Begin at this iteration of JOB, where JOB has kept it.")
@_run
@on_lane
@in_project
@_quiet
@_json
@with_traceback
def command_clone(
    job: str,
    *,
    changes: tuple[str, ...],
    inputs: tuple[str, ...],
    after: tuple[str, ...],
    iteration: int | None,
    run: bool,
    lane: str | None,
    output: str | None,
    quiet: bool,
    as_json: bool,
    traceback: bool,
) -> int:
    """Make a new job like JOB: same options, inputs and seed, but for what is changed here.

    `thon clone J008 --set symmetry=D2`, `thon clone J008 --input particles=J012`,
    `thon clone J008 --iteration 10 --set iterations=40`.
    """
    folder = named_job(job, output)
    project = Project(folder.root)
    check_writable(project)
    wants = {name: sources_of(texts, project) for name, texts in _pairs(inputs).items()}
    others = [number_of(other) for other in jobs_of(project, after)]
    changed = Changes(_changed(folder, changes), wants or None, iteration, others)
    new = clone(folder, changed, typed_command(project.root))
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    return _run_now(project, [new], teller, lane) if run else _tell(project, [new])


@click.command("append", short_help="Do what is new, taking over what an earlier job has finished")
@click.argument("job", type=JobName(), metavar="JOB")
@_inputs
@_after
@_run
@on_lane
@in_project
@_quiet
@_json
@with_traceback
def command_append(
    job: str,
    *,
    inputs: tuple[str, ...],
    after: tuple[str, ...],
    run: bool,
    lane: str | None,
    output: str | None,
    quiet: bool,
    as_json: bool,
    traceback: bool,
) -> int:
    """Make a new job like JOB with more inputs: what JOB has finished is taken over, and only what is new is done.

    `thon append J001 --input movie=/data/today`, then `thon append J002 --input movie=J005`, where J005 has grown from
    what J002 took.
    """
    folder = named_job(job, output)
    project = Project(folder.root)
    check_writable(project)
    wants = {name: sources_of(texts, project) for name, texts in _pairs(inputs).items()}
    others = [number_of(other) for other in jobs_of(project, after)]
    new = append(folder, wants, typed_command(project.root), others)
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    return _run_now(project, [new], teller, lane) if run else _tell(project, [new])


@click.command("restart", short_help="Do a job that did not finish from its beginning")
@click.argument("job", type=JobName(), metavar="JOB")
@_run
@on_lane
@in_project
@_quiet
@_json
@with_traceback
def command_restart(
    job: str, run: bool, lane: str | None, output: str | None, quiet: bool, as_json: bool, traceback: bool
) -> int:
    """Do a job that failed or was interrupted anew: what is done of it, and its checkpoints, are removed first."""
    folder = named_job(job, output)
    project = Project(folder.root)
    restart(folder)
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    return _run_now(project, [folder], teller, lane) if run else _tell(project, [folder])


@click.command("run", short_help="Run jobs that wait, each when those before it are finished")
@click.argument("jobs", nargs=-1, type=JobName(), metavar="[JOB]...")
@on_lane
@in_project
@_quiet
@_json
@with_traceback
def command_run(
    jobs: tuple[str, ...], lane: str | None, output: str | None, quiet: bool, as_json: bool, traceback: bool
) -> int:
    """Run the jobs that wait, or those named, and those that they wait for, several at once where there is room.

    What waits for a job that failed is held; once that is mended, give the command again. A job that was asked for and
    cut short is taken up where it stopped. Where a server runs the project's jobs, it is asked to, and followed.
    """
    project = project_of(output)
    folders = jobs_of(project, jobs)
    for folder in folders:
        if folder.head().id not in waiting_jobs(project) and asked_of(folder) is None:
            raise InputError("this job does not wait", path=folder.path, got=folder.state(), mend="`thon resume` it")
    return _run_now(project, folders, make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback), lane)


@click.group("workflow", short_help="Write a project's jobs as a template, or run one", no_args_is_help=True)
def command_workflow() -> None:
    """Write the jobs of a project as a template, or run such a template in a project."""


@command_workflow.command("export", short_help="Write jobs and what they came from as YAML")
@click.argument("jobs", nargs=-1, type=JobName(), metavar="[JOB]...")
@in_project
@click.option("--file", type=click.Path(), metavar="FILE", help="Write into this file.  [default: print]")
@click.option("--title", default="", help="What it is called.")
@click.option("--all-options", is_flag=True, help="Write options that are as by default too.")
@with_traceback
def export_workflow(
    jobs: tuple[str, ...], output: str | None, file: str | None, title: str, all_options: bool, traceback: bool
) -> None:
    """Write jobs, or all of the project, with those that they came from, as a template in YAML."""
    with index_of(output) as index, index.reading() as connection:
        project = index.project
        wanted = [number_of(folder) for folder in jobs_of(project, jobs) or project.jobs()]
        chosen = ancestors(connection, project.id, wanted)
    folders = [folder for folder in project.jobs() if number_of(folder) in chosen]
    text = write_workflow(export(project, folders, title=title, every_option=all_options))
    if file is None:
        click.echo(text, nl=False)
    else:
        with storing(Path(file)):
            write_whole(Path(file), text.encode())


@command_workflow.command("run", short_help="Run a template in a project")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option("-o", "--output", "--project", type=click.Path(), metavar="FOLDER", help="The project; made if missing.")
@_inputs
@_run
@on_lane
@_quiet
@_json
@with_traceback
def run_workflow(
    file: str,
    output: str | None,
    inputs: tuple[str, ...],
    run: bool,
    lane: str | None,
    quiet: bool,
    as_json: bool,
    traceback: bool,
) -> int:
    """Run a template: what it asks for is given by `--input NAME=FILE`, or `--input NAME=J003`."""
    workflow = read_workflow(Path(file))
    project = project_of(None) if output is None else Project.create(Path(output))
    check_writable(project)
    folders = add_workflow(project, workflow, _pairs(inputs), typed_command(project.root))
    teller = make_teller(quiet=quiet, as_json=as_json, show_traceback=traceback)
    return _run_now(project, folders, teller, lane) if run else _tell(project, folders)


def _run_now(project: Project, folders: Sequence[JobFolder], teller: Teller, lane: str | None) -> int:
    names = [number_of(folder) for folder in folders]
    with teller:
        run = run_waiting(project, names, front_of(project, teller), lane=lane)
    states = {folder: folder.marked_state() for folder in run.jobs}
    for folder, state in states.items():
        if state == "held":
            reason = [event.text for event in folder.events() if event.kind == "log" and event.item is None][-1]
            click.echo(f"{folder.path.name} is {reason}", err=True)
    done = tuple(folder for folder, state in states.items() if state not in ("held", "waiting"))
    if done:
        teller.results(Run(done, run.exit_code))
    return run.exit_code


def _tell(project: Project, folders: Sequence[JobFolder]) -> int:
    for folder in folders:
        click.echo(f"{folder.path.name} waits; `thon run {number_of(folder)}` runs it")
    return 0


def _pairs(texts: Sequence[str]) -> dict[str, list[str]]:
    """What was given for each name, in the order in which it was typed."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InputError("--input takes a name and what goes in there", got=text, expected="NAME=FILE or NAME=J003")
        found.setdefault(name, []).append(value if is_job(value) else str(Path(value).absolute()))
    return found


def _changed(folder: JobFolder, changes: Sequence[str]) -> Options | None:
    """A job's options with what was typed; None where nothing was."""
    if not changes:
        return None
    record = folder.head()
    spec = load_job(record.type)
    flags = {flag.name: flag for flag in flags_of(spec.options)}
    given: list[tuple[str, str]] = []
    for text in changes:
        name, equals, value = text.partition("=")
        name = name.replace("_", "-").lstrip("-")
        if not equals or name not in flags:
            raise InputError(f"'{spec.name}' has no option '{name}'", got=text, expected=", ".join(flags))
        given.append((name, value))
    return change_options(valid_options(folder, spec, record), [(flags[name], value) for name, value in given])
