"""Picks of a micrograph as they are drawn over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter

from thon.data.maps import Picks
from thon.web.faults import AbsentError
from thon.web.views.records import ITEM, FoundItem, plain

router = APIRouter()


@router.get(f"{ITEM}/picks")
def picks(found: FoundItem) -> dict[str, Any]:
    """Where particles were picked, px of the micrograph from the lower left, with their scores and diameters, Å."""
    record = found.record
    if not isinstance(record, Picks):
        raise AbsentError("there are no picks", got=type(record).__name__)
    y, x = record.coordinates.T
    diameter = float(np.median(record.diameter)) if len(record) else 100.0
    return plain(
        {
            "micrograph": record.micrograph.name,
            "y": y,
            "x": x,
            "score": record.score,
            "diameters": record.diameter,
            "diameter": diameter,
        }
    )
