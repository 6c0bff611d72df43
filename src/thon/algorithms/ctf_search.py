"""Where a CTF may lie: defocus and astigmatism as the peak of a chirp transform.

Against the squared frequency the squared CTF is a wave whose rate is the defocus: with the spherical aberration, which
is known, taken off, one Fourier transform per direction shows defocus as a peak, and astigmatism moves that peak from
direction to direction as a cosine of twice the azimuth. The sum along every such cosine is a matched filter; its height
in standard deviations of the noise says how sure the finding is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from thon.ops.ctf_spectrum import PolarSpectrum

BANDS = (1 / 9.0, 1 / 5.5, 1 / 3.5)
"""Frequencies over which the rings are supposed to fade in three searches, 1/Å."""


SURE = 15.0
"""Height of a start, in standard deviations, that leaves little doubt."""


@dataclass(frozen=True)
class Lens:
    """Constants of the CTF.

    Args:
        wavelength: Å.
        cs: Spherical aberration, Å.
        amplitude: Phase that stands for amplitude contrast, radians.
    """

    wavelength: float
    cs: float
    amplitude: float


@dataclass(frozen=True)
class SearchRange:
    """Where to look.

    Args:
        defocus: Lowest and highest, Å.
        astigmatism: Largest, Å.
        phase: Lowest and highest phase shift, radians; equal where it is known.
    """

    defocus: tuple[float, float]
    astigmatism: float
    phase: tuple[float, float]


@dataclass(frozen=True)
class Start:
    """A CTF to refine: mean defocus, its cosine and sine parts by twice the azimuth, Å; phase shift, radians."""

    defocus: float
    cosine: float
    sine: float
    phase: float
    height: float
    """In standard deviations of the noise."""

    @property
    def place(self) -> tuple[float, float, float]:
        """Mean defocus and the two parts of astigmatism, Å."""
        return self.defocus, self.cosine, self.sine


def cubic_basis(
    at: Float[np.ndarray, "points"], low: float, high: float, spans: int
) -> Float[np.ndarray, "splines points"]:
    """Uniform cubic B-splines over an interval of `spans` equal parts."""
    place = (at - low) / (high - low) * spans
    u = np.abs(place[None] - np.arange(-1, spans + 2)[:, None])
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.where(u < 2, (2 - u) ** 3 / 6, 0.0))


def smooth_level(
    value: Float[np.ndarray, "rings"],
    weight: Float[np.ndarray, "rings"],
    basis: Float[np.ndarray, "splines rings"],
    stiffness: float = 1.0,
) -> Float[np.ndarray, "splines"]:
    """Coefficients of the smooth curve through values, second differences held at about 1 / stiffness."""
    bend = np.diff(np.eye(len(basis)), 2, axis=0)
    normal = (basis * weight) @ basis.T + stiffness**2 * bend.T @ bend + 1e-9 * weight.sum() * np.eye(len(basis))
    return np.linalg.solve(normal, (basis * weight) @ value)


def search_ctf(spectrum: PolarSpectrum, lens: Lens, limits: SearchRange, *, starts: int = 3) -> list[Start]:
    """The most likely CTFs of a spectrum, best first.

    Args:
        spectrum: Bins of the power spectrum; what varies slowly in it is taken off here.
        lens: Constants.
        limits: Range of the search.
        starts: How many to return, differing by half the width of a peak in defocus or astigmatism.
    """
    found: list[Start] = []
    residual, basis = flatten_spectrum(spectrum)
    width = np.inf
    for reach in BANDS:
        weight = np.exp(-spectrum.centers / reach**2)
        width = 1 / (lens.wavelength * min(reach**2, spectrum.centers[-1]))
        peaks, step = _chirp_peaks(spectrum, residual, basis, weight, lens, limits)
        found += _climb(peaks, step, width, limits, starts)
    return _distinct(found, (1.0 if max(found, key=lambda one: one.height).height > SURE else 0.5) * width, starts)


def flatten_spectrum(
    spectrum: PolarSpectrum, spans: int = 7
) -> tuple[Float[np.ndarray, "columns rings"], Float[np.ndarray, "splines rings"]]:
    """Power over its smooth trend, less 1, and the splines of that trend."""
    frequency = np.sqrt(spectrum.centers)
    basis = cubic_basis(frequency, frequency[0], frequency[-1], spans)
    total = spectrum.count.sum(0)
    ring = (spectrum.count * spectrum.power).sum(0) / np.maximum(total, 1e-9)
    level = smooth_level(np.log(np.maximum(ring, 1e-30)), total, basis)
    residual = np.where(spectrum.count > 0, spectrum.power * np.exp(-(level @ basis)) - 1, 0.0)
    for swing in (np.cos(2 * spectrum.azimuth), np.sin(2 * spectrum.azimuth), np.cos(4 * spectrum.azimuth)):
        part = 2 * (spectrum.count * swing * residual).sum(0) / np.maximum(total, 1e-9)
        coarse = cubic_basis(frequency, frequency[0], frequency[-1], 3)
        residual = residual - swing * (smooth_level(part, total, coarse) @ coarse)
    return residual, basis


@dataclass(frozen=True)
class _Peaks:
    """Transforms of all columns, shifted so that the specimen's middle has the same defocus in all."""

    transform: Complex[np.ndarray, "columns defocus"]
    defocus: Float[np.ndarray, "defocus"]
    deviation: Float[np.ndarray, "defocus"]
    azimuth: Float[np.ndarray, "columns"]
    offset: Float[np.ndarray, "columns"]


