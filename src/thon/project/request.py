"""What is asked of a job, written into a new job folder or recognised in an old one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from thon.base.options import Options
from thon.data.record import to_json
from thon.job.fingerprint import Fingerprint
from thon.job.folder import JobFolder
from thon.job.hardware import user_name
from thon.job.item import fingerprint_of, input_path
from thon.job.machine import now, software
from thon.job.places import stored
from thon.job.record import JobRecord, Reference, RunSettings
from thon.job.spec import JobSpec
from thon.project.project import Project

Items = dict[str, dict[str, list[Reference]]]
"""For each item, what goes into each port."""


@dataclass(frozen=True)
class Request:
    """One job to be done.

    Args:
        spec: Job type.
        options: Every option.
        items: Inputs.
        settings: How to run it.
        source: Module of the job type.
        command: What was typed.
        after: Jobs to wait for besides those that its inputs come from.
    """

    spec: JobSpec
    options: Options
    items: Items
    settings: RunSettings
    source: str = ""
    command: str = ""
    after: Sequence[str] = ()


def draft(project: Project, request: Request) -> JobRecord:
    """The record of a job that is yet to get its number, with the fingerprints of its inputs.

    Raises:
        InputError: An input cannot be read.
    """
    options = stored_options(request.options, project.root)
    return JobRecord(
        id="",
        type=request.spec.name,
        title=request.spec.title,
        source=request.source,
        options=options,
        settings=request.settings,
        items=request.items,
        inputs=fingerprints(project, request.items, options),
        software=software(),
        user=user_name(),
        command=request.command,
        after=list(request.after),
        created=now(),
    )


def new_job(project: Project, record: JobRecord) -> JobFolder:
    """Write a drafted record into a new job folder.

    Raises:
        StoreError: The disk refuses.
    """
    folder = project.new_folder(record.type)
    folder.write(record.model_copy(update={"id": folder.path.name.split("-")[0]}))
    return folder


def same_job(project: Project, drafted: JobRecord) -> JobFolder | None:
    """The latest job that was asked the same of the same inputs, finished or not; None if there is none."""

    def asked(record: JobRecord) -> object:
        return record.type, record.options, record.items, record.settings.seed

    for folder in reversed(project.jobs()):
        record = folder.read()
        if asked(record) == asked(drafted) and not changed(record.inputs, drafted.inputs):
            return folder
    return None


def changed_inputs(folder: JobFolder, *, quick: bool = False) -> list[str]:
    """Inputs of a job, and files that it read besides, whose content is no longer what it was, or that are gone.

    Args:
        folder: The job.
        quick: Believe that a file that has the size and the time of its last change that it had is what it was.
    """
    record, root = folder.read(), folder.root
    references = {one.key: one for ports in record.items.values() for many in ports.values() for one in many}
    changes: list[str] = []
    for key, old in (record.inputs | record.used).items():
        reference = references.get(key, Reference(file=key))
        try:
            # The movies of a session are too many to be read again for this.
            same = (quick or record.live is not None) and _untouched(root, reference, old)
            same = same or old.same_content(fingerprint_of(root, reference))
        except Exception:
            changes.append(f"{key} is gone")
        else:
            if not same:
                changes.append(f"{key} has changed")
    return changes


def _untouched(root: Path, reference: Reference, then: Fingerprint) -> bool:
    """Whether a file has the size and the time of its last change that it had."""
    stat = input_path(root, reference).stat()
    return (stat.st_size, stat.st_mtime_ns) == (then.bytes, then.modified)


def changed(then: dict[str, Fingerprint], now_: dict[str, Fingerprint]) -> bool:
    """Whether any fingerprint differs."""
    return then.keys() != now_.keys() or any(not then[key].same_content(now_[key]) for key in then)


def fingerprints(project: Project, items: Items, options: dict[str, Any]) -> dict[str, Fingerprint]:
    """Fingerprints of all inputs and of the files that the options name.

    Raises:
        InputError: One cannot be read.
    """
    references = {reference.key: reference for ports in items.values() for many in ports.values() for reference in many}
    references |= {path: Reference(file=path) for path in _paths(options)}
    return {key: fingerprint_of(project.root, reference) for key, reference in references.items()}


def stored_options(options: Options, root: Path) -> dict[str, Any]:
    """Option values as a job's record holds them, defaults included, paths relative where that makes sense."""
    return {name: to_json(value, place=lambda path: stored(path, root)) for name, value in _values(options).items()}


def _values(options: BaseModel) -> dict[str, Any]:
    """Field values, nested options as dicts, everything else as it is."""
    values = {name: getattr(options, name) for name in type(options).model_fields}
    return {name: _values(value) if isinstance(value, BaseModel) else value for name, value in values.items()}


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        table: dict[str, Any] = value
        if table.get("as") == "Path":
            yield table["path"]
        for inner in table.values():
            yield from _paths(inner)
    elif isinstance(value, list):
        many: list[Any] = value
        for inner in many:
            yield from _paths(inner)
