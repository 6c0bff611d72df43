"""Questions to a project's index: what ran, what it cost, and rows of one's own choice, read only."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from thon.base.errors import InputError
from thon.project.tables import jobs, metadata, numbers, runs

Row = dict[str, Any]
By = Literal["job", "type", "user", "month", "host", "instance", "lane"]

_CONDITION = re.compile(r"([\w.]+)\s*(<=|>=|=|<|>)\s*(-?[\d.]+(?:[eE][+-]?\d+)?)$")
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def job_log(
    connection: Connection,
    project: str,
    *,
    types: Sequence[str] = (),
    states: Sequence[str] = (),
    people: Sequence[str] = (),
    since: str = "",
    where: Sequence[str] = (),
) -> list[Row]:
    """Jobs in the order in which they were made, with the numbers that were asked for.

    Args:
        connection: To the index.
        project: The project's number.
        types: Only these job types; all unless given.
        states: Only these states; all unless given.
        people: Only what these people asked for; everybody unless given.
        since: Only jobs made at this time (ISO 8601) or later.
        where: Conditions on numbers of what the jobs yielded, such as `resolution<4`; one with `=` holds for what
            rounds to it.

    Raises:
        InputError: A condition cannot be understood, or nothing has such a number.
    """
    query = select(jobs).where(jobs.c.project == project).order_by(jobs.c.number)
    for column, wanted in ((jobs.c.type, types), (jobs.c.state, states), (jobs.c.person, people)):
        query = query.where(column.in_(wanted)) if wanted else query
    if since:
        query = query.where(jobs.c.created >= since)
    for condition in where:
        query = _restrict(connection, project, query, condition)
    return [dict(row) for row in connection.execute(query).mappings()]


def costs(connection: Connection, project: str, by: By) -> list[Row]:
    """Time, energy and money of all runs, added up by job, type, person, month or machine.

    What ran at no known price is told as `unpriced` seconds.
    """
    groups = {
        "job": (jobs.c.job, jobs.c.type),
        "type": (jobs.c.type,),
        "user": (runs.c.person,),
        "month": (func.substr(runs.c.started, 1, 7),),
        "host": (runs.c.host,),
        "instance": (runs.c.instance,),
        "lane": (runs.c.lane,),
    }[by]
    names = ["job", "type"] if by == "job" else [by]
    labelled = [column.label(name) for column, name in zip(groups, names, strict=True)]
    # Steps of one session share a machine, whose time counts once.
    taken = runs.c.seconds * runs.c.share
    summed = [runs.c[name] for name in ("cpu_seconds", "gpu_seconds", "energy", "cost")]
    sums = [func.sum(taken).label("seconds"), *(func.sum(column).label(column.name) for column in summed)]
    unpriced = func.sum(case((runs.c.cost.is_(None), taken), else_=0.0)).label("unpriced")
    number = [jobs.c.number] if by == "job" else []
    query = (
        select(*labelled, func.count(runs.c.job.distinct()).label("jobs"), *sums, unpriced, runs.c.currency)
        .join(jobs, and_(jobs.c.project == runs.c.project, jobs.c.job == runs.c.job))
        .where(runs.c.project == project)
        .group_by(*groups, *number, runs.c.currency)
        .order_by(*(number or groups), runs.c.currency)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def numbers_of(connection: Connection, project: str, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Numbers of these names by job, of jobs that yielded one item."""
    alone = select(jobs.c.job).where(jobs.c.project == project, jobs.c.done == 1)
    wanted = list(connection.execute(alone).scalars())
    query = select(numbers.c.job, numbers.c.name, numbers.c.value).where(
        numbers.c.project == project, numbers.c.job.in_(wanted), numbers.c.name.in_(names)
    )
    found: dict[str, dict[str, float]] = {}
    for job, name, value in connection.execute(query):
        found.setdefault(job, {})[name] = value
    return found


def ask(connection: Connection, statement: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The columns and rows of a SELECT of one's own; nothing can be changed by it.

    Raises:
        InputError: It is no SELECT, or the database does not understand it.
    """
    cursor: Any = connection.connection.cursor()
    try:
        if connection.dialect.name == "postgresql":
            _ask_server(cursor, statement)
        else:
            cursor.connection.set_authorizer(_allow)
            cursor.execute(statement)
    except (connection.dialect.loaded_dbapi.Error, connection.dialect.loaded_dbapi.Warning) as error:
        known = f"a SELECT from {', '.join(sorted(metadata.tables))}; `thon records --table NAME` shows the columns"
        raise InputError("the index cannot answer", got=str(error).strip(), expected=known) from error
    if cursor.description is None:
        raise InputError("this asks for no rows", got=statement, expected="SELECT …")
    return [column[0] for column in cursor.description], _rows(cursor, embedded=connection.dialect.name == "sqlite")


def _rows(cursor: Any, *, embedded: bool) -> Iterator[tuple[Any, ...]]:
    yield from (tuple(row) for row in cursor)
    if embedded:
        cursor.connection.set_authorizer(None)


def _ask_server(cursor: Any, statement: str) -> None:
    """Ask PostgreSQL, of what it can do for those rows alone.

    As a part of another SELECT a statement can be nothing else; with parameters, even none, the server takes one
    statement and no more.
    """
    cursor.execute("SET TRANSACTION READ ONLY")
    cursor.execute(f"SELECT * FROM ({statement.strip().rstrip(';').replace('%', '%%')}\n) AS asked", ())


def _allow(action: int, *_: object) -> int:
    """Whether SQLite may do what a statement asks of it."""
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def read_condition(condition: str) -> tuple[str, ColumnElement[bool]]:
    """The name of a number, and what is to hold for its value; one with `=` holds for what rounds to it.

    Raises:
        InputError: It cannot be understood.
    """
    match = _CONDITION.match(condition.strip())
    if match is None:
        raise InputError("not a condition", got=condition, expected="a number of a result, such as resolution<4")
    name, sign, typed = match.groups()
    try:
        value, column = float(typed), numbers.c.value
    except ValueError as error:
        raise InputError("this is no number", got=typed, expected="such as 3.5") from error
    half = 0.5 * 10.0 ** -len(typed.partition(".")[2])
    holds = {
        "=": and_(column >= value - half, column < value + half),
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }[sign]
    return name, holds


def _restrict(connection: Connection, project: str, query: Select[Any], condition: str) -> Select[Any]:
    name, holds = read_condition(condition)
    mine = and_(numbers.c.project == project, numbers.c.name == name)
    if connection.execute(select(numbers.c.name).where(mine).limit(1)).scalar() is None:
        known = connection.execute(select(numbers.c.name).where(numbers.c.project == project).distinct()).scalars()
        raise InputError(f"nothing in this project has '{name}'", expected=", ".join(sorted(known)) or "a result")
    return query.where(jobs.c.job.in_(select(numbers.c.job).where(mine, holds)))
