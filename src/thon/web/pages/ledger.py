"""What ran, what it cost, and where a file came from."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Select, func, select

from thon.base.errors import ThonError
from thon.engine.inputs import is_job
from thon.job.folder import JobFolder
from thon.project.ask import By, Row, costs, job_log, numbers_of
from thon.project.tables import jobs, numbers
from thon.web.api.history import why as tell_why
from thon.web.cards import state_of
from thon.web.faults import fault_of
from thon.web.pages.render import page
from thon.web.served import Served
from thon.web.site import ServedProject

router = APIRouter()

ROWS = 200
"""Jobs on one page of the log."""

WAYS = ("job", "type", "user", "month", "lane", "instance", "host")
SUMS = ("seconds", "cpu_seconds", "gpu_seconds", "unpriced", "cost", "energy")


@router.get("/p/{project}/log", response_class=HTMLResponse)
def log(  # noqa: PLR0917
    request: Request,
    served: ServedProject,
    type: str = "",
    state: str = "",
    by: str = "",
    since: str = "",
    where: str = "",
    cost: Literal["job", "type", "user", "month", "lane", "instance", "host"] = "type",
    at: int = 0,
) -> HTMLResponse:
    """What ran, the latest first, and what it took and cost in all."""
    wanted = [part.strip() for part in where.split(",") if part.strip()]
    asked = [part.split("=")[0].split("<")[0].split(">")[0].strip() for part in wanted]
    trouble, rows = None, list[Row]()
    with served.index.reading() as connection:
        project = served.project.id
        try:
            rows = job_log(
                connection,
                project,
                types=[type] if type else [],
                states=[state] if state else [],
                people=[by] if by else [],
                since=since,
                where=wanted,
            )
        except ThonError as error:
            trouble = fault_of(error)
        told = numbers_of(connection, project, asked) if asked else {}
        known = connection.execute(select(jobs.c.type, jobs.c.person).where(jobs.c.project == project).distinct()).all()
        added = costs(connection, project, _way(cost))
    rows.reverse()
    at = min(max(at, 0), max(len(rows) - 1, 0) // ROWS * ROWS)
    shown = [row | {"state": _state(served, row)} for row in rows[at : at + ROWS]]
    return page(
        request,
        "log.html",
        served,
        section="log",
        rows=shown,
        total=len(rows),
        at=at,
        per_page=ROWS,
        numbers=told,
        asked=asked,
        types=sorted({row[0] for row in known}),
        people=sorted({row[1] for row in known if row[1]}),
        names=_names(served),
        type=type,
        state=state,
        by=by,
        since=since,
        where=where,
        cost=cost,
        ways=WAYS,
        costs=added,
        sums=_sums(added),
        trouble=trouble,
    )


@router.get("/p/{project}/why", response_class=HTMLResponse)
def why(request: Request, served: ServedProject, of: str = "", changed: bool = False) -> HTMLResponse:
    """The whole history of a file or a job, down to raw data."""
    told, trouble = None, None
    if of:
        try:
            job, _, item = of.partition(":") if is_job(of) else ("", "", "")
            told = tell_why(served, job, item or None, "" if job else of, changed=changed)
        except ThonError as error:
            trouble = fault_of(error)
    return page(request, "why.html", served, section="why", of=of, told=told, trouble=trouble, changed=changed)


def _names(served: Served) -> list[str]:
    """Numbers that any result has."""
    found: list[str] = []
    with served.index.reading() as connection:
        name: str | None = ""
        # From name to name, for each of very many items may have all of them.
        while (name := connection.execute(_next_name(served.project.id, name or "")).scalar()) is not None:
            found.append(name)
    return found


def _next_name(project: str, name: str) -> Select[Any]:
    return select(func.min(numbers.c.name)).where(numbers.c.project == project, numbers.c.name > name)


def _way(cost: str) -> By:
    return next(way for way in ("job", "type", "user", "month", "lane", "instance", "host") if way == cost)


def _state(served: Served, row: Row) -> str:
    return state_of(JobFolder(served.project.root / row["folder"]), row["state"])


def _sums(rows: list[Row]) -> list[dict[str, Any]]:
    """What everything took, for each currency; the largest cost, to which bars are drawn."""
    found: list[dict[str, Any]] = []
    for currency in sorted({row["currency"] for row in rows}):
        mine = [row for row in rows if row["currency"] == currency]
        values: dict[str, Any] = {name: sum(row[name] or 0.0 for row in mine) for name in SUMS}
        priced = any(row["cost"] is not None for row in mine)
        largest = max((row["cost"] if priced else row["seconds"]) or 0.0 for row in mine)
        found.append(values | {"currency": currency, "priced": priced, "largest": largest})
    return found
