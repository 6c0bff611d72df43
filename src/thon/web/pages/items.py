"""The items of a job, a page at a time, in any order."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from thon.project.ask import Row
from thon.project.ask_items import SORTABLE, Order, Which, count_items, items_of, number_names
from thon.project.tables import items, results
from thon.web.served import Served

ROWS = 100
"""Items on one page of a list."""


@dataclass(frozen=True)
class Page:
    """A page of a job's items.

    Args:
        rows: The items; `key` is what they are sorted by.
        total: How many fit in all.
        at: Number of the first on this page, from 0.
        names: Numbers by which they can be sorted.
    """

    rows: list[Row]
    total: int
    at: int
    names: list[str]


def page_of(served: Served, job: str, which: Which, sort: str, at: int) -> Page:
    """A page of a job's items.

    Args:
        served: The project.
        job: The job's number.
        which: Which of them.
        sort: What to sort by, with a minus in front for the largest first; by name where there is no such number.
        at: Number of the first item, from 0.
    """
    project, column = served.project.id, sort.lstrip("-")
    with served.index.reading() as connection:
        names = number_names(connection, project, job)
        total = count_items(connection, project, job, which)
        at = min(max(at, 0), max(total - 1, 0) // ROWS * ROWS)
        known = column in SORTABLE or column in names
        order = Order(column if known else "item", known and sort.startswith("-"), None, at)
        rows = items_of(connection, project, job, which, order, ROWS)
    return Page(rows, total, at, names)


def state_of_item(connection: Connection, project: str, job: str, item: str) -> tuple[str, str]:
    """How an item stands, "waiting" where nothing is known of it, and why it failed, if it did."""
    mine = (items.c.project == project, items.c.job == job, items.c.item == item)
    row = connection.execute(select(items.c.state, items.c.message).where(*mine)).first()
    return ("waiting", "") if row is None else (row[0], row[1])


def results_of_item(connection: Connection, project: str, job: str, item: str) -> list[tuple[str, str]]:
    """Titles and paths, in the job's folder, of the main outputs of an item."""
    mine = (results.c.project == project, results.c.job == job, results.c.item == item)
    query = select(results.c.title, results.c.path).where(*mine).order_by(results.c.title)
    return [(title, path) for title, path in connection.execute(query)]
