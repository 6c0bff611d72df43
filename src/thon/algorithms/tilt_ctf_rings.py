"""Power spectra of a tilted image's tiles, gathered in sectors over the squared frequency, where a CTF is a chirp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Float

from thon.data.geometry import spline_basis
from thon.ops.power_spectrum import TileSpectra, fast_size, tile_spectra

SECTORS = 12
_CYCLE = 0.2  # of the fastest ring in one bin
_NODES = 7  # of the background's spline along frequency
_POWERS = 3  # of the polynomial along frequency by which tiles, and directions, may differ
_TABLE = 41  # distances
_PIXEL = 2.2  # of the finest ring that is used, samples


@dataclass(frozen=True)
class RingGrid:
    """Bins of the squared frequency.

    Args:
        low: Least frequency, 1/Å.
        high: Greatest frequency, 1/Å.
        bins: Number of bins of q = frequency² between them.
    """

    low: float
    high: float
    bins: int

    @classmethod
    def for_range(cls, resolution: tuple[float, float], largest_defocus: float, wavelength: float) -> RingGrid:
        """Bins that resolve the rings of the largest defocus (Å) between two spacings (Å), the coarser first."""
        low, high = (1 / spacing for spacing in resolution)
        cycles = (high**2 - low**2) * wavelength * largest_defocus
        return cls(low, high, max(32, math.ceil(cycles / _CYCLE)))

    @property
    def squared(self) -> Float[np.ndarray, "bins"]:
        """Middle of each bin, 1/Å²."""
        edges = np.linspace(self.low**2, self.high**2, self.bins + 1)
        return (edges[1:] + edges[:-1]) / 2

    @property
    def sectors(self) -> Float[np.ndarray, "sectors"]:
        """Middle azimuth of each sector, anticlockwise from +x, radians."""
        return (np.arange(SECTORS) + 0.5) * math.pi / SECTORS - math.pi / 2


@dataclass(frozen=True)
class TiltRings:
    """What the joint fit keeps of one image.

    Args:
        power: Sum of the power over each bin.
        count: Pixels in each bin.
        center: (y, x) of each tile from the image's centre, Å.
        inflation: Of the noise over what counts say, for pairs of pixels at distances from 0 to one side of a tile.
        side: Of a tile, Å.
        grid: Of the bins.
    """

    power: Float[np.ndarray, "tiles sectors bins"]
    count: Float[np.ndarray, "sectors bins"]
    center: Float[np.ndarray, "tiles 2"]
    inflation: Float[np.ndarray, "distances"]
    side: float
    grid: RingGrid

    def noise(self, spread: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
        """Variance of a sum over all tiles against a pattern of rings, over what counts say.

        Args:
            spread: Distance in the image whose correlation makes the rings of each bin, Å.
        """
        grid = np.linspace(0, 1, len(self.inflation))
        return np.maximum(np.interp(spread / self.side, grid, self.inflation), 0.2 * self.inflation[0])

    def deviation(
        self, modulation: Float[np.ndarray, "tiles sectors bins"] | None = None
    ) -> Float[np.ndarray, "tiles sectors bins"]:
        """Power over the smooth background, less one, summed over each bin.

        Args:
            modulation: What the CTF does to the power, −1 to 1, as known so far: it is no part of the background.
        """
        known = np.zeros_like(self.power) if modulation is None else self.count * modulation
        level = self.power.sum((0, 1)) / np.maximum((self.count + known).sum((0, 1)), 1e-9)
        seen = (self.count.sum(0) > 0) & (level > 0)
        position = (np.sqrt(self.grid.squared) - self.grid.low) / (self.grid.high - self.grid.low)
        basis = spline_basis(1 + position * (_NODES - 3), _NODES)
        weight = np.sqrt(self.count.sum(0) * seen)[:, None]
        logarithm = np.log(np.where(seen, level, 1.0))[:, None]
        coefficients = np.linalg.lstsq(weight * basis, weight * logarithm, rcond=None)[0]
        flat = self.power / np.exp(basis @ coefficients)[:, 0].astype(np.float32)
        # Tiles differ in brightness, thickness and what they show, directions by drift: no matter of the CTF.
        gain = flat.sum((1, 2)) / (self.count + known).sum((1, 2))
        flat = flat / np.maximum(gain, 1e-9)[:, None, None] - self.count
        powers = (position - 0.5)[:, None] ** np.arange(_POWERS)
        flat -= self.count * _trend((flat - known).sum(1), self.count.sum(0), powers)[:, None]
        flat -= self.count * _trend((flat - known).sum(0), len(flat) * self.count, powers)
        return flat.astype(np.float32)


def _trend(
    deviation: Float[np.ndarray, "lines bins"],
    count: Float[np.ndarray, "*lines bins"],
    powers: Float[np.ndarray, "bins powers"],
) -> Float[np.ndarray, "lines bins"]:
    """Smooth part of each line of deviations, by least squares."""
    normal = np.einsum("...q,qi,qj->...ij", count, powers, powers)
    coefficients = np.linalg.solve(normal, (deviation @ powers)[..., None])[..., 0]
    return (coefficients @ powers.T).astype(np.float32)


def tile_noise(
    starts: tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "columns"]], window: Float[np.ndarray, "side"]
) -> Float[np.ndarray, "distances"]:
    """Variance of a sum of tile spectra against rings, over that of as many independent pixels.

    Rings come from pairs of pixels at a distance. Tiles overlap, and see each pair as often as both its pixels lie in
    one; the farther the fewer, which is less signal and less noise. The mean over all directions is taken.

    Args:
        starts: First row, and first column, of the tiles, px.
        window: Of a tile along either axis.

    Returns:
        For evenly spaced distances from 0 to one side.
    """
    turn = (np.arange(8) + 0.5) * math.pi / 16
    distance = np.linspace(0, 1, _TABLE)[:, None]
    sides = [_pairs(first, window) for first in starts]
    grid = np.linspace(0, 1, _TABLE)
    return np.mean(
        np.interp(distance * np.sin(turn), grid, sides[0]) * np.interp(distance * np.cos(turn), grid, sides[1]), 1
    )


def _pairs(starts: Float[np.ndarray, "tiles"], window: Float[np.ndarray, "side"]) -> Float[np.ndarray, "distances"]:
    """The same along one axis."""
    side = len(window)
    found = np.empty(_TABLE)
    for number, distance in enumerate(np.linspace(0, side, _TABLE).round().astype(int)):
        product = np.zeros(int(starts.max() - starts.min()) + 2 * side)
        for start in (starts - starts.min()).round().astype(int):
            product[start : start + side - distance] += window[: side - distance] * window[distance:]
        found[number] = np.square(product).sum()
    return found * side / (len(starts) * np.square(window).sum() ** 2)


def measure_rings(
    image: Float[torch.Tensor, "rows columns"], pixel_size: float, tile: float, grid: RingGrid
) -> TiltRings | None:
    """Gather an image's tile spectra in bins; None if there is nothing in the image, or nothing but what is no number.

    Args:
        image: Grey values.
        pixel_size: Å.
        tile: Side of a tile, Å.
        grid: Bins.
    """
    coarse = max(pixel_size, 1 / (_PIXEL * grid.high))
    size = fast_size(math.ceil(min(tile, 0.8 * pixel_size * min(image.shape)) / coarse))
    spectra = tile_spectra(image, pixel_size, size=size, min_pixel_size=coarse)
    kept = spectra.kept.numpy()
    if not float(spectra.power[spectra.kept].sum()) > 0:
        return None
    gather, count = _gather(spectra, grid)
    power = (gather @ spectra.power[spectra.kept].flatten(1).T.contiguous().numpy()).T
    side, first = len(spectra.window), spectra.center.double().numpy()
    return TiltRings(
        power=np.ascontiguousarray(power, np.float32).reshape(-1, SECTORS, grid.bins),
        count=count,
        center=spectra.center.numpy()[kept].astype(np.float64) * pixel_size,
        inflation=tile_noise((np.unique(first[:, 0]), np.unique(first[:, 1])), spectra.window.double().numpy()),
        side=side * pixel_size,
        grid=grid,
    )


def _gather(spectra: TileSpectra, grid: RingGrid) -> tuple[scipy.sparse.csr_matrix, Float[np.ndarray, "sectors bins"]]:
    """Matrix that sums the pixels of a half spectrum in bins, and their number."""
    size = spectra.size
    rows = np.fft.fftfreq(size, spectra.pixel_size)[:, None]
    columns = np.fft.rfftfreq(size, spectra.pixel_size)[None]
    squared = rows**2 + columns**2
    azimuth = np.arctan2(rows, columns + 0 * rows)
    edges = np.linspace(grid.low**2, grid.high**2, grid.bins + 1)
    place = np.searchsorted(edges, squared, side="right") - 1
    sector = np.floor((azimuth / math.pi + 0.5) * SECTORS).astype(int) % SECTORS
    # The first column holds both of each pair of conjugates.
    used = (place >= 0) & (place < grid.bins) & ((columns > 0) | (rows > 0)) & (squared < rows.max() ** 2)
    target = (sector * grid.bins + place)[used]
    pixel = np.flatnonzero(used)
    shape = (SECTORS * grid.bins, squared.size)
    matrix = scipy.sparse.csr_matrix((np.ones(len(pixel), np.float32), (target, pixel)), shape=shape)
    count = np.bincount(target, minlength=shape[0]).astype(np.float32).reshape(SECTORS, grid.bins)
    return matrix, count
