"""Surfaces of maps for the browser, in its own coordinates, with the colours of another map if asked for.

The answer is binary, little-endian: the numbers of vertices and of triangles and 1 if there are values (three uint32);
then (x, y, z) of each vertex in Å from the volume's centre (float32), its value (float32, where there are), the
vertices of each triangle (uint32), and each vertex's normal with a fourth byte to fill up (int8).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Response
from jaxtyping import Float
from pydantic import AllowInfNan

from thon.base.errors import InputError
from thon.formats.image_stack import ImageStack
from thon.web.views.cache import Cache
from thon.web.views.images import pixel_size_of
from thon.web.views.open_files import opened, stamp_of
from thon.web.views.pictures import FRESH, mean_blocks
from thon.web.views.records import BINARY, ITEM, FoundItem, Source
from thon.web.views.surface import Surface, sample, surface_net, without_dust

router = APIRouter()

SIDE = 192
"""Voxels along the longest side; larger volumes are binned."""

Level = Annotated[float, Query(description="Value at the surface, the map's units"), AllowInfNan(False)]
Below = Annotated[bool, Query(description="Matter is dark: the surface of what is below the level")]
Dust = Annotated[int, Query(description="Parts of fewer vertices are left out"), Ge(0), Le(100_000)]
Side = Annotated[int, Query(description="Voxels along the longest side"), Ge(16), Le(320)]

_levels: Cache[dict[str, object]] = Cache(200, lambda levels: 1)
_binned: Cache[np.ndarray] = Cache(64 << 20, lambda values: values.nbytes)


@router.get(f"{ITEM}/surface", response_class=Response, responses=BINARY)
def surface(
    found: FoundItem,
    level: Level,
    source: Source = "volume",
    colour: str = "",
    dust: Dust = 0,
    side: Side = SIDE,
    below: Below = False,
) -> Response:
    """The surface of a map at a level."""
    file = opened(found.file(source))
    values, factor = binned(file, side)
    net = surface_net(-values, -level) if below else surface_net(values, level)
    net = without_dust(net, dust) if dust else net
    voxel_size = pixel_size_of(found, source) or 1.0
    # A voxel of the binned map lies in the middle of those that it is the mean of; the centre is voxel n // 2.
    places = net.vertices * factor + (factor - 1) / 2
    colours = None
    if colour:
        coloured = opened(found.file(colour))
        if coloured.shape != file.shape:
            raise InputError("the map of colours has another box", got=coloured.shape, expected=str(file.shape))
        tints, _ = binned(coloured, side)
        colours = sample(tints, net.vertices)
    centred = (places - np.array(file.shape) // 2) * voxel_size
    headers = {"cache-control": FRESH, "x-binning": str(factor)}
    return Response(packed(net, centred, colours), media_type="application/octet-stream", headers=headers)


@router.get(f"{ITEM}/levels")
def levels(found: FoundItem, source: Source = "volume", below: Below = False) -> dict[str, object]:
    """Where a contour may lie: the ends of the values, their deviation, and a level to begin with."""
    file = opened(found.file(source))
    return _levels.get((stamp_of(file.path), below), lambda: _measure(file, below))


def _measure(file: ImageStack, below: bool) -> dict[str, object]:
    values, factor = binned(file, SIDE)
    counts, edges = np.histogram(values, 120)
    return {
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "sigma": float(values.std()),
        "mean": float(values.mean()),
        "suggested": -suggested_level(-values) if below else suggested_level(values),
        "binning": factor,
        "counts": counts.tolist(),
        "edges": edges.tolist(),
    }


def suggested_level(values: Float[np.ndarray, "z y x"]) -> float:
    """A level at which matter shows: the value that one voxel in fifty exceeds, inside of what has contrast.

    A mask, whose values lie at 0 and 1, is shown at one half.
    """
    low, high = float(values.min()), float(values.max())
    if low >= -1e-6 and 0.99 < high <= 1.001:
        return 0.5
    level = float(np.quantile(values[:: max(1, len(values) // 96)], 0.985))
    return level if low < level < high else (low + high) / 2


def binned(file: ImageStack, side: int) -> tuple[Float[np.ndarray, "z y x"], int]:
    """A volume with no side longer than `side`, by means of blocks, and their side."""
    factor = max(1, -(-max(file.shape) // side))
    return _binned.get((stamp_of(file.path), factor), lambda: _bin(file, factor)), factor


def packed(net: Surface, places: Float[np.ndarray, "n 3"], colours: Float[np.ndarray, "n"] | None) -> bytes:
    """A surface as the browser reads it."""
    normals = np.zeros((len(places), 4), np.int8)
    normals[:, :3] = net.normals[:, ::-1]
    head = np.array([len(places), len(net.triangles), colours is not None], "<u4")
    parts = [head, places[:, ::-1].astype("<f4"), *([] if colours is None else [colours.astype("<f4")])]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in [*parts, net.triangles.astype("<u4"), normals])


def _bin(file: ImageStack, factor: int) -> Float[np.ndarray, "z y x"]:
    count = -(-len(file) // factor)
    planes: list[np.ndarray] = []
    for k in range(count):
        sections = range(k * factor, min((k + 1) * factor, len(file)))
        total = sum(mean_blocks(np.nan_to_num(np.asarray(file[z], np.float32)), factor) for z in sections)
        planes.append(np.asarray(total, np.float32) / np.float32(len(sections)))
    return np.stack(planes)
