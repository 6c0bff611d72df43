"""From blocks of rows to the volume as it is wanted: axes, hand, number format, and where it goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int8

from thon.algorithms.reconstruction.options import Hand, Orientation, ReconstructOptions
from thon.algorithms.reconstruction.storage import Storage

Index = tuple[slice, ...]


class Assignable(Protocol):
    """An array, a memory map or a data set that slabs can be assigned to."""

    def __setitem__(self, index: Index, slab: Any, /) -> None:
        """Keep a slab."""
        ...


Sink = Callable[[Index, np.ndarray], None] | Assignable


@dataclass(frozen=True)
class Statistics:
    """Of all voxels of a volume."""

    mean: float
    deviation: float
    minimum: float
    maximum: float


def orient(
    slab: Float[torch.Tensor, "z x y"], orientation: Orientation, hand: Hand
) -> Float[torch.Tensor, "sections rows columns"]:
    """Put the axes of a slab `[z, x, y]` in the order of the output."""
    if hand == "mirrored":
        slab = slab.flip(0)
    return slab.permute(0, 2, 1) if orientation == "xyz" else slab.permute(2, 0, 1)


def unorient(
    slab: Float[torch.Tensor, "sections rows columns"], orientation: Orientation, hand: Hand
) -> Float[torch.Tensor, "z x y"]:
    """The reverse of `orient`."""
    inside = slab.permute(0, 2, 1) if orientation == "xyz" else slab.permute(1, 2, 0)
    return inside.flip(0) if hand == "mirrored" else inside


def slab_index(orientation: Orientation, start: int, stop: int) -> Index:
    """Where rows along y lie in the output."""
    rows, every = slice(start, stop), slice(None)
    return (every, rows, every) if orientation == "xyz" else (rows, every, every)


def output_shape(shape: tuple[int, int, int], orientation: Orientation) -> tuple[int, int, int]:
    """Shape of the output of a (z, y, x) volume."""
    z, y, x = shape
    return (z, y, x) if orientation == "xyz" else (y, z, x)


def scale_to_int8(
    volume: Float[torch.Tensor, "*shape"], mean: float, deviation: float, reach: float = 6.0
) -> Int8[torch.Tensor, "*shape"]:
    """Map mean ± reach · deviation to ±127, rounded; what lies beyond is clipped.

    A value is mean + n · reach · deviation / 127 again.
    """
    step = reach * deviation / 127 if deviation > 0 else 1.0
    return ((volume - mean) / step).round().clamp(-127, 127).to(torch.int8)


class VolumeWriter:
    """Takes solved blocks of a volume and hands them on.

    Args:
        shape: (z, y, x), voxels.
        options: Orientation, hand and number format of the output.
        sink: Takes each slab; None keeps the volume.
        storage: Holds what must wait.
        box: Side of the central box that is kept aside, voxels along x and y; 0 for none.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        options: ReconstructOptions,
        sink: Sink | None,
        storage: Storage,
        box: int = 0,
    ):
        self.shape, self.options, self.sink = shape, options, sink
        # int8 needs the statistics of the whole volume first: it waits in float.
        waits = options.precision == "int8"
        kept = output_shape(shape, options.orientation)
        self.kept = storage.allocate(kept) if waits else None
        dtype = {"float32": storage.like.dtype, "float16": torch.float16, "int8": torch.int8}[options.precision]
        self.result = torch.empty(kept, dtype=dtype, device=storage.like.device) if sink is None else None
        self.low, self.high = math.inf, -math.inf
        self.total = self.square = 0.0
        y, x = min(box, shape[1]), min(box, shape[2])
        self.corner = ((shape[1] - y) // 2, (shape[2] - x) // 2)
        self.box = storage.like.new_zeros(shape[0], x, y)

    def put(self, start: int, slab: torch.Tensor) -> None:
        """Take rows [start, …) as `[z, x, y]`, without extra planes."""
        stop = start + slab.shape[-1]
        self._note(start, slab)
        index = slab_index(self.options.orientation, start, stop)
        turned = orient(slab, self.options.orientation, self.options.hand)
        if self.kept is not None:
            self.kept[index] = turned
        else:
            self._hand_on(index, turned.half() if self.options.precision == "float16" else turned)

    def finish(self) -> torch.Tensor | None:
        """Hand on what waited; the volume, if there is no sink."""
        if self.kept is not None:
            found = self.statistics
            for start in range(0, self.shape[1], 64):
                index = slab_index(self.options.orientation, start, min(start + 64, self.shape[1]))
                self._hand_on(
                    index, scale_to_int8(self.kept[index], found.mean, found.deviation, self.options.int8_range)
                )
        return self.result

    @property
    def statistics(self) -> Statistics:
        """Of all voxels taken so far, before any change of format."""
        number = math.prod(self.shape)
        mean = self.total / number
        return Statistics(mean, math.sqrt(max(self.square / number - mean**2, 0)), self.low, self.high)

    def _hand_on(self, index: Index, slab: torch.Tensor) -> None:
        if self.result is not None:
            self.result[index] = slab
        elif callable(self.sink):
            self.sink(index, np.ascontiguousarray(slab.cpu().numpy()))
        elif self.sink is not None:
            self.sink[index] = slab.cpu().numpy()

    def _note(self, start: int, slab: torch.Tensor) -> None:
        self.low, self.high = min(self.low, float(slab.min())), max(self.high, float(slab.max()))
        for plane in slab:
            self.total += float(plane.sum())
            self.square += float(torch.linalg.vector_norm(plane)) ** 2
        (y, x), (_, width, length) = self.corner, self.box.shape
        low, high = max(start, y), min(start + slab.shape[-1], y + length)
        if low < high:
            self.box[..., low - y : high - y] = slab[:, x : x + width, low - start : high - start]
