"""How specimens moved while movies were taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter
from jaxtyping import Float

from thon.data.micrograph import Micrograph
from thon.web.faults import AbsentError
from thon.web.views.records import ITEM, FoundItem, Source, plain
from thon.web.views.spectrum import micrograph_of

router = APIRouter()

GRID = 5
"""Places along each side at which tracks are shown where none were measured."""


@router.get(f"{ITEM}/motion")
def motion(found: FoundItem, source: Source = "") -> dict[str, Any]:
    """Displacement of each frame, Å, over the whole micrograph and at places (x, y from −½ to ½, y pointing up)."""
    micrograph = micrograph_of(found, source)
    moved = micrograph.motion
    if moved is None:
        raise AbsentError("nobody measured how this moved", got=micrograph.name)
    places = _grid(GRID) if moved.patches is None else moved.patches.place
    tracks = moved.at(places).transpose(1, 0, 2)
    measured = None if moved.patches is None else moved.displacement + moved.patches.displacement
    rejected = {} if moved.patches is None else moved.patches.rejected
    return plain(
        {
            "extent": _extent(micrograph),
            "position": _position(micrograph),
            "exposed": bool(np.isfinite(moved.frame_exposure)),
            "y": moved.displacement[:, 0],
            "x": moved.displacement[:, 1],
            "sigma": moved.sigma,
            "travelled": moved.travelled,
            "places": places[:, ::-1],
            "tracks": tracks[..., ::-1],
            "measured": None if measured is None else measured[..., ::-1],
            "rejected": rejected,
            "facts": _facts(micrograph),
        },
        digits=5,
    )


def _facts(micrograph: Micrograph) -> list[tuple[str, float, str]]:
    """Name, value and unit of what people ask about motion."""
    moved = micrograph.motion
    if moved is None:
        return []
    travelled, patches = moved.travelled, moved.patches
    early = int(np.ceil(len(moved) / 4))
    known = [
        ("Motion in all", float(travelled[-1]), "Å"),
        ("In the first quarter", float(travelled[min(early, len(travelled) - 1)]), "Å"),
        ("Frames", float(len(moved)), ""),
        ("Exposure of a frame", moved.frame_exposure, "e/Å²"),
        ("Standard deviation", moved.sigma, "Å"),
        ("Patches", float(len(patches.place)) if patches is not None else float("nan"), ""),
        ("Patches off the model", patches.residual if patches is not None else float("nan"), "Å"),
    ]
    return [one for one in known if np.isfinite(one[1])]


def _extent(micrograph: Micrograph) -> tuple[float, float]:
    """Width and height, Å."""
    rows, columns = micrograph.image_shape
    return columns * micrograph.pixel_size, rows * micrograph.pixel_size


def _position(micrograph: Micrograph) -> Float[np.ndarray, "frames"]:
    """Exposure in the middle of each frame, e/Å², or its number where that is not known."""
    moved = micrograph.motion
    count = 0 if moved is None else len(moved)
    first = 0 if moved is None else moved.first
    step = 1.0 if moved is None or not np.isfinite(moved.frame_exposure) else moved.frame_exposure
    return (first + np.arange(count) + 0.5) * step


def _grid(side: int) -> Float[np.ndarray, "points 2"]:
    steps = (np.arange(side) + 0.5) / side - 0.5
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
