"""Joint refinement of a tilt series' CTFs: Gauss–Newton on all parameters of all images, with what ties them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from thon.algorithms.tilt_ctf_geometry import height_slope, height_slope_gradient, level
from thon.algorithms.tilt_ctf_model import (
    Lens,
    TiltEvidence,
    TiltState,
    row_defocus,
    sector_factors,
    weigh_evidence,
)
from thon.algorithms.tilt_ctf_rings import TiltRings
from thon.data.geometry import TiltGeometry

SILENT = 6.0
"""Gain in the logarithm of the likelihood below which rings may be noise: the image then has no say."""

_FIXED = 1e-6  # standard deviation, in its own unit, of what is not fitted
_ROUNDS = 12
_REFRESHED = (1, 3)  # rounds before which backgrounds are taken anew, without the rings found so far


@dataclass(frozen=True)
class Prior:
    """Quadratic prior on the vector of all parameters: four of each image, one after the other, and the inclination.

    Args:
        precision: Inverse covariance.
        mean: Most likely vector.
    """

    precision: Float[np.ndarray, "parameters parameters"]
    mean: Float[np.ndarray, "parameters"]

    @classmethod
    def of(
        cls,
        order: Int[np.ndarray, "tilts"],
        steps: tuple[float, float, float],
        mean: Float[np.ndarray, "tilts 4"],
        sigma: Float[np.ndarray, "tilts 4"],
        inclination_sigma: tuple[float, float],
    ) -> Prior:
        """Neighbours in the order of acquisition are alike, and each parameter has a mean and a spread.

        Args:
            order: Places of the images, in the order of acquisition.
            steps: Standard deviations between an image and the next: of defocus and of each part of the astigmatism,
                Å, and of the phase shift, radians.
            mean: Of the parameters.
            sigma: Their standard deviations; large where nothing is known.
            inclination_sigma: Standard deviations of tilt offset and x-tilt, degrees.
        """
        own = np.concatenate([(sigma**-2.0).ravel(), np.array(inclination_sigma) ** -2.0])
        precision = np.diag(own)
        weights = 1 / np.array([steps[0], steps[1], steps[1], steps[2]]) ** 2
        for one, following in itertools.pairwise(order):
            for column, weight in enumerate(weights):
                a, b = 4 * one + column, 4 * following + column
                precision[[a, b, a, b], [a, b, b, a]] += weight * np.array([1, 1, -1, -1])
        # Ties are between the values, not between their distances from the means.
        return cls(precision, np.linalg.solve(precision, own * np.concatenate([mean.ravel(), np.zeros(2)])))

    def __call__(self, state: TiltState) -> float:
        """Logarithm of the prior's density, but for a constant."""
        away = to_vector(state) - self.mean
        return float(-away @ self.precision @ away / 2)


@dataclass(frozen=True)
class Refined:
    """Where the refinement ended.

    Args:
        state: Best parameters.
        evidence: What each image says there.
        deviations: Power over background less one, of each image.
        score: Logarithm of the posterior, but for a constant.
        covariance: Of the vector of all parameters.
    """

    state: TiltState
    evidence: list[TiltEvidence]
    deviations: list[Float[np.ndarray, "tiles sectors bins"]]
    score: float
    covariance: Float[np.ndarray, "parameters parameters"]

    def is_silent(self, index: int) -> bool:
        """Whether an image has no say."""
        return self.evidence[index].likelihood < SILENT


def to_vector(state: TiltState) -> Float[np.ndarray, "parameters"]:
    """All parameters, one after the other."""
    return np.concatenate([state.values.ravel(), state.inclination])


def from_vector(vector: Float[np.ndarray, "parameters"], hand: int) -> TiltState:
    """The state of a vector of parameters."""
    return TiltState(vector[:-2].reshape(-1, 4), (float(vector[-2]), float(vector[-1])), hand)


