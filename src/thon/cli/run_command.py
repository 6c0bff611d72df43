"""Does what a job's subcommand was asked: makes out inputs and options, runs the steps, tells how it went."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thon.base.errors import InputError
from thon.base.options import Options
from thon.cli.around import jobs_of, number_of
from thon.cli.flags import Flag, read_options
from thon.cli.lanes import launch_of
from thon.cli.plans import print_plans
from thon.cli.progress import Teller, make_teller
from thon.cli.typed import typed_command
from thon.engine.dry_run import dry_run, planned_groups, planned_inputs
from thon.engine.inputs import connect_ports, expand_files, file_items, is_job, job_items, job_of
from thon.engine.run import run_steps, worst
from thon.engine.steps import Step
from thon.job.folder import JobFolder, replace_folder, storing
from thon.job.record import RunSettings
from thon.project.project import Project, check_writable
from thon.project.request import Items


@dataclass(frozen=True)
class Typed:
    """What a person typed after `thon JOB`.

    Args:
        steps: The jobs to run, an importer for files first where there is one.
        given: For each step, its flags and their values.
        inputs: Files or jobs.
        ports: What goes into the further ports.
        settings: How to run.
        output: The project's folder.
        target: The new file of a standalone tool.
        lane: Where to run; here unless given.
        after: Jobs to wait for.
        overwrite: Whether that may be replaced.
        dry_run: Only say what would be done.
        quiet: Say nothing but errors.
        as_json: Print JSON lines.
        show_traceback: Show where an error came from.
    """

    steps: list[Step]
    given: list[list[tuple[Flag, Any]]]
    inputs: list[str]
    ports: dict[str, str]
    settings: RunSettings
    output: Path | None
    target: Path | None
    lane: str | None
    after: list[str]
    overwrite: bool
    dry_run: bool
    quiet: bool
    as_json: bool
    show_traceback: bool


def run_command(typed: Typed) -> int:
    """Run a job's subcommand; returns the exit code.

    Raises:
        ThonError: Something that was typed, or that lies on the disk, is not right.
    """
    teller = make_teller(quiet=typed.quiet, as_json=typed.as_json, show_traceback=typed.show_traceback)
    if typed.target is not None:
        return _run_standalone(typed, typed.target, teller)
    from_jobs = [is_job(text) for text in typed.inputs]
    if any(from_jobs) and not all(from_jobs):
        raise InputError("files and jobs are mixed", got=" ".join(typed.inputs), expected="one or the other")
    steps = _steps(typed, from_jobs=from_jobs[0])
    if typed.dry_run:
        return _dry_run(typed, steps, from_jobs=from_jobs[0])
    project = _project(typed, from_jobs=from_jobs[0])
    check_writable(project)
    items = _items(typed, *steps[0], project, from_jobs=from_jobs[0])
    if not items:
        raise InputError("nothing there belongs to a group", got=" ".join(typed.inputs))
    with teller:
        run = run_steps(
            project,
            steps,
            items,
            typed.settings,
            announce=teller.announce,
            watch=teller.watch,
            connect=lambda spec, items: connect_ports(spec, items, typed.ports, project),
            command=typed_command(project.root),
            after=[number_of(folder) for folder in jobs_of(project, typed.after)],
            launch=launch_of(project, teller, typed.lane, waits=bool(typed.after)),
        )
    teller.results(run)
    return run.exit_code


def _steps(typed: Typed, *, from_jobs: bool) -> list[tuple[Step, Options]]:
    """The steps that run on such inputs, with their options."""
    steps, given = typed.steps, typed.given
    if from_jobs and steps[0].spec.ports[0].takes_file:
        if given[0]:
            flags = ", ".join(f"--{flag.name}" for flag, _ in given[0])
            raise InputError(
                f"{flags}: an option of '{steps[0].spec.name}', which is for files, not for jobs", expected="a file"
            )
        steps, given = steps[1:], given[1:]
    if not steps:
        raise InputError(f"'{typed.steps[0].spec.name}' takes files, not jobs", got=" ".join(typed.inputs))
    if not from_jobs and not steps[0].spec.ports[0].takes_file:
        raise InputError(
            f"'{steps[0].spec.name}' takes {steps[0].spec.ports[0].type.__name__} from an earlier job",
            got=" ".join(typed.inputs),
            expected="a number such as J002",
        )
    return [
        (step, read_options(step.spec.options, flags)) for step, flags in zip(steps, map(absolute, given), strict=True)
    ]


def absolute(given: list[tuple[Flag, Any]]) -> list[tuple[Flag, Any]]:
    """The same values with paths made absolute, for the job runs elsewhere."""
    return [(flag, os.path.abspath(value) if flag.type is Path else value) for flag, value in given]


def _project(typed: Typed, *, from_jobs: bool) -> Project:
    if typed.output is not None:
        return Project.create(typed.output)
    if from_jobs:
        job, _ = job_of(typed.inputs[0], _around())
        return Project(job.root)
    return Project.open(Path.cwd())


def _around() -> Project | None:
    try:
        return Project.open(Path.cwd())
    except InputError:
        return None


def _items(typed: Typed, step: Step, options: Options, project: Project, *, from_jobs: bool) -> Items:
    if not from_jobs:
        return file_items(step.spec, options, typed.inputs, project)
    return job_items(step.spec, [job_of(text, project) for text in typed.inputs], project)


def _dry_run(typed: Typed, steps: list[tuple[Step, Options]], *, from_jobs: bool) -> int:
    step, options = steps[0]
    spec, port = step.spec, step.spec.ports[0]
    if from_jobs:
        jobs = [job_of(text, Project(typed.output) if typed.output else _around()) for text in typed.inputs]
        values = {item: folder.output(item) for folder, only in jobs for item in ([only] if only else folder.items())}
        each = {item: {port.name: value} for item, value in values.items()}
        items = planned_groups(spec, values) if spec.group or spec.whole else each
    else:
        items = planned_inputs(spec, expand_files(spec, options, typed.inputs))
    plans, allowed = dry_run(steps, items, typed.settings)
    where = typed.output or Path.cwd()
    print_plans(plans, allowed, where=where, as_json=typed.as_json, remarks=_shared(typed))
    return worst([one.error.exit_code for one in plans if one.error is not None])


def _shared(typed: Typed) -> list[str]:
    """What was typed once for several steps, in words."""
    values: dict[str, str] = {}
    takers: dict[str, list[str]] = {}
    for step, given in zip(typed.steps, typed.given, strict=True):
        for flag, value in given:
            values.setdefault(flag.name, f"{value} {flag.unit}".rstrip())
            takers.setdefault(flag.name, []).append(step.spec.name)
    return [f"{name} {values[name]} for {', '.join(steps)}" for name, steps in takers.items() if len(steps) > 1]


def _run_standalone(typed: Typed, target: Path, teller: Teller) -> int:
    """Run a tool in a project that is thrown away, and put its one file where it was asked for."""
    if target.exists() and not typed.overwrite:
        raise InputError("exists already", path=target, mend="--overwrite, or another name")
    if not target.absolute().parent.is_dir():
        raise InputError("no such folder", path=target.absolute().parent, mend="make it first")
    given = [(flag, value) for flag, value in absolute(typed.given[-1])]
    step = typed.steps[-1]
    options = read_options(step.spec.options, given).model_copy(update={"target": target.name})
    if typed.dry_run:
        source = {step.spec.ports[0].name: Path(typed.inputs[0]).absolute()}
        plans, allowed = dry_run([(step, options)], {target.name: source}, typed.settings)
        print_plans(plans, allowed, where=target.absolute().parent, as_json=typed.as_json)
        return 0
    with storing(target), tempfile.TemporaryDirectory(prefix=".thon-", dir=target.absolute().parent) as scratch:
        project = Project.create(Path(scratch) / "project")
        items = file_items(step.spec, options, typed.inputs, project)
        with teller:
            run = run_steps(
                project, [(step, options)], items, typed.settings, announce=teller.ignore, watch=teller.watch
            )
        if run.exit_code == 0:
            _deliver(run.jobs[-1], target, overwrite=typed.overwrite)
            teller.delivered(target)
    return run.exit_code


def _deliver(job: JobFolder, target: Path, *, overwrite: bool) -> None:
    """Put what the tool made, and what belongs beside it, where it was asked for."""
    (item,) = job.items()
    made = [file for file in (job.outputs / item).iterdir() if file.name not in ("record.json", "record.npz")]
    taken = [file.name for file in made if (target.parent / file.name).exists()]
    if taken and not overwrite:
        raise InputError("exist already", path=target.parent, got=", ".join(taken), mend="--overwrite, or another name")
    for file in made:
        _check_replaces(target.parent / file.name, file)
    for file in made:
        for one in (file, *file.rglob("*")):
            one.chmod(one.stat().st_mode | 0o200)
        if file.is_dir():
            replace_folder(file, target.parent / file.name)
        else:
            file.replace(target.parent / file.name)


def _check_replaces(old: Path, new: Path) -> None:
    """Refuse to remove a folder that holds what the new one does not."""
    if not old.exists():
        return
    if old.is_dir() != new.is_dir():
        raise InputError("a folder and a file of one name", path=old, mend="choose another name")
    lost = sorted({file.name for file in old.iterdir()} - {file.name for file in new.iterdir()}) if old.is_dir() else []
    if lost:
        raise InputError("this folder holds other things", path=old, got=", ".join(lost[:5]), mend="another name")
