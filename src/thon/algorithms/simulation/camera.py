"""A camera that counts electrons: how it blurs, what it misses, and how its pixels differ.

An electron is recorded where it fell with a chance of `efficiency`, moved a little at random, which is what the MTF
says. Counts are then independent, the noise is white, and DQE = efficiency · MTF². What is stored is
counts ~ Poisson(electrons · efficiency / gain), so that counts × gain is right again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Float32

from thon.base.options import Options, Unit
from thon.ops.fourier import frequency_grid, radius_grid

_BLOCK = 512
_HOT_COUNT = 40.0


class CameraOptions(Options):
    """How a camera counts."""

    efficiency: Annotated[float, Unit("1"), Gt(0), Le(1)] = 0.9
    """Share of the electrons that are counted: DQE at zero frequency."""

    mtf: tuple[Annotated[float, Unit("1"), Gt(0), Lt(1)], Annotated[float, Unit("1"), Gt(0), Lt(1)]] = (0.82, 0.52)
    """Modulation transfer at half Nyquist's frequency and at Nyquist's."""

    gain_spread: Annotated[float, Unit("1"), Ge(0), Lt(0.2)] = 0.03
    """Standard deviation of the pixels' gain; a share of it goes by rows, columns and blocks."""

    dead_pixels: Annotated[float, Unit("1"), Ge(0), Le(10000)] = 20.0
    """Pixels in a million that count nothing, single or in small clusters."""

    dead_columns: Annotated[int, Unit("1"), Ge(0), Le(8)] = 1
    """Columns, or parts of columns, that count nothing."""

    hot_pixels: Annotated[float, Unit("1"), Ge(0), Le(10000)] = 10.0
    """Pixels in a million that count without electrons; no list of defects names them."""


@dataclass(frozen=True)
class Camera:
    """One camera.

    Args:
        gain: Factor that corrects a pixel's counts; 0 where it is dead.
        defects: Rectangles (column, row, columns, rows) of dead pixels.
        hot: Where pixels count without electrons.
        options: The rest.
    """

    gain: Float32[np.ndarray, "rows columns"]
    defects: tuple[tuple[int, int, int, int], ...]
    hot: Bool[np.ndarray, "rows columns"]
    options: CameraOptions

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.gain.shape[0], self.gain.shape[1]

    @property
    def sensitivity(self) -> Float32[np.ndarray, "rows columns"]:
        """Counts of a pixel over those of a perfect one with the same efficiency."""
        return np.divide(1, self.gain, out=np.zeros_like(self.gain), where=self.gain > 0)

    def extra(self, mean: float) -> Float32[np.ndarray, "rows columns"]:
        """Counts that hot pixels add, `mean` being those of a good one."""
        return (self.hot * (_HOT_COUNT * max(mean, 0.02))).astype(np.float32)


def make_camera(shape: tuple[int, int], options: CameraOptions, random: np.random.Generator) -> Camera:
    """A camera with gain and defects of its own."""
    rows, columns = shape
    pattern = random.normal(size=shape) * 0.8
    pattern += random.normal(size=(rows, 1)) * 0.3 + random.normal(size=(1, columns)) * 0.4
    blocks = random.normal(size=(-(-rows // _BLOCK), -(-columns // _BLOCK))) * 0.33
    pattern += np.kron(blocks, np.ones((_BLOCK, _BLOCK)))[:rows, :columns]
    gain = np.exp(options.gain_spread * pattern)
    gain /= 1 / np.mean(1 / gain)
    gain = gain.astype(np.float32)
    defects = _defects(shape, options, random)
    for column, row, wide, high in defects:
        gain[row : row + high, column : column + wide] = 0
    hot = (random.random(shape) < options.hot_pixels * 1e-6) & (gain > 0)
    return Camera(gain, defects, hot, options)


def _defects(
    shape: tuple[int, int], options: CameraOptions, random: np.random.Generator
) -> tuple[tuple[int, int, int, int], ...]:
    rows, columns = shape
    found: list[tuple[int, int, int, int]] = []
    for _ in range(options.dead_columns):
        first = int(random.integers(0, rows // 2)) if random.random() < 0.5 else 0
        found.append((int(random.integers(0, columns)), first, 1, rows - first))
    left = random.poisson(options.dead_pixels * 1e-6 * rows * columns)
    while left > 0:
        wide, high = (int(n) for n in random.integers(1, 4, 2))
        found.append((int(random.integers(0, columns - wide)), int(random.integers(0, rows - high)), wide, high))
        left -= wide * high
    return tuple(found)


def modulation_transfer(radius: Float[torch.Tensor, "*grid"], options: CameraOptions) -> Float[torch.Tensor, "*grid"]:
    """MTF at frequencies in cycles per pixel, through both given values: exp(−(k / k₀)ⁿ)."""
    half, full = (-math.log(value) for value in options.mtf)
    power = math.log2(full / half)
    return torch.exp(-full * (2 * radius) ** power)


def image_transfer(shape: tuple[int, int], options: CameraOptions) -> Float[torch.Tensor, "rows half"]:
    """MTF on the half spectrum of an image, the pixels' size included."""
    return modulation_transfer(radius_grid(shape), options)


def event_transfer(shape: tuple[int, int], options: CameraOptions) -> Float[torch.Tensor, "rows half"]:
    """MTF of electrons at continuous places, which pixels of their own size have yet to collect."""
    rows, columns = frequency_grid(shape)
    return image_transfer(shape, options) / (torch.sinc(rows) * torch.sinc(columns))
