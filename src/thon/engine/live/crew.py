"""Whoever does the items of a live session: processes on this machine, or the workers of a lane."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from thon.base.errors import InputError
from thon.engine.lanes.options import LOCAL, read_lanes
from thon.engine.live.open import SessionRequest
from thon.engine.pool import Pool, WorkerPool
from thon.job.folder import storing
from thon.job.machine import devices, resources, share, thread_variables
from thon.job.plan import Resources

LOGS = Path(".thon") / "live"
"""Folder in a project with what the workers of a lane say."""

ATTEMPTS = 1
"""Processes that may die of an item before the session is told, which tries again itself."""


class Crew(Protocol):
    """Workers of a session."""

    @property
    def size(self) -> int:
        """Workers at most, unless the session is told otherwise."""
        ...

    @property
    def resources(self) -> Resources:
        """What one item may use."""
        ...

    @property
    def devices(self) -> Sequence[str]:
        """The devices that items take in turn, of steps that use GPUs."""
        ...

    @property
    def gpus_here(self) -> bool:
        """Whether GPUs of this machine are used."""
        ...

    @property
    def is_elsewhere(self) -> bool:
        """Whether they are on other machines, which are paid for by themselves."""
        ...

    def at_work(self, runs: Mapping[Path, str]) -> AbstractContextManager[Pool]:
        """Have them there for a while, on runs of jobs, each given as its folder and when it began."""
        ...


class LocalCrew:
    """Processes of one thread each; they share the memory, and take the GPUs in turn.

    Args:
        request: What the session is asked to do.
        hold: A file on which each of them holds a lock as long as it lives.
    """

    is_elsewhere = False

    def __init__(self, request: SessionRequest, hold: Path):
        self.size = request.options.workers or len(os.sched_getaffinity(0))
        self._hold = hold
        self._whole = resources(request.settings, max(step.spec.gpus for step, _ in request.steps))
        self.devices = devices(self._whole.device)
        self.gpus_here = self._whole.device.startswith("cuda")
        self._pool: WorkerPool | None = None

    @property
    def resources(self) -> Resources:
        """What one item may use, with as many processes as there are now."""
        workers = self.size if self._pool is None else max(1, self._pool.workers)
        return share(Resources(workers, self._whole.memory, self._whole.device), workers)

    @contextlib.contextmanager
    def at_work(self, runs: Mapping[Path, str]) -> Generator[WorkerPool]:
        """Have them there for a while."""
        self._pool = WorkerPool(self.size, environment=thread_variables(1), hold=self._hold)
        try:
            yield self._pool
        finally:
            self._pool.stop()


def lane_crew(root: Path, request: SessionRequest) -> Crew | None:
    """The workers of the lane that a session is asked to run on; None for this machine.

    Raises:
        InputError: There is no such lane, or it has no workers.
    """
    if not request.lane:
        return None
    lanes = read_lanes(root)
    name = lanes.named(request.lane)
    options = lanes[name]
    if options.kind == LOCAL:
        return None
    if options.workers is None:
        raise InputError(
            f"the lane '{name}' has no workers", path=lanes.file, mend=f"say in a table [{name}.workers] how many"
        )
    from thon.engine.cluster.slurm import slurm_crew  # noqa: PLC0415

    with storing(root):
        (root / LOGS).mkdir(parents=True, exist_ok=True)
    if request.options.workers is not None:
        workers = options.workers.model_copy(update={"max": request.options.workers})
        options = options.model_copy(update={"workers": workers})
    gpus = max(step.spec.gpus for step, _ in request.steps)
    settings = request.settings.model_copy(update={"threads": None})
    return slurm_crew(
        name, options, name=f"{root.name}-live", gpus=gpus, folder=root / LOGS, settings=settings, deaths=ATTEMPTS
    )
