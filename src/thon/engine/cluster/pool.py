"""Workers on other machines, by Dask: an executor that grows and shrinks with what there is to do.

Calls wait here, in order, and go to Dask as workers have nothing to do, one each: so a worker that is lost costs what
it had in hand and no more, and is made up for by another. All connections are TLS, by a certificate made for the run.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from dask import config
from distributed import Client, KilledWorker

from thon.base.errors import JobError
from thon.engine.cluster.hand import Duty, Hand, by_hand
from thon.engine.cluster.size import Backlog, Roll
from thon.engine.pool import WorkerDiedError
from thon.job.loop import WorkerLostError
from thon.job.plan import Resources

Given = ParamSpec("Given")
Result = TypeVar("Result")

LOSSES = 10
"""So many workers may be lost with a call, for machines are taken away, before it is given up."""

DEATHS = 3
"""So many processes may die of a call before it is given up."""

SILENCE = 5.0
"""Least time between two sentences about the workers, s."""

IDLE = 30
"""Time without anything to do after which a worker goes, s."""

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # we count them, and only those of calls that had begun
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.daemon": False,  # so that a worker may have a process beside it
    "distributed.deploy.lost-worker-timeout": "15s",
    "distributed.admin.tick.limit": "60s",
}
"""How Dask is set while a cluster is there. Its web pages, which ask for no password, are off."""


@dataclass
class _Call:
    future: Future[Any]
    task: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    begun: bool = False
    losses: int = 0
    deaths: int = 0


class ClusterPool(Executor):
    """Calls over the workers of a Dask cluster.

    Args:
        cluster: A cluster of Dask's that has no workers yet.
        duty: What its workers are there for.
        minimum: Workers that are kept even when there is nothing to do.
        maximum: Workers at most.
        deaths: Processes that may die of a call before it is given up.
        say: Takes sentences about which workers are there, where somebody wants to know.
    """

    def __init__(
        self,
        cluster: Any,
        duty: Duty,
        *,
        minimum: int,
        maximum: int,
        deaths: int = DEATHS,
        say: Callable[[str], None] | None = None,
    ):
        self.workers = maximum
        self._cluster, self._minimum, self._deaths = cluster, minimum, deaths
        self._changed = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._in_flight = self._asked = 0
        self._closed = False
        self._say, self._told, self._next_word = say, "", 0.0
        self._roll = Roll(duty.runs, self._notify)
        self._client: Any = Client(cluster)
        self._client.register_plugin(Hand(duty))
        self._executor: Executor = self._client.get_executor(pure=False)
        cluster.scheduler.add_plugin(self._roll)
        grows = functools.partial(Backlog, self._wanted, self.give_up, self._tell)
        self._adaptive: Any = cluster.adapt(
            Adaptive=grows, minimum=min(minimum, maximum), maximum=maximum, interval="500ms", wait_count=2 * IDLE
        )
        self._feeder = threading.Thread(target=self._feed, name="feed", daemon=True)
        self._feeder.start()

    @property
    def room(self) -> int:
        """How many calls can run at one time now."""
        return min(self._roll.count, self.workers)

    @property
    def reason(self) -> str:
        """Why there are fewer workers than could have something to do, in words; empty where there are not."""
        wanted = min(self._wanted(), self.workers)
        if wanted <= self._roll.count:
            return ""
        why = self._adaptive.fault or getattr(self._cluster, "reason", "")
        return f"{self._roll.count} of {wanted} workers are there" + (f"; {why}" if why else "")

    def submit(self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        """Queue a call; its future fails with `WorkerLostError` where worker after worker was lost with it."""
        future: Future[Result] = Future()
        with self._changed:
            self._queue.append(_Call(future, (fn, args, kwargs)))
            self._changed.notify()
        return future

    def want(self, calls: int) -> None:
        """Say how many calls could run at one time now, besides those that are queued here."""
        self._asked = calls

    def resize(self, workers: int) -> None:
        """Have at most so many workers; those that are too many go once they have nothing to do."""
        self.workers = workers
        self._adaptive.maximum, self._adaptive.minimum = workers, min(self._minimum, workers)
        self._notify()

    def give_up(self, error: JobError) -> None:
        """There will be no workers: every call that waits fails."""
        with self._changed:
            waiting, self._queue = self._queue, deque()
        for call in waiting:
            call.future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers go once the calls are done."""
        if not cancel_futures:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or not (self._queue or self._in_flight))
        self.stop()

    def stop(self, patience: float = 5.0) -> None:
        """Let the workers go now; what they do is lost."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._feeder.join()
        for call in self._queue:
            call.future.cancel()
        with contextlib.suppress(TimeoutError):
            self._client.close(patience)
        with contextlib.suppress(TimeoutError):
            self._cluster.close(6 * patience)

    def _wanted(self) -> int:
        return max(self._asked, len(self._queue) + self._in_flight)

    def _tell(self) -> None:
        """Say which workers are there, when that has changed and the last word is some time ago."""
        if self._say is None or time.monotonic() < self._next_word:
            return
        text = self.reason or f"{self._roll.count} workers are there"
        if text != self._told:
            self._told, self._next_word = text, time.monotonic() + SILENCE
            self._say(text)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _feed(self) -> None:
        """Give calls to Dask as there is room; in a thread of its own."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._queue and self._in_flight < self.room))
                if self._closed:
                    return
                call = self._queue.popleft()
                if not call.begun and not call.future.set_running_or_notify_cancel():
                    continue
                call.begun = True
                self._in_flight += 1
            given = self._executor.submit(by_hand, *call.task)
            given.add_done_callback(functools.partial(self._take_back, call))

    def _take_back(self, call: _Call, given: Future[Any]) -> None:
        """A call has ended, or its worker has."""
        error = CancelledError() if given.cancelled() else given.exception()
        again = error is not None and self._may_try_again(call, error)
        with self._changed:
            self._in_flight -= 1
            if again:
                self._queue.appendleft(call)
            self._changed.notify_all()
        if error is None:
            call.future.set_result(given.result())
        elif not again:
            call.future.set_exception(_told(call, error))

    def _may_try_again(self, call: _Call, error: BaseException) -> bool:
        call.losses += isinstance(error, KilledWorker | CancelledError)
        call.deaths += isinstance(error, WorkerDiedError)
        if not isinstance(error, KilledWorker | CancelledError | WorkerDiedError) or self._closed:
            return False
        return call.losses < LOSSES and call.deaths < self._deaths


