"""Jobs that a face asks for: new ones, chains of them, clones and workflows, all written down as jobs that wait.

As with `thon.engine.forms`, a server calls these at its desk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thon.base.errors import InputError
from thon.engine.dry_run import dry_run, planned_groups, planned_inputs
from thon.engine.forms import Filled, changed, complaints, options_of, ports_of, specs_of, typed_sources
from thon.engine.inputs import expand_files, is_job, job_of
from thon.engine.steps import Step
from thon.engine.typed_as import cloned, command_of
from thon.engine.waiting import Changes, add_job, clone, valid_options
from thon.engine.workflow import add_workflow, parse_workflow
from thon.engine.workflow_export import export, write_workflow
from thon.job.folder import JobFolder
from thon.job.plan import Plan
from thon.job.record import RunSettings
from thon.job.registry import listings, load_job
from thon.job.spec import JobSpec
from thon.project.project import Project
from thon.project.request import Request

LOOKED_AT = 20
"""Items that a dry run looks at; what they need is taken to hold for all."""


def check(root: Path, filled: Filled) -> dict[str, Any]:
    """What is wrong with what was filled in, which options are not as by default, and the command that does the same.

    Raises:
        InputError: There is no such job type.
    """
    found = complaints(root, filled)
    command = "" if found else command_of(filled)
    return {"errors": [vars(one) for one in found], "changed": changed(filled), "command": command}


def place(root: Path, filled: Filled) -> list[str]:
    """Write down the job, or the jobs of a chain, each taking what the one before yields; returns their numbers.

    Raises:
        InputError: Something that was filled in cannot be right.
        StoreError: The disk refuses.
    """
    if found := complaints(root, filled):
        first = found[0]
        raise InputError(f"{first.field}: {first.message}", got=first.got or None)
    project, specs = Project(root), specs_of(filled)
    after = _numbers(project, filled.after)
    numbers: list[str] = []
    for spec in specs:
        wants = _wants(project, spec, filled, numbers)
        request = Request(
            spec,
            options_of(spec, filled, len(specs), root),
            {},
            RunSettings.model_validate(filled.settings),
            listings()[spec.name].module,
            command_of(filled),
        )
        numbers.append(_number(add_job(project, request, wants, [] if numbers else after)))
    return numbers


def change(root: Path, job: str, filled: Filled | None, iteration: int | None) -> str:
    """Write down a clone of a job with what was filled in instead; returns its number.

    Args:
        root: The project's folder.
        job: The original.
        filled: What is different: options that are named, ports that are named; None for the very same again.
        iteration: The original's iteration at which it begins.

    Raises:
        InputError: A change cannot be right.
        StoreError: The original's options are no longer valid, or the disk refuses.
    """
    project = Project(root)
    folder = project.job(job)
    if filled is None:
        return _number(clone(folder, Changes(iteration=iteration), f"thon repeat {job}"))
    record = folder.head()
    spec = load_job(record.type)
    before = valid_options(folder, spec, record)
    values = _merged(before.model_dump(mode="json"), filled.options)
    whole = Filled(record.type, values, filled.wants, filled.settings, filled.after)
    wants = {name: typed_sources(project, sources) for name, sources in filled.wants.items() if sources}
    options = options_of(spec, whole, 1, root)
    command = cloned(job, spec, filled, iteration)
    changes = Changes(options, wants or None, iteration, _numbers(project, filled.after))
    return _number(clone(folder, changes, command))


def plan(root: Path, filled: Filled) -> dict[str, Any]:
    """What a job, or a chain, understood and what it will take.

    Raises:
        InputError: Something that was filled in cannot be right.
    """
    if found := complaints(root, filled):
        raise InputError(f"{found[0].field}: {found[0].message}", got=found[0].got or None)
    project, specs = Project(root), specs_of(filled)
    steps = [(Step(spec, ""), options_of(spec, filled, len(specs), root)) for spec in specs]
    items = _planned(project, specs[0], steps[0][1], filled)
    looked = dict(sorted(items.items())[:LOOKED_AT])
    plans, allowed = dry_run(steps, looked, RunSettings.model_validate(filled.settings))
    rows = [
        {
            "step": one.step,
            "item": one.item,
            "warnings": list(one.warnings),
            "error": None if one.error is None else str(one.error),
            "plan": None if one.plan is None else _told(one.plan),
        }
        for one in plans
    ]
    known = [one.plan for one in plans if one.plan is not None]
    share = len(items) / max(len(looked), 1)
    return {
        "items": len(items),
        "looked": len(looked),
        "plans": rows,
        "memory": max((one.memory or 0 for one in known), default=None),
        "allowed_memory": allowed.memory,
        "threads": allowed.threads,
        "device": allowed.device,
        "disk": share * sum(one.disk or 0 for one in known),
        "seconds": share * sum(one.seconds or 0 for one in known),
        "unknown": sorted({one.step for one in plans if one.plan is None and one.error is None}),
    }


def workflow_text(root: Path, jobs: Sequence[str], title: str, *, every_option: bool) -> str:
    """Jobs of a project as a template in YAML."""
    project = Project(root)
    return write_workflow(export(project, [project.job(job) for job in jobs], title=title, every_option=every_option))


def workflow_inputs(text: str) -> dict[str, str]:
    """What a template asks for by name, with a word on what it is for.

    Raises:
        InputError: It is none.
    """
    return parse_workflow(text).inputs


def place_workflow(root: Path, text: str, given: Mapping[str, Sequence[str]]) -> list[str]:
    """Write down the jobs of a template; returns their numbers.

    Raises:
        InputError: It is none, or something that it asks for is missing or cannot be right.
        StoreError: The disk refuses.
    """
    project = Project(root)
    placed = {
        name: [source if is_job(source) else str(project.root / source) for source in sources]
        for name, sources in given.items()
    }
    return [_number(folder) for folder in add_workflow(project, parse_workflow(text), placed, "thon workflow run")]


def _wants(project: Project, spec: JobSpec, filled: Filled, before: Sequence[str]) -> dict[str, list[str]]:
    """What goes into the ports of one step: into its first what the step before yields, or what was filled in."""
    first = spec.ports[0].name
    every = ports_of(specs_of(filled), filled)
    given = {port.name: every.get(port.name, ()) for port in spec.ports}
    wants = {name: typed_sources(project, sources) for name, sources in given.items() if sources}
    return wants | ({first: [before[-1]]} if before else {})


def _planned(project: Project, spec: JobSpec, options: Any, filled: Filled) -> dict[str, dict[str, Any]]:
    """What goes into the first port, by item; nothing where a job before has not finished anything."""
    first = spec.ports[0].name
    sources = ports_of(specs_of(filled), filled)[first]
    if not all(is_job(source) for source in sources):
        files = [str(project.root / source) for source in sources]
        return planned_inputs(spec, expand_files(spec, options, files))
    jobs = [job_of(source, project) for source in sources]
    names = [(folder, item) for folder, only in jobs for item in ([only] if only else folder.items())]
    if spec.whole or spec.group:
        return planned_groups(spec, {item: folder.output(item) for folder, item in names})
    # Each is read only where it is looked at, for there may be very many.
    chosen = {item: folder for folder, item in sorted(names, key=lambda one: one[1])[:LOOKED_AT]}
    read = {item: {first: folder.output(item)} for item, folder in chosen.items()}
    return read | {item: {} for _, item in names if item not in read}


def _told(plan: Plan) -> dict[str, Any]:
    names = ("understood", "geometry", "memory", "disk", "seconds")
    return {name: getattr(plan, name) for name in names}


def _merged(before: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with some of them changed."""
    merged = dict(before)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _numbers(project: Project, names: Sequence[str]) -> list[str]:
    """Numbers of jobs, all of which must be there."""
    return [_number(project.job(name)) for name in names]


def _number(folder: JobFolder) -> str:
    return folder.path.name.split("-")[0]
