"""From a job folder to the rows that its index has of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from thon.base.errors import StoreError
from thon.job.fingerprint import Fingerprint
from thon.job.folder import JobFolder
from thon.job.items_file import ItemLine
from thon.job.record import ItemResult, JobRecord, Reference, RunRecord, Usage

Row = dict[str, Any]
Values = tuple[Any, ...]
"""A row's values in the order of its table's columns."""

UNREADABLE = "unreadable"
"""State of a job whose record nobody can read."""

_LARGEST = 2**31 - 1
"""Number of a job that a database still holds."""

_USAGE = tuple(Usage.model_fields)
_NOTHING = tuple(Usage().model_dump().values())


@dataclass
class Rows:
    """Rows by table; those of an item that comes again take the place of its earlier ones."""

    key: Row
    jobs: list[Row] = field(default_factory=list[Row])
    runs: list[Row] = field(default_factory=list[Row])
    items: dict[str, list[tuple[str, Values]]] = field(default_factory=dict[str, list[tuple[str, Values]]])
    prints: dict[tuple[str, str], Values] = field(default_factory=dict[tuple[str, str], Values])

    def take_items(self, record: JobRecord) -> None:
        """The items of a record."""
        for item, ports in record.items.items():
            self._take(item, ports, record.results.get(item))

    def take_lines(self, lines: Iterable[ItemLine], record: JobRecord) -> None:
        """Items that have ended since the record was written."""
        for line in lines:
            self._take(line.item, line.inputs if record.live is not None else record.items[line.item], line.result)
            self.take_prints(line.fingerprints, "input")
            self.take_prints(line.used, "used")

    def take_prints(self, prints: Mapping[str, Fingerprint], role: str) -> None:
        """Hashes of files and earlier results."""
        for key, one in prints.items():
            self.prints[key, role] = (*self.place, key, role, one.sha256, one.bytes, one.partial, one.modified)

    @property
    def place(self) -> tuple[str, str]:
        """Project and job, with which every row begins."""
        return self.key["project"], self.key["job"]

    def tables(self) -> dict[str, list[Values]]:
        """All rows of items and inputs, by table."""
        gathered: dict[str, list[Values]] = {"prints": list(self.prints.values())}
        for rows in self.items.values():
            for table, row in rows:
                gathered.setdefault(table, []).append(row)
        return gathered

    def _take(self, item: str, ports: Mapping[str, Sequence[Reference]], result: ItemResult | None) -> None:
        self.items[item] = list(_item_rows((*self.place, item), ports, result))


def read_rows(project: str, folder: JobFolder) -> Rows:
    """All rows of a job."""
    key: Row = {"project": project, "job": folder.path.name.split("-")[0]}
    rows = Rows(key)
    stamp, (lines, size) = stamp_of(folder), new_lines(folder, 0)
    try:
        record = folder.head()
        rows.take_items(record)
        rows.take_prints(record.inputs, "input")
        rows.take_prints(record.used, "used")
        rows.take_lines(lines, record)
    except (StoreError, KeyError) as error:
        # Without the path, for an index is the same wherever the project lies.
        told = f"{error.what}: {error.got}" if isinstance(error, StoreError) else f"results of an unknown item {error}"
        return _unreadable_rows(key, folder, told, stamp, size)
    rows.runs = [key | _run_row(k, run) for k, run in enumerate(record.runs, 1)]
    rows.jobs = [key | _job_row(folder, record) | {"stamp": stamp, "lines": size}]
    return rows


def unreadable_rows(project: str, folder: JobFolder, message: str) -> Rows:
    """What an index has of a job that it cannot hold."""
    key: Row = {"project": project, "job": folder.path.name.split("-")[0]}
    return _unreadable_rows(key, folder, message, stamp_of(folder), lines_size(folder))


def stamp_of(folder: JobFolder) -> str:
    """What changes whenever `job.json` is written."""
    stat = (folder.path / "job.json").stat()
    return f"{stat.st_mtime_ns}.{stat.st_size}"


def new_lines(folder: JobFolder, offset: int) -> tuple[list[ItemLine], int]:
    """The whole lines of a job's items or results after a place in the file, and where they end."""
    for file in (folder.items_file, folder.results_file):
        try:
            with file.open("rb") as lines:
                lines.seek(offset)
                data = lines.read()
        except FileNotFoundError:
            continue
        whole = data[: data.rfind(b"\n") + 1]
        return list(_parsed(whole)), offset + len(whole)
    return [], 0


