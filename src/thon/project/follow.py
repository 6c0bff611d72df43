"""Keeps the rows of an index at what the job folders say, by reading no more than what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from thon.base.errors import StoreError
from thon.job.folder import JobFolder
from thon.job.items_file import ItemLine
from thon.project.project import Project
from thon.project.rows import Row, Rows, lines_size, new_lines, read_rows, stamp_of, unreadable_rows
from thon.project.tables import files, inputs, items, jobs, links, metadata, numbers, prints, results, runs

ODD = (KeyError, ValueError, OverflowError, DataError, IntegrityError, StoreError, PermissionError, IsADirectoryError)
"""What comes of a folder in which something stands that no index can hold, such as a number of 30 digits."""


def follow(connection: Connection, project: Project) -> int:
    """Bring the rows of a project up to what its folders say; returns how many jobs had changed."""
    columns = (jobs.c.job, jobs.c.folder, jobs.c.stamp, jobs.c.lines)
    known = {row.job: row for row in connection.execute(select(*columns).where(jobs.c.project == project.id))}
    changed, seen = 0, set[str]()
    for folder in project.jobs():
        name = folder.path.name.split("-")[0]
        if name in seen:
            continue  # two folders bear one number; `Project.doubles` tells which
        seen.add(name)
        row = known.pop(name, None)
        try:
            changed += _follow_job(connection, project.id, folder, row)
        except FileNotFoundError:
            _forget(connection, project.id, name)  # it went while we looked
    for name in known:
        _forget(connection, project.id, name)
    return changed + len(known)


def _follow_job(connection: Connection, project: str, folder: JobFolder, row: Any) -> int:
    """Bring the rows of one job up to date; returns whether they were not."""
    name = folder.path.name.split("-")[0]
    if row is None or row.folder != folder.path.name or row.stamp != stamp_of(folder):
        _renew(connection, project, folder)
        return 1
    size = lines_size(folder)
    return _follow_lines(connection, project, name, folder, row.lines, size) if row.lines != size else 0


def _follow_lines(connection: Connection, project: str, job: str, folder: JobFolder, read: int, size: int) -> int:
    """Read the items of a job that have ended since it was looked at; returns whether there were any."""
    if size < read:
        _renew(connection, project, folder)
        return 1
    try:
        lines, end = new_lines(folder, read)
        if end == read:
            return 0
        with connection.begin_nested():
            _add(connection, Rows({"project": project, "job": job}), lines, folder, end)
    except ODD:
        _renew(connection, project, folder)
    return 1


def _renew(connection: Connection, project: str, folder: JobFolder) -> None:
    """Write the rows of a job anew; one that no index can hold is told to be unreadable, and keeps no other back."""
    _forget(connection, project, folder.path.name.split("-")[0])
    try:
        with connection.begin_nested():
            _write(connection, read_rows(project, folder))
    except ODD as error:
        cause = str(getattr(error, "orig", error)).split("\n")[0]
        _write(connection, unreadable_rows(project, folder, f"no index can hold what stands there: {cause}"))


def _add(connection: Connection, rows: Rows, lines: Sequence[ItemLine], folder: JobFolder, end: int) -> None:
    """Write the items of new lines."""
    project, job = rows.place
    rows.take_lines(lines, folder.head())
    _forget_items(connection, rows)
    _write(connection, rows)
    connection.execute(update(jobs).where(jobs.c.project == project, jobs.c.job == job).values(lines=end))


def _forget_items(connection: Connection, rows: Rows) -> None:
    """Delete what was known of items, and of their inputs, that have come again."""
    project, job = rows.place
    mine = (numbers.c.project == project, numbers.c.job == job)
    names = list(connection.execute(select(numbers.c.name).where(*mine).distinct()).scalars())
    for table in (items, inputs, files, results):
        _delete(connection, table, ("item",), [(item,) for item in rows.items], rows)
    _delete(connection, numbers, ("name", "item"), [(name, item) for item in rows.items for name in names], rows)
    _delete(connection, prints, ("key", "role"), list(rows.prints), rows)


def _write(connection: Connection, rows: Rows) -> None:
    for row in rows.jobs:
        counts = {name: row.get(name, 0) for name in ("items", "done", "failed")}
        connection.execute(insert(jobs), _storable(row) | counts)
    if rows.runs:
        connection.execute(insert(runs), [_storable(run) for run in rows.runs])
    for name, values in rows.tables().items():
        if values:
            _insert(connection, metadata.tables[name], values)
    _count(connection, rows)


def _insert(connection: Connection, table: Table, values: Sequence[tuple[Any, ...]]) -> None:
    """Insert many rows, each in the order of the table's columns, by the quickest way that the database has."""
    names = ", ".join(table.columns.keys())
    if connection.dialect.name == "postgresql":
        raw: Any = connection.connection.cursor()
        try:
            with raw.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
        except connection.dialect.loaded_dbapi.DataError as error:
            raise ValueError(str(error)) from error
        return
    marks = ", ".join("?" * len(table.columns))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(values))


def _storable(row: Row) -> Row:
    """A row without the one character that PostgreSQL keeps in no text."""
    return {name: value.replace("\0", "") if isinstance(value, str) else value for name, value in row.items()}


def _count(connection: Connection, rows: Rows) -> None:
    """Let the job's row tell how many items there are, and why the first that failed did."""
    project, job = rows.place
    mine = (items.c.project == project, items.c.job == job)
    states = connection.execute(select(items.c.state, func.count()).where(*mine).group_by(items.c.state))
    counts = {row[0]: row[1] for row in states}
    if not counts:
        return
    size = connection.execute(select(func.coalesce(func.sum(items.c.bytes), 0)).where(*mine)).scalar_one()
    failed = select(items.c.message).where(*mine, items.c.state == "failed").order_by(items.c.item).limit(1)
    connection.execute(
        update(jobs)
        .where(jobs.c.project == project, jobs.c.job == job)
        .values(
            items=sum(counts.values()),
            done=counts.get("done", 0),
            failed=counts.get("failed", 0),
            bytes=int(size),
            error=connection.execute(failed).scalar(),
        )
    )
    _link(connection, project, job)


def _link(connection: Connection, project: str, job: str) -> None:
    """Count from which jobs this one takes its inputs."""
    connection.execute(delete(links).where(links.c.project == project, links.c.job == job))
    sources = (
        select(inputs.c.project, inputs.c.job, inputs.c.source_job, func.count())
        .where(inputs.c.project == project, inputs.c.job == job, inputs.c.source_job.is_not(None))
        .group_by(inputs.c.project, inputs.c.job, inputs.c.source_job)
    )
    connection.execute(insert(links).from_select(list(links.columns.keys()), sources))


def _forget(connection: Connection, project: str, job: str) -> None:
    for table in metadata.sorted_tables:
        connection.execute(delete(table).where(table.c.project == project, table.c.job == job))


def _delete(
    connection: Connection, table: Table, names: Sequence[str], keys: Sequence[tuple[str, ...]], rows: Rows
) -> None:
    """Delete rows of a job by what follows it in their keys."""
    columns = ("project", "job", *names)
    wanted = [table.c[name] == bindparam(f"_{name}") for name in columns]
    if keys:
        values = [dict(zip((f"_{name}" for name in columns), (*rows.place, *key), strict=True)) for key in keys]
        connection.execute(delete(table).where(*wanted), values)