def _chirp_peaks(
    spectrum: PolarSpectrum,
    residual: Float[np.ndarray, "columns rings"],
    basis: Float[np.ndarray, "splines rings"],
    weight: Float[np.ndarray, "rings"],
    lens: Lens,
    limits: SearchRange,
) -> tuple[_Peaks, float]:
    """Transform each column to defocus."""
    square, rate = spectrum.centers, lens.wavelength * spectrum.step
    reach = limits.astigmatism / 2 + float(np.abs(spectrum.offset).max())
    length = 1 << math.ceil(math.log2(max(3.2 * spectrum.rings, 1 / (rate * 80.0))))
    step = 1 / (rate * length)
    aberration = np.exp(1j * np.pi * lens.cs * lens.wavelength**3 * square**2)
    signal = residual * spectrum.count * (weight * aberration)
    transform = np.fft.fft(signal, length, axis=-1)
    low = math.floor((limits.defocus[0] - reach) / step)
    index = np.arange(low, math.ceil((limits.defocus[1] + reach) / step) + 1)
    defocus = index * step
    origin = np.exp(-2j * np.pi * lens.wavelength * square[0] * defocus - 2j * lens.amplitude)
    transform = -transform[:, index % length] * origin
    every = defocus[::4] if len(defocus) > 8 else defocus
    deviation = np.interp(defocus, every, _deviation(spectrum, basis, weight, lens, every))
    return _Peaks(transform.astype(np.complex64), defocus, deviation, spectrum.azimuth.mean(1), spectrum.offset), step


def _deviation(
    spectrum: PolarSpectrum,
    basis: Float[np.ndarray, "splines rings"],
    weight: Float[np.ndarray, "rings"],
    lens: Lens,
    defocus: Float[np.ndarray, "defocus"],
) -> Float[np.ndarray, "defocus"]:
    """Standard deviation of the sum over all columns at each defocus, without what the smooth trend has taken."""
    total = spectrum.count.sum(0)
    square = spectrum.centers
    wave = np.cos(
        2 * np.pi * lens.wavelength * np.outer(defocus, square)
        - np.pi * lens.cs * lens.wavelength**3 * square**2
        + 2 * lens.amplitude
    )
    wave = wave * weight
    energy = (wave**2) @ total
    root = np.linalg.cholesky((basis * total) @ basis.T + 1e-6 * total.sum() / len(total) * np.eye(len(basis)))
    taken = np.linalg.solve(root, (basis * total) @ wave.T)
    return np.sqrt(np.maximum(energy - (taken**2).sum(0), 0.3 * energy) + 1e-12)


