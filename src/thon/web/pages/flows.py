"""Workflows, exported and run, and the lanes on which jobs run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from thon.base.errors import ThonError
from thon.engine.lanes.options import LaneOptions, places, read_lanes
from thon.web.cards import cards_of
from thon.web.faults import fault_of
from thon.web.pages.new import lanes_of
from thon.web.pages.render import page
from thon.web.site import ServedProject

router = APIRouter()


@router.get("/p/{project}/workflow", response_class=HTMLResponse)
def workflow(request: Request, served: ServedProject) -> HTMLResponse:
    """Jobs as a template for the next project, and such a template run here."""
    return page(request, "workflow.html", served, section="workflow", cards=cards_of(served), lanes=lanes_of(served))


@router.get("/p/{project}/lanes", response_class=HTMLResponse)
def lanes(request: Request, served: ServedProject) -> HTMLResponse:
    """Where jobs can run."""
    trouble, found, default, file = None, dict[str, list[tuple[str, Any]]](), "", None
    try:
        read = read_lanes(served.project.root)
        found = {name: _told(options) for name, options in read.options.items()}
        default, file = read.default, read.file
    except ThonError as error:
        trouble = fault_of(error)
    context: dict[str, Any] = {"lanes": found, "default": default, "file": file, "places": places(served.project.root)}
    return page(request, "lanes.html", served, section="lanes", trouble=trouble, **context)


def _told(options: LaneOptions) -> list[tuple[str, Any]]:
    """What a lane says besides the defaults."""
    return [(name, value) for name, value in options.model_dump(exclude_defaults=True).items() if name != "kind"]
