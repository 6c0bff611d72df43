"""The jobs of a project: as a graph, as a table, as a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from thon.engine.scheduler.asked import asked_of
from thon.job.folder import JobFolder
from thon.web.cards import Card, cards_of, number_names
from thon.web.pages.layout import HEIGHT, WIDTH, lay_out
from thon.web.pages.render import page
from thon.web.pages.types import known_types
from thon.web.served import Served
from thon.web.site import ServedProject

router = APIRouter()

STATES = ("running", "waiting", "held", "finished", "failed", "interrupted", "unreadable")
ROWS = 100
"""Jobs on one page of the table."""

COUNTED = {
    "particles": "particles",
    "classify": "particles",
    "refine": "particles",
    "post-process": "particles",
    "tomography": "tilts",
}
"""What the one result of a job counts, by the stage of its type."""

COLUMNS: dict[str, Callable[[Card], Any]] = {
    "job": lambda card: card.row["number"],
    "type": lambda card: card.row["type"],
    "title": lambda card: card.title.lower(),
    "state": lambda card: STATES.index(card.state) if card.state in STATES else len(STATES),
    "items": lambda card: card.row["items"],
    "time": lambda card: card.row["seconds"],
    "cost": lambda card: card.row["cost"] or 0.0,
    "size": lambda card: card.row["bytes"],
    "created": lambda card: card.row["created"],
}
"""By what the table can be sorted, besides numbers."""


class Asked(BaseModel):
    """What of the jobs is shown, and how."""

    view: Literal["graph", "table", "tree"] = "graph"
    find: str = ""
    state: str = ""
    type: str = ""
    tag: str = ""
    sort: str = "-job"
    """By what the table is sorted, with a minus in front for the largest first."""
    columns: str = ""
    """Numbers that have a column, separated by commas."""
    at: int = 0
    """Number of the first row, from 0."""

    def fits(self, card: Card) -> bool:
        """Whether a job is shown."""
        return (
            (not self.find or card.has(self.find.lower()))
            and self.state in ("", card.state)
            and self.type in ("", card.row["type"])
            and (not self.tag or self.tag in card.notes.tags)
        )


@router.get("/p/{project}/", response_class=HTMLResponse)
def jobs(request: Request, served: ServedProject, asked: Annotated[Asked, Query()]) -> HTMLResponse:
    """The jobs of a project."""
    every = cards_of(served)
    shown = [card for card in every if asked.fits(card)]
    context: dict[str, Any] = asked.model_dump(exclude={"at", "columns"}) | {
        "cards": shown,
        "total": len(every),
        "states": [name for name in STATES if any(card.state == name for card in every)],
        "types": sorted({card.row["type"] for card in every}),
        "tags": sorted({one for card in every for one in card.notes.tags}),
        "idle": [card for card in shown if card.state == "waiting" and not _is_asked(served, card)],
        "section": "jobs",
    }
    if asked.view == "graph":
        context |= {"laid": lay_out({card.job: card.parents for card in shown}), "size": (WIDTH, HEIGHT)}
        context |= {"counted": {name: COUNTED.get(one.stage, "") for name, one in known_types().items()}}
    elif asked.view == "table":
        context |= _table(shown, number_names(every), asked)
    else:
        context |= {"rows": _tree(shown)}
    return page(request, "jobs.html", served, **context)


def _is_asked(served: Served, card: Card) -> bool:
    return asked_of(JobFolder(served.project.root / card.row["folder"])) is not None


def _table(cards: Sequence[Card], names: Sequence[str], asked: Asked) -> dict[str, Any]:
    chosen = [name for name in asked.columns.split(",") if name in names] if asked.columns else names[:1]
    rows = sorted(cards, key=lambda card: _key(card, asked.sort.lstrip("-")), reverse=asked.sort.startswith("-"))
    at = min(max(asked.at, 0), max(len(rows) - 1, 0) // ROWS * ROWS)
    return {"rows": rows[at : at + ROWS], "at": at, "per_page": ROWS, "columns": chosen, "names": names}


def _key(card: Card, column: str) -> Any:
    """What a job is sorted by; a number that it has not comes last, or first where the largest comes first."""
    return COLUMNS[column](card) if column in COLUMNS else card.numbers.get(column, float("inf"))


def _tree(cards: Sequence[Card]) -> list[tuple[Card, int]]:
    """Jobs with how deep they stand, each below the last of those that it takes from."""
    by_name = {card.job: card for card in cards}
    below: dict[str, list[Card]] = {}
    for card in cards:
        before = [name for name in card.parents if name in by_name and by_name[name].row["number"] < card.row["number"]]
        parent = max(before, key=lambda name: by_name[name].row["number"], default="")
        below.setdefault(parent, []).append(card)
    rows: list[tuple[Card, int]] = []
    waiting = [(card, 0) for card in reversed(below.get("", []))]
    while waiting:
        card, depth = waiting.pop()
        rows.append((card, depth))
        waiting += [(child, depth + 1) for child in reversed(below.get(card.job, []))]
    return rows
