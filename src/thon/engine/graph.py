"""The graph of jobs: who takes what from whom, in which order they can run, and who must wait or is held."""

from __future__ import annotations

import contextlib
import graphlib
import heapq
from collections.abc import Collection, Iterator, Mapping

from thon.base.errors import InputError, StoreError
from thon.job.folder import JobFolder
from thon.job.record import JobRecord, State
from thon.project.project import Project

IN_VAIN = {"failed": "failed", "interrupted": "was interrupted", "held": "is held"}
"""States of a job for which it is vain to wait, in words."""


def parents_of(record: JobRecord) -> set[str]:
    """The jobs that a job's inputs come from, and those that it was told to wait for."""
    given = {one.job for ports in record.items.values() for many in ports.values() for one in many if one.job}
    wanted = {source.split(":")[0] for many in record.wants.values() for source in many if is_number(source)}
    others = {record.follows, record.continues.job if record.continues is not None else None}
    return (given | wanted | set(record.after) | {one for one in others if one is not None}) - {record.id}


def is_number(source: str) -> bool:
    """Whether what a port wants is a job's number, with or without an item, rather than a file."""
    head = source.split(":", maxsplit=1)[0]
    return head[:1] == "J" and head[1:].isdigit()


def in_order(parents: Mapping[str, Collection[str]]) -> list[str]:
    """Jobs so that each comes after those that it waits for; where there is a choice, in the order of their names.

    Raises:
        InputError: Some wait for each other in a ring.
    """
    sorter = graphlib.TopologicalSorter(parents)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        ring = " waits for ".join(reversed(error.args[1]))
        raise InputError(
            "jobs wait for each other in a ring", got=ring, mend="let one of them wait for no other"
        ) from error
    return list(_ordered(sorter))


def _ordered(sorter: graphlib.TopologicalSorter[str]) -> Iterator[str]:
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (len(name), name))
        _, name = heapq.heappop(ready)
        sorter.done(name)
        yield name


def waiting_jobs(project: Project) -> dict[str, JobRecord]:
    """The jobs that wait to be run, or are held, by number; one whose record cannot be read is none of them."""
    found: dict[str, JobRecord] = {}
    for folder in project.jobs():
        with contextlib.suppress(StoreError):
            if folder.marked_state() in ("waiting", "held") and (record := folder.head()).live is None:
                found[record.id] = record
    return found


def with_parents(project: Project, names: Collection[str]) -> list[str]:
    """Of the jobs that wait, those named and those that they wait for, in an order in which they can run.

    Raises:
        InputError: They wait for each other in a ring, or for a job that is not there.
    """
    waiting = waiting_jobs(project)
    parents = {name: parents_of(record) for name, record in waiting.items()}
    there = {folder.path.name.split("-")[0] for folder in project.jobs()}
    wanted: set[str] = set()
    left = sorted(names or parents)
    while left:
        name = left.pop()
        if name in wanted or name not in parents:
            continue
        wanted.add(name)
        if missing := sorted(parents[name] - there):
            raise InputError(f"{name} waits for {missing[0]}, which is not there", path=project.root)
        left += parents[name]
    return [name for name in in_order({name: parents[name] for name in wanted}) if name in wanted]


def obstacles(folders: Mapping[str, JobFolder], parents: Collection[str]) -> Iterator[tuple[str, State]]:
    """Of the jobs that a job takes from or waits for, those that keep it from running, and their states.

    A job of which some items failed is as good as finished: those that take from it do so of what is done. One that
    broke off before it had tried them all is not. A job of a live session, which may go on for days, gives what it has.

    Args:
        folders: All jobs by number.
        parents: Numbers of the jobs before it.

    Raises:
        InputError: One is not there.
        StoreError: The record of one cannot be read.
    """
    for name in sorted(parents):
        folder = folders.get(name)
        if folder is None:
            raise InputError(f"it waits for {name}, which is not there", mend="`thon clone` it without")
        state = folder.state()
        if state != "finished" and not _gives(folder, state):
            yield name, state


def _gives(folder: JobFolder, state: State) -> bool:
    """Whether a job that is not finished has something to take from, and will not have more of what it was asked."""
    if not folder.items():
        return False
    if folder.head().live is not None:
        return True
    if state != "failed":
        return False
    record = folder.read()
    return record.results.keys() >= record.items.keys()


def hold(folder: JobFolder, because: str) -> None:
    """Mark a job that waits as one that is not run until it is asked for again.

    Raises:
        StoreError: It does not wait.
    """
    from thon.job.events import Log  # noqa: PLC0415

    change_state(folder, "held")
    folder.emit(Log(text=f"held: {because}"))


def release(folder: JobFolder) -> None:
    """Let a job that is held wait for its turn again.

    Raises:
        StoreError: It does not wait.
    """
    change_state(folder, "waiting")


def change_state(folder: JobFolder, state: State) -> None:
    """Change the state of a job that has not begun.

    Raises:
        StoreError: It has begun, or the disk refuses.
    """
    with folder.lock():
        record = folder.head()
        if record.state not in ("waiting", "held"):
            raise StoreError("this job has begun", path=folder.path, got=record.state, expected="one that waits")
        folder.write(record.model_copy(update={"state": state}))
