"""What a worker of a Dask cluster has of thon: one process of its own in which items are done.

An item that kills its process, or keeps it from answering, leaves the worker alive, which tells of it. The process ends
with its worker, and the worker with its scheduler, so that nothing goes on where nobody knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_worker

from thon.engine.pool import WorkerPool
from thon.job.hardware import describe_machine, user_name
from thon.job.machine import now, thread_variables
from thon.job.workers_file import WORKER, WorkerLine, note_worker

NAME = "thon"
"""What Dask knows it by."""


@dataclass(frozen=True)
class Duty:
    """What workers are there for.

    Args:
        runs: Runs of jobs, each given as its folder and when it began.
        threads: Threads that numerical libraries may start.
        gpus: GPUs of a worker.
    """

    runs: Mapping[Path, str]
    threads: int = 1
    gpus: int = 0


class Hand(WorkerPlugin):
    """Does what the worker is given, in a process beside it, and notes in the jobs' folders that the worker is there.

    Args:
        duty: What the workers are there for.
    """

    name = NAME

    def __init__(self, duty: Duty):
        self._duty = duty
        self._pool: WorkerPool | None = None

    def setup(self, worker: Any) -> None:
        """The worker begins."""
        batch = os.environ.get("SLURM_JOB_ID", "")
        own = f"{os.environ.get('SLURMD_NODENAME') or platform.node()}-{batch or os.getpid()}"
        machine = describe_machine(self._duty.gpus).model_dump()
        for job, run in self._duty.runs.items():
            line = WorkerLine(
                **machine, run=run, place=str(worker.name), time=now(), worker=own, user=user_name(), batch=batch
            )
            with contextlib.suppress(OSError):  # of a full disk the items tell
                note_worker(job, line)
        self._pool = WorkerPool(1, environment=thread_variables(self._duty.threads) | {WORKER: own})

    async def teardown(self, worker: Any) -> None:
        """The worker ends."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.stop)

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What a function returns in the process beside.

        Raises:
            WorkerDiedError: The process was killed by it.
        """
        assert self._pool is not None, "Dask sets its plugins up first"
        return self._pool.submit(function, *arguments, **keywords).result()


def by_hand(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """The task that Dask is given: call a function in the process beside the worker that it runs on."""
    hand = get_worker().plugins[NAME]
    assert isinstance(hand, Hand), "nobody else bears this name"
    return hand.call(function, arguments, keywords)
