"""One look at the queue for all jobs of a user: never more often than the cluster bears, and never waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache

from thon.base.errors import ThonError
from thon.engine.scheduler.threads import in_thread
from thon.engine.slurm.commands import Queued, squeue

QUICKEST = 1.0
"""Time between two looks while something changes, s."""

SLOWEST = 30.0
"""Time between two looks when nothing has changed for long, or the cluster does not answer, s."""

GROWTH = 1.3
LOAD = 20.0
"""A look that took long is followed by so many times that without one."""


class Queue:
    """What the queue held when it was last looked at.

    Args:
        ask: Asks the cluster.
    """

    def __init__(self, ask: Callable[[], Mapping[str, Queued]] = squeue):
        self.rows: Mapping[str, Queued] = {}
        self.looked = 0.0
        """When the last look that succeeded began, by the monotonic clock."""
        self.trouble = ""
        """Why the cluster could not be asked; empty where it could."""
        self._ask, self._pause, self._due = ask, QUICKEST, 0.0
        self._look: Future[Mapping[str, Queued]] | None = None
        self._began = 0.0

    def look(self) -> None:
        """Take up what the last look found, and begin another when it is time. Returns at once."""
        if self._look is not None:
            if not self._look.done():
                return
            self._take(self._look)
            self._look = None
        if time.monotonic() >= self._due:
            self._began = time.monotonic()
            self._look = in_thread(self._ask)

    def hurry(self) -> None:
        """Something was submitted or cancelled: look again soon."""
        self._pause = QUICKEST
        self._due = min(self._due, time.monotonic() + QUICKEST)

    def _take(self, look: Future[Mapping[str, Queued]]) -> None:
        took = time.monotonic() - self._began
        try:
            rows = look.result()
        except ThonError as error:
            self.trouble, self._pause = str(error), min(2 * self._pause, SLOWEST)
        else:
            changed = rows != self.rows
            self.rows, self.looked, self.trouble = rows, self._began, ""
            self._pause = QUICKEST if changed else min(GROWTH * self._pause, SLOWEST)
        self._due = time.monotonic() + max(self._pause, min(LOAD * took, SLOWEST))


@cache
def shared_queue() -> Queue:
    """The queue of this process's user, which all lanes share."""
    return Queue()