def column_peaks(
    spectrum: PolarSpectrum, lens: Lens, limits: SearchRange, band: float, groups: int, step: float
) -> tuple[Float[np.ndarray, "defocus"], Complex[np.ndarray, "groups defocus"]]:
    """Transforms of groups of columns, without astigmatism, at defoci about `step` Å apart.

    Args:
        spectrum: Bins, as many columns in each group, group after group.
        lens: Constants.
        limits: Range of defocus; half the largest astigmatism is added on both sides.
        band: Frequency over which rings are supposed to fade, 1/Å.
        groups: Number of groups.
        step: Å.
    """
    residual, basis = flatten_spectrum(spectrum)
    peaks, fine = _chirp_peaks(spectrum, residual, basis, np.exp(-spectrum.centers / band**2), lens, limits)
    every = max(1, int(step / fine))
    grouped = peaks.transform.reshape(groups, -1, len(peaks.defocus)).sum(1)
    return peaks.defocus[::every], grouped[:, ::every]


def _climb(peaks: _Peaks, step: float, width: float, limits: SearchRange, starts: int) -> list[Start]:
    """Highest sums over defocus and astigmatism, `width` Å of defocus apart."""
    inside = np.flatnonzero((peaks.defocus >= limits.defocus[0]) & (peaks.defocus <= limits.defocus[1]))
    trial = _disc(limits.astigmatism / 2, 0.3 * width)
    turn = np.stack([np.cos(2 * peaks.azimuth), np.sin(2 * peaks.azimuth)])
    shift = np.rint((trial @ turn + peaks.offset) / step).astype(np.int64) + inside[0]
    windows = np.lib.stride_tricks.sliding_window_view(peaks.transform, len(inside), axis=1)
    total = np.stack([windows[np.arange(len(move)), move.clip(0, windows.shape[1] - 1)].sum(0) for move in shift])
    phase = _best_phase(total, limits.phase)
    score = np.real(total * np.exp(-2j * phase)) / peaks.deviation[inside]
    found: list[Start] = []
    for _ in range(starts):
        which, place = np.unravel_index(int(score.argmax()), score.shape)
        center = float(peaks.defocus[inside[place]])
        cosine, sine = float(trial[which, 0]), float(trial[which, 1])
        found.append(Start(center, cosine, sine, float(phase[which, place]), float(score[which, place])))
        away = np.hypot(*(trial - trial[which]).T)[:, None] ** 2 + (peaks.defocus[inside] - center) ** 2
        score[away < (0.5 * width) ** 2] = -np.inf
        if not np.isfinite(score.max()):
            break
    return found


def _disc(radius: float, step: float) -> Float[np.ndarray, "trials 2"]:
    """Points of a grid in a disc, its centre first."""
    count = int(radius / step)
    axis = step * np.arange(-count, count + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    length = np.hypot(grid[:, 0], grid[:, 1])
    order = np.argsort(length, kind="stable")
    return grid[order[: int((length <= radius + 1e-6).sum())]]


def _best_phase(total: Complex[np.ndarray, "*grid"], limits: tuple[float, float]) -> Float[np.ndarray, "*grid"]:
    """Phase shift within the limits at which the real part of total · exp(−2i phase) is largest, radians."""
    low, high = limits
    if high <= low:
        return np.full(total.shape, low)
    best = low + np.mod(np.angle(total) / 2 - low, np.pi)
    nearer = np.where(best - high < low + np.pi - best, high, low)
    return np.where(best <= high, best, nearer)


def _distinct(found: list[Start], apart: float, starts: int) -> list[Start]:
    """The highest ones, none within `apart` Å of a higher one."""
    kept: list[Start] = []
    for start in sorted(found, key=lambda one: -one.height):
        if all(math.dist(start.place, other.place) > apart for other in kept):
            kept.append(start)
    return kept[:starts]