def _told(call: _Call, error: BaseException) -> BaseException:
    if isinstance(error, KilledWorker | CancelledError):
        return WorkerLostError(f"{call.losses} workers were lost with this item in hand", mend="`thon resume`")
    return error


class ClusterCrew:
    """Workers of a lane for the items of one job.

    Args:
        open_cluster: Opens a cluster of Dask's that has no workers yet.
        resources: What one item may use.
        gpus: GPUs of a worker.
        minimum: Workers that are kept even when there is nothing to do.
        maximum: Workers at most.
        deaths: Processes that may die of an item before it is given up.
        say: Takes sentences about which workers are there.
    """

    gpus_here = False
    is_elsewhere = True

    def __init__(
        self,
        open_cluster: Callable[[], AbstractContextManager[Any]],
        *,
        resources: Resources,
        gpus: int,
        minimum: int,
        maximum: int,
        deaths: int = DEATHS,
        say: Callable[[str], None] | None = None,
    ):
        self.resources, self.size, self.devices = resources, maximum, [resources.device]
        self.open_cluster = open_cluster
        self._gpus, self._minimum, self._deaths, self._say = gpus, minimum, deaths, say

    @contextlib.contextmanager
    def at_work(self, runs: Mapping[Path, str]) -> Generator[ClusterPool]:
        """Have them there for a while, on runs of jobs."""
        duty = Duty(dict(runs), self.resources.threads, self._gpus)
        with config.set(SETTINGS), self.open_cluster() as cluster:
            pool = ClusterPool(
                cluster, duty, minimum=self._minimum, maximum=self.size, deaths=self._deaths, say=self._say
            )
            try:
                yield pool
            finally:
                pool.stop()
