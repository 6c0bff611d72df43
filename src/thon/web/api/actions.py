"""The API of what can be done with a job: run, stop, hold, do again, copy, keep, remove."""

from __future__ import annotations

import shutil
from typing import Annotated

from fastapi import APIRouter, Body

from thon.engine import orders
from thon.engine.forms import Filled
from thon.engine.graph import hold, release
from thon.engine.lanes.options import read_lanes
from thon.engine.scheduler.asked import ask_to_run, ask_with_parents, asked_of, withdraw
from thon.engine.slurm.submission import open_submission
from thon.engine.waiting import restart
from thon.job.folder import JobFolder, storing
from thon.project.clean import clean, final_jobs, mark_final, plan_cleaning
from thon.project.history import ancestors
from thon.web.api.asked import CleanAsked, CloneOf, Jobs, Where
from thon.web.api.jobs import ask_for, number_of
from thon.web.api.models import Cleaning, Freed, JobOut, Placed, job_out
from thon.web.cards import card_of, cards_of
from thon.web.faults import ConflictError
from thon.web.site import Served, ServedProject

router = APIRouter(tags=["actions"])

JOB = "/projects/{project}/jobs/{job}"
Wish = Annotated[Where, Body(default_factory=Where)]


@router.post(f"{JOB}/run")
def run_job(served: ServedProject, job: str, where: Wish) -> JobOut:
    """Run a job, and those that it waits for, each when its turn comes; one that was cut short goes on."""
    folder = _changing(served, job)
    read_lanes(served.project.root).named(where.lane)
    ask_with_parents(served.project, [number_of(folder)], lane=where.lane)
    return _stands(served, folder)


@router.post(f"{JOB}/resume")
def resume_job(served: ServedProject, job: str, where: Wish) -> JobOut:
    """Go on with a job that failed or was cut short; what is finished of it is kept."""
    folder = _changing(served, job)
    if folder.state() not in ("failed", "interrupted"):
        raise ConflictError("there is nothing to go on with", got=folder.state(), expected="failed or interrupted")
    read_lanes(served.project.root).named(where.lane)
    ask_to_run(folder, lane=where.lane)
    return _stands(served, folder)


@router.post(f"{JOB}/stop")
def stop_job(served: ServedProject, job: str) -> JobOut:
    """Stop a job, or no longer want it run; what is finished of it is kept."""
    folder = _changing(served, job)
    if asked_of(folder) is None:
        raise ConflictError("nobody asked for this job to run", got=folder.state(), expected="one that runs or waits")
    withdraw(folder)
    return _stands(served, folder)


@router.post(f"{JOB}/hold")
def hold_job(served: ServedProject, job: str) -> JobOut:
    """Hold a job that waits: it is not run until it is released or asked for again."""
    folder = _changing(served, job)
    if (state := folder.state()) not in ("waiting", "held"):
        raise ConflictError("only a job that waits can be held", got=state, mend="stop it")
    withdraw(folder)
    hold(folder, "by hand")
    return _stands(served, folder)


@router.post(f"{JOB}/release")
def release_job(served: ServedProject, job: str) -> JobOut:
    """Let a job that is held wait for its turn again."""
    folder = _changing(served, job)
    release(folder)
    return _stands(served, folder)


@router.post(f"{JOB}/restart")
def restart_job(served: ServedProject, job: str, where: Wish) -> JobOut:
    """Do a job that did not finish from its beginning: what is finished of it, and its checkpoints, go."""
    folder = _changing(served, job)
    read_lanes(served.project.root).named(where.lane)
    restart(folder)
    ask_to_run(folder, lane=where.lane)
    return _stands(served, folder)


@router.post(f"{JOB}/repeat", status_code=201)
def repeat_job(served: ServedProject, job: str, where: Wish) -> Placed:
    """Do a job again, as a new job with the same options, inputs and seed."""
    folder = _changing(served, job)
    return _copied(served, folder, None, None, where.lane, run=True)


