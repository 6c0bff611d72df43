"""Slices through volumes, along each axis, one voxel or several thick."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Response
from jaxtyping import Float, Shaped

from thon.formats.image_stack import ImageStack
from thon.web.faults import AbsentError
from thon.web.views.cache import Cache
from thon.web.views.images import pixel_size_of
from thon.web.views.open_files import opened, stamp_of
from thon.web.views.pictures import PICTURE, AskedContrast, Tone, mean_blocks, picture, to_eight_bits
from thon.web.views.records import ITEM, FoundItem, Source, plain

router = APIRouter()

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")

Slab = Annotated[int, Query(description="Voxels on either side that are averaged with a slice"), Ge(0), Le(50)]
Factor = Annotated[int, Query(description="Pixels that are averaged along each side"), Ge(1), Le(16)]

LINE = 64
"""Bytes that a processor reads from memory at once."""

_columns: Cache[np.ndarray] = Cache(64 << 20, lambda block: block.nbytes)
_tones: Cache[Tone] = Cache(1000, lambda tone: 1)


@router.get(f"{ITEM}/volume")
def volume(found: FoundItem, source: Source = "volume") -> dict[str, Any]:
    """What a viewer needs to know of a volume before it asks for slices or surfaces."""
    path = found.file(source)
    file = opened(path)
    tone = slice_tone(file, "z", 0)
    return plain(
        {
            "name": path.name,
            "path": str(path),
            "shape": file.shape,
            "voxel_size": pixel_size_of(found, source),
            "median": tone.centre,
            "sigma": tone.sigma,
            "lowest": tone.lowest,
            "highest": tone.highest,
        }
    )


@router.get(f"{ITEM}/slices/{{axis}}/{{index}}.{{kind}}", response_class=Response, responses=PICTURE)
def slices(
    found: FoundItem,
    axis: Axis,
    index: Annotated[int, Ge(0)],
    kind: str,
    contrast: AskedContrast,
    source: Source = "volume",
    slab: Slab = 0,
    factor: Factor = 1,
) -> Response:
    """A slice across an axis: across z, x to the right and y up; across y, x and z; across x, z and y."""
    file = opened(found.file(source))
    plane = (
        mean_blocks(take_slab(file, axis, index, slab), factor) if factor > 1 else take_slab(file, axis, index, slab)
    )
    return picture(to_eight_bits(plane, slice_tone(file, axis, slab).limits(contrast)), kind)


def take_slab(file: ImageStack, axis: Axis, index: int, slab: int) -> Shaped[np.ndarray, "rows columns"]:
    """The mean of the slices around one, as they are shown: rows from the top down.

    Raises:
        AbsentError: There is no such slice.
    """
    length = file.shape[AXES.index(axis)]
    if not 0 <= index < length:
        raise AbsentError(
            "there is no such slice", path=file.path, got=index, expected=f"{axis} from 0 to {length - 1}"
        )
    around = range(max(0, index - slab), min(length, index + slab + 1))
    if len(around) == 1:
        return _turned(_take(file, axis, index), axis)
    return _turned(_mean(file, axis, around), axis)


def slice_tone(file: ImageStack, axis: Axis, slab: int) -> Tone:
    """Grey values of all slices of a volume: those of its middle one, as thick as is asked for."""

    def measure() -> Tone:
        return Tone.of_matter(take_slab(file, axis, file.shape[AXES.index(axis)] // 2, slab))

    return _tones.get((stamp_of(file.path), axis, slab), measure)


def _take(file: ImageStack, axis: Axis, index: int | slice) -> Shaped[np.ndarray, "..."]:
    if axis == "z":
        return file[index]
    if axis == "y":
        return file[:, index]
    return _column(file, index) if isinstance(index, int) else file[:, :, index]


def _column(file: ImageStack, index: int) -> Shaped[np.ndarray, "z y"]:
    """A slice across x; its neighbours come with it from memory in any case, so they are kept for the next question."""
    width = max(1, LINE // file.dtype.itemsize)
    first = index // width * width
    key = (stamp_of(file.path), first)
    return _columns.get(key, lambda: file[:, :, first : first + width])[:, :, index - first]


def _mean(file: ImageStack, axis: Axis, around: range) -> Float[np.ndarray, "rows columns"]:
    if axis == "z":
        total = np.asarray(file[around.start], np.float32)
        for k in around[1:]:
            total += file[k]
        return total / np.float32(len(around))
    # Neighbours along y and x lie beside each other in the file, so that all are read at once.
    block = _take(file, axis, slice(around.start, around.stop))
    return block.mean(AXES.index(axis), dtype=np.float32)


def _turned(plane: Shaped[np.ndarray, "rows columns"], axis: Axis) -> Shaped[np.ndarray, "rows columns"]:
    return plane.T[::-1] if axis == "x" else plane[::-1]
