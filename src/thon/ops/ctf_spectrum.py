"""Spectra on a grid on which the CTF is a chirp: sectors of azimuth by rings of equal steps in squared frequency.

Every independent frequency of a half spectrum falls into one bin; a bin keeps their mean power, how many they are, and
where on average they lie, so nothing is interpolated and the statistics of the bins are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int


@dataclass(frozen=True)
class PolarSpectrum:
    """Mean power in bins of azimuth and squared frequency.

    Args:
        power: Mean power of the frequencies in each bin; zero where there are none.
        count: Number of independent frequencies that the mean is worth.
        square: Their mean squared frequency, 1/Å².
        azimuth: Their mean direction, anticlockwise from +x (towards larger rows), −π/2 to π/2, radians.
        step: Width of a ring, 1/Å².
        sector: Width of a column, radians.
        offset: Defocus of each column's specimen beyond that of the specimen's middle, Å.
        worth: Independent periodograms that each frequency's power is worth.
    """

    power: Float[np.ndarray, "columns rings"]
    count: Float[np.ndarray, "columns rings"]
    square: Float[np.ndarray, "columns rings"]
    azimuth: Float[np.ndarray, "columns rings"]
    step: float
    sector: float
    offset: Float[np.ndarray, "columns"]
    worth: float | Float[np.ndarray, "columns 1"] = 1.0

    @property
    def rings(self) -> int:
        """Number of rings."""
        return self.power.shape[1]

    @property
    def centers(self) -> Float[np.ndarray, "rings"]:
        """Squared frequency of each ring, 1/Å²."""
        total = self.count.sum(0)
        mean = (self.count * self.square).sum(0) / np.maximum(total, 1e-9)
        return np.where(total > 0, mean, self.square.mean(0))

    def merged(self, times: int) -> PolarSpectrum:
        """Coarser rings: `times` of them in one, the last ones dropped where they do not fill one."""
        if times == 1:
            return self
        rings = self.rings // times

        def fold(values: np.ndarray) -> np.ndarray:
            return values[:, : rings * times].reshape(-1, rings, times).sum(-1)

        count = fold(self.count)
        share = 1 / np.maximum(count, 1e-9)
        power, square, azimuth = (
            fold(self.count * values) * share for values in (self.power, self.square, self.azimuth)
        )
        return replace(self, power=power, count=count, square=square, azimuth=azimuth, step=self.step * times)

    def cut(self, finest: float) -> PolarSpectrum:
        """Only the rings up to a squared frequency, 1/Å²."""
        keep = int(np.searchsorted(self.centers, finest, side="right"))
        return replace(
            self, **{name: getattr(self, name)[:, :keep] for name in ("power", "count", "square", "azimuth")}
        )


@dataclass(frozen=True)
class PolarGrid:
    """Which bins there are.

    Args:
        coarsest: Lowest frequency, 1/Å.
        finest: Highest frequency, 1/Å.
        rings: Steps of equal width in squared frequency.
        sectors: Of half a turn.
    """

    coarsest: float
    finest: float
    rings: int
    sectors: int = 36

    @property
    def step(self) -> float:
        """Width of a ring, 1/Å²."""
        return (self.finest**2 - self.coarsest**2) / self.rings


@dataclass(frozen=True)
class PolarBins:
    """Members of the bins of a grid in a half spectrum of one shape, sorted by bin."""

    order: Int[np.ndarray, "members"]
    first: Int[np.ndarray, "filled"]
    filled: Int[np.ndarray, "filled"]
    count: Float[np.ndarray, "columns rings"]
    square: Float[np.ndarray, "columns rings"]
    azimuth: Float[np.ndarray, "columns rings"]


def polar_spectra(
    power: Float[torch.Tensor, "*batch rows half"], columns: int, pixel_size: float, grid: PolarGrid
) -> Float[np.ndarray, "*batch sectors rings"]:
    """Mean power in each bin of a grid; zero where a bin has no frequency.

    Args:
        power: Half spectra, origin in the corner.
        columns: Columns of their images.
        pixel_size: Of an image with such a spectrum, Å.
        grid: The bins.
    """
    shape = (power.shape[-2], columns)
    bins = polar_bins(shape, pixel_size, grid)
    flat = power.detach().cpu().numpy().reshape(-1, power.shape[-2] * power.shape[-1])
    result = np.zeros((len(flat), grid.sectors * grid.rings))
    for k, values in enumerate(flat):
        result[k, bins.filled] = np.add.reduceat(values[bins.order], bins.first, dtype=np.float64)
    result = result.reshape(-1, grid.sectors, grid.rings) / np.maximum(bins.count, 1)
    return result.reshape(*power.shape[:-2], grid.sectors, grid.rings)


def polar_spectrum(
    power: Float[torch.Tensor, "rows half"], columns: int, pixel_size: float, grid: PolarGrid, *, worth: float = 1.0
) -> PolarSpectrum:
    """Bin one half spectrum.

    Args:
        power: Half spectrum, origin in the corner.
        columns: Columns of its image.
        pixel_size: Of an image with such a spectrum, Å.
        grid: The bins.
        worth: How many independent periodograms each frequency's power is worth: below 1 for one windowed image,
            above for an average over many tiles.
    """
    bins = polar_bins((power.shape[-2], columns), pixel_size, grid)
    mean = polar_spectra(power, columns, pixel_size, grid)
    sector = math.pi / grid.sectors
    return PolarSpectrum(
        mean, bins.count * worth, bins.square, bins.azimuth, grid.step, sector, np.zeros(grid.sectors), worth
    )


@lru_cache(maxsize=4)
def polar_bins(shape: tuple[int, int], pixel_size: float, grid: PolarGrid) -> PolarBins:
    """Sort the frequencies of a half spectrum into bins, without its axes, where edges and detectors leave traces."""
    ky = np.fft.fftfreq(shape[0], pixel_size)[:, None]
    kx = np.fft.rfftfreq(shape[1], pixel_size)[None]
    square = ky**2 + kx**2
    ring = np.floor((square - grid.coarsest**2) / grid.step).astype(np.int32)
    azimuth = np.arctan2(ky, np.broadcast_to(kx, square.shape))
    sector = np.floor((azimuth / math.pi + 0.5) * grid.sectors).astype(np.int32).clip(0, grid.sectors - 1)
    inside = (ring >= 0) & (ring < grid.rings) & (kx > 0) & (ky != 0) & (kx < 0.5 / pixel_size)
    member = np.flatnonzero(inside)
    bin_of = (sector * grid.rings + ring).ravel()[member]
    by_bin = np.argsort(bin_of, kind="stable")
    order, bin_of = member[by_bin], bin_of[by_bin]
    filled, first, count = np.unique(bin_of, return_index=True, return_counts=True)

    def spread(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        result = missing.ravel().copy()
        result[filled] = values
        return result.reshape(grid.sectors, grid.rings)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.ravel()[order], first) / count

    middle = grid.coarsest**2 + grid.step * (np.arange(grid.rings) + 0.5)
    angle = ((np.arange(grid.sectors) + 0.5) / grid.sectors - 0.5) * math.pi
    nominal_square, nominal_angle = np.meshgrid(middle, angle)
    return PolarBins(
        order,
        first,
        filled,
        spread(count.astype(float), np.zeros_like(nominal_square)),
        spread(mean(square), nominal_square),
        spread(mean(azimuth), nominal_angle),
    )
