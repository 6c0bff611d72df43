"""Stops a job wherever it runs."""

from __future__ import annotations

import contextlib
import os
import platform
import signal

from thon.base.errors import StoreError
from thon.engine.scheduler.asked import asked_of, withdraw
from thon.engine.slurm.submission import open_submission
from thon.job.events import Started
from thon.job.folder import JobFolder
from thon.project.lock import owner_of
from thon.project.project import Project


def stop(project: Project, folder: JobFolder) -> str:
    """Stop a job, or take back that it was asked for; says what was done.

    Raises:
        StoreError: It neither runs nor was asked for, or it runs on another machine where we cannot reach it.
        JobError: The batch system does not answer.
    """
    from thon.engine.scheduler.rounds import OWNER  # noqa: PLC0415

    asked, owner = asked_of(folder), owner_of(project.root / OWNER)
    given = open_submission(folder)
    withdraw(folder)
    if given is not None and not owner:
        from thon.engine.slurm.lane import cancel_given  # noqa: PLC0415

        cancel_given(folder, given)
        return f"was cancelled in the batch system ({given.batch or given.name})"
    if asked is not None and owner:
        return "is stopped by whoever runs it"
    if folder.is_running():
        _interrupt(folder)
        return "is stopped"
    if asked is None:
        raise StoreError("this job does not run", path=folder.path, got=folder.state())
    return "is no longer asked for"


def _interrupt(folder: JobFolder) -> None:
    """Interrupt a worker of this machine, as Ctrl-C does where it was started."""
    started = [event for event in folder.events() if isinstance(event, Started)][-1:]
    if not started or started[0].host != platform.node():
        host = started[0].host if started else "another machine"
        raise StoreError("this job runs where we cannot reach it", path=folder.path, got=host, mend="stop it there")
    with contextlib.suppress(ProcessLookupError):
        os.kill(started[0].pid, signal.SIGINT)
