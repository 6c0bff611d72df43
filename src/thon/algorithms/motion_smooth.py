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
    bands = [_banded(difference, variance[:, axis]) for axis in range(place.shape[1])]
    # A variance of 0 is as likely as a tiny one, and singular where the places are exact.
    unit = float(np.median(variance))
    likelihood = [_likelihood(bands, bend, strength * unit * expected, known) for strength in _STRENGTHS]
    strength = _STRENGTHS[int(np.argmax(likelihood))] * unit
    result, spread = np.empty_like(place), np.empty_like(place)
    for axis in range(place.shape[1]):
        covariance = difference * variance[:, axis]
        inner = _full(bands[axis]) + np.diag(strength * expected)
        gain = np.linalg.solve(inner, covariance).T
        result[:, axis] = place[:, axis] - gain @ bend[:, axis]
        spread[:, axis] = variance[:, axis] - (gain * covariance.T).sum(1)
    return SmoothTrack(result, np.clip(spread, 1e-12, None), float(strength))


def _banded(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Lower bands of the covariance of second differences that noise makes."""
    matrix = (difference * variance) @ difference.T
    n = len(matrix)
    bands = np.zeros((3, n))
    for k in range(min(3, n)):
        bands[k, : n - k] = np.diagonal(matrix, -k)
    return bands


def _full(bands: np.ndarray) -> np.ndarray:
    matrix = np.diag(bands[0])
    for k in (1, 2):
        if len(matrix) > k:
            side = np.diag(bands[k, : len(matrix) - k], -k)
            matrix = matrix + side + side.T
    return matrix


def _likelihood(bands: list[np.ndarray], bend: np.ndarray, prior: np.ndarray, known: bool) -> float:
    """Log likelihood of second differences, with the noise's factor at its best if it is not known."""
    total, misfit = 0.0, 0.0
    for axis, noise in enumerate(bands):
        inner = noise.copy()
        inner[0] += prior
        factor = scipy.linalg.cholesky_banded(inner, lower=True)
        total -= float(np.log(factor[0]).sum())
        misfit += float(bend[:, axis] @ scipy.linalg.cho_solve_banded((factor, True), bend[:, axis]))
    return total - 0.5 * (misfit if known else bend.size * np.log(misfit + 1e-300))


def early_profile(
    exposure: Float[np.ndarray, "times"], *, factor: float = 30.0, decay: float = 4.0
) -> Float[np.ndarray, "times"]:
    """How much rougher a track is while the beam's first electrons (e/Å²) set the specimen in motion."""
    return 1 + factor * np.exp(-np.asarray(exposure, np.float64) / decay)
