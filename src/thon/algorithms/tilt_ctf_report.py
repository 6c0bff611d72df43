"""From the state of a joint CTF fit to what people read: values with uncertainties, scores, curves, reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from thon.algorithms.tilt_ctf_geometry import height_slope, level
from thon.algorithms.tilt_ctf_model import Lens, TiltEvidence, row_defocus
from thon.algorithms.tilt_ctf_refine import Refined
from thon.algorithms.tilt_ctf_rings import TiltRings
from thon.data.ctf import CtfCurves
from thon.data.geometry import TiltGeometry

FITS = 0.5
"""Correlation of measured and model rings down to which they are said to fit."""


@dataclass(frozen=True)
class TileDefocus:
    """Defocus of each tile of an image, from its own rings alone.

    Args:
        center: (y, x) from the image's centre, Å.
        defocus: One step of Newton away from the joint fit, Å.
        expected: By the joint fit, Å.
        sigma: Standard deviation of `defocus`, Å; infinite for a tile without rings.
    """

    center: Float[np.ndarray, "tiles 2"]
    defocus: Float[np.ndarray, "tiles"]
    expected: Float[np.ndarray, "tiles"]
    sigma: Float[np.ndarray, "tiles"]


@dataclass(frozen=True)
class DescribedFit:
    """A joint fit in the terms of `TiltCtf`.

    Args:
        columns: Defocus U and V (Å), angle and phase shift (degrees), their standard deviations, score, resolution.
        borrowed: Reason by image.
        tiles: By image.
        curves: By image.
    """

    columns: Float[np.ndarray, "tilts 10"]
    borrowed: dict[int, str]
    tiles: list[TileDefocus]
    curves: list[CtfCurves]


def describe_fit(
    fit: Refined, rings: list[TiltRings], geometry: TiltGeometry, lens: Lens, defocus_step: float
) -> DescribedFit:
    """Read a fit.

    Args:
        fit: Refined.
        rings: Of each image.
        geometry: Of the images.
        lens: Of the microscope.
        defocus_step: Standard deviation between neighbours, Å: an image that knows its defocus less well borrows.
    """
    slope = fit.state.hand * height_slope(level(geometry, fit.state.inclination))
    columns, borrowed = np.empty((len(rings), 10)), dict[int, str]()
    tiles, curves = list[TileDefocus](), list[CtfCurves]()
    for k, (ring, evidence) in enumerate(zip(rings, fit.evidence, strict=True)):
        values, place = fit.state.values[k], slice(4 * k, 4 * k + 4)
        own = 1 / math.sqrt(max(float(evidence.curvature[..., 2].sum()), 1e-12))
        if fit.is_silent(k):
            borrowed[k] = "no rings of its own to be seen; its values are those of its neighbours"
        elif own > defocus_step:
            borrowed[k] = f"its own rings tell the defocus to {own:.0f} Å only, its neighbours tell more"
        defocus = row_defocus(values, ring, slope[k])
        curve, score, resolution = _curve(ring, fit.deviations[k], evidence, defocus, values, lens)
        columns[k, :8] = _astigmatic(values, fit.covariance[place, place])
        columns[k, 8:] = score, resolution
        tiles.append(_by_tile(ring, evidence, defocus.mean(1)))
        curves.append(curve)
    return DescribedFit(columns, borrowed, tiles, curves)


def _astigmatic(values: Float[np.ndarray, "4"], covariance: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "8"]:
    """Defocus U, V, angle and phase shift, and their standard deviations."""
    size = max(math.hypot(values[1], values[2]), 1e-6)
    along = values[1:3] / size
    change = np.zeros((4, 4))
    change[:2, 0], change[0, 1:3], change[1, 1:3] = 1, along / 2, -along / 2
    change[2, 1:3] = np.rad2deg(np.array([-along[1], along[0]]) / (2 * size))
    change[3, 3] = math.degrees(1)
    sigma = np.sqrt(np.diag(change @ covariance @ change.T))
    sigma[2] = min(sigma[2], 180 / math.sqrt(12))  # nothing is known less well than an even chance of every angle
    angle = math.degrees(math.atan2(values[2], values[1])) / 2 % 180
    found = [values[0] + size / 2, values[0] - size / 2, angle, math.degrees(values[3])]
    return np.concatenate([found, sigma])


def _by_tile(ring: TiltRings, evidence: TiltEvidence, expected: Float[np.ndarray, "tiles"]) -> TileDefocus:
    information = evidence.curvature[..., 2].sum(1)
    known = np.maximum(information, 1e-12)
    sigma = np.where(information > 0, 1 / np.sqrt(known), np.inf)
    # Neighbours share pixels, but here each speaks for itself alone, with the noise of one sine window.
    alone = math.sqrt(1.5**2 / float(ring.inflation[0]))
    return TileDefocus(ring.center, expected + evidence.slope[..., 1].sum(1) / known, expected, sigma * alone)


def _curve(
    ring: TiltRings,
    deviation: Float[np.ndarray, "tiles sectors bins"],
    evidence: TiltEvidence,
    defocus: Float[np.ndarray, "tiles sectors"],
    values: Float[np.ndarray, "4"],
    lens: Lens,
) -> tuple[CtfCurves, float, float]:
    """Rings of all tiles and sectors where those of the image's mean defocus are, with score and resolution."""
    grid, rate, rest = ring.grid, lens.rate(ring.grid), lens.rest(ring.grid) + values[3]
    centre = rate * values[0] + rest
    turn = defocus[..., None] * rate + rest
    place = np.searchsorted((centre[1:] + centre[:-1]) / 2, turn.ravel())
    place[turn.ravel() > 1.5 * centre[-1] - 0.5 * centre[-2]] = grid.bins
    count = np.bincount(place, np.broadcast_to(ring.count, turn.shape).ravel(), grid.bins + 1)[:-1]
    total = np.bincount(place, deviation.ravel(), grid.bins + 1)[:-1]
    found, rings = total / np.maximum(count, 1), -np.cos(2 * centre)
    cycle = math.pi / float(np.diff(centre).mean())
    correlation = _running_correlation(found, rings, max(1.5 * cycle, 4.0))
    bad = np.flatnonzero(correlation < FITS)
    last = grid.bins if len(bad) == 0 else int(bad[0])
    frequency = np.sqrt(grid.squared)
    resolution = 1 / float(frequency[last - 1]) if last > 0 else 1 / grid.low
    score = _correlate(found, evidence.amplitude * rings)
    floor = max(0.2 * float(evidence.amplitude.max()), 1e-3)
    measured = 0.5 + 0.5 * found / np.maximum(evidence.amplitude, floor)
    level = np.sqrt(ring.power.sum((0, 1)) / np.maximum(ring.count.sum(0) * len(ring.center), 1))
    curves = CtfCurves(frequency, measured, (1 + rings) / 2, level.astype(np.float64), correlation)
    return curves, score, resolution


def _correlate(one: Float[np.ndarray, "bins"], other: Float[np.ndarray, "bins"]) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0 else 0.0


def _running_correlation(
    one: Float[np.ndarray, "bins"], other: Float[np.ndarray, "bins"], width: float
) -> Float[np.ndarray, "bins"]:
    """Correlation of two curves around each bin, within about `width` bins."""

    def smooth(values: np.ndarray) -> np.ndarray:
        return scipy.ndimage.gaussian_filter1d(values, width / 2, mode="nearest")

    a, b = one - smooth(one), other - smooth(other)
    return smooth(a * b) / np.sqrt(np.maximum(smooth(a * a) * smooth(b * b), 1e-20))
