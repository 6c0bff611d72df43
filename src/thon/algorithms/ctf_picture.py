"""The picture of a CTF fit: the measured spectrum on the left, flattened, and the model on the right."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from thon.algorithms.ctf_refine import LikelyCtf, SpectrumLikelihood


def draw_fit(likelihood: SpectrumLikelihood, likely: LikelyCtf, size: int) -> Float[np.ndarray, "size size"]:
    """Measured (left) and modelled (right) squared CTF up to the finest ring of the fit, origin at size // 2.

    Args:
        likelihood: Of the spectrum.
        likely: The fit.
        size: Rows and columns of the picture.

    Returns:
        Around 0 to 1, as strong as it was measured on the left and blurred by thickness on the right; 0.5 outside the
        range of the fit; row 0 at the bottom.
    """
    axis = (np.arange(size) - size // 2) * (2 * math.sqrt(likelihood.spectrum.centers[-1]) / size)
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    square = kx**2 + ky**2
    azimuth = np.arctan(ky / np.where(kx == 0, 1e-12, kx))
    picture = 0.5 - 0.5 * _modelled(likelihood, likely, square, azimuth)
    left = size // 2
    picture[:, :left] = 0.5 + 0.5 * _measured(likelihood, likely, square[:, :left], azimuth[:, :left])
    inside = (square >= likelihood.spectrum.centers[0]) & (square <= likelihood.spectrum.centers[-1])
    return np.where(inside, picture, 0.5)


def _modelled(
    likelihood: SpectrumLikelihood,
    likely: LikelyCtf,
    square: Float[np.ndarray, "rows columns"],
    azimuth: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns"]:
    """D cos 2χ at any place of the spectrum."""
    at, lens = likely.at, likelihood.lens
    defocus = at[0] + at[1] * np.cos(2 * azimuth) + at[2] * np.sin(2 * azimuth)
    twice = np.pi * square * (2 * lens.wavelength * defocus - lens.cs * lens.wavelength**3 * square)
    layers = np.sinc(lens.wavelength * square * at[4])
    return layers * np.cos(twice + 2 * (at[3] + lens.amplitude))


def _measured(
    likelihood: SpectrumLikelihood,
    likely: LikelyCtf,
    square: Float[np.ndarray, "rows columns"],
    azimuth: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns"]:
    """Power over its level less 1, as a share of the depth of the rings or of three times the noise if that is more."""
    spectrum = likelihood.spectrum
    level, depth = likelihood.curves(likely.at)
    excess = likelihood.count * (likelihood.power * np.exp(-level) - 1)
    sectors = round(math.pi / spectrum.sector)

    def by_sector(values: Float[np.ndarray, "rings columns"]) -> Float[np.ndarray, "rings sectors"]:
        return values.reshape(spectrum.rings, -1, sectors).sum(1)

    count = by_sector(likelihood.count)
    flat = by_sector(excess) / np.maximum(count, 1e-9)
    noise = 1 / np.sqrt(np.maximum(count.mean(1), 1e-9))
    flat = (flat / np.maximum(depth, 3 * noise)[:, None]).clip(-3, 3)
    ring = np.interp(square, spectrum.centers, np.arange(spectrum.rings))
    place = (azimuth / math.pi + 0.5) * sectors - 0.5
    return _bilinear(flat, ring, place)


def _bilinear(
    values: Float[np.ndarray, "rings sectors"], ring: Float[np.ndarray, "*grid"], sector: Float[np.ndarray, "*grid"]
) -> Float[np.ndarray, "*grid"]:
    """Values between bins; sectors close into a circle."""
    low, left = np.floor(ring).astype(np.int32), np.floor(sector).astype(np.int32)
    high, right = np.minimum(low + 1, len(values) - 1), (left + 1) % values.shape[1]
    left = left % values.shape[1]
    up, across = ring - low, sector - np.floor(sector)
    below = (1 - across) * values[low, left] + across * values[low, right]
    above = (1 - across) * values[high, left] + across * values[high, right]
    return (1 - up) * below + up * above
