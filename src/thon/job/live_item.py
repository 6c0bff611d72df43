"""One item of a live session, done by one of its workers: nothing is done twice, and no half-read file counts.

What an item is made from is hashed into its basis. An item whose folder says that it was made from the same basis is
kept, so that a task that is given out twice finds its result. The files from outside are looked at before and after:
if they are no longer what they were, the result is thrown away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from thon.base.errors import JobError
from thon.job.clock import Clock
from thon.job.events import Event, Warned
from thon.job.fingerprint import Fingerprint, fingerprint
from thon.job.folder import JobFolder, storing
from thon.job.item import (
    Work,
    as_thon_error,
    call_job,
    disk_is_full,
    done_result,
    failed_result,
    fingerprint_of,
    item_done,
    read_job,
)
from thon.job.items_file import ITEM_FILE, ItemLine, hash_inputs, hash_texts
from thon.job.machine import held_gpus
from thon.job.made import made_files, numbers
from thon.job.places import found, stored
from thon.job.plan import Resources
from thon.job.record import ItemResult, Reference
from thon.job.spec import JobSpec

Stamp = tuple[int, int]
"""Size in bytes and time of the last change, nanoseconds: compared for equality only, never with the clock."""

Ending = Literal["done", "kept", "failed", "changed", "full"]
"""How an attempt ended: `kept` had been done before, `changed` lost its files meanwhile, `full` met a full disk."""


@dataclass(frozen=True)
class Task:
    """One attempt at one item.

    Args:
        path: The job's folder.
        item: Name of the item.
        inputs: References by port.
        basis: Hash of what it is made from; empty for files, whose content the worker looks at.
        origins: Stamps of the files from outside, as the session knows them, by stored path.
        attributes: Attributes of the yielded record to report.
        resources: What it may use.
        interim: Keep the result apart, for not all inputs are there yet.
    """

    path: Path
    item: str
    inputs: Mapping[str, Sequence[Reference]]
    basis: str
    origins: Mapping[str, Stamp]
    attributes: tuple[str, ...]
    resources: Resources
    interim: bool = False


@dataclass(frozen=True)
class Attempt:
    """How it went.

    Args:
        ending: How it ended.
        line: What is to be remembered of the item; its inputs and result where it failed.
        error: Class of the error.
        warnings: What the job warned of.
    """

    ending: Ending
    line: ItemLine
    error: str = ""
    warnings: tuple[str, ...] = field(default=())


class FileChangedError(Exception):
    """A file from outside is no longer what the session saw, or was written while it was read."""


def run_task(task: Task) -> Attempt:
    """Do one item; an error is part of the attempt, not raised.

    Raises:
        KeyboardInterrupt: Passed on, after the half-written outputs are gone.
    """
    folder = JobFolder(task.path, interim=task.interim)
    record, spec = read_job(task.path)
    clock = Clock(held_gpus(task.resources.device, spec.gpus))
    outputs: Path | None = None
    said: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Warned):
            said.append(event.text)
        folder.emit(event)

    try:
        before = _look(folder, task)
        line = _basis(folder, task)
        earlier = read_item_file(folder, task.item)
        if earlier is not None and earlier.basis == line.basis:
            return Attempt("kept", earlier.model_copy(update={"fingerprints": line.fingerprints}))
        outputs = folder.begin_item(task.item)
        work = Work(spec, task.item, line.inputs, record.options, record.settings.seed, task.resources)
        result, context = call_job(folder, work, outputs, emit)
        used = {stored(file, folder.root): fingerprint(file) for file in context.used}
        version = _version(folder, line, spec, folder.write_record(outputs, result))
        told = {name: _text(getattr(result, name)) for name in task.attributes if hasattr(result, name)}
        made = {"files": made_files(outputs), "values": numbers(result)}
        took = done_result(task.item, context, outputs, 0, clock).model_copy(update=made)
        line = line.model_copy(update={"version": version, "used": used, "attributes": told, "result": took})
        with storing(outputs):
            (outputs / ITEM_FILE).write_text(line.model_dump_json())
        if _look(folder, task) != before:
            raise FileChangedError("a file was written while it was read")
        if read_job(task.path)[0].runs[-1:] != record.runs[-1:]:
            raise JobError("another session has taken the job up meanwhile")
        size = folder.settle_item(task.item, outputs)
    except BaseException as error:
        if outputs is not None:
            shutil.rmtree(outputs, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return _failed(folder, task, error, clock, tuple(said))
    line.result.bytes = size
    if not task.interim:
        folder.emit(item_done(task.item, line.result))
    return Attempt("done", line, warnings=tuple(said))


def run_tasks(tasks: Sequence[Task]) -> list[Attempt]:
    """Do tasks one after another, each on what the one before yielded, until one fails."""
    attempts: list[Attempt] = []
    for task in tasks:
        attempts.append(run_task(task))
        if attempts[-1].ending not in ("done", "kept"):
            break
    return attempts


def read_item_file(folder: JobFolder, item: str) -> ItemLine | None:
    """What a finished item was made from, as its own folder says; None where there is none."""
    try:
        return ItemLine.model_validate_json((folder.outputs / item / ITEM_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def stamp(path: Path) -> Stamp:
    """Size and time of the last change of a file.

    Raises:
        OSError: It is gone.
    """
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _look(folder: JobFolder, task: Task) -> list[tuple[int, ...]]:
    """The files from outside as they are now.

    Raises:
        FileChangedError: One is not what the session saw, or is gone.
    """
    seen: list[tuple[int, ...]] = []
    for file, known in task.origins.items():
        try:
            stat = os.stat(found(file, folder.root))
        except FileNotFoundError:
            raise FileChangedError("a file is gone") from None
        if (stat.st_size, stat.st_mtime_ns) != known:
            raise FileChangedError("a file has changed since it was seen")
        seen.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return seen


def _basis(folder: JobFolder, task: Task) -> ItemLine:
    """What the item is about to be made from."""
    references = {one.key: one for many in task.inputs.values() for one in many}
    earlier = read_item_file(folder, task.item)
    known = {} if earlier is None else earlier.fingerprints
    prints = {key: _fingerprint(folder, one, known.get(key)) for key, one in references.items()}
    contents = {key: one.sha256 for key, one in prints.items()}
    basis = task.basis or hash_inputs(task.inputs, contents)
    inputs = {port: list(many) for port, many in task.inputs.items()}
    result = ItemResult(state="done")
    return ItemLine(item=task.item, basis=basis, inputs=inputs, fingerprints=prints, result=result)


def _fingerprint(folder: JobFolder, reference: Reference, known: Fingerprint | None) -> Fingerprint:
    """Fingerprint of an input; a file that was looked at before and has not been touched is not read again."""
    if known is not None and reference.file is not None:
        path = Path(found(reference.file, folder.root))
        if path.is_file() and stamp(path) == (known.bytes, known.modified):
            return known
    return fingerprint_of(folder.root, reference)


def _version(folder: JobFolder, line: ItemLine, spec: JobSpec, record: str) -> str:
    """What later items depend on: for files from outside the data themselves and what was understood of them.

    What merely stands beside the data, such as a growing list of what was recorded, counts by what was read from it.
    """
    if not spec.ports[0].takes_file:
        return line.basis
    data = [line.fingerprints[one.key].sha256 for one in line.inputs.get(spec.ports[0].name, [])]
    return hash_texts([record, *data])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _failed(folder: JobFolder, task: Task, error: BaseException, clock: Clock, said: tuple[str, ...]) -> Attempt:
    inputs = {port: list(many) for port, many in task.inputs.items()}
    ending: Ending = "changed" if isinstance(error, FileChangedError) else "full" if disk_is_full(error) else "failed"
    told = as_thon_error(error, folder.path)
    if ending == "failed" and not task.interim:
        result = failed_result(folder, task.item, error, clock)
    else:
        text = str(error) if ending == "changed" else str(told)
        result = ItemResult(state="failed", message=text, exit_code=told.exit_code)
    return Attempt(ending, ItemLine(item=task.item, inputs=inputs, result=result), type(error).__name__, said)
