"""The one entry of every run: ``thon-worker JOBDIR`` takes up a job and does every item that is not done yet.

The command line, the local machine and a batch system all start the same program. It exits with 0 when all items are
done, 2 when all that failed were mistakes of the user's, 1 when something of ours failed, 130 when it was stopped.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from thon.base.errors import StoreError, ThonError
from thon.job.energy import EnergyMeter
from thon.job.events import Failed, Finished, Interrupted, Started
from thon.job.folder import JobFolder
from thon.job.item import as_thon_error
from thon.job.iterations import begin_at
from thon.job.loop import Crew, run_items, watch_process
from thon.job.machine import held_gpus, job_resources, limit_threads, now, process_count, share
from thon.job.nvml import open_gpus
from thon.job.ranks import PARENT, follow, take_rank
from thon.job.record import JobRecord
from thon.job.registry import load_job
from thon.job.runs import RunEnding, begin_run, close_killed, end_run, found_results, taken

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the job in the folder given as the only argument; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0].startswith("-"):
        print(f"usage: thon-worker JOBDIR\n\n{__doc__}")
        return 0 if given in (["-h"], ["--help"]) else 2
    folder = JobFolder(Path(given[0]))
    return serve(lambda: run(folder, own_process=True) if take_rank() == 0 else follow(folder))


def serve(work: Callable[[], int]) -> int:
    """Do what a worker's process is there for, so that it can be stopped; returns the exit code."""
    # A shell starts background jobs with SIGINT ignored, and children inherit that; a worker must always hear it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _watch_parent()
    try:
        return work()
    except KeyboardInterrupt:
        return INTERRUPTED
    except ThonError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(folder: JobFolder, *, own_process: bool = False, crew: Crew | None = None) -> int:
    """Take up a job, do what is left of it, and close its record; returns the exit code.

    Args:
        folder: The job's folder.
        own_process: Whether this process exists for the job alone, so that its numerical libraries may be told how many
            threads to start.
        crew: Workers on other machines that do the items, where not this machine does.

    Raises:
        StoreError: It is finished already, somebody else runs it, or the disk refuses.
    """
    with folder.lock():
        record = folder.read()
        if record.state == "finished":
            raise StoreError("this job is finished and does not change", path=folder.path, mend="`thon repeat` it")
        shift = _Shift(folder, crew)
        try:
            shift.take_up(record)
            if own_process and crew is None:
                limit_threads(share(job_resources(record), process_count(record)).threads)
            run_items(folder, record, crew)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return shift.close_interrupted()
        except Exception as error:
            return shift.close_broken(error)
        return shift.close()


class _Shift:
    """One run of a job, from where it is taken up to where its record is closed.

    Args:
        folder: The job's folder.
        crew: Workers on other machines, if any.
    """

    def __init__(self, folder: JobFolder, crew: Crew | None):
        self._folder, self._crew = folder, crew
        self._start = time.monotonic()
        self._meter: EnergyMeter | None = None

    def take_up(self, record: JobRecord) -> None:
        """Clear away what an earlier run left half-done, and note that and where this one begins."""
        folder = self._folder
        folder.await_pool()
        folder.discard_unfinished()
        close_killed(folder, record)
        finished = folder.items()
        resources = job_resources(record) if self._crew is None else self._crew.resources
        gpus = held_gpus(resources.device, load_job(record.type).gpus) if self._crew is None else 0
        record.results = found_results(folder, record, finished)
        record.state, record.started, record.ended = "running", record.started or now(), None
        record.device, record.threads, record.memory = resources.device, resources.threads, resources.memory
        for item in record.items.keys() - set(finished):
            begin_at(folder.path, record, item)
        run = begin_run(record, gpus=gpus, watches=self._crew is not None)
        folder.write(record)
        self._meter = EnergyMeter(open_gpus()[:gpus])
        folder.emit(Started(host=run.host, pid=os.getpid(), items=len(record.items), finished=len(finished)))

    def close(self) -> int:
        """Every item was tried; returns the exit code."""
        failed = [result for result in self._folder.read().results.values() if result.state == "failed"]
        record = self._end("failed" if failed else "finished")
        if failed:
            code = max((1 if result.exit_code != 2 else 2 for result in failed), key=lambda c: c == 1)
            message = f"{len(failed)} of {len(record.items)} items failed"
            self._folder.emit(Failed(message=message, exit_code=code, seconds=record.usage.seconds))
            return code
        self._folder.seal()
        self._folder.emit(Finished(seconds=record.usage.seconds))
        return 0

    def close_interrupted(self) -> int:
        """Somebody stopped it; returns the exit code."""
        self._folder.discard_unfinished()
        self._end("interrupted")
        self._folder.emit(Interrupted(seconds=time.monotonic() - self._start))
        return INTERRUPTED

    def close_broken(self, error: Exception) -> int:
        """It could not run at all: its type is gone, the disk is full, a worker process was killed."""
        traceback.print_exception(error)
        with contextlib.suppress(OSError):
            self._folder.discard_unfinished()
        told = as_thon_error(error, self._folder.path)
        self._end("failed")
        message, seconds = str(told), time.monotonic() - self._start
        self._folder.emit(Failed(message=message, exit_code=told.exit_code, seconds=seconds))
        return told.exit_code

    def _end(self, ending: RunEnding) -> JobRecord:
        record = self._folder.read()
        record.state, record.ended = ending, now()
        if self._meter is not None:
            took = taken(self._folder, time.monotonic() - self._start, self._meter.stop())
            if load_job(record.type).spreads:
                took[""].cpu_seconds += _cpu_of_others()  # the processes that did the item together with this one
            end_run(self._folder, record, ending, took, record.ended)
        self._folder.write(record)
        return record


def _cpu_of_others() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime + used.ru_stime, 3)


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