def refine_state(
    rings: list[TiltRings],
    deviations: list[Float[np.ndarray, "tiles sectors bins"]],
    geometry: TiltGeometry,
    start: TiltState,
    lens: Lens,
    prior: Prior,
) -> Refined:
    """Climb to the most likely state.

    Args:
        rings: Of each image.
        deviations: Power over background less one, of each image.
        geometry: Of the images.
        start: Within half a ring of the truth.
        lens: Of the microscope.
        prior: On all parameters.
    """
    current = _assess(rings, deviations, geometry, start, lens, prior)
    for number in range(_ROUNDS):
        if number in _REFRESHED:
            pairs = zip(rings, current.evidence, strict=True)
            fresh = [ring.deviation(evidence.modulation) for ring, evidence in pairs]
            current = _assess(rings, fresh, geometry, current.state, lens, prior)
        found = _step(current, rings, geometry, lens, prior)
        small = found is None or found.score - current.score < 1e-3
        current = found or current
        if small and number > max(_REFRESHED):
            break
    information = prior.precision + _gather(current, rings, geometry)[0]
    return replace(current, covariance=np.linalg.inv(information))


def _assess(
    rings: list[TiltRings],
    deviations: list[Float[np.ndarray, "tiles sectors bins"]],
    geometry: TiltGeometry,
    state: TiltState,
    lens: Lens,
    prior: Prior,
) -> Refined:
    slope = state.hand * height_slope(level(geometry, state.inclination))
    evidence = [
        weigh_evidence(ring, deviation, row_defocus(values, ring, rise), float(values[3]), lens)
        for ring, deviation, values, rise in zip(rings, deviations, state.values, slope, strict=True)
    ]
    score = sum(one.likelihood for one in evidence if one.likelihood >= SILENT) + prior(state)
    return Refined(state, evidence, deviations, score, np.zeros((0, 0)))


def _step(current: Refined, rings: list[TiltRings], geometry: TiltGeometry, lens: Lens, prior: Prior) -> Refined | None:
    """One step of Gauss and Newton, shortened until it leads up; None where none does."""
    curvature, slope = _gather(current, rings, geometry)
    vector = to_vector(current.state)
    step = np.linalg.solve(prior.precision + curvature, slope - prior.precision @ (vector - prior.mean))
    for share in (1.0, 0.5, 0.2, 0.05):
        state = from_vector(vector + share * step, current.state.hand)
        found = _assess(rings, current.deviations, geometry, state, lens, prior)
        if found.score > current.score:
            return found
    return None


def _gather(
    current: Refined, rings: list[TiltRings], geometry: TiltGeometry
) -> tuple[Float[np.ndarray, "parameters parameters"], Float[np.ndarray, "parameters"]]:
    """Information and slope of the likelihood on the vector of all parameters."""
    state, size = current.state, 4 * len(rings) + 2
    curvature, slope = np.zeros((size, size)), np.zeros(size)
    gradient = state.hand * height_slope_gradient(level(geometry, state.inclination))
    for k, (ring, evidence) in enumerate(zip(rings, current.evidence, strict=True)):
        if current.is_silent(k):
            continue
        design = _design(ring, gradient[:, k])
        place = np.array([4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3, size - 2, size - 1])
        # Rows turn by the phase shift as it is, and by defocus at the rate of each frequency.
        turn = np.array([0, 0, 0, 1.0, 0, 0])
        one, rate, rate2 = np.moveaxis(evidence.curvature, -1, 0)
        mixed = np.einsum("ts,tsi,j->ij", rate, design, turn)
        block = np.einsum("ts,tsi,tsj->ij", rate2, design, design, optimize=True) + mixed + mixed.T
        curvature[np.ix_(place, place)] += block + one.sum() * np.outer(turn, turn)
        slope[place] += np.einsum("ts,tsi->i", evidence.slope[..., 1], design) + evidence.slope[..., 0].sum() * turn
    return curvature, slope


def _design(ring: TiltRings, gradient: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "tiles sectors 6"]:
    """Change of each row's defocus with the image's parameters and the inclination."""
    design = np.zeros((len(ring.center), len(ring.grid.sectors), 6))
    design[..., 0] = 1
    design[..., 1:3] = sector_factors(ring.grid)
    design[..., 4:] = (ring.center @ gradient.T)[:, None]
    return design
