"""One step of a live session: its job folder, what waits for it, and how each of its items stands."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from thon.base.options import Options
from thon.job.folder import JobFolder, storing
from thon.job.items_file import ItemLine, read_items
from thon.job.lines import append_line
from thon.job.record import Reference, Usage
from thon.job.runs import added
from thon.job.spec import JobSpec

State = Literal["idle", "waiting", "running", "done", "failed"]

RECENT = 200
"""Items over which the rate is measured."""


@dataclass(slots=True)
class Entry:
    """How an item stands at a step.

    Args:
        number: When it arrived, among all.
        state: `idle` waits for an earlier step, or for its files.
        basis: What it was made from, or is being made from.
        version: What later steps depend on; empty until it is done.
        attempts: Attempts that failed at this basis.
    """

    number: int
    state: State = "idle"
    basis: str = ""
    version: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class Failure:
    """Why an item was given up."""

    step: str
    item: str
    message: str
    exit_code: int


class Stage:
    """One step.

    Args:
        spec: Its job type.
        options: Its options.
        folder: Its job folder.
        job: The job's number.
        ports: What goes into further ports of every item.
        newest_first: Take up what arrived last first.
    """

    def __init__(
        self,
        spec: JobSpec,
        options: Options,
        folder: JobFolder,
        *,
        job: str,
        ports: dict[str, list[Reference]],
        newest_first: bool,
    ):
        self.spec, self.options, self.folder, self.job, self.ports = spec, options, folder, job, ports
        self.entries: dict[str, Entry] = {}
        self.failures: dict[str, Failure] = {}
        self.rejected: dict[str, str] = {}
        self.waiting, self.running, self.done = 0, 0, 0
        self.took = {"": Usage()}
        self.size = 0
        self.finished: deque[float] = deque(maxlen=RECENT)
        self._sign = -1 if newest_first else 1
        self._ready: list[tuple[int, str]] = []
        self._delayed: list[tuple[float, int, str]] = []

    def restore(self) -> Iterator[ItemLine]:
        """Take over what an earlier session finished and whose outputs are there; yields its lines.

        What had failed is tried again.
        """
        there = set(self.folder.items())
        last = {line.item: line for line in read_items(self.folder.items_file)}
        for line in last.values():
            if line.done and line.item in there:
                self.entries[line.item] = Entry(len(self.entries), "done", line.basis, line.version)
                self.done += 1
                self.size += line.result.bytes
                yield line

    def entry(self, item: str, number: int) -> Entry:
        """The entry of an item, new where there is none."""
        return self.entries.setdefault(item, Entry(number))

    def queue(self, item: str, *, at: float | None = None) -> None:
        """Let an item wait for a worker, not before the monotonic time `at`."""
        entry = self.entries[item]
        self._set(entry, "waiting")
        self._forget(item)
        if at is None:
            heapq.heappush(self._ready, (self._sign * entry.number, item))
        else:
            heapq.heappush(self._delayed, (at, entry.number, item))

    def take(self, now: float) -> str | None:
        """The item to do next, which counts as running; None where nothing is ready."""
        while self._delayed and self._delayed[0][0] <= now:
            _, number, item = heapq.heappop(self._delayed)
            heapq.heappush(self._ready, (self._sign * number, item))
        while self._ready:
            _, item = heapq.heappop(self._ready)
            if self.entries[item].state == "waiting":
                self._set(self.entries[item], "running")
                return item
        return None

    def finish(self, item: str, line: ItemLine, now: float) -> None:
        """An item is done."""
        entry = self.entries[item]
        self._set(entry, "done")
        entry.basis, entry.version, entry.attempts = line.basis, line.version, 0
        self.finished.append(now)
        worker = line.result.worker
        self.took[worker] = added([self.took.get(worker, Usage()), line.result])
        self.size += line.result.bytes

    def hold(self, item: str) -> None:
        """Let an item wait for an earlier step, or for its files."""
        self._set(self.entries[item], "idle")
        self._forget(item)

    def values(self) -> dict[str, dict[str, float]]:
        """The numbers of what each item yielded, read anew, for they would fill the memory."""
        return {line.item: line.result.values for line in read_items(self.folder.items_file) if line.done}

    def fail(self, item: str, message: str, exit_code: int) -> None:
        """Give an item up."""
        self._forget(item)
        self._set(self.entries[item], "failed")
        self.failures[item] = Failure(self.spec.name, item, message, exit_code)

    def write(self, line: ItemLine) -> None:
        """Remember how an item ended.

        Raises:
            StoreError: The disk refuses.
        """
        with storing(self.folder.items_file):
            append_line(self.folder.items_file, line.model_dump_json())

    def is_done(self, item: str) -> bool:
        """Whether an item is done."""
        entry = self.entries.get(item)
        return entry is not None and entry.state == "done"

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits for a worker."""
        return bool(self.running or self.waiting)

    def rate(self, now: float) -> float | None:
        """Items finished per hour of late; None where there are too few to tell."""
        if len(self.finished) < 2 or now <= self.finished[0]:
            return None
        return 3600 * (len(self.finished) - 1) / (now - self.finished[0])

    def _forget(self, item: str) -> None:
        self.failures.pop(item, None)
        self.rejected.pop(item, None)

    def _set(self, entry: Entry, state: State) -> None:
        self.waiting += (state == "waiting") - (entry.state == "waiting")
        self.running += (state == "running") - (entry.state == "running")
        self.done += (state == "done") - (entry.state == "done")
        entry.state = state
