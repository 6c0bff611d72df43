"""One job: what it yielded, its options, where its inputs come from, what it said, its files, its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import Connection, func, select

from thon.base.errors import StoreError
from thon.engine.live.status import read_status
from thon.engine.scheduler.asked import asked_of
from thon.job.folder import JobFolder
from thon.job.record import JobRecord
from thon.project.ask import Row
from thon.project.ask_items import Which, numbers_of_items
from thon.project.history import ancestors
from thon.project.notes import notes_of
from thon.project.tables import inputs, jobs, links, runs
from thon.web.cards import Card, card_of, tail
from thon.web.pages.items import page_of, results_of_item, state_of_item
from thon.web.pages.listing import list_folder
from thon.web.pages.new import lanes_of
from thon.web.pages.render import page
from thon.web.pages.told_options import Told, tell_options
from thon.web.pages.types import known_types
from thon.web.served import Served
from thon.web.site import ServedProject

router = APIRouter()

Tab = Literal["results", "options", "inputs", "history", "log", "files", "record"]
LONGEST = 1 << 20
"""A record of more bytes is not read for a page; what it holds besides its items is in the index."""

LINES = 400
"""Latest events that are shown."""

NAMED = 20
"""Files from outside that are named."""


class Asked(BaseModel):
    """What of a job is shown."""

    tab: Tab = "results"
    item: str = ""
    sort: str = "item"
    """By what its items are sorted, with a minus in front for the largest first."""
    state: str = ""
    find: str = ""
    at: int = 0
    """Number of the first item in the list, from 0."""
    folder: str = ""
    """Folder whose files are listed."""


@router.get("/p/{project}/jobs/{job}", response_class=HTMLResponse)
def job(request: Request, served: ServedProject, job: str, shown: Annotated[Asked, Query()]) -> HTMLResponse:
    """One job."""
    found = served.job(job)
    card = card_of(served, found.path.name.split("-")[0])
    context: dict[str, Any] = {"section": "jobs", "card": card, "job": card.job, "row": card.row, "tab": shown.tab}
    context |= {"asked": asked_of(found), "tabs": get_args(Tab), "lanes": lanes_of(served)}
    context |= {"of_session": _is_of_session(served, found)}
    if shown.tab == "results":
        context |= _results(served, found, card, shown)
    elif shown.tab == "files":
        context |= {"listing": list_folder(found.path, shown.folder)}
    else:
        context |= TABS[shown.tab](served, found, card)
    return page(request, f"job_{shown.tab}.html", served, **context)


def _is_of_session(served: Served, folder: JobFolder) -> bool:
    """Whether it is a step of the live session, which alone runs it."""
    status = read_status(served.project.root)
    return status is not None and any(stage.job == folder.path.name for stage in status.stages)


def _results(served: Served, folder: JobFolder, card: Card, asked: Asked) -> dict[str, Any]:
    which = Which([asked.state] if asked.state else [], asked.find)
    listed = page_of(served, card.job, which, asked.sort, asked.at)
    item = asked.item or (listed.rows[0]["item"] if listed.rows else "")
    context = {"listed": listed, "item": item, "sort": asked.sort, "state": asked.state, "find": asked.find}
    return context | (_item(served, folder, card.job, item) if item else {"shown": None, "error_log": ""})


def _item(served: Served, folder: JobFolder, job: str, item: str) -> dict[str, Any]:
    """What is shown of one item."""
    with served.index.reading() as connection:
        values = numbers_of_items(connection, served.project.id, job, [item])[item]
        state, message = state_of_item(connection, served.project.id, job, item)
        main = results_of_item(connection, served.project.id, job, item)
    pictures = [str(path.relative_to(folder.path)) for path in _pictures(folder, item)]
    log = f"errors/{item}.log"
    shown = {"state": state, "message": message, "values": values, "main": main, "pictures": pictures}
    return {"shown": shown, "error_log": log if (folder.path / log).exists() else ""}


def _pictures(folder: JobFolder, item: str) -> list[Path]:
    place = folder.path / "previews" / item
    if place.parent != folder.path / "previews" or not place.is_dir():
        return []
    return sorted(place.glob("*.png"))


def _options(served: Served, folder: JobFolder, card: Card) -> dict[str, Any]:
    record = record_of(folder)
    told: list[Told] = tell_options(served, card.row["type"], json.loads(card.row["options"] or "{}"))
    settings = record.settings.model_dump() if record is not None else {"seed": card.row["seed"]}
    pending = bool(told) and not any(one.known for one in told) and card.row["type"] in known_types()
    return {"told": told, "settings": settings, "pending": pending}


def _inputs(served: Served, folder: JobFolder, card: Card) -> dict[str, Any]:
    project, job = served.project.id, card.job
    mine = (inputs.c.project == project, inputs.c.job == job)
    counted = (
        select(inputs.c.port, inputs.c.source_job, func.count(), func.min(inputs.c.file))
        .where(*mine)
        .group_by(inputs.c.port, inputs.c.source_job)
        .order_by(inputs.c.port, inputs.c.source_job)
    )
    named = select(inputs.c.port, inputs.c.file).where(*mine, inputs.c.file.is_not(None)).distinct().limit(NAMED)
    users = select(links.c.job).where(links.c.project == project, links.c.source_job == job)
    with served.index.reading() as connection:
        sources = [
            {"port": port, "job": source, "count": count} for port, source, count, _ in connection.execute(counted)
        ]
        files = [{"port": port, "file": file} for port, file in connection.execute(named)]
        names = [*connection.execute(users).scalars(), *(one["job"] for one in sources if one["job"])]
        rows = _rows(served, connection, names)
    record = record_of(folder) if card.state in ("waiting", "held") else None
    wants = record.wants if record is not None else {}
    after = record.after if record is not None else []
    used_by = [rows[name] for name in sorted(rows) if rows[name]["number"] > card.row["number"]]
    return {"sources": sources, "files": files, "rows": rows, "used_by": used_by, "wants": wants, "after": after}


def _history(served: Served, folder: JobFolder, card: Card) -> dict[str, Any]:
    with served.index.reading() as connection:
        names = ancestors(connection, served.project.id, [card.job])
        rows = _rows(served, connection, [*names])
    return {"chain": sorted(rows.values(), key=lambda row: -row["number"])}


def _log(served: Served, folder: JobFolder, card: Card) -> dict[str, Any]:
    logs = [path.name for path in sorted(folder.path.glob("*.log"))]
    logs += [f"errors/{path.name}" for path in sorted(folder.path.glob("errors/*.log"))[:50]]
    return {"events": tail(folder.events_file)[-LINES:], "logs": logs}


def _record(served: Served, folder: JobFolder, card: Card) -> dict[str, Any]:
    mine = (runs.c.project == served.project.id, runs.c.job == card.job)
    with served.index.reading() as connection:
        found = [dict(row) for row in connection.execute(select(runs).where(*mine).order_by(runs.c.run)).mappings()]
    record = record_of(folder)
    packages = record.software.packages if record is not None else {}
    return {"runs": found, "packages": packages, "folder": str(folder.path)}


TABS: dict[str, Callable[[Served, JobFolder, Card], dict[str, Any]]] = {
    "options": _options,
    "inputs": _inputs,
    "history": _history,
    "log": _log,
    "record": _record,
}


def record_of(folder: JobFolder) -> JobRecord | None:
    """A job's record; None where it cannot be read, or is very long."""
    try:
        if (folder.path / "job.json").stat().st_size > LONGEST:
            return None
        return folder.head()
    except (OSError, StoreError):
        return None


def _rows(served: Served, connection: Connection, names: Collection[Any]) -> dict[str, Row]:
    """What the index says of some jobs, with the titles that people gave them."""
    query = select(jobs).where(jobs.c.project == served.project.id, jobs.c.job.in_(names))
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return {row["job"]: row | {"title": _title(served, row)} for row in rows}


def _title(served: Served, row: Row) -> str:
    return notes_of(served.project.root / row["folder"]).title or row["title"]
