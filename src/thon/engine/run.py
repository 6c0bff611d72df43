"""Runs the steps of a command one after another, each on what the one before finished.

A command that is given again continues: a step that is finished with the same options on the same inputs is kept, one
that was interrupted or failed is taken up where it stopped, and only what is new becomes a new job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from thon.base.errors import StoreError
from thon.base.options import Options
from thon.engine.inputs import job_items
from thon.engine.local import Watch, run_local
from thon.engine.slurm.submission import open_submission
from thon.engine.steps import Step
from thon.job.folder import JobFolder
from thon.job.item import read_options
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.job.spec import JobSpec
from thon.project.project import Project
from thon.project.request import Items, Request, draft, new_job, same_job

Start = Literal["new", "resumed", "kept"]
Announce = Callable[[JobFolder, Start], None]
Connect = Callable[[JobSpec, Items], Items]
Launch = Callable[[JobFolder, Watch], int]
"""Runs a job and returns its exit code; on this machine, unless one that leads elsewhere is given."""


@dataclass(frozen=True)
class Run:
    """How a command ended: its jobs in order, and the exit code."""

    jobs: tuple[JobFolder, ...]
    exit_code: int


def run_steps(
    project: Project,
    steps: Sequence[tuple[Step, Options]],
    items: Items,
    settings: RunSettings,
    *,
    announce: Announce,
    watch: Watch,
    connect: Connect = lambda spec, items: items,
    command: str = "",
    after: Sequence[str] = (),
    launch: Launch | None = None,
) -> Run:
    """Run the steps, the first on `items`, and `after` other jobs where its launch waits for such; `connect` adds what
    goes into a step's further ports.

    A step whose items failed in part is followed by the next on those that are done, and the exit code tells. Where
    the next gathers groups and nothing belongs to any, the steps end.

    Raises:
        KeyboardInterrupt: The run was stopped; the same command, or `thon resume`, continues.
        ThonError: An input is no good, the disk refuses, or a worker died.
    """
    jobs: list[JobFolder] = []
    codes: list[int] = []
    for number, (step, options) in enumerate(steps):
        if number:
            items = job_items(step.spec, [(jobs[-1], None)], project)
        if not items:
            break
        before = after if number == 0 else ()
        request = Request(step.spec, options, connect(step.spec, items), settings, step.source, command, before)
        folder, code = run_request(project, request, announce=announce, watch=watch, launch=launch)
        jobs.append(folder)
        codes.append(code)
        if code and not folder.items():
            break
    return Run(tuple(jobs), worst(codes))


def run_request(
    project: Project, request: Request, *, announce: Announce, watch: Watch, launch: Launch | None = None
) -> tuple[JobFolder, int]:
    """Run one job, or go on with the job that was asked the same before."""
    drafted = draft(project, request)
    folder = same_job(project, drafted)
    if folder is None:
        folder = new_job(project, drafted)
        announce(folder, "new")
        return folder, (launch or run_local)(folder, watch)
    return folder, resume(folder, announce=announce, watch=watch, settings=request.settings, launch=launch)


def resume(
    folder: JobFolder,
    *,
    announce: Announce,
    watch: Watch,
    settings: RunSettings | None = None,
    launch: Launch | None = None,
) -> int:
    """Go on with a job where it stopped; what is finished is kept, half-written items are done anew.

    Raises:
        StoreError: Somebody runs it, or it belongs to a live session.
    """
    record = folder.head()
    if record.live is not None:
        raise StoreError("this job belongs to a live session", path=folder.path, mend="give the same `thon live` again")
    if record.state == "finished":
        announce(folder, "kept")
        return 0
    given = open_submission(folder)
    if given is not None and launch is None:
        mend = f"`thon run {record.id}` follows it, `thon stop {record.id}` stops it"
        raise StoreError("this job is in a batch system", path=folder.path, got=given.batch or given.name, mend=mend)
    with folder.lock():
        if settings is not None and settings != record.settings:
            folder.write(record.model_copy(update={"settings": settings}))
    announce(folder, "resumed")
    return (launch or run_local)(folder, watch)


def repeat(
    folder: JobFolder, *, announce: Announce, watch: Watch, command: str = "", launch: Launch | None = None
) -> tuple[JobFolder, int]:
    """Do a job again, as a new job with the same options, inputs and seed.

    Raises:
        StoreError: Its options are no longer valid for this version of thon.
    """
    record, project = folder.read(), Project(folder.root)
    spec = load_job(record.type)
    try:
        options = read_options(spec, record.options, folder.root)
    except ValueError as error:
        raise StoreError("the options of this job are no longer valid", path=folder.path, got=error) from error
    request = Request(spec, options, record.items, record.settings, record.source, command)
    again = new_job(project, draft(project, request))
    announce(again, "new")
    return again, (launch or run_local)(again, watch)


def worst(codes: Sequence[int]) -> int:
    """One exit code for several: 1 (ours) outweighs 2 (the user's), which outweighs 0."""
    return 1 if any(code not in (0, 2) for code in codes) else max(codes, default=0)
