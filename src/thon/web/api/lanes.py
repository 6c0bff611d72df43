"""The API of lanes: where jobs can run, and a small job to prove one."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from pydantic import BaseModel

from thon.engine.lanes.options import read_lanes
from thon.engine.lanes.trial import try_lane
from thon.web.api.models import LaneOut
from thon.web.site import ServedProject

router = APIRouter(tags=["lanes"])

PATIENCE = 60.0
"""How long a trial may wait in the queue, s."""


class TrialOut(BaseModel):
    """How a trial went."""

    lane: str
    batch: str
    waited: float
    """Time in the queue, s."""
    reports: list[dict[str, Any]]
    """What each process told."""
    troubles: list[str]
    """What is wrong, in words; nothing where the lane is good."""


@router.get("/projects/{project}/lanes")
def list_lanes(served: ServedProject) -> list[LaneOut]:
    """The lanes on which jobs of a project can run."""
    lanes = read_lanes(served.project.root)
    return [
        LaneOut(name=name, default=name == lanes.default, kind=one.kind, options=one.model_dump(mode="json"))
        for name, one in lanes.options.items()
    ]


@router.post("/projects/{project}/lanes/{lane}/test")
def prove_lane(served: ServedProject, lane: str, processes: Annotated[int, Query(), Ge(1), Le(64)] = 1) -> TrialOut:
    """Send a small job through a lane: where it came to, and what it found there."""
    served.check_writable()
    lanes = read_lanes(served.project.root)
    name = lanes.named(lane)
    trial = try_lane(served.project.root, name, lanes[name], processes=processes, patience=PATIENCE)
    return TrialOut.model_validate(dataclasses.asdict(trial))
