"""The lane of this machine: jobs share its CPUs and GPUs, and end with the scheduler, but stay asked for.

A job that was told how many threads to use takes so many CPUs, any other all of them. One that can use a GPU takes one
for itself, or one for each of its workers, and of the CPUs the part that belongs to them. The oldest job that can run
is next; a younger one goes first only where it takes nothing that the older one waits for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from thon.engine.lanes.contract import Ending, Needs
from thon.engine.lanes.options import LOCAL, LaneOptions
from thon.engine.local import PATIENCE, events_size, last_word, no_word, start_worker
from thon.job.folder import JobFolder
from thon.job.worker import INTERRUPTED


class LocalLane:
    """This machine.

    Args:
        options: The lane.
        name: Its name.
    """

    def __init__(self, options: LaneOptions, name: str = LOCAL):
        self._options, self._name = options, name
        self._cpus = options.cpus or len(os.sched_getaffinity(0))
        self._gpus = _gpus(options.gpus)
        self._held: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._reserved: list[tuple[int, int]] = []

    def begin_round(self) -> None:
        """A new round begins; what was reserved in the last one is free."""
        self._reserved = []

    def full(self, needs: Needs) -> str:
        """Why there is no room for such a job now, in words; empty where there is."""
        cpus, gpus = self._takes(needs)
        jobs = self._options.jobs
        if jobs is not None and len(self._held) + len(self._reserved) >= jobs:
            return f"waits for one of the {jobs} jobs that run at most"
        if gpus and gpus > len(self._free_gpus()) - sum(kept for _, kept in self._reserved):
            return "waits for a GPU"
        taken = sum(cpus for cpus, _ in (*self._held.values(), *self._reserved))
        return "waits for CPUs" if cpus > self._cpus - taken else ""

    def reserve(self, needs: Needs) -> None:
        """Keep room for a job that is next in turn, until the next round."""
        self._reserved.append(self._takes(needs))

    def start(self, folder: JobFolder, needs: Needs) -> LocalHandle:
        """Start the job's worker."""
        cpus, gpus = self._takes(needs)
        mine = tuple(self._free_gpus()[:gpus])
        name = folder.path.name
        self._held[name] = cpus, mine
        environment = lane_environment(self._name, self._options)
        environment["THON_SHARE"] = f"{gpus / len(self._gpus) if gpus else cpus / self._cpus:.6g}"
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        try:
            worker = start_worker(folder, environment=environment)
        except BaseException:
            del self._held[name]
            raise
        return LocalHandle(folder, worker, lambda: self._held.pop(name, None))

    def _takes(self, needs: Needs) -> tuple[int, int]:
        """CPUs and GPUs that a job takes."""
        gpus = min(needs.gpus, len(self._gpus))
        default = max(1, self._cpus * gpus // len(self._gpus)) if gpus else self._cpus
        return min(needs.threads or default, self._cpus), gpus

    def _free_gpus(self) -> list[str]:
        taken = {gpu for _, gpus in self._held.values() for gpu in gpus}
        return [gpu for gpu in self._gpus if gpu not in taken]


class LocalHandle:
    """A worker on this machine.

    Args:
        folder: The job.
        worker: Its process.
        free: Gives back what it held.
        place: Where its items are done, in words.
    """

    batch = ""

    def __init__(
        self,
        folder: JobFolder,
        worker: subprocess.Popen[bytes],
        free: Callable[[], object],
        place: str = "on this machine",
    ):
        self._folder, self._worker, self._free, self._place = folder, worker, free, place
        self._begun = events_size(folder)
        self._kill_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._worker.poll() is not None

    @property
    def state(self) -> str:
        """What it does."""
        return "running" if self._kill_at is None else "stopping"

    @property
    def reason(self) -> str:
        """The state in words."""
        return f"{self.state} {self._place}"

    def poll(self) -> Ending | None:
        """How it ended; None while it goes on. A worker that does not hear that it is to stop is killed."""
        code = self._worker.poll()
        if code is None:
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self._worker.kill()
            return None
        self._free()
        if self._kill_at is not None:
            return Ending(INTERRUPTED)
        error = no_word(self._folder, code, closed=last_word(self._folder, self._begun) is not None)
        return Ending(code if code >= 0 else 1, words="" if error is None else str(error))

    def cancel(self) -> None:
        """Stop it, as by Ctrl-C."""
        if self._kill_at is None and self._worker.poll() is None:
            self._kill_at = time.monotonic() + PATIENCE
            self._worker.send_signal(signal.SIGINT)

    def leave(self) -> None:
        """Stop it, as by Ctrl-C, for it cannot go on without us."""
        self.cancel()

    def wait(self, seconds: float) -> None:
        """Wait so long until it is gone, then kill it."""
        try:
            self._worker.wait(seconds)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        self._free()


def lane_environment(name: str, options: LaneOptions) -> dict[str, str]:
    """Environment variables of a lane's jobs, among them those by which their records know lane and price."""
    told: Mapping[str, str | None] = {
        "THON_LANE": name,
        "THON_INSTANCE": options.instance or None,
        "THON_PRICE": None if options.price is None else str(options.price),
        "THON_CURRENCY": options.currency if options.price is not None else None,
        "THON_SPOT": None if options.spot is None else ("yes" if options.spot else "no"),
    }
    return {key: value for key, value in told.items() if value is not None} | dict(options.env)


def _gpus(most: int | None) -> list[str]:
    """The GPUs of this machine that the lane may use, by the names that CUDA has for them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        there = [name for name in visible.split(",") if name]
    else:
        there = [str(k) for k in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return there if most is None else there[:most]
