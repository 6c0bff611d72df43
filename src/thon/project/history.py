"""The whole history of a file: the job that made it, those that this one's inputs came from, down to raw data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Text, cast, func, literal, select

from thon.base.errors import InputError
from thon.job.fingerprint import fingerprint, mark
from thon.job.folder import JobFolder
from thon.project.project import Project
from thon.project.tables import files, inputs, jobs, links, prints

Row = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """The job's item that made a file.

    Args:
        job: Number of the job.
        item: Name of the item; None for the job as a whole.
        copy_of: Where the file that it is a copy of lies, in the project; None where it is the file itself.
        remark: What is to be said of the copy.
    """

    job: str
    item: str | None
    copy_of: str | None = None
    remark: str = ""


@dataclass(frozen=True)
class RawFolder:
    """Files from outside in one folder.

    Args:
        folder: The folder, as the project knows it.
        count: Number of files.
        bytes: Their size.
    """

    folder: str
    count: int
    bytes: int


@dataclass(frozen=True)
class History:
    """Where a file came from.

    Args:
        origin: What made it.
        chain: Rows of the jobs, the one that made the file first; `used` is the number of items that it goes back to.
        raw: Files from outside that all goes back to.
    """

    origin: Origin
    chain: list[Row]
    raw: list[RawFolder]


def find_origin(connection: Connection, project: Project, file: Path) -> Origin:
    """The job's item that made a file in a job's folder, or the file of which this is a copy.

    Raises:
        InputError: There is no such file, or nothing in the project made one like it.
    """
    path = Path(os.path.realpath(file))
    if not path.exists():
        raise InputError("no such file", path=file, mend="check the path, or name a job such as J008")
    root = Path(os.path.realpath(project.root))
    if path.is_relative_to(root):
        parts = path.relative_to(root).parts
        number = parts[0].split("-")[0] if parts else ""
        if len(parts) and (root / parts[0] / "job.json").exists():
            return Origin(number, parts[2] if len(parts) > 2 and parts[1] == "outputs" else None)
    return _copied(connection, project, path)


def trace(connection: Connection, project: Project, origin: Origin) -> History:
    """The chain of jobs behind a job's item, by what went into each item.

    Raises:
        InputError: The job is not in the index.
    """
    up = _ancestors(project.id, origin)
    counted = select(up.c.job, func.count().label("used")).group_by(up.c.job).subquery()
    query = (
        select(jobs, counted.c.used)
        .join(counted, jobs.c.job == counted.c.job)
        .where(jobs.c.project == project.id)
        .order_by(jobs.c.number.desc())
    )
    chain = [dict(row) for row in connection.execute(query).mappings()]
    if not chain:
        raise InputError(f"no job {origin.job}", path=project.root, mend="`thon jobs` lists what there is")
    return History(origin, chain, _raw(connection, project.id, up))


def ancestors(connection: Connection, project: str, wanted: Sequence[str]) -> set[str]:
    """The numbers of these jobs and of all that their inputs came from."""
    found = set[str]()
    edges: dict[str, set[str]] = {}
    for job, source in connection.execute(select(links.c.job, links.c.source_job).where(links.c.project == project)):
        edges.setdefault(job, set()).add(source)
    waiting = list(wanted)
    while waiting:
        job = waiting.pop()
        if job not in found:
            found.add(job)
            waiting += edges.get(job, ())
    return found


def _ancestors(project: str, origin: Origin) -> Any:
    """The items that an item goes back to, itself among them, as a query."""
    # PostgreSQL wants to be told that these are texts.
    start: Any = select(cast(literal(origin.job), Text).label("job"), cast(literal(origin.item), Text).label("item"))
    if origin.item is None:
        start = select(inputs.c.job, inputs.c.item).where(inputs.c.project == project, inputs.c.job == origin.job)
    up = start.cte("up", recursive=True)
    before = (
        select(inputs.c.source_job, inputs.c.source_item)
        .join(up, (inputs.c.job == up.c.job) & (inputs.c.item == up.c.item))
        .where(inputs.c.project == project, inputs.c.source_job.is_not(None))
    )
    return up.union(before)


def _raw(connection: Connection, project: str, up: Any) -> list[RawFolder]:
    """Files from outside, added up by folder."""
    query = (
        select(inputs.c.file, func.max(prints.c.bytes))
        .join(up, (inputs.c.job == up.c.job) & (inputs.c.item == up.c.item))
        .join(
            prints,
            (prints.c.project == project) & (prints.c.job == inputs.c.job) & (prints.c.key == inputs.c.file),
            isouter=True,
        )
        .where(inputs.c.project == project, inputs.c.file.is_not(None))
        .group_by(inputs.c.file)
    )
    found: dict[str, tuple[int, int]] = {}
    for file, size in connection.execute(query):
        count, total = found.get(os.path.dirname(file), (0, 0))
        found[os.path.dirname(file)] = count + 1, total + int(size or 0)
    return [RawFolder(folder, *both) for folder, both in sorted(found.items())]


def _copied(connection: Connection, project: Project, path: Path) -> Origin:
    """The output that a file elsewhere is a copy of, known by its mark and then compared."""
    size = path.stat().st_size if path.is_file() else None
    query = select(files.c.job, files.c.item, files.c.name).where(
        files.c.project == project.id, files.c.mark == mark(path)
    )
    rows = connection.execute(query.order_by(files.c.job, files.c.item, files.c.name)).all()
    if not rows:
        told = f"{size} bytes" if size is not None else "a folder"
        raise InputError("no job of this project made this file", path=path, got=told, expected="an output or a copy")
    job, item, name = rows[0]
    folder: JobFolder = project.job(job)
    original = folder.outputs / item / name
    return Origin(job, item, str(original.relative_to(project.root)), _compare(path, original, more=len(rows) - 1))


def _compare(path: Path, original: Path, *, more: int) -> str:
    also = f"; {more} other outputs are alike" if more else ""
    if not original.exists():
        return f"the output itself is no longer there{also}"
    if not fingerprint(path).same_content(fingerprint(original)):
        return f"its size, both ends and samples are those of the output, but not every byte{also}"
    return f"the same bytes{also}"
