"""Which workers a Dask cluster has, and how many it should have."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distributed import Adaptive, SchedulerPlugin

from thon.base.errors import JobError
from thon.job.machine import now
from thon.job.workers_file import WorkerLine, note_worker

REFUSALS, AGAIN = 3, 10.0
"""So many times, and so many seconds apart, the batch system may refuse all workers before the calls are given up."""


class Roll(SchedulerPlugin):
    """Knows which workers are there, and notes in the jobs' folders when one is gone.

    Args:
        runs: The runs that they are there for.
        changed: Is called when one has come or gone.
    """

    name = "thon-roll"

    def __init__(self, runs: Mapping[Path, str], changed: Callable[[], None]):
        self._runs, self._changed = runs, changed
        self._there: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Number of workers that are there."""
        return len(self._there)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """A worker has come."""
        self._there[worker] = str(scheduler.workers[worker].name)
        self._changed()

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """A worker is gone."""
        place = self._there.pop(worker, None)
        if place is not None:
            for job, run in self._runs.items():
                with contextlib.suppress(OSError):  # a full disk; the worker counts for as long as the run then
                    note_worker(job, WorkerLine(run=run, place=place, time=now()))
        self._changed()


class Backlog(Adaptive):
    """Has as many workers as there are calls, and lets only such go as have nothing to do.

    Args:
        wanted: Tells how many workers there could be work for.
        give_up: Is told why there never will be any.
        look: Is called each time that the number is looked at.
        cluster: The cluster.
    """

    cluster: Any

    def __init__(
        self,
        wanted: Callable[[], int],
        give_up: Callable[[JobError], None],
        look: Callable[[], None],
        cluster: Any,
        **options: Any,
    ):
        self.fault, self._refusals, self._next_try = "", 0, 0.0
        self._wanted, self._give_up, self._look = wanted, give_up, look
        super().__init__(cluster, **options)

    async def target(self) -> int:
        """The number of workers that there should be."""
        return self._wanted()

    async def workers_to_close(self, target: int) -> list[Any]:
        """Workers that may go so that no more than `target` are left."""
        idle = [worker.name for worker in self.cluster.scheduler.workers.values() if not worker.processing]
        return idle[: max(0, len(self.plan) - target)]

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to do; jobs that could not be submitted are submitted again."""
        self.fault = next((job.refused for job in self.cluster.workers.values() if getattr(job, "refused", "")), "")
        self._look()
        if self.fault and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + AGAIN
            self._submit_again()
        return await super().recommendations(target)

    def _submit_again(self) -> None:
        """Let go of jobs that could not be submitted, for new ones; if that never works, there will be no workers."""
        refused = {name: job for name, job in self.cluster.workers.items() if getattr(job, "refused", "")}
        for name in refused:
            del self.cluster.workers[name]
        self._refusals = 0 if self.cluster.workers else self._refusals + 1
        if self._refusals >= REFUSALS or (self._refusals and all(job.for_good for job in refused.values())):
            self._give_up(JobError("no worker can be submitted", got=self.fault, mend="`thon lanes test` the lane"))
