"""The API of jobs: which there are, how each stands, new ones, and what people write on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import select

from thon.base.errors import InputError
from thon.engine import orders
from thon.engine.lanes.options import read_lanes
from thon.engine.scheduler.asked import ask_to_run, asked_of
from thon.job.folder import JobFolder
from thon.project.ask import job_log
from thon.project.notes import notes_of, write_on
from thon.project.tables import links, results, runs
from thon.web.api.asked import Asked, Changed, Name, NewJob, Words
from thon.web.api.models import JobDetail, JobOut, JobPage, Placed, RunOut, card_values, job_out
from thon.web.cards import Card, card_of, cards_of
from thon.web.site import Served, ServedProject

router = APIRouter(tags=["jobs"])

Sort = Literal["job", "type", "title", "state", "items", "seconds", "cost", "bytes", "created", "ended", "number"]

FIRST_ITEMS = 20
"""Items whose outputs are told of a job."""


class JobQuery(Asked):
    """Which jobs, in which order."""

    type: Words = Field(default_factory=list)
    state: Words = Field(default_factory=list)
    person: Words = Field(default_factory=list)
    tag: Words = Field(default_factory=list)
    where: Words = Field(default_factory=list)
    """Conditions on numbers of results, such as `resolution<4`."""
    since: Annotated[str, Field(max_length=40)] = ""
    """Made at this time (ISO 8601) or later."""
    find: Name = ""
    """A text in number, type, title, tags, notes or command."""
    sort: Sort = "job"
    by: Name = ""
    """Which number, where they are sorted by one."""
    down: bool = False
    """The last, or the largest, first."""
    offset: Annotated[int, Ge(0), Le(10_000_000)] = 0
    limit: Annotated[int, Ge(1), Le(10_000)] = 1000


@router.get("/projects/{project}/jobs")
def list_jobs(served: ServedProject, query: Annotated[JobQuery, Query()]) -> JobPage:
    """The jobs of a project."""
    cards = cards_of(served)
    if query.type or query.person or query.where or query.since:
        with served.index.reading() as connection:
            rows = job_log(
                connection,
                served.project.id,
                types=query.type,
                people=query.person,
                where=query.where,
                since=query.since,
            )
        wanted = {row["job"] for row in rows}
        cards = [card for card in cards if card.job in wanted]
    cards = [card for card in cards if _fits(card, query.state, query.tag, query.find.lower())]
    cards = _in_order(cards, query.sort, query.by, down=query.down)
    shown = cards[query.offset : query.offset + query.limit]
    return JobPage(jobs=[job_out(card) for card in shown], total=len(cards))


@router.post("/projects/{project}/jobs", status_code=201)
def create_job(served: ServedProject, new: NewJob) -> Placed:
    """Write down a job, or the jobs of a chain, each taking what the one before yields, and run them unless told."""
    served.check_writable()
    read_lanes(served.project.root).named(new.lane)
    numbers = served.desk.call(orders.place, served.project.root, new.filled())
    folders = [served.project.job(number) for number in numbers]
    if new.title or new.tags:
        for folder in folders:
            write_on(folder.path, title=new.title or None, add=new.tags)
    ask_for(served, folders, new.lane, run=new.run)
    return Placed(jobs=numbers)


@router.get("/projects/{project}/jobs/{job}")
def show_job(served: ServedProject, job: str) -> JobDetail:
    """A job with all that is known of it but its items."""
    return _detail(served, card_of(served, number_of(served.job(job))))


@router.patch("/projects/{project}/jobs/{job}")
def change_job(served: ServedProject, job: str, changed: Changed) -> JobOut:
    """Write on a job: a title, tags, a note. Its record does not change."""
    served.check_writable()
    folder = served.job(job)
    write_on(folder.path, title=changed.title, note=changed.note, add=changed.add, remove=changed.remove)
    return job_out(card_of(served, number_of(folder)))


def number_of(folder: JobFolder) -> str:
    """The number of a job, such as J008."""
    return folder.path.name.split("-")[0]


def ask_for(served: Served, folders: Sequence[JobFolder], lane: str | None, *, run: bool) -> None:
    """Ask for jobs, if so wished, and see them at once."""
    if run:
        for folder in folders:
            ask_to_run(folder, lane=lane)
    served.changed()


def _detail(served: Served, card: Card) -> JobDetail:
    folder = JobFolder(served.project.root / card.row["folder"])
    with served.index.reading() as connection:
        mine = (served.project.id, card.job)
        ran = select(runs).where(runs.c.project == mine[0], runs.c.job == mine[1]).order_by(runs.c.run)
        rows = [RunOut.model_validate(dict(row)) for row in connection.execute(ran).mappings()]
        after = select(links.c.job).where(links.c.project == mine[0], links.c.source_job == mine[1])
        children = sorted(connection.execute(after).scalars())
        made = select(results.c.title, results.c.path).where(results.c.project == mine[0], results.c.job == mine[1])
        first = list(connection.execute(made.order_by(results.c.item).limit(FIRST_ITEMS)))
        outputs = {row[0]: row[1] for row in reversed(first)}
    more: dict[str, Any] = {name: card.row[name] for name in ("seed", "version", "source_commit")}
    more |= {"options": json.loads(card.row["options"] or "{}"), "runs": rows, "children": children}
    more |= {"written": list(notes_of(folder.path).notes), "asked": asked_of(folder) is not None}
    return JobDetail(**card_values(card), **more, live=folder.items_file.exists(), outputs=outputs)


def _fits(card: Card, states: Sequence[str], tags: Sequence[str], find: str) -> bool:
    told = (card.job, card.row["type"], card.title, card.notes.text, *card.notes.tags, card.row["command"])
    return (
        (not states or card.state in states)
        and all(tag in card.notes.tags for tag in tags)
        and (not find or any(find in text.lower() for text in told))
    )


def _in_order(cards: Sequence[Card], sort: Sort, by: str, *, down: bool) -> list[Card]:
    """Jobs in the order of what was asked for; those that have no such thing come last."""
    if sort == "number" and not by:
        raise InputError("sorted by which number?", expected="by=NAME")
    found = {card.job: _sorted_by(card, sort, by) for card in cards}
    known = [card for card in cards if found[card.job] is not None]
    rest = [card for card in cards if found[card.job] is None]
    return [*sorted(known, key=lambda card: found[card.job], reverse=down), *rest]


def _sorted_by(card: Card, sort: Sort, by: str) -> Any:
    own = {"job": card.row["number"], "title": card.title.lower(), "state": card.state, "number": card.numbers.get(by)}
    return own[sort] if sort in own else card.row[sort]
