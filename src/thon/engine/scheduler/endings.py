"""What the scheduler writes into the folder of a job that could not tell itself how it ended, or cannot run."""

from __future__ import annotations

from thon.engine.graph import hold
from thon.engine.scheduler.asked import withdraw
from thon.job.events import Failed, Log
from thon.job.folder import JobFolder
from thon.job.machine import now
from thon.job.runs import close_killed


def hold_back(folder: JobFolder, because: str) -> None:
    """Hold a job that cannot run, and take back that it was asked for; one that has begun stays as it is.

    Raises:
        StoreError: The disk refuses.
    """
    withdraw(folder)
    if folder.marked_state() == "waiting":
        hold(folder, because)
    elif folder.marked_state() != "held":
        folder.emit(Log(text=because))


def close_failed(folder: JobFolder, because: str, code: int) -> None:
    """Close the record of a job whose worker ended without a word, or never began, as one that failed.

    Raises:
        StoreError: Somebody runs it, or the disk refuses.
    """
    with folder.lock():
        record = folder.read()
        if record.state not in ("waiting", "running"):
            return
        close_killed(folder, record)
        record.state, record.ended = "failed", now()
        folder.write(record)
        folder.emit(Failed(message=because, exit_code=code or 1, seconds=record.usage.seconds))
