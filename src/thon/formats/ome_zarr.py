"""Multiscale OME-Zarr for viewers (napari, Neuroglancer, ChimeraX, the CryoET Data Portal…).

Version 0.4, on zarr's format 2: every viewer that reads 0.5 reads 0.4 too, while the converse is not so, and what 0.5
adds (shards, many chunks in a file) matters little at the size of a tomogram. Axes are z, y, x in Å; rows keep the
house's order. Source: the OME-NGFF specification 0.4.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr

from thon.base.errors import InputError
from thon.formats.atomic import atomic_path, check_space
from thon.formats.image_stack import convert_values, require_pixel_size

Shape = tuple[int, int, int]
Block = tuple[slice, slice, slice]

# Viewers draw these; graphics cards in browsers have no float16 and no float64.
_VIEWABLE = ("uint8", "int8", "uint16", "int16", "float32")
_MEMORY = 1 << 28


class VolumeLike(Protocol):
    """A volume that gives blocks of itself: an array, a memory map, an open file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """A block."""
        ...


def write_ome_zarr(
    path: str | os.PathLike[str],
    volume: VolumeLike,
    voxel_size: float,
    *,
    chunk: int = 64,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a volume and its halvings for viewing, in about a quarter of a gigabyte of memory; whole or not at all.

    Each level is the mean of 2 × 2 × 2 voxels of the one before, along the axes that are still longer than a chunk,
    down to a level of one chunk.

    Args:
        path: Folder to write, by custom named ``.zarr``; an existing one is replaced.
        volume: (z, y, x); float16 and float64 are written as float32.
        voxel_size: Å.
        chunk: Side of the stored blocks, voxels.
        origin: Position (z, y, x) of the first voxel, Å.

    Raises:
        InputError: If this is not a volume of a type that viewers draw.
        StoreError: If the folder or the disk refuses.
    """
    require_pixel_size(voxel_size, path)
    if len(volume.shape) != 3 or min(volume.shape) < 1:
        raise InputError("not a volume", path=path, got=volume.shape, expected="(z, y, x), none of them 0")
    dtype = np.dtype(np.float32) if volume.dtype.kind == "f" else np.dtype(volume.dtype).newbyteorder("=")
    if dtype.name not in _VIEWABLE:
        raise InputError(f"viewers do not draw {dtype}", path=path, expected=", ".join(_VIEWABLE))
    nz, ny, nx = volume.shape
    factors = _pyramid((nz, ny, nx), chunk)
    check_space(Path(path).parent, math.prod(volume.shape) * dtype.itemsize)
    with atomic_path(path) as temporary:
        group = zarr.open_group(str(temporary), mode="w-", zarr_format=2)
        group.attrs["multiscales"] = [_multiscale(Path(path).stem, factors, voxel_size, origin)]
        source: Any = volume
        for level, factor in enumerate(factors):
            shape = tuple(-(-size // f) for size, f in zip(volume.shape, factor, strict=True))
            target: Any = group.create_array(
                str(level),
                shape=shape,
                chunks=tuple(min(chunk, size) for size in shape),
                dtype=dtype,
                fill_value=0,
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            before = factors[max(level - 1, 0)]
            step = tuple(f // b for f, b in zip(factor, before, strict=True))
            for block in _blocks(target.shape, chunk, source.dtype.itemsize * math.prod(step)):
                target[block] = convert_values(_shrink(np.asarray(source[_widen(block, step)]), step), dtype, path)
            source = target


def _pyramid(shape: Shape, chunk: int) -> list[Shape]:
    """By how much each level is smaller than the volume along z, y and x."""
    factors = [(1, 1, 1)]
    while True:
        z, y, x = (f * 2 if size > f * chunk else f for size, f in zip(shape, factors[-1], strict=True))
        if (z, y, x) == factors[-1]:
            return factors
        factors.append((z, y, x))


def _blocks(shape: Shape, chunk: int, voxel_bytes: int) -> Iterator[Block]:
    """Blocks of whole chunks that cover a volume: all columns, and as many rows as the memory allows."""
    nz, ny, nx = shape
    rows = max(1, _MEMORY // (chunk * chunk * nx * voxel_bytes)) * chunk
    for z, y in product(range(0, nz, chunk), range(0, ny, rows)):
        yield slice(z, min(z + chunk, nz)), slice(y, min(y + rows, ny)), slice(0, nx)


def _widen(block: Block, step: tuple[int, ...]) -> Block:
    """The voxels of the finer level under a block; slices may end beyond it."""
    z, y, x = (slice(side.start * f, side.stop * f) for side, f in zip(block, step, strict=True))
    return z, y, x


def _shrink(values: np.ndarray, step: tuple[int, ...]) -> np.ndarray:
    """Mean of blocks of `step` voxels; of fewer where the last ones do not fill a block."""
    for axis, f in enumerate(step):
        if f == 1:
            continue
        size = values.shape[axis]
        starts = np.arange(0, size, f)
        wide = np.float32 if values.dtype.kind in "iu" or values.dtype.itemsize < 8 else np.float64
        total = np.add.reduceat(values, starts, axis=axis, dtype=wide)
        counts = np.diff(starts, append=size).astype(wide)
        values = total / counts.reshape([-1 if k == axis else 1 for k in range(3)])
    return values


def _multiscale(
    name: str, factors: list[Shape], voxel_size: float, origin: tuple[float, float, float]
) -> dict[str, Any]:
    """The description of the levels: a coarse voxel's centre lies between those of the fine ones that it covers."""
    datasets: list[dict[str, Any]] = []
    for level, factor in enumerate(factors):
        first = [(f - 1) / 2 * voxel_size + start for f, start in zip(factor, origin, strict=True)]
        transformations = [
            {"type": "scale", "scale": [f * voxel_size for f in factor]},
            {"type": "translation", "translation": first},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    return {"version": "0.4", "name": name, "axes": axes, "datasets": datasets, "type": "mean"}
