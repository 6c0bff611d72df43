"""What a lane is to the scheduler: it starts a job, and hands out what tells how it goes and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from thon.job.folder import JobFolder


@dataclass(frozen=True)
class Needs:
    """What a job needs of where it runs, as its type and its settings say.

    Args:
        whole: Whether it takes the whole set at once.
        gpus: GPUs that it can use at one time; 0 where it uses none.
        processes: Processes that do its one item together.
        threads: Threads that were asked for; None: as many as there are.
        memory: Memory that was asked for, GB; None: as much as there is.
    """

    whole: bool = False
    gpus: int = 0
    processes: int = 1
    threads: int | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a job's stay on a lane ended.

    Args:
        code: Exit code of its worker: 0 done, 2 a mistake of the user's, 1 one of ours, 130 stopped.
        next: "end": it is over; "again": it was cut short by no fault of its own, and goes on where it stopped; "fall":
            it never began and goes to the next lane.
        words: What to tell people, where the job itself told nothing.
    """

    code: int
    next: str = "end"
    words: str = ""


class Handle(Protocol):
    """A job that was given to a lane."""

    @property
    def state(self) -> str:
        """What it does: "starting", "queued", "running" or "stopping"."""
        ...

    @property
    def reason(self) -> str:
        """The state in words, with the queue's reason where it waits there, or the machine where it runs."""
        ...

    @property
    def batch(self) -> str:
        """The batch system's number of it; empty where there is none."""
        ...

    def poll(self) -> Ending | None:
        """How it ended; None while it goes on. Returns at once."""
        ...

    def cancel(self) -> None:
        """Stop it, as by Ctrl-C; what is finished is kept. Returns at once."""
        ...

    def leave(self) -> None:
        """The scheduler ends: what cannot go on without it is told to stop. Returns at once."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait so long until what was told to stop is gone, then kill it."""
        ...


class Lane(Protocol):
    """A place where jobs run."""

    def full(self, needs: Needs) -> str:
        """Why there is no room for such a job now, in words; empty where there is."""
        ...

    def reserve(self, needs: Needs) -> None:
        """Keep room for a job that is next in turn, until `full` is asked in the next round."""
        ...

    def begin_round(self) -> None:
        """A new round begins; what was reserved in the last one is free."""
        ...

    def start(self, folder: JobFolder, needs: Needs) -> Handle:
        """Give it a job, or find it again where it was given before. Returns at once.

        Raises:
            ThonError: The lane cannot take it, now or ever.
        """
        ...
