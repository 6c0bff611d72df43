"""Questions to a project's index about the items of a job: some of them in an order, and columns of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, null, select, tuple_

from thon.base.errors import InputError
from thon.project.ask import Row, read_condition
from thon.project.tables import items, jobs, numbers

MOST = 500
"""Items in one answer."""

SORTABLE = ("item", "state", "seconds", "cpu_seconds", "peak_memory", "bytes")
"""What items can be sorted by, besides numbers of what they yielded."""


@dataclass(frozen=True)
class Which:
    """Which items of a job.

    Args:
        states: Only these states; all unless given.
        find: Only items in whose name this text is.
        where: Conditions on numbers, such as `resolution<4`.
    """

    states: Sequence[str] = ()
    find: str = ""
    where: Sequence[str] = ()


@dataclass(frozen=True)
class Order:
    """In which order, and from where on.

    Args:
        sort: One of `SORTABLE`, or the name of a number; what has no such number comes last.
        down: The largest first.
        after: `key` and name of the item after which to begin.
        offset: How many to leave out at the beginning.
    """

    sort: str = "item"
    down: bool = False
    after: tuple[Any, str] | None = None
    offset: int = 0


def items_of(connection: Connection, project: str, job: str, which: Which, order: Order, limit: int = 100) -> list[Row]:
    """Some items of a job in an order; `key` is what they are sorted by.

    Raises:
        InputError: A condition cannot be understood.
    """
    limit = min(limit, MOST)
    fits = _fits(project, job, which)
    if order.sort in SORTABLE:
        return _page(connection, select(items, items.c[order.sort].label("key")).where(*fits), order, limit)
    same = and_(numbers.c.project == items.c.project, numbers.c.job == items.c.job, numbers.c.item == items.c.item)
    # Named by the number's own columns, so that its index gives the order.
    own = (numbers.c.project == project, numbers.c.job == job, numbers.c.name == order.sort)
    having = select(items, numbers.c.value.label("key")).join(numbers, same).where(*own, *fits)
    rows = [] if _is_past(order) else _page(connection, having, order, limit)
    if len(rows) == limit:
        return rows
    lacking = select(items, null().label("key")).where(*fits, ~select(numbers.c.item).where(*own, same).exists())
    left_out = 0 if rows or order.after is not None else _count(connection, having)
    rest = replace(
        order,
        sort="item",
        down=False,
        after=(order.after[1], order.after[1]) if order.after is not None and _is_past(order) else None,
        offset=max(0, order.offset - left_out) if not rows else 0,
    )
    return rows + _page(connection, lacking, rest, limit - len(rows))


def count_items(connection: Connection, project: str, job: str, which: Which) -> int:
    """How many items of a job fit.

    Raises:
        InputError: A condition cannot be understood.
    """
    query = select(func.count()).select_from(items).where(*_fits(project, job, which))
    return int(connection.execute(query).scalar_one())


def item_states(connection: Connection, project: str, job: str) -> dict[str, int]:
    """How many items of a job are in each state."""
    query = select(jobs.c["items"], jobs.c.done, jobs.c.failed).where(jobs.c.project == project, jobs.c.job == job)
    row = connection.execute(query).first()
    counts = {} if row is None else {"done": row[1], "failed": row[2], "waiting": row[0] - row[1] - row[2]}
    return {state: count for state, count in counts.items() if count}


def number_names(connection: Connection, project: str, job: str) -> list[str]:
    """Names of the numbers that a job's items have; found by leaps, one for each, however many items there are."""
    found: list[str] = []
    mine = (numbers.c.project == project, numbers.c.job == job)
    query = select(func.min(numbers.c.name)).where(*mine)
    while (name := connection.execute(query.where(numbers.c.name > (found[-1] if found else ""))).scalar()) is not None:
        found.append(name)
    return found


def numbers_of_items(
    connection: Connection, project: str, job: str, wanted: Sequence[str]
) -> dict[str, dict[str, float]]:
    """All numbers of some items of a job."""
    found: dict[str, dict[str, float]] = {item: {} for item in wanted}
    names = number_names(connection, project, job)
    query = select(numbers.c.item, numbers.c.name, numbers.c.value).where(
        numbers.c.project == project, numbers.c.job == job, numbers.c.name.in_(names), numbers.c.item.in_(wanted)
    )
    for item, name, value in connection.execute(query):
        found[item][name] = value
    return found


def series_of(
    connection: Connection, project: str, job: str, names: Sequence[str], limit: int
) -> tuple[list[str], list[list[float | None]]]:
    """Items of a job by name that have one of these numbers, and a column of each number.

    Raises:
        InputError: No item has such a number.
    """
    known = number_names(connection, project, job)
    for name in names:
        if name not in known:
            raise InputError(f"no item has '{name}'", expected=", ".join(known) or "a number")
    columns: list[dict[str, float]] = []
    for name in names:
        query = select(numbers.c.item, numbers.c.value).where(
            numbers.c.project == project, numbers.c.job == job, numbers.c.name == name
        )
        rows = connection.execute(query.order_by(numbers.c.item).limit(limit))
        columns.append({row[0]: row[1] for row in rows})
    every = sorted({item for column in columns for item in column})[:limit]
    return every, [[column.get(item) for item in every] for column in columns]


def _fits(project: str, job: str, which: Which) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [items.c.project == project, items.c.job == job]
    if which.states:
        found.append(items.c.state.in_(which.states))
    if which.find:
        found.append(items.c.item.icontains(which.find, autoescape=True))
    for condition in which.where:
        name, holds = read_condition(condition)
        mine: Select[Any] = select(numbers.c.item).where(
            numbers.c.project == project, numbers.c.job == job, numbers.c.name == name, holds
        )
        found.append(items.c.item.in_(mine))
    return found


def _page(connection: Connection, query: Select[Any], order: Order, limit: int) -> list[Row]:
    key: Any = numbers.c.value if order.sort not in SORTABLE else items.c[order.sort]
    name = items.c.item if order.sort in SORTABLE else numbers.c.item
    if order.after is not None:
        query = query.where(_follows(key, name, order.after, down=order.down))
    query = query.order_by(*((key.desc(), name.desc()) if order.down else (key.asc(), name.asc())))
    return [dict(row) for row in connection.execute(query.offset(order.offset).limit(limit)).mappings()]


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def _is_past(order: Order) -> bool:
    """Whether the page begins among the items that have no such number, which come last."""
    return order.after is not None and order.after[0] is None


def _follows(key: Any, name: Any, after: tuple[Any, str], *, down: bool) -> ColumnElement[bool]:
    """What comes after an item in the order of the key, and of the names where that is the same."""
    value, item = after
    return tuple_(key, name) < tuple_(value, item) if down else tuple_(key, name) > tuple_(value, item)
