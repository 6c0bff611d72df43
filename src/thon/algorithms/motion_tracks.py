"""The track of a set of frames: a search by cross-correlation at several B-factors, then steps up the likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float

from thon import kernels
from thon.algorithms.motion_frames import FrameSpectra, SpectralGrid
from thon.algorithms.motion_likelihood import FrameScores, SignalModel, aligned_sum, expect, fit_signal, score
from thon.algorithms.motion_options import TrackOptions
from thon.algorithms.motion_smooth import early_profile, smooth_track

_ROUNDS = 2
_STEP = 20.0  # Å that a specimen moves from one frame to the next in bad cases
_FAINT = 0.02  # weight below which frequencies are left out of the search


@dataclass(frozen=True)
class Track:
    """Where frames lie.

    Args:
        place: (frames, 2), displacement (y, x), Å; its mean is arbitrary.
        sigma: Standard deviation along one axis, Å.
        bfactor: At which the search was best, Å².
        model: Variances of the signal that were found under it.
        converged: Whether the last step was within the tolerance.
    """

    place: Float[np.ndarray, "frames 2"]
    sigma: float
    bfactor: float
    model: SignalModel
    converged: bool


def find_track(spectra: FrameSpectra, options: TrackOptions) -> Track:
    """Track frames from nothing.

    The search starts at the largest B-factor and goes on to the smallest; each stage's track is a candidate, once with
    the frames as they are and, where something may stay on the detector, once with their mean taken away; that nothing
    moved is another. The likeliest, given all frames and that steps are short, is refined.
    """
    candidates = list(_candidates(spectra, options))
    judged = [_likelihood(spectra, place, options) - _surprise(place) for _, place in candidates]
    bfactor, place = candidates[int(np.argmax(judged))]
    return refine_track(spectra, place, bfactor, options)


def _surprise(place: Float[np.ndarray, "frames 2"]) -> float:
    """Minus the log prior of a track: long steps are rare, and where nothing is seen none shall be made of noise."""
    return float(np.linalg.norm(np.diff(place, axis=0), axis=1).sum()) / _STEP


def _likelihood(spectra: FrameSpectra, place: Float[np.ndarray, "frames 2"], options: TrackOptions) -> float:
    total = aligned_sum(spectra, place)
    model = fit_signal(spectra, place, fixed_pattern=options.fixed_pattern, total=total)
    return expect(spectra, place, model, total=total).likelihood


def _candidates(spectra: FrameSpectra, options: TrackOptions) -> list[tuple[float, Float[np.ndarray, "frames 2"]]]:
    number = len(spectra)
    still = np.zeros((number, 2))
    found = [(max(options.bfactors), still)]
    starts = [spectra]
    suppressed = _without_pattern(spectra) if options.fixed_pattern and number > 3 else None
    if suppressed is not None:
        starts.append(suppressed)
    for start in starts:
        place = still
        for bfactor in sorted(options.bfactors, reverse=True):
            place = search_track(start, place, bfactor, options.max_shift)
            found.append((bfactor, place))
    return found


def _without_pattern(spectra: FrameSpectra) -> FrameSpectra | None:
    """The frames less what they all share at the finest frequencies; None where that is nothing."""
    model = fit_signal(spectra, np.zeros((len(spectra), 2)), fixed_pattern=False)
    top = slice(int(0.8 * spectra.grid.shells), spectra.grid.shells - 1)
    count = spectra.grid.count[top]
    still = float((model.signal[top] * count).sum() / count.sum().clamp(min=1)) * len(spectra)
    if still * math.sqrt(float(count.sum())) < 5:
        return None
    return replace(spectra, values=spectra.values - still / (1 + still) * spectra.values.mean(0))


def search_track(
    spectra: FrameSpectra,
    place: Float[np.ndarray, "frames 2"],
    bfactor: float,
    max_shift: float,
    *,
    rounds: int = _ROUNDS,
) -> Float[np.ndarray, "frames 2"]:
    """Improve a track by the peaks of cross-correlations with all other frames.

    Neighbours within about a sixth of the exposure are added to each frame before it is compared, and are left out of
    what it is compared with. The peaks are smoothed in time, outliers aside.
    """
    coarse = _cropped(spectra, bfactor)
    number = len(spectra)
    reach = max(0, min(number // 6, 12) // 2)
    profile = early_profile(spectra.exposure)
    for round_ in range(rounds):
        aligned = torch.zeros_like(coarse.values)
        ramps = coarse.grid.ramps(place)
        for k in range(number):
            ramp = (ramps[0][k : k + 1], ramps[1][k : k + 1])
            kernels.add_aligned(aligned[k], coarse.values[k : k + 1], ramp, coarse.grid.index, coarse.damage[k : k + 1])
        window = max_shift if round_ == 0 else max_shift / 2
        place = _steadied(place + _peaks(aligned, coarse.grid, reach, window), profile)
    return place


def _cropped(spectra: FrameSpectra, bfactor: float) -> FrameSpectra:
    """The frequencies that a B-factor leaves, weighted by the root of exp(−B q² / 4)."""
    grid = spectra.grid
    limit = math.sqrt(-4 * math.log(_FAINT) / bfactor)
    shape = tuple(min(n, 2 * math.ceil(n * p * limit)) for n, p in zip(grid.shape, grid.pixel, strict=True))
    rows, half = shape[0], shape[1] // 2 + 1
    keep = torch.cat([torch.arange((rows + 1) // 2), torch.arange(grid.shape[0] - rows // 2, grid.shape[0])])
    keep = keep.to(grid.device)
    values = spectra.values[:, keep, :half].contiguous()
    pixel = tuple(p * n / m for p, n, m in zip(grid.pixel, grid.shape, shape, strict=True))
    small = SpectralGrid((rows, shape[1]), (pixel[0], pixel[1]), grid.spacing, grid.shells, grid.device)
    weight = torch.exp(-bfactor / 8 * grid.shell_frequency**2) * (grid.shell_frequency <= limit)
    return FrameSpectra(values, small, spectra.damage * weight.to(torch.float32), spectra.frame, spectra.exposure)


def _peaks(
    aligned: Complex[torch.Tensor, "frames rows half"], grid: SpectralGrid, reach: int, window: float
) -> Float[np.ndarray, "frames 2"]:
    """How much further each frame lies than it was brought back, Å."""
    number = len(aligned)
    padded = torch.cat([torch.zeros_like(aligned[:1]), aligned]).cumsum(0)
    low = [max(0, k - reach) for k in range(number)]
    high = [min(number, k + reach + 1) for k in range(number)]
    found = np.empty((number, 2))
    for k in range(number):
        group = padded[high[k]] - padded[low[k]]
        map_ = torch.fft.irfft2(group * (padded[-1] - group).conj(), s=grid.shape)
        found[k] = _peak(map_, grid.pixel, window)
    return found


def _peak(map_: Float[torch.Tensor, "rows columns"], pixel: tuple[float, float], window: float) -> np.ndarray:
    """Place of the highest value within `window` (Å) of the origin, to a parabola's precision, Å."""
    reach = [min(int(window / p), n // 2 - 1) for p, n in zip(pixel, map_.shape, strict=True)]
    around = torch.roll(map_, (reach[0], reach[1]), (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    best = int(around.argmax())
    peak = [best // around.shape[1], best % around.shape[1]]
    place = np.empty(2)
    for axis in (0, 1):
        centre = peak[axis] - reach[axis]
        at = [peak[0] - reach[0], peak[1] - reach[1]]
        sides: list[float] = []
        for step in (-1, 0, 1):
            at[axis] = centre + step
            sides.append(float(map_[at[0] % map_.shape[0], at[1] % map_.shape[1]]))
        bend = sides[0] - 2 * sides[1] + sides[2]
        part = 0.5 * (sides[0] - sides[2]) / bend if bend < 0 else 0.0
        place[axis] = (centre + float(np.clip(part, -0.5, 0.5))) * pixel[axis]
    return place


def _steadied(place: Float[np.ndarray, "frames 2"], profile: Float[np.ndarray, "frames"]) -> np.ndarray:
    """A measured track, smoothed by its own roughness, with outliers of unknown extent given little weight."""
    variance = np.ones_like(place)
    smooth = place
    for _ in range(3):
        smooth = smooth_track(place, variance, profile, known=False).place
        off = np.linalg.norm(place - smooth, axis=1)
        scale = 3 * np.median(off) + 1e-6
        variance = np.repeat(np.clip(off / scale, 1, 1e3)[:, None] ** 2, 2, axis=1)
    return smooth


def refine_track(
    spectra: FrameSpectra, place: Float[np.ndarray, "frames 2"], bfactor: float, options: TrackOptions
) -> Track:
    """Steps of Newton's method with expected curvature, each smoothed in time by the frames' own precision."""
    profile = early_profile(spectra.exposure)
    model, moved, sigma = None, math.inf, math.nan
    watched = options.fixed_pattern
    for _ in range(options.iterations):
        total = aligned_sum(spectra, place)
        model = fit_signal(spectra, place, fixed_pattern=watched, total=total)
        # What is not seen on a track that is nearly right will not be seen on a better one.
        watched = watched and (model.pattern > 0 or moved > 1)
        step, variance = newton_step(score(spectra, place, model, total=total))
        target = place + step - step.mean(0)
        if options.smooth:
            smooth = smooth_track(target, variance, profile)
            target, variance = smooth.place, smooth.variance
        moved = float(np.abs((target - target.mean(0)) - (place - place.mean(0))).max())
        place, sigma = target - target.mean(0), float(np.sqrt(variance.mean()))
        if moved < options.tolerance:
            break
    assert model is not None
    return Track(place, sigma, bfactor, model, moved < max(options.tolerance, sigma))


def newton_step(
    scores: FrameScores, *, longest: float = 3.0
) -> tuple[Float[np.ndarray, "frames 2"], Float[np.ndarray, "frames 2"]]:
    """Newton's step of each frame, no longer than `longest` (Å), and its variance along each axis.

    Where the curvature shows no peak at all, the step is zero and the variance immense.
    """
    values, axes = np.linalg.eigh(scores.curvature)
    floor = max(1e-3 * float(values.max()), 1e-9)
    inverse = np.where(values > floor, 1 / np.maximum(values, floor), 0.0)
    solve = (axes * inverse) @ axes.T
    step = scores.slope @ solve / scores.share[:, None]
    spread = np.diag(solve @ scores.variance @ solve) + np.where(values <= floor, 1e6, 0) @ (axes**2).T
    variance = spread / scores.share[:, None]
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return step * np.minimum(1, longest / np.maximum(length, 1e-12)), variance
