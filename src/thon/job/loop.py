"""The loop over a job's items: in this process, over a pool of processes, or over workers on other machines."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from thon.base.errors import JobError
from thon.job.folder import JobFolder
from thon.job.item import Outcome, failed_outcome, run_item
from thon.job.items_file import ItemLine
from thon.job.machine import job_resources, process_count, share
from thon.job.plan import Resources
from thon.job.ranks import followed
from thon.job.record import JobRecord
from thon.job.registry import load_job
from thon.job.runs import write_result

AHEAD = 8
"""Items that wait at each worker, so that it never waits for us."""


class Crew(Protocol):
    """Workers on other machines that do a job's items."""

    @property
    def size(self) -> int:
        """Workers at most."""
        ...

    @property
    def resources(self) -> Resources:
        """What one item may use."""
        ...

    def at_work(self, runs: Mapping[Path, str]) -> AbstractContextManager[Executor]:
        """Have them there for a while, on runs of jobs, each given as its folder and when it began.

        The executor fails a call with `WorkerLostError` where a worker was lost with it again and again.
        """
        ...


class WorkerLostError(JobError):
    """A worker was gone before it had finished what it was given."""


def run_items(folder: JobFolder, record: JobRecord, crew: Crew | None = None) -> None:
    """Do every item that is not finished, and note in the folder how each ended.

    Raises:
        KeyboardInterrupt: Passed on; finished items are kept.
        JobError: A worker process was killed.
    """
    finished = set(folder.items())
    pending = [item for item in record.items if item not in finished]
    spreads = load_job(record.type).spreads
    if crew is not None and not spreads:
        _write(folder, _elsewhere(folder, record, pending, crew))
        return
    workers = process_count(record) if spreads else min(record.settings.workers, len(pending))
    resources = share(job_resources(record), max(workers, 1))
    if spreads:
        outcomes = _together(folder, pending, resources, workers)
    elif workers <= 1:
        outcomes = _one_by_one(folder, pending, resources)
    else:
        outcomes = _pooled(folder, pending, resources, workers)
    _write(folder, outcomes)


def _write(folder: JobFolder, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        write_result(folder, ItemLine(item=outcome.item, inputs={}, used=outcome.used, result=outcome.result))


def _one_by_one(folder: JobFolder, items: list[str], resources: Resources) -> Iterator[Outcome]:
    for item in items:
        yield run_item(folder.path, item, resources)


def _together(folder: JobFolder, items: list[str], resources: Resources, workers: int) -> Iterator[Outcome]:
    """Each item by several processes; the time of the others is the run's."""
    for item in items:
        with followed(folder, workers):
            outcome = run_item(folder.path, item, resources)
        yield outcome


def _pooled(folder: JobFolder, items: list[str], resources: Resources, workers: int) -> Iterator[Outcome]:
    # Spawned, not forked: a forked child would share the state of torch's and numba's threads.
    method = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=method, initializer=_enter_pool, initargs=(folder.path, os.getpid())
    ) as pool:
        try:
            yield from over(pool, folder.path, items, resources, ahead=AHEAD * workers)
        except BrokenProcessPool as error:
            raise JobError(
                "a worker process was killed", mend="if memory ran out, use fewer --workers; then `thon resume`"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _elsewhere(folder: JobFolder, record: JobRecord, items: list[str], crew: Crew) -> Iterator[Outcome]:
    if not items:
        return
    with crew.at_work({folder.path: record.runs[-1].started}) as executor:
        yield from over(executor, folder.path, items, crew.resources, ahead=AHEAD * crew.size)
    folder.discard_unfinished()


def over(
    executor: Executor, path: Path, items: Sequence[str], resources: Resources, *, ahead: int
) -> Iterator[Outcome]:
    """Do items over any executor of `concurrent.futures`; outcomes come as they are ready.

    An item whose workers were lost with it is given up.

    Args:
        executor: Does them.
        path: The job's folder.
        items: Names of the items.
        resources: What one item may use.
        ahead: Items that the executor has at one time, so that memory does not grow with their number.
    """
    waiting, running = iter(items), dict[Future[Outcome], str]()
    while True:
        for item in itertools.islice(waiting, ahead - len(running)):
            running[executor.submit(run_item, path, item, resources)] = item
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            item = running.pop(future)
            try:
                yield future.result()
            except WorkerLostError as error:
                yield failed_outcome(JobFolder(path), item, error)


def watch_process(parent: int, when_gone: Callable[[], object]) -> None:
    """Do something once this process has lost its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        when_gone()

    threading.Thread(target=watch, daemon=True).start()


def _enter_pool(path: Path, parent: int) -> None:
    """Ctrl-C is the worker's affair, which ends its pool; without the worker a pool process must not go on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    JobFolder(path).join_pool()
    watch_process(parent, lambda: os._exit(1))
