"""Micrographs whose defocus varies: an inclined specimen, given or found, and a smooth map of local defocus.

Tiles give each part of the specimen its own spectrum. All share level, depth and astigmatism; only their defocus
differs, which is a plane for an inclined specimen and a surface on nodes for a map. A tile's own range of defocus blurs
its fine rings; the fitted depth of the rings takes that up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.ctf_options import CtfFitOptions
from thon.algorithms.ctf_refine import SpectrumLikelihood
from thon.algorithms.ctf_search import Lens, SearchRange, column_peaks
from thon.algorithms.ctf_solve import Solution, solve_ctf
from thon.data.ctf import DefocusMap, SpecimenTilt
from thon.ops.ctf_spectrum import PolarGrid, PolarSpectrum, polar_bins, polar_spectra
from thon.ops.power_spectrum import TileSpectra, tile_spectra

SECTORS = 18
STRIPS = 24
"""At most so many groups of tiles of like defocus."""

STEEPEST = 70.0
"""Largest inclination that is looked for, degrees."""


@dataclass(frozen=True)
class Tiles:
    """Spectra of the tiles that show specimen, in bins.

    Args:
        power: Mean power in each bin, tiles scaled to the same total.
        center: (y, x) of their middles from the image's centre, Å.
        grid: The bins.
        shape: (rows, columns) of a tile's spectrum as an image.
        pixel_size: Of a tile's spectrum, Å.
        worth: Independent periodograms that a tile is worth: its own share of the image.
        extent: (rows, columns) of the image, Å.
    """

    power: Float[np.ndarray, "tiles sectors rings"]
    center: Float[np.ndarray, "tiles 2"]
    grid: PolarGrid
    shape: tuple[int, int]
    pixel_size: float
    worth: float
    extent: tuple[float, float]

    def columns(self, group: Int[np.ndarray, "tiles"], offset: Float[np.ndarray, "groups"]) -> PolarSpectrum:
        """Average the tiles of each group into columns of one spectrum, group after group.

        Args:
            group: Which group each tile belongs to.
            offset: Defocus of each group beyond that of the middle, Å.
        """
        number = np.bincount(group, minlength=len(offset))
        power = np.zeros((len(offset), *self.power.shape[1:]))
        np.add.at(power, group, self.power)
        power /= np.maximum(number, 1)[:, None, None]
        bins = polar_bins(self.shape, self.pixel_size, self.grid)
        worth = np.repeat(number * self.worth, self.grid.sectors)[:, None]
        count, square, azimuth = (
            np.tile(values, (len(offset), 1)) for values in (bins.count, bins.square, bins.azimuth)
        )
        flat = power.reshape(-1, self.grid.rings)
        sector = math.pi / self.grid.sectors
        return PolarSpectrum(
            flat, count * worth, square, azimuth, self.grid.step, sector, np.repeat(offset, self.grid.sectors), worth
        )


def tile_bins(
    image: Float[torch.Tensor, "rows columns"], pixel_size: float, grid: PolarGrid, options: CtfFitOptions
) -> Tiles:
    """Cut an image into tiles and bin the spectra of those that show specimen."""
    size = _fitting_size(image, pixel_size, options)
    spectra: TileSpectra = tile_spectra(image, pixel_size, size=size)
    grid = replace(grid, sectors=SECTORS, finest=min(grid.finest, 0.475 / spectra.pixel_size))
    power = polar_spectra(spectra.power[spectra.kept], spectra.size, spectra.pixel_size, grid)
    bins = polar_bins((spectra.size, spectra.size), spectra.pixel_size, grid)
    level = (power * bins.count).sum((1, 2)) / bins.count.sum()
    center = spectra.center[spectra.kept].cpu().numpy().astype(np.float64) * pixel_size
    extent = image.shape[0] * pixel_size, image.shape[1] * pixel_size
    # At half overlap a tile adds a quarter of its area; those at the edges, which add more, are counted like the rest.
    worth = 0.25
    scaled = power * (level.mean() / level)[:, None, None]
    return Tiles(scaled, center, grid, (spectra.size, spectra.size), spectra.pixel_size, worth, extent)


def _fitting_size(image: torch.Tensor, pixel_size: float, options: CtfFitOptions) -> int:
    """Side of the tiles' spectra: as asked for, less where the image has no room for three of them."""
    coarse = max(1.0, 1.4 / pixel_size)
    return min(options.tile_size, 2 * int(min(image.shape) / coarse / 4))


