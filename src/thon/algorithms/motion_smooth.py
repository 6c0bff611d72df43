"""A track in time from noisy places: as smooth as its own roughness and the places' precision say.

The second differences of a track are taken as independent and normal. Their variance is the one under which the second
differences of the measured places are likeliest, which is restricted maximum likelihood with a straight line left free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

_STRENGTHS = np.logspace(-9, 5, 57)


@dataclass(frozen=True)
class SmoothTrack:
    """A smoothed track.

    Args:
        place: (times, axes).
        variance: Of each place, its unit squared.
        roughness: Variance of a late second difference.
    """

    place: Float[np.ndarray, "times axes"]
    variance: Float[np.ndarray, "times axes"]
    roughness: float


def smooth_track(
    place: Float[np.ndarray, "times axes"],
    variance: Float[np.ndarray, "times axes"],
    profile: Float[np.ndarray, "times"],
    *,
    known: bool = True,
) -> SmoothTrack:
    """Smooth a track.

    Args:
        place: Measured places.
        variance: Variance of each.
        profile: How much larger than elsewhere the variance of the second difference is around each time.
        known: Whether `variance` is absolute; otherwise a common factor is estimated too.
    """
    times = len(place)
    if times < 4:
        return SmoothTrack(place.copy(), variance.copy(), np.inf)
    difference = np.diff(np.eye(times), 2, axis=0)
    bend = difference @ place
    expected = profile[1:-1]
    noise = _noise_of_bends(variance)
    # A variance of 0 is as likely as a tiny one, and singular where the places are exact.
    unit = float(np.median(variance))
    likelihood = _likelihood(noise, bend, _STRENGTHS[:, None] * unit * expected, known)
    strength = _STRENGTHS[int(np.argmax(likelihood))] * unit
    result, spread = np.empty_like(place), np.empty_like(place)
    for axis in range(place.shape[1]):
        covariance = difference * variance[:, axis]
        inner = noise[:, :, axis].copy()
        inner[0] += strength * expected
        gain = scipy.linalg.solveh_banded(inner, covariance, lower=True, check_finite=False).T
        result[:, axis] = place[:, axis] - gain @ bend[:, axis]
        spread[:, axis] = variance[:, axis] - (gain * covariance.T).sum(1)
    return SmoothTrack(result, np.clip(spread, 1e-12, None), float(strength))


def _noise_of_bends(variance: Float[np.ndarray, "times axes"]) -> Float[np.ndarray, "3 bends axes"]:
    """Diagonal and lower bands of the covariance of second differences that the places' variance makes."""
    bands = np.zeros((3, len(variance) - 2, variance.shape[1]))
    bands[0] = variance[:-2] + 4 * variance[1:-1] + variance[2:]
    bands[1, :-1] = -2 * (variance[1:-2] + variance[2:-1])
    bands[2, :-2] = variance[2:-2]
    return bands


def _likelihood(
    noise: Float[np.ndarray, "3 bends axes"],
    bend: Float[np.ndarray, "bends axes"],
    prior: Float[np.ndarray, "strengths bends"],
    known: bool,
) -> Float[np.ndarray, "strengths"]:
    """Log likelihood of second differences, with the noise's factor at its best if it is not known.

    All strengths go through one LDLᵀ factorisation of the banded covariance side by side.
    """
    shape = (len(prior), bend.shape[1])
    total, misfit = np.zeros(shape), np.zeros(shape)
    # Pivots, first and second factors below them, and solutions of the two rows before.
    d1, d2, l1, z1, z2 = np.ones(shape), np.ones(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for i in range(len(bend)):
        second = noise[2, i - 2] / d2 if i > 1 else np.zeros(shape)
        first = (noise[1, i - 1] - second * d2 * l1) / d1 if i > 0 else np.zeros(shape)
        pivot = noise[0, i] + prior[:, i, None] - first**2 * d1 - second**2 * d2
        solved = bend[i] - first * z1 - second * z2
        total += np.log(pivot)
        misfit += solved**2 / pivot
        d1, d2, l1, z1, z2 = pivot, d1, first, solved, z1
    weighted = misfit.sum(1) if known else bend.size * np.log(misfit.sum(1) + 1e-300)
    return -0.5 * (total.sum(1) + weighted)


def early_profile(
    exposure: Float[np.ndarray, "times"], *, factor: float = 30.0, decay: float = 4.0
) -> Float[np.ndarray, "times"]:
    """How much rougher a track is while the beam's first electrons (e/Å²) set the specimen in motion."""
    return 1 + factor * np.exp(-np.asarray(exposure, np.float64) / decay)