def lines_size(folder: JobFolder) -> int:
    """Size of the file of a job's items or results."""
    for file in (folder.items_file, folder.results_file):
        try:
            return file.stat().st_size
        except FileNotFoundError:
            continue
    return 0


def _parsed(lines: bytes) -> Iterator[ItemLine]:
    for line in lines.splitlines():
        try:
            yield ItemLine.model_validate_json(line)
        except ValidationError:
            continue  # cut short by a kill


def _job_row(folder: JobFolder, record: JobRecord) -> Row:
    last = record.runs[-1] if record.runs else None
    costs = [run.cost for run in record.runs if run.cost is not None]
    return {
        "number": int(folder.path.name.split("-")[0][1:]),
        "folder": folder.path.name,
        "type": record.type,
        "title": record.title,
        "state": record.state,
        "person": record.user,
        "command": record.command,
        "version": record.software.version,
        "source_commit": record.software.commit,
        "seed": record.settings.seed,
        "options": json.dumps(record.options, ensure_ascii=False, sort_keys=True),
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "host": record.host,
        "cpu": record.cpu,
        "gpus": ", ".join(last.gpus) if last else None,
        "instance": last.instance if last else None,
        "lane": last.lane if last else None,
        "cost": sum(costs) if costs else None,
        "currency": last.currency if last and costs else None,
        "error": None,
    } | _usage(record.usage)


def _unreadable_rows(key: Row, folder: JobFolder, message: str, stamp: str, lines: int) -> Rows:
    return Rows(key, [key | _unreadable(folder, message) | {"stamp": stamp, "lines": lines}])


def _unreadable(folder: JobFolder, message: str) -> Row:
    number, name = folder.path.name.split("-", 1)
    texts: Row = dict.fromkeys(("person", "command", "version", "options", "created"), "")
    return (
        texts
        | {
            "number": min(int(number[1:]), _LARGEST),
            "folder": folder.path.name,
            "type": name,
            "title": name,
            "state": UNREADABLE,
            "error": message,
            "items": 0,
            "done": 0,
            "failed": 0,
        }
        | _usage(Usage())
    )


def _run_row(number: int, run: RunRecord) -> Row:
    row = run.model_dump(exclude={"user", "gpus", "worker", "accounting"})
    return row | {"run": number, "person": run.user, "gpus": ", ".join(run.gpus), "cost": run.cost}


def _item_rows(
    key: tuple[str, str, str], ports: Mapping[str, Sequence[Reference]], result: ItemResult | None
) -> Iterator[tuple[str, Values]]:
    for port, references in ports.items():
        for place, one in enumerate(references):
            yield "inputs", (*key, port, place, one.job, one.item, one.interim, one.file)
    if result is None:
        yield "items", (*key, "waiting", "", *_NOTHING)
        return
    yield "items", (*key, result.state, result.message.replace("\0", ""), *(getattr(result, name) for name in _USAGE))
    for name, made in result.files.items():
        yield "files", (*key, name, made.bytes, made.mark)
    for title, path in result.results.items():
        yield "results", (*key, title, path)
    project, job, item = key
    for name, value in result.values.items():
        yield "numbers", (project, job, name, item, value)


def _usage(usage: Usage) -> Row:
    return {name: getattr(usage, name) for name in _USAGE}
