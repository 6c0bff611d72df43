"""A job that grows: a new one takes over the items that an earlier one has finished, and does only what is new.

A finished job does not change, so what has come since needs a new one. An item is taken over where all that it was made
from is the same, by content; its files are hard links, which take no space, and its result names the job that made it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from thon.base.errors import InputError, StoreError
from thon.engine.waiting import Wants, add_job, valid_options, wants_of
from thon.job.events import Log
from thon.job.folder import UNFINISHED, JobFolder, storing
from thon.job.record import ItemResult, JobRecord, Reference
from thon.job.registry import load_job
from thon.project.project import Project
from thon.project.request import Request


def append(folder: JobFolder, wants: Wants, command: str = "", after: Sequence[str] = ()) -> JobFolder:
    """Write down a job like an earlier one with more inputs, which waits to be run.

    An added job that has grown from one of the earlier inputs takes its place.

    Raises:
        InputError: Nothing is added, a port cannot take it, or the job takes the whole set at once.
        StoreError: The earlier job is not done, or its options are no longer valid.
    """
    record, project = folder.read(), Project(folder.root)
    spec = load_job(record.type)
    if spec.whole:
        raise InputError(f"'{record.type}' takes the whole set at once", mend="`thon clone` it with the new inputs")
    if record.state not in ("finished", "failed") or record.live is not None:
        raise StoreError("this job is not done", path=folder.path, got=record.state, mend="`thon resume` it first")
    if not wants:
        raise InputError("nothing is added", path=folder.path, mend="name it by --input NAME=JOB or NAME=FILE")
    options = valid_options(folder, spec, record)
    request = Request(spec, options, {}, record.settings, record.source, command)
    new = add_job(project, request, grown(project, wants_of(project, record), wants), after)
    new.write(new.head().model_copy(update={"appends": record.id}))
    return new


def grown(project: Project, before: Mapping[str, Sequence[str]], added: Wants) -> dict[str, list[str]]:
    """What goes into each port: what did before, but for what the added ones have grown from, and what is added."""
    wants = {name: list(sources) for name, sources in before.items()}
    for name, sources in added.items():
        within = {job for source in sources for job in _grown_from(project, source)}
        wants[name] = [*(one for one in wants.get(name, ()) if one not in within and one not in sources), *sources]
    return wants


def take_over(project: Project, folder: JobFolder, record: JobRecord) -> dict[str, ItemResult]:
    """Link the finished items of the job that this one has grown from, where they would come out the same.

    Args:
        project: The project.
        folder: The new job.
        record: Its record, with its items and the fingerprints of what they are made from.

    Returns:
        Their results.

    Raises:
        StoreError: The disk refuses.
    """
    if record.appends is None:
        return {}
    earlier = project.job(record.appends)
    old, there = earlier.read(), set(earlier.items())
    taken: dict[str, ItemResult] = {}
    for item, ports in record.items.items():
        result = old.results.get(item)
        if item in there and result is not None and _same(old, old.items[item], record, ports):
            with storing(folder.path):
                _link_folder(earlier.outputs / item, folder.outputs / item)
                _link_folder(earlier.path / "previews" / item, folder.path / "previews" / item)
            taken[item] = result.model_copy(update={"origin": result.origin or old.id})
    for event in earlier.events():
        if event.kind == "preview" and event.item in taken:
            folder.emit(event)
    folder.emit(Log(text=f"{len(taken)} of {len(record.items)} items were taken over from {old.id}"))
    return taken


def _grown_from(project: Project, source: str) -> list[str]:
    """The jobs that a job has grown from, one from another."""
    found: list[str] = []
    job = source if source[:1] == "J" and source[1:].isdigit() else None
    while job is not None and (job := project.job(job).head().appends) is not None:
        found.append(job)
    return found


def _same(
    old: JobRecord, then: Mapping[str, Sequence[Reference]], new: JobRecord, now: Mapping[str, Sequence[Reference]]
) -> bool:
    """Whether an item is made from the same: the same content in each port, by the same options and their files."""
    if old.options != new.options or old.settings.seed != new.settings.seed or then.keys() != now.keys():
        return False
    pairs = [(one.key, other.key) for port in then for one, other in zip(then[port], now[port], strict=False)]
    files = new.inputs.keys() - {one.key for ports in new.items.values() for many in ports.values() for one in many}
    return all(len(then[port]) == len(now[port]) for port in then) and all(
        one in old.inputs and old.inputs[one].same_content(new.inputs[other])
        for one, other in (*pairs, *((file, file) for file in files))
    )


def _link_folder(source: Path, copy: Path) -> None:
    """Give a folder a second name whose files are links, whole or not at all."""
    if copy.exists() or not source.exists():
        return
    part = copy.with_name(f"{UNFINISHED}{copy.name}-linked")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, copy_function=_link, symlinks=True)
    part.rename(copy)


def _link(source: str, copy: str) -> str:
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)
    return copy
