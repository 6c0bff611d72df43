"""Housekeeping: what takes space, what is final, what could go."""

from __future__ import annotations

import shutil

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from thon.job.folder import JobFolder
from thon.project.sizes import Sizes, sizes_of
from thon.web.cards import cards_of
from thon.web.pages.render import page
from thon.web.site import ServedProject

router = APIRouter()


@router.get("/p/{project}/files", response_class=HTMLResponse)
def files(request: Request, served: ServedProject, measure: bool = False) -> HTMLResponse:
    """What each job takes on the disk; with `measure` every file is looked at, which may take a while."""
    cards = sorted(cards_of(served), key=lambda card: -card.row["bytes"])
    sizes: dict[str, Sizes] = {}
    if measure:
        sizes = {card.job: sizes_of(JobFolder(served.project.root / card.row["folder"])) for card in cards}
        cards.sort(key=lambda card: -sizes[card.job].total)
    largest = max([sizes[card.job].total if measure else card.row["bytes"] for card in cards], default=0)
    return page(
        request,
        "files.html",
        served,
        section="files",
        cards=cards,
        sizes=sizes,
        largest=largest,
        total=sum(one.total for one in sizes.values()) if measure else sum(card.row["bytes"] for card in cards),
        disk=shutil.disk_usage(served.project.root),
    )