@router.post(f"{JOB}/clone", status_code=201)
def clone_job(served: ServedProject, job: str, changes: CloneOf) -> Placed:
    """Make a new job like this one, with changes."""
    folder = _changing(served, job)
    filled = Filled("", changes.options, changes.inputs, {}, changes.after)
    return _copied(served, folder, filled, changes.iteration, changes.lane, run=changes.run)


@router.post(f"{JOB}/keep")
def keep_job(served: ServedProject, job: str) -> JobOut:
    """Mark the results of a job as final: cleaning protects them and all that they go back to."""
    folder = _changing(served, job)
    mark_final(served.project, [number_of(folder)])
    return _stands(served, folder)


@router.post(f"{JOB}/unkeep")
def unkeep_job(served: ServedProject, job: str) -> JobOut:
    """Take away the mark that a job's results are final."""
    folder = _changing(served, job)
    mark_final(served.project, [number_of(folder)], final=False)
    return _stands(served, folder)


@router.delete(JOB, status_code=204)
def delete_job(served: ServedProject, job: str) -> None:
    """Remove a job that waits or is held, which has done nothing yet and for which no other waits."""
    folder = _changing(served, job)
    state = folder.state()
    if state not in ("waiting", "held") or folder.items():
        raise ConflictError("only a job that has not begun can be removed", got=state, mend="clean its outputs instead")
    if others := _takers(served, number_of(folder)):
        raise ConflictError("other jobs wait for this one", got=", ".join(others), mend="remove those first")
    if asked_of(folder) is not None or open_submission(folder) is not None:
        raise ConflictError("somebody wants this job run", got=state, mend="stop it, then remove it")
    with folder.lock(), storing(folder.path):
        aside = folder.path.with_name(f".tmp-removed-{folder.path.name}")
        folder.path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    served.changed()


@router.post("/projects/{project}/clean")
def clean_project(served: ServedProject, asked: CleanAsked) -> Cleaning:
    """Free disk space: checkpoints, kept iterations and interim results of finished jobs; outputs too if so wished.

    With `dry_run`, as by default, only told. Records stay.
    """
    if not asked.dry_run:
        served.check_writable()
    removals = plan_cleaning(served.project, _protected(served, asked) if asked.outputs else None)
    told = [
        Freed(
            job=number_of(one.folder),
            bytes=one.bytes,
            what=list(dict.fromkeys(path.name.lstrip(".").split("-")[0] for path in one.paths)),
            outputs=one.outputs,
        )
        for one in removals
    ]
    if not asked.dry_run:
        for removal in removals:
            clean(removal)
        served.changed()
    return Cleaning(removed=told, bytes=sum(one.bytes for one in removals), dry_run=asked.dry_run)


@router.post("/projects/{project}/keep")
def keep_jobs(served: ServedProject, jobs: Jobs) -> list[str]:
    """Mark the results of some jobs as final; returns all that are."""
    served.check_writable()
    return mark_final(served.project, [number_of(served.job(job)) for job in jobs.jobs])


def _changing(served: Served, job: str) -> JobFolder:
    """A job that is about to be changed."""
    served.check_writable()
    return served.job(job)


def _stands(served: Served, folder: JobFolder) -> JobOut:
    """How a job stands after it was changed."""
    served.changed()
    return job_out(card_of(served, number_of(folder)))


def _copied(
    served: Served, folder: JobFolder, filled: Filled | None, iteration: int | None, lane: str | None, *, run: bool
) -> Placed:
    read_lanes(served.project.root).named(lane)
    number = served.desk.call(orders.change, served.project.root, number_of(folder), filled, iteration)
    ask_for(served, [served.project.job(number)], lane, run=run)
    return Placed(jobs=[number])


def _takers(served: Served, job: str) -> list[str]:
    """Jobs that take from a job, or wait for it."""
    return [card.job for card in cards_of(served) if job in card.parents]


def _protected(served: Served, asked: CleanAsked) -> set[str]:
    final = [*final_jobs(served.project), *(number_of(served.job(job)) for job in asked.keep)]
    if not final:
        raise ConflictError("no result is marked as final", mend="keep the results that you want, then clean")
    with served.index.reading() as connection:
        return ancestors(connection, served.project.id, final)
