"""`--lane`, `thon lanes` and `thon stop`: where jobs run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click

from thon.base.errors import InputError
from thon.cli.around import as_lines, in_project, jobs_of, number_of, project_of, remark, with_traceback
from thon.cli.ledger import plain_table, print_table
from thon.cli.progress import Teller
from thon.cli.shell import JobName
from thon.engine.lanes.contract import Needs
from thon.engine.lanes.options import LaneOptions, places, read_lanes
from thon.engine.lanes.trial import Trial, try_lane
from thon.engine.run import Launch
from thon.engine.scheduler.front import Front, launch_on
from thon.engine.scheduler.stop import stop
from thon.engine.slurm.script import write_script
from thon.engine.slurm.submission import Submission
from thon.engine.waiting import needs_of
from thon.job.folder import JobFolder
from thon.job.plan import size_text
from thon.project.project import Project

on_lane = click.option(
    "--lane", metavar="NAME", help="Run it there (`thon lanes` lists them).  [default: the default lane]"
)


def front_of(project: Project, teller: Teller) -> Front:
    """How jobs are run for a person at a terminal."""
    return Front(read_lanes(project.root), teller.announce, teller.watch, _say)


def launch_of(project: Project, teller: Teller, lane: str | None, *, waits: bool = False) -> Launch | None:
    """Runs jobs on a lane, the default one where a job `waits` for others; None where they run here, at once.

    Raises:
        InputError: There is no such lane.
    """
    if lane is None and not waits:
        return None
    front = front_of(project, teller)
    return launch_on(front.lanes.named(lane), front)


@click.command("stop", short_help="Stop jobs that run, or that were asked for")
@click.argument("jobs", nargs=-1, required=True, type=JobName(), metavar="JOB...")
@in_project
@with_traceback
def command_stop(jobs: Sequence[str], output: str | None, traceback: bool) -> int:
    """Stop jobs that run here, for a server or in a batch system; what is finished of them is kept.

    `thon resume` goes on with them.
    """
    project = project_of(output)
    for folder in jobs_of(project, jobs):
        click.echo(f"{number_of(folder)} {stop(project, folder)}")
    return 0


def _say(job: str, text: str) -> None:
    remark(f"{job}: {text}" if job else text)


@click.group("lanes", short_help="List where jobs can run, show and test it", invoke_without_command=True)
@click.pass_context
def command_lanes(context: click.Context) -> None:
    """List the lanes on which jobs can run, or show or test one.

    They are written in the project's `.thon/lanes.toml`, in the file that THON_LANES names, in
    `~/.config/thon/lanes.toml` or in `/etc/thon/lanes.toml`: the first of them that there is.
    """
    if context.invoked_subcommand is None:
        lanes = read_lanes(_root())
        table = plain_table("lane", "leads to", "asks for", "price an hour", "then")
        for name, lane in lanes.options.items():
            mark = f"{name} (default)" if name == lanes.default else name
            where = "this machine" if lane.kind == "local" else f"Slurm {lane.partition}".strip()
            price = "" if lane.price is None else f"{lane.price:g} {lane.currency}"
            table.add_row(mark, where, _asks(lane), price, _then(lane))
        print_table(table, "")
        click.echo(
            f"from {lanes.file}" if lanes.file else f"no file yet; {places(_root())[-2]} may hold some", err=True
        )


@command_lanes.command("show", short_help="Print the script that Slurm would get for a job")
@click.argument("name", metavar="LANE")
@click.option(
    "--job", type=JobName(), metavar="JOB", help="For this job.  [default: for one that uses all of the lane]"
)
@click.option("--processes", type=click.IntRange(1), default=1, help="For so many processes that work together.")
@in_project
@with_traceback
def show_lane(name: str, job: str | None, processes: int, output: str | None, traceback: bool) -> None:
    """Print the batch script that a job would be submitted with; nothing is submitted."""
    root = _root() if output is None else project_of(output).root
    options = read_lanes(root)[name]
    if options.kind == "local":
        raise InputError(f"'{name}' is this machine, which needs no script", expected="a lane of kind slurm")
    folder, needs = JobFolder((root or Path.cwd()) / "J001-job"), Needs(True, options.gpus or 0, processes)
    if job is not None:
        (folder,) = jobs_of(project_of(output), [job])
        needs = needs_of(folder)
    given = Submission(token="0" * 8, name=f"{folder.path.name}-{'0' * 8}", lane=name, written="")
    click.echo(write_script(folder, given, needs, options), nl=False)


@command_lanes.command("test", short_help="Send a small job through a lane")
@click.argument("name", metavar="LANE")
@click.option("--processes", type=click.IntRange(1), default=1, help="So many processes that must find each other.")
@click.option("--wait", type=click.FloatRange(0), default=300.0, help="Time to wait in the queue, s.  [default: 300]")
@in_project
@as_lines
@with_traceback
def test_lane(name: str, processes: int, wait: float, output: str | None, as_json: bool, traceback: bool) -> int:
    """Send a small job through LANE; it tells host, CPUs, GPUs, Python and thon there, and whether it sees the project.

    Outside a project, this folder takes the project's place.
    """
    root = _root() if output is None else project_of(output).root
    trial = try_lane(root or Path.cwd(), name, read_lanes(root)[name], processes=processes, patience=wait, say=remark)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(trial), ensure_ascii=False))
    else:
        _tell_trial(trial)
    return 1 if trial.troubles else 0


def _tell_trial(trial: Trial) -> None:
    for one in trial.reports:
        place = f"{one['node']} ({one['host']})" if one["node"] else one["host"]
        gpus = one["gpus"] if isinstance(one["gpus"], str) else ", ".join(one["gpus"])
        click.echo(
            f"{place}  as {one['user']}: {one['cpus']} CPUs ({one['cpu']}), {size_text(one['memory'])} of memory"
        )
        click.echo(
            f"  GPUs {gpus or 'none'}; Python {one['python']}, thon {one['thon']}; the project is seen and written"
        )
    if trial.batch:
        click.echo(f"job {trial.batch} waited {trial.waited:.0f} s in the queue")
    for text in trial.troubles:
        click.echo(f"{click.style('not good', fg='red')}: {text}", err=True)
    if not trial.troubles:
        click.echo(f"lane {trial.lane} is good")


def _asks(lane: LaneOptions) -> str:
    """What a job on a lane asks for, in a few words."""
    kind = "of any type" if lane.gpu_type == "any" else lane.gpu_type
    gpus = f"{lane.gpus} GPU{'s' * (lane.gpus != 1)} {kind}"
    parts = [
        gpus if lane.gpus else "",
        f"{lane.cpus} CPU{'s' * (lane.cpus != 1)}" if lane.cpus else "",
        f"{lane.memory:g} GB" if lane.memory else "",
        f"{lane.time:g} h" if lane.time else "",
        f"up to {lane.workers.max} workers" if lane.workers else "",
    ]
    return ", ".join(part for part in parts if part)


def _then(lane: LaneOptions) -> str:
    return f"{lane.next} after {lane.patience:g} min" if lane.next and lane.patience is not None else ""


def _root() -> Path | None:
    """The folder of the project around this folder; None where there is none."""
    try:
        return Project.open(Path.cwd()).root
    except InputError:
        return None
