"""A live session: started, watched, steered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from thon.base.errors import StoreError
from thon.engine.live.control import LiveControl, read_control
from thon.engine.live.launch import ENDED, is_running, read_ask
from thon.engine.live.status import LiveStatus, read_status
from thon.job.events import ItemDone
from thon.job.folder import JobFolder
from thon.web.cards import tail
from thon.web.pages.fields import fields_of
from thon.web.pages.new import form_parts
from thon.web.pages.render import page
from thon.web.pages.types import form_of
from thon.web.served import Served
from thon.web.site import ServedProject

router = APIRouter()

Json = dict[str, Any]

CHAIN = "live"
LATEST, OF_ONE_STEP = 8, 3
"""Pictures that are shown, in all and of one step."""


@router.get("/p/{project}/live", response_class=HTMLResponse)
def live(request: Request, served: ServedProject, start: bool = False) -> HTMLResponse:
    """The session of a project, or the form by which one is started."""
    root = served.project.root
    status, going = read_status(root), is_running(root)
    context: Json = {"section": "live", "status": status, "going": going, "start": start or status is None}
    context |= {"control": _control(served), "pictures": list(_pictures(served, status)) if status else []}
    context |= {"lost": status is not None and not going and status.state not in ENDED}
    if context["start"] and not going:
        context |= _form(served, status)
    return page(request, "live.html", served, **context)


def _form(served: Served, status: LiveStatus | None) -> Json:
    """The form, filled in as for the session before."""
    form, before = form_of(served, CHAIN), read_ask(served.project.root)
    given: Json = {"type": CHAIN, "options": {}, "inputs": {}, "settings": {}}
    watching: Json = {}
    if before is not None:
        given |= {"options": before.options, "settings": before.settings}
        given["inputs"] = {name: [source] for name, source in before.ports.items()}
        watching = before.live
    location = before.location if before is not None else status.source if status is not None else ""
    parts = form_parts(served, form, given)
    return parts | {"watching": fields_of(form["live"], "live", watching), "location": location}


def _control(served: Served) -> LiveControl:
    try:
        return read_control(served.project.root)
    except StoreError:
        return LiveControl()


def _pictures(served: Served, status: LiveStatus) -> Iterator[Json]:
    """The latest pictures of the steps that draw some, those of later steps first."""
    count = 0
    for stage in reversed(status.stages):
        folder = JobFolder(served.project.root / stage.job)
        done = [event.item for event in tail(folder.events_file) if isinstance(event, ItemDone) and event.item]
        for item in list(dict.fromkeys(reversed(done)))[:OF_ONE_STEP]:
            picture = next(iter(sorted((folder.path / "previews" / item).glob("*.png"))), None)
            if picture is not None and count < LATEST:
                count += 1
                path = str(picture.relative_to(folder.path))
                yield {"job": stage.job.split("-")[0], "title": stage.title, "item": item, "path": path}