def gradient_of(tilt: SpecimenTilt) -> Float[np.ndarray, "2"]:
    """Defocus per length along (y, x)."""
    steep, axis = math.tan(math.radians(tilt.tilt)), math.radians(tilt.axis)
    return np.array([steep * math.sin(axis), steep * math.cos(axis)])


def solve_inclined(tiles: Tiles, gradient: Float[np.ndarray, "2"], lens: Lens, options: CtfFitOptions) -> Solution:
    """CTF at the middle of a specimen whose defocus is a plane of this gradient."""
    offset = tiles.center @ gradient
    span = float(np.ptp(offset))
    strips = int(np.clip(math.ceil(span / 80.0), 1, STRIPS))
    edge = np.linspace(offset.min(), offset.max() + 1e-6, strips + 1)
    group = (np.searchsorted(edge, offset, side="right") - 1).clip(0, strips - 1)
    filled, group = np.unique(group, return_inverse=True)
    mean = np.bincount(group, offset, len(filled)) / np.bincount(group, minlength=len(filled))
    return solve_ctf(tiles.columns(group, mean), lens, options)


def find_inclination(
    tiles: Tiles, lens: Lens, options: CtfFitOptions, *, rounds: int = 3
) -> tuple[SpecimenTilt, Solution]:
    """Inclination of the specimen and CTF at its middle, found together."""
    gradient = _steepest_sum(tiles, lens, options)
    solution, covariance = solve_inclined(tiles, gradient, lens, options), np.zeros((2, 2))
    for _ in range(rounds):
        planes = np.concatenate([np.ones((len(tiles.center), 1)), tiles.center], 1)
        start = np.array([solution.likely.at[0], *gradient])
        found, spread = _fit_surface(tiles, solution, planes, start, np.zeros((3, 3)))
        change = float(np.abs(tiles.center @ (found[1:] - gradient)).max())
        gradient, covariance = found[1:], spread[1:, 1:]
        solution = solve_inclined(tiles, gradient, lens, options)
        if change < 5.0:
            break
    return _tilt_of(gradient, covariance), solution


def _tilt_of(gradient: Float[np.ndarray, "2"], covariance: Float[np.ndarray, "2 2"]) -> SpecimenTilt:
    """Inclination and axis of a gradient, with their standard deviations."""
    steep = float(np.hypot(*gradient))
    along = gradient / max(steep, 1e-12)
    across = np.array([along[1], -along[0]])
    tilt_sigma = math.degrees(math.sqrt(along @ covariance @ along) / (1 + steep**2))
    axis_sigma = math.degrees(math.sqrt(across @ covariance @ across) / max(steep, 1e-12))
    axis = math.degrees(math.atan2(gradient[0], gradient[1]))
    return SpecimenTilt(math.degrees(math.atan(steep)), axis, (tilt_sigma, min(axis_sigma, 180 / math.sqrt(3))))


def _steepest_sum(tiles: Tiles, lens: Lens, options: CtfFitOptions) -> Float[np.ndarray, "2"]:
    """Gradient along which the tiles' peaks of defocus add up highest."""
    number = len(tiles.center)
    spectrum = tiles.columns(np.arange(number), np.zeros(number))
    best, gradient = -np.inf, np.zeros(2)
    limit = math.tan(math.radians(STEEPEST))
    low, high = (
        math.radians(value) for value in (options.phase_range if options.fit_phase else (options.phase_shift,) * 2)
    )
    reach = 1.01 * limit * float(np.hypot(*tiles.center.T).max())
    limits = SearchRange((options.min_defocus, options.max_defocus), 2 * reach, (low, high))
    for band in (1 / 9.0, 1 / 6.0):
        width = 1 / (lens.wavelength * min(band**2, float(spectrum.centers[-1])))
        defocus, sums = column_peaks(spectrum, lens, limits, band, number, width / 8)
        inside = np.flatnonzero((defocus >= limits.defocus[0]) & (defocus <= limits.defocus[1]))
        step = 0.3 * width / float(np.hypot(*tiles.center.T).max())
        axis = np.arange(-int(limit / step), int(limit / step) + 1) * step
        for slope in np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2):
            if np.hypot(*slope) > limit:
                continue
            move = np.rint(tiles.center @ slope / (defocus[1] - defocus[0])).astype(np.int64) + inside[0]
            total = sum(row[at : at + len(inside)] for row, at in zip(sums, move, strict=True))
            height = float(np.abs(total).max() if high > low else (total * np.exp(-2j * low)).real.max())
            if height > best:
                best, gradient = height, slope
        best = -np.inf
    return gradient


