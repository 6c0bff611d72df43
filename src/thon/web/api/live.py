"""The API of a project's live session: start it, see how it stands, and tell it to pause or to stop."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter
from pydantic import BaseModel, Field

from thon.engine.lanes.options import read_lanes
from thon.engine.live.control import LiveControl, Threshold, read_control, write_control
from thon.engine.live.launch import LiveAsk, is_running, read_ask, start_live, stop_live
from thon.engine.live.series import Point, read_series
from thon.engine.live.status import read_status
from thon.web.api.asked import Asked, Name, Text
from thon.web.api.types import listing_of
from thon.web.faults import ConflictError
from thon.web.site import ServedProject

router = APIRouter(tags=["live"])

LIVE = "/projects/{project}/live"
MOST_POINTS = 50_000


class LiveOut(BaseModel):
    """The live session of a project."""

    running: bool
    status: dict[str, Any] | None
    """How it stands, or stood when it last told; none where there was none."""
    control: LiveControl
    """What it has been told."""
    asked: LiveAsk | None
    """What the last session that was started here was asked to do."""


class NewLive(Asked):
    """A session to be started."""

    chain: Name = "live"
    location: Text
    """Folder or URL to watch; a folder relative to the project unless absolute."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options that are not as by default, by step; those that steps share beside the steps."""
    live: dict[str, Any] = Field(default_factory=dict)
    """How to watch, where that is not as by default."""
    settings: dict[str, Any] = Field(default_factory=dict)
    ports: dict[Name, Text] = Field(default_factory=dict)
    """What goes into further ports, by name."""
    lane: Name | None = None


class Told(Asked):
    """What to tell the session; what is not given stays."""

    paused: bool | None = None
    workers: Annotated[int, Ge(1), Le(4096)] | None = None
    thresholds: Annotated[list[Threshold], Field(max_length=100)] | None = None


class Points(BaseModel):
    """What a session has finished, in the order in which it did."""

    points: list[Point]
    more: bool
    """Whether there were more than were given."""


@router.get(LIVE)
def show_live(served: ServedProject) -> LiveOut:
    """How the live session of a project stands."""
    root = served.project.root
    status = read_status(root)
    return LiveOut(
        running=is_running(root),
        status=None if status is None else status.plain(),
        control=read_control(root),
        asked=read_ask(root),
    )


@router.get(f"{LIVE}/series")
def list_points(served: ServedProject, since: Annotated[float, Ge(0)] = 0.0) -> Points:
    """What has been finished after a time (s since 1970), each with its numbers."""
    found = [point for point in read_series(served.project.root, since=since) if point.time > since]
    return Points(points=found[:MOST_POINTS], more=len(found) > MOST_POINTS)


@router.post(f"{LIVE}/start", status_code=201)
def start_session(served: ServedProject, new: NewLive) -> LiveOut:
    """Start a session in a process of its own, which goes on when the server ends."""
    served.check_writable()
    if listing_of(new.chain).kind != "chain":
        raise ConflictError("this is no live chain", got=new.chain, expected="a chain such as live")
    lane = "" if new.lane is None else read_lanes(served.project.root).named(new.lane)
    start_live(served.project, LiveAsk(**new.model_dump(exclude={"lane"}), lane=lane))
    served.changed()
    return show_live(served)


@router.patch(f"{LIVE}/control")
def tell_session(served: ServedProject, told: Told) -> LiveControl:
    """Pause, go on, change the number of workers or the thresholds."""
    served.check_writable()
    changes = {name: getattr(told, name) for name in told.model_fields_set if getattr(told, name) is not None}
    return write_control(served.project.root, **changes)


@router.post(f"{LIVE}/stop")
def stop_session(served: ServedProject) -> LiveOut:
    """Stop the session as by Ctrl-C: what was begun is left, and done when it is started again."""
    served.check_writable()
    if not is_running(served.project.root):
        raise ConflictError("no live session runs in this project")
    stop_live(served.project)
    return show_live(served)
