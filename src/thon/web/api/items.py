"""The API of what a job has done: its items in any order, columns of their numbers, and pictures of them."""

from __future__ import annotations

import base64
import json
import os
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from pydantic import Field

from thon.base.errors import InputError
from thon.job.folder import JobFolder
from thon.project.ask_items import (
    MOST,
    SORTABLE,
    Order,
    Which,
    count_items,
    item_states,
    items_of,
    number_names,
    numbers_of_items,
    series_of,
)
from thon.web.api.asked import Asked, Name, Words
from thon.web.api.jobs import number_of
from thon.web.api.models import FileOut, ItemOut, ItemPage, Series
from thon.web.paths import present_folder
from thon.web.site import ServedProject

router = APIRouter(tags=["items"])

MOST_VALUES = 200_000


class ItemQuery(Asked):
    """Which items of a job, in which order."""

    state: Words = Field(default_factory=list)
    where: Words = Field(default_factory=list)
    """Conditions on numbers, such as `resolution<4`."""
    find: Name = ""
    """A text in the item's name."""
    sort: Name = "item"
    """item, state, seconds, cpu_seconds, peak_memory, bytes, or the name of a number."""
    down: bool = False
    """The largest first."""
    after: Annotated[str, Field(max_length=2000)] = ""
    """The `next` of the page before."""
    offset: Annotated[int, Ge(0), Le(10_000_000)] = 0
    """How many to leave out at the beginning, to go to a page far away."""
    limit: Annotated[int, Ge(1), Le(MOST)] = 100


@router.get("/projects/{project}/jobs/{job}/items")
def list_items(served: ServedProject, job: str, query: Annotated[ItemQuery, Query()]) -> ItemPage:
    """Some items of a job."""
    folder = served.job(job)
    number = number_of(folder)
    with served.index.reading() as connection:
        place = (connection, served.project.id, number)
        names = number_names(*place)
        if query.sort not in SORTABLE and query.sort not in names:
            raise InputError(f"items cannot be sorted by '{query.sort}'", expected=", ".join([*SORTABLE, *names]))
        which = Which(query.state, query.find, query.where)
        order = Order(query.sort, query.down, _read(query.after), query.offset)
        rows = items_of(*place, which, order, query.limit)
        states = item_states(*place)
        total = count_items(*place, which) if query.state or query.find or query.where else sum(states.values())
        values = numbers_of_items(*place, [row["item"] for row in rows])
    items = [
        ItemOut(
            **{name: row[name] for name in ItemOut.model_fields if name in row},
            numbers=values[row["item"]],
            tile=_tile(folder, row["item"]),
        )
        for row in rows
    ]
    more = len(rows) == query.limit
    return ItemPage(
        items=items,
        total=total,
        next=_told(rows[-1]["key"], rows[-1]["item"]) if more else None,
        states=states,
        names=names,
    )


@router.get("/projects/{project}/jobs/{job}/series")
def list_series(
    served: ServedProject,
    job: str,
    name: Annotated[list[str], Query(min_length=1, max_length=12)],
    limit: Annotated[int, Ge(1), Le(MOST_VALUES)] = 100_000,
) -> Series:
    """Numbers of a job's items as columns, to plot one against another; the items are in the order of their names."""
    number = number_of(served.job(job))
    with served.index.reading() as connection:
        items, values = series_of(connection, served.project.id, number, name, limit)
        total = sum(item_states(connection, served.project.id, number).values())
    return Series(names=name, items=items, values=values, total=total)


@router.get("/projects/{project}/jobs/{job}/items/{item}/previews")
def list_previews(served: ServedProject, job: str, item: str) -> list[FileOut]:
    """Pictures of an item, as files of the job."""
    folder = served.job(job)
    previews = present_folder(folder.path, f"previews/{item}")
    found = sorted(path for path in previews.iterdir() if path.suffix in (".png", ".jpg", ".svg"))
    return [
        FileOut(
            name=path.name,
            path=str(path.relative_to(folder.path.resolve())),
            folder=False,
            bytes=path.stat().st_size,
            modified=path.stat().st_mtime,
        )
        for path in found
    ]


def _tile(folder: JobFolder, item: str) -> str | None:
    """The first picture of an item."""
    try:
        names = sorted(name for name in os.listdir(folder.path / "previews" / item) if name.endswith(".png"))
    except OSError:
        return None
    return f"previews/{item}/{names[0]}" if names else None


def _told(key: Any, item: str) -> str:
    """A place in an order as a text that is to be given back."""
    return base64.urlsafe_b64encode(json.dumps([key, item]).encode()).decode()


def _read(after: str) -> tuple[Any, str] | None:
    if not after:
        return None
    try:
        key, item = json.loads(base64.urlsafe_b64decode(after.encode()))
        f"{key}{item}".encode()
    except (ValueError, TypeError) as error:
        raise InputError("this is not the `next` of another page", got=after) from error
    known = isinstance(key, str | float | None) or (isinstance(key, int) and abs(key) < 1 << 63)
    if not isinstance(item, str) or not known:
        raise InputError("this is not the `next` of another page", got=after)
    return key, item
