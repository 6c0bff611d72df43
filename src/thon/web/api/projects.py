"""The API of a server's projects: which there are, new ones, and what a project as a whole took."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from sqlalchemy import func, select

from thon.base.errors import InputError, StoreError, ThonError
from thon.job.folder import JobFolder
from thon.project.ask import ask, costs
from thon.project.project import Project
from thon.project.tables import jobs, links
from thon.web.api.asked import NewProject
from thon.web.api.models import CostOut, Edge, Graph, ProjectOut, Rows, job_out
from thon.web.cards import cards_of, state_of
from thon.web.site import Served, ServedProject, ServedSite, Site

router = APIRouter(tags=["projects"])

_CREATED = re.compile(rb'^ "created": "([^"]+)"', re.MULTILINE)

SECONDS = 20.0
"""How long a question in SQL may take, s."""


@router.get("/projects")
def list_projects(site: ServedSite) -> list[ProjectOut]:
    """The projects of this server."""
    return [_summary(site, name) for name in site.names()]


@router.post("/projects", status_code=201)
def create_project(site: ServedSite, new: NewProject) -> ProjectOut:
    """Make a project in the folder that is served."""
    return describe(site.create(new.name))


@router.get("/projects/{project}")
def show_project(served: ServedProject) -> ProjectOut:
    """A project in short."""
    return describe(served)


@router.get("/projects/{project}/graph")
def show_graph(served: ServedProject) -> Graph:
    """The jobs of a project and what they take from each other."""
    cards = cards_of(served)
    with served.index.reading() as connection:
        query = select(links.c.source_job, links.c.job, links.c.count).where(links.c.project == served.project.id)
        counts = {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}
    pairs = [(parent, card.job) for card in cards for parent in card.parents]
    edges = [Edge(source=source, target=target, count=counts.get((source, target), 0)) for source, target in pairs]
    return Graph(jobs=[job_out(card) for card in cards], edges=edges)


@router.get("/projects/{project}/cost")
def show_cost(
    served: ServedProject,
    by: Literal["job", "type", "user", "month", "host", "instance", "lane"] = "job",
) -> list[CostOut]:
    """Time, energy and money of all runs, added up."""
    with served.index.reading() as connection:
        rows = costs(connection, served.project.id, by)
    return [CostOut.model_validate({"type": None} | row | {"name": str(row[by] or "")}) for row in rows]


@router.get("/projects/{project}/sql")
def ask_sql(
    served: ServedProject,
    query: Annotated[str, Query(max_length=10_000)],
    limit: Annotated[int, Ge(1), Le(10_000)] = 1000,
) -> Rows:
    """Ask the index in SQL; nothing can be changed by it, and what takes too long is given up."""
    with served.index.reading() as connection:
        raw: Any = connection.connection.driver_connection
        watch = threading.Timer(SECONDS, raw.interrupt if hasattr(raw, "interrupt") else raw.cancel)
        watch.start()
        try:
            columns, rows = ask(connection, query)
            given = [[_told(value) for value in row] for row in itertools.islice(rows, limit + 1)]
        except sqlite3.OperationalError as error:
            raise InputError("the index cannot answer", got=error, mend="ask for less") from error
        finally:
            watch.cancel()
            connection.connection.invalidate()  # what was asked may not have been read to its end
    return Rows(columns=columns, rows=given[:limit], more=len(given) > limit)


def describe(served: Served) -> ProjectOut:
    """A project in short."""
    with served.index.reading() as connection:
        mine = jobs.c.project == served.project.id
        counts = select(jobs.c.state, func.count()).where(mine).group_by(jobs.c.state)
        states = {row[0]: int(row[1]) for row in connection.execute(counts)}
        last = connection.execute(select(func.max(jobs.c.created)).where(mine)).scalar()
    return ProjectOut(
        name=served.name,
        path=str(served.project.root),
        jobs=sum(states.values()),
        states=states,
        last=last or None,
        read_only=served.read_only,
        remarks=served.remarks,
    )


def _told(value: Any) -> Any:
    """A value of the index as JSON can have it."""
    return value.hex() if isinstance(value, bytes | memoryview) else value


def _summary(site: Site, name: str) -> ProjectOut:
    """A project in short; one that nobody has asked for is not opened for it."""
    try:
        served = site.if_open(name)
        return describe(served) if served is not None else _glance(name, site.place(name))
    except ThonError as error:
        return ProjectOut(name=name, path=str(site.folder), trouble=str(error))


def _glance(name: str, root: Path) -> ProjectOut:
    """What the folder of a project tells at a glance."""
    found = Project.open(root).jobs()
    states = Counter(_state(folder) for folder in found)
    made = _made(found[-1]) if found else None
    read_only = not os.access(root, os.W_OK)
    return ProjectOut(name=name, path=str(root), jobs=len(found), states=states, last=made, read_only=read_only)


def _made(folder: JobFolder) -> str | None:
    """When a job was made, found without understanding all of a record that may be very long."""
    try:
        match = _CREATED.search((folder.path / "job.json").read_bytes())
    except OSError:
        return None
    return match[1].decode(errors="replace") if match is not None else None


def _state(folder: JobFolder) -> str:
    try:
        return state_of(folder, folder.marked_state())
    except (StoreError, OSError):
        return "unreadable"