def _fit_surface(
    tiles: Tiles,
    solution: Solution,
    basis: Float[np.ndarray, "tiles nodes"],
    at: Float[np.ndarray, "nodes"],
    prior: Float[np.ndarray, "nodes nodes"],
    *,
    steps: int = 8,
) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes nodes"]]:
    """Defocus of the tiles as a linear function of few values, all else being as in the solution.

    Args:
        tiles: Spectra.
        solution: CTF with level and depth.
        basis: Share of each value in each tile's defocus.
        at: Start, Å.
        prior: Precision that is expected of differences from the start, 1/Å².

    Returns:
        The values and their covariance.
    """
    number, first = len(tiles.center), at
    columns = tiles.columns(np.arange(number), np.zeros(number))
    columns = columns.merged(max(1, columns.rings // solution.likelihood.spectrum.rings)).cut(
        float(solution.likelihood.spectrum.centers[-1]) + 1e-9
    )
    likelihood = SpectrumLikelihood(columns, solution.likelihood.lens, solution.likelihood.freedom)
    information = prior
    for _ in range(steps):
        likelihood.offset = np.repeat(basis @ at - solution.likely.at[0], tiles.grid.sectors)
        slope, curvature = likelihood.defocus_information(solution.likely.at)
        slope, curvature = (values.reshape(number, -1).sum(1) for values in (slope, curvature))
        information = (basis.T * curvature) @ basis + prior
        change = np.linalg.solve(information, basis.T @ slope - prior @ (at - first))
        at = at + change
        if np.abs(basis @ change).max() < 1.0:
            break
    return at, np.linalg.inv(information)


def map_defocus(
    tiles: Tiles, solution: Solution, gradient: Float[np.ndarray, "2"], options: CtfFitOptions
) -> DefocusMap:
    """Defocus over the micrograph, smooth on nodes.

    Args:
        tiles: Spectra.
        solution: CTF at the middle.
        gradient: Of the plane that the surface starts from.
        options: Number of nodes, and how much the surface is expected to bend.
    """
    short = min(tiles.extent)
    shape = tuple(max(2, round(options.local_nodes * length / short)) for length in tiles.extent)
    place = [np.linspace(-length / 2, length / 2, n) for length, n in zip(tiles.extent, shape, strict=True)]
    along = [_hats(tiles.center[:, k], place[k]) for k in range(2)]
    basis = (along[0][:, :, None] * along[1][:, None, :]).reshape(len(tiles.center), -1)
    y, x = np.meshgrid(*place, indexing="ij")
    start = solution.likely.at[0] + (gradient[0] * y + gradient[1] * x).ravel()
    found, covariance = _fit_surface(tiles, solution, basis, start, _stiffness(shape, options.local_step))
    return DefocusMap(found.reshape(shape), np.sqrt(np.diag(covariance)).reshape(shape))


def _hats(at: Float[np.ndarray, "points"], nodes: Float[np.ndarray, "nodes"]) -> Float[np.ndarray, "points nodes"]:
    """Weights of linear interpolation."""
    return np.stack([np.interp(at, nodes, unit) for unit in np.eye(len(nodes))], 1)


def _stiffness(shape: tuple[int, ...], bend: float) -> Float[np.ndarray, "nodes nodes"]:
    """Precision of a surface that bends by about `bend` from node to node, some ten times that from its start."""
    rows, columns = (np.diff(np.eye(n), 2, axis=0) if n > 2 else np.zeros((0, n)) for n in shape)
    twist = np.kron(np.diff(np.eye(shape[0]), axis=0), np.diff(np.eye(shape[1]), axis=0))
    parts = [np.kron(rows, np.eye(shape[1])), np.kron(np.eye(shape[0]), columns), twist]
    return sum(part.T @ part for part in parts) / bend**2 + np.eye(shape[0] * shape[1]) / (10 * bend) ** 2
