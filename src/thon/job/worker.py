"""The one entry of every run: ``thon-worker JOBDIR`` takes up a job and does every item that is not done yet.

The command line, the local machine and a batch system all start the same program. It exits with 0 when all items are
done, 2 when all that failed were mistakes of the user's, 1 when something of ours failed, 130 when it was stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from thon.base.errors import StoreError, ThonError
from thon.job.events import Failed, Finished, Interrupted, Started
from thon.job.folder import JobFolder
from thon.job.item import as_thon_error
from thon.job.loop import run_items, watch_process
from thon.job.machine import describe_machine, job_resources, limit_threads, now, process_count, share
from thon.job.ranks import PARENT, follow, take_rank
from thon.job.record import ItemResult, JobRecord, Usage

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the job in the folder given as the only argument; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0].startswith("-"):
        print(f"usage: thon-worker JOBDIR\n\n{__doc__}")
        return 0 if given in (["-h"], ["--help"]) else 2
    # A shell starts background jobs with SIGINT ignored, and children inherit that; a worker must always hear it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _watch_parent()
    folder = JobFolder(Path(given[0]))
    try:
        return run(folder, own_process=True) if take_rank() == 0 else follow(folder)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ThonError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(folder: JobFolder, *, own_process: bool = False) -> int:
    """Take up a job, do what is left of it, and close its record; returns the exit code.

    Args:
        folder: The job's folder.
        own_process: Whether this process exists for the job alone, so that its numerical libraries may be told how many
            threads to start.

    Raises:
        StoreError: It is finished already, somebody else runs it, or the disk refuses.
    """
    with folder.lock():
        record = folder.read()
        if record.state == "finished":
            raise StoreError("this job is finished and does not change", path=folder.path, mend="`thon repeat` it")
        start = time.monotonic()
        try:
            record = _take_up(folder, record)
            if own_process:
                limit_threads(share(job_resources(record), process_count(record)).threads)
            run_items(folder, record)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return _close_interrupted(folder, record, time.monotonic() - start)
        except Exception as error:
            return _close_broken(folder, record, error, time.monotonic() - start)
        return _close(folder, record, time.monotonic() - start)


def _take_up(folder: JobFolder, record: JobRecord) -> JobRecord:
    folder.await_pool()
    folder.discard_unfinished()
    finished = folder.items()
    resources = job_resources(record)
    updates = describe_machine() | {
        "state": "running",
        "started": record.started or now(),
        "ended": None,
        "device": resources.device,
        "threads": resources.threads,
        "memory": resources.memory,
        "results": {name: result for name, result in record.results.items() if name in finished},
    }
    record = record.model_copy(update=updates)
    folder.write(record)
    folder.emit(Started(host=record.host or "", pid=os.getpid(), items=len(record.items), finished=len(finished)))
    return record


def _close(folder: JobFolder, record: JobRecord, seconds: float) -> int:
    failed = [result for result in record.results.values() if result.state == "failed"]
    record.state = "failed" if failed else "finished"
    _sum_up(record, seconds)
    folder.write(record)
    if failed:
        code = max((1 if result.exit_code != 2 else 2 for result in failed), key=lambda c: c == 1)
        message = f"{len(failed)} of {len(record.items)} items failed"
        folder.emit(Failed(message=message, exit_code=code, seconds=record.usage.seconds))
        return code
    folder.seal()
    folder.emit(Finished(seconds=record.usage.seconds))
    return 0


def _close_interrupted(folder: JobFolder, record: JobRecord, seconds: float) -> int:
    folder.discard_unfinished()
    record.state = "interrupted"
    _sum_up(record, seconds)
    folder.write(record)
    folder.emit(Interrupted(seconds=seconds))
    return INTERRUPTED


def _close_broken(folder: JobFolder, record: JobRecord, error: Exception, seconds: float) -> int:
    """Close a job that could not run at all: its type is gone, the disk is full, a worker process was killed."""
    traceback.print_exception(error)
    with contextlib.suppress(OSError):
        folder.discard_unfinished()
    told = as_thon_error(error, folder.path)
    record.state = "failed"
    _sum_up(record, seconds)
    folder.write(record)
    folder.emit(Failed(message=str(told), exit_code=told.exit_code, seconds=seconds))
    return told.exit_code


def _sum_up(record: JobRecord, seconds: float) -> None:
    results: list[ItemResult] = list(record.results.values())
    record.ended = now()
    record.usage = Usage(
        seconds=round(record.usage.seconds + seconds, 3),
        cpu_seconds=round(sum(result.cpu_seconds for result in results), 3),
        peak_memory=max((result.peak_memory for result in results), default=0),
        bytes=sum(result.bytes for result in results),
    )


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _watch_parent() -> None:
    """Stop, as by Ctrl-C, when the program that started this worker is gone."""
    parent = int(os.environ.get(PARENT, "0"))
    if parent:
        main_thread = threading.main_thread().ident or 0
        watch_process(parent, lambda: signal.pthread_kill(main_thread, signal.SIGINT))


if __name__ == "__main__":
    sys.exit(main())
