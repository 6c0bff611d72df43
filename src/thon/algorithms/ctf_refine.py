"""The most likely CTF of a power spectrum and how sure it is.

A periodogram's values are exponentially distributed about the spectrum, so a bin's mean of n follows a gamma
distribution: its likelihood weighs every bin rightly and is unbiased down to one value per bin. The spectrum is

    P = S (1 − M D cos 2χ),

a smooth level S (with a twofold part over azimuth, and a fourfold one along the pixels' rows and columns, which a
detector and an interpolation leave), a smooth depth M between 0 and 1, and D for what blurs a bin: its extent, and the
thickness of the sample. Fisher scoring over all of it; the inverse of the information is the
covariance, in which whatever level and depth could explain as well is no longer counted as knowledge of the CTF.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thon.algorithms.ctf_search import Lens, Start, cubic_basis, smooth_level
from thon.ops.ctf_spectrum import PolarSpectrum

LEVEL_SPANS, SWING_SPANS, DEPTH_SPANS = 10, 3, 5
DEPTH_EXPECTED, DEPTH_REACH = (-1.0, -10.0), 3.0
"""Logit of the depth at the coarsest and the finest ring, and how far from it images may lie. Rings fade outwards:
were depth expected where the image cannot tell, noise would be counted as knowledge."""

LEVEL_SIGMA, SWING_SIGMA, DEPTH_SIGMA = 0.5, 0.3, 0.7
"""Standard deviations that second differences of the splines' coefficients are expected to have."""


THICKNESS_SIGMA = 3000.0
"""Å: a weak expectation, about itself, that only matters where no node can be seen."""

THINNEST = 20.0
"""Å: below this a sample's layers cannot be told from one."""


@dataclass(frozen=True)
class Freedom:
    """What is fitted beside defocus and the smooth curves.

    Args:
        astigmatism: Standard deviation that it is expected to have, Å; 0 for none at all.
        phase: Lowest and highest phase shift, radians; equal where it is known.
        thickness: Whether to fit it.
        defocus: Lowest and highest, Å.
    """

    astigmatism: float
    phase: tuple[float, float]
    thickness: bool
    defocus: tuple[float, float]

    @property
    def moved(self) -> Int[np.ndarray, "moved"]:
        """Which of the five parameters of the lens are fitted."""
        turns = self.astigmatism > 0
        return np.flatnonzero([True, turns, turns, self.phase[1] > self.phase[0], self.thickness])

    @property
    def bounds(self) -> tuple[Float[np.ndarray, "5"], Float[np.ndarray, "5"]]:
        """Lowest and highest values of the five parameters of the lens; a phase free over half a turn has no end."""
        low, high = self.phase
        if high - low >= np.pi - 1e-9:
            low, high = -np.inf, np.inf
        free = np.inf
        return np.array([self.defocus[0], -free, -free, low, THINNEST]), np.array(
            [self.defocus[1], free, free, high, free]
        )


@dataclass(frozen=True)
class LikelyCtf:
    """A maximum of the likelihood.

    Args:
        at: All parameters, in the order of `SpectrumLikelihood`.
        covariance: Of the five of the lens, zero for what was not fitted.
        cost: Minus the logarithm of the posterior, up to a constant.
        width: Logarithm of the volume that this maximum takes in the space of its parameters.
        misfit: Mean squared residual over its expectation; 1 for a perfect model.
    """

    at: Float[np.ndarray, "all"]
    covariance: Float[np.ndarray, "5 5"]
    cost: float
    width: float
    misfit: float

    @property
    def weight(self) -> float:
        """Logarithm of the probability of this maximum as a whole, up to a constant."""
        return self.width - self.cost

    @property
    def lens(self) -> Float[np.ndarray, "5"]:
        """Mean defocus, its cosine and sine parts by twice the azimuth, Å; phase shift, radians; thickness, Å."""
        return self.at[:5]


@dataclass(frozen=True)
class Wave:
    """What the CTF does in all bins.

    Args:
        cosine: D cos 2χ.
        sine: D sin 2χ.
        thinner: cos 2χ times the derivative of D by thickness.
    """

    cosine: Float[np.ndarray, "rings columns"]
    sine: Float[np.ndarray, "rings columns"]
    thinner: Float[np.ndarray, "rings columns"] | None


@dataclass(frozen=True)
class _State:
    """The model at one set of parameters, (rings, columns) each."""

    at: Float[np.ndarray, "all"]
    depth: Float[np.ndarray, "rings"]
    wave: Wave
    ripple: Float[np.ndarray, "rings columns"]
    ratio: Float[np.ndarray, "rings columns"]
    cost: float


class SpectrumLikelihood:
    """Likelihood of the parameters of one spectrum.

    Parameters stand in one vector: the five of the lens, then the coefficients of level, its three swings, and depth.
    Arrays over bins are (rings, columns), so that the sums over a ring are products of small matrices.
    """

    def __init__(self, spectrum: PolarSpectrum, lens: Lens, freedom: Freedom) -> None:
        self.spectrum, self.lens, self.freedom = spectrum, lens, freedom
        self.power, self.count, self.square, azimuth = (
            np.ascontiguousarray(values.T)
            for values in (spectrum.power, spectrum.count, spectrum.square, spectrum.azimuth)
        )
        members = self.count / np.transpose(spectrum.worth)
        self.spread = np.maximum(1 - 1 / np.maximum(members, 1), 0)
        # Means over each bin's azimuths, not values at their middle.
        shrink = _sinc(self.spread * (spectrum.sector / np.pi) ** 2)
        self.cosine, self.sine = shrink * np.cos(2 * azimuth), shrink * np.sin(2 * azimuth)
        self.lattice = _sinc(self.spread * (2 * spectrum.sector / np.pi) ** 2) * np.cos(4 * azimuth)
        frequency = np.sqrt(spectrum.centers)
        ends = float(frequency[0]), float(frequency[-1])
        self.level = cubic_basis(frequency, *ends, LEVEL_SPANS)
        self.swing = cubic_basis(frequency, *ends, SWING_SPANS)
        self.depth = cubic_basis(frequency, *ends, DEPTH_SPANS)
        ends_at = np.cumsum([5, len(self.level), *[len(self.swing)] * 3, len(self.depth)]).tolist()
        self.parts = [slice(*ends) for ends in itertools.pairwise(ends_at)]
        self.size = ends_at[-1]
        self.offset = spectrum.offset
        self.moved = freedom.moved
        self.free = np.concatenate([self.moved, np.arange(5, self.size)])
        self.prior, self.prior_mean = self._prior()

    def _prior(self) -> tuple[Float[np.ndarray, "all all"], Float[np.ndarray, "all"]]:
        """The precision that is expected of the parameters beforehand, and around what."""
        precision, mean = np.zeros((self.size, self.size)), np.zeros(self.size)
        for part, sigma in zip(self.parts, (LEVEL_SIGMA, *[SWING_SIGMA] * 3, DEPTH_SIGMA), strict=True):
            bend = np.diff(np.eye(part.stop - part.start), 2, axis=0) / sigma
            precision[part, part] = bend.T @ bend
        diagonal = np.einsum("ii->i", precision)
        depth = self.parts[4]
        diagonal[depth] += 1 / DEPTH_REACH**2
        mean[depth] = np.linspace(*DEPTH_EXPECTED, depth.stop - depth.start)
        diagonal[self.parts[1].start : self.parts[3].stop] += 1.0
        diagonal[4] = 1 / THICKNESS_SIGMA**2
        if self.freedom.astigmatism > 0:
            diagonal[1:3] = 4 / self.freedom.astigmatism**2
        mean[4] = THICKNESS_SIGMA if self.freedom.thickness else 0.0
        return precision, mean

    def start(self, start: Start, thickness: float = 0.0) -> Float[np.ndarray, "all"]:
        """All parameters near a start."""
        at = np.zeros(self.size)
        at[:5] = start.defocus, start.cosine, start.sine, start.phase, thickness
        if self.freedom.astigmatism == 0:
            at[1:3] = 0
        total = self.count.sum(1)
        ring = (self.count * self.power).sum(1) / np.maximum(total, 1e-9)
        at[self.parts[0]] = smooth_level(np.log(np.maximum(ring, 1e-30)), total, self.level)
        wave = self.wave(at).cosine
        residual = self.power * np.exp(-(at[self.parts[0]] @ self.level))[:, None] - 1
        above = -(self.depth @ (self.count * residual * wave).sum(1))
        below = self.depth @ (self.count * wave**2).sum(1)
        share = (above / np.maximum(below, 1e-9)).clip(0.02, 0.8)
        at[self.parts[4]] = np.log(share / (1 - share))
        return at

    def wave(self, at: Float[np.ndarray, "all"]) -> Wave:
        """The CTF in all bins."""
        lens, square = self.lens, self.square
        aberration = lens.cs * lens.wavelength**3 * square
        defocus = lens.wavelength * (at[0] + self.offset + at[1] * self.cosine + at[2] * self.sine)
        turn = 2 * lens.wavelength * square * (at[2] * self.cosine - at[1] * self.sine)
        blur = _sinc((defocus - aberration) ** 2 * (self.spread * self.spectrum.step**2))
        blur *= _sinc(turn**2 * (self.spread * self.spectrum.sector**2))
        cycles = square * (defocus - 0.5 * aberration) + (at[3] + lens.amplitude) / np.pi
        # Single precision is fast, and exact enough once whole turns are gone.
        angle = (2 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)
        cosine, sine = np.cos(angle).astype(np.float64), np.sin(angle).astype(np.float64)
        if not self.freedom.thickness:
            return Wave(blur * cosine, blur * sine, None)
        depth = lens.wavelength * square * at[4]
        layers = np.sinc(depth)
        slope = np.where(np.abs(depth) > 1e-4, (np.cos(np.pi * depth) - layers) / max(at[4], 1e-3), 0.0)
        return Wave(blur * layers * cosine, blur * layers * sine, blur * slope * cosine)

    def curves(
        self, at: Float[np.ndarray, "all"]
    ) -> tuple[Float[np.ndarray, "rings columns"], Float[np.ndarray, "rings"]]:
        """log S in all bins, and M over the rings."""
        first, *swings, last = (at[part] for part in self.parts)
        level = np.broadcast_to((first @ self.level)[:, None], self.power.shape)
        for swing, turn in zip(swings, (self.cosine, self.sine, self.lattice), strict=True):
            level = level + (swing @ self.swing)[:, None] * turn
        return level, 1 / (1 + np.exp(-(last @ self.depth)))

    def state(self, at: Float[np.ndarray, "all"]) -> _State:
        """The model at these parameters, and minus the logarithm of the posterior."""
        level, depth = self.curves(at)
        wave = self.wave(at)
        ripple = np.maximum(1 - depth[:, None] * wave.cosine, 0.01)
        ratio = self.power * np.exp(-level) / ripple
        away = at - self.prior_mean
        cost = float((self.count * (ratio + level + np.log(ripple))).sum() + 0.5 * away @ self.prior @ away)
        return _State(at, depth, wave, ripple, ratio, cost)

    def derivatives(self, state: _State) -> tuple[Float[np.ndarray, "all"], Float[np.ndarray, "all all"]]:
        """Downhill gradient of the cost, and the Fisher information with the prior's."""
        fields = self._fields(state)
        slope = (fields @ (self.count * (state.ratio - 1))[:, :, None])[:, :, 0]
        moment = (fields * self.count[:, None, :]) @ fields.transpose(0, 2, 1)
        gradient, information = np.zeros(self.size), np.zeros((self.size, self.size))
        lenses = len(self.moved)
        gradient[self.moved] = slope[:, :lenses].sum(0)
        information[np.ix_(self.moved, self.moved)] = moment[:, :lenses, :lenses].sum(0)
        bases = (self.level, *[self.swing] * 3, self.depth)
        for i, (rows, left) in enumerate(zip(self.parts, bases, strict=True)):
            gradient[rows] = left @ slope[:, lenses + i]
            mixed = left @ moment[:, lenses + i, :lenses]
            information[rows, self.moved], information[self.moved, rows] = mixed, mixed.T
            for j in range(i + 1):
                block = (left * moment[:, lenses + i, lenses + j]) @ bases[j].T
                information[rows, self.parts[j]], information[self.parts[j], rows] = block, block.T
        return gradient - self.prior @ (state.at - self.prior_mean), information + self.prior

    def defocus_information(
        self, at: Float[np.ndarray, "all"]
    ) -> tuple[Float[np.ndarray, "columns"], Float[np.ndarray, "columns"]]:
        """Slope of the log likelihood by each column's own defocus, and the information on it."""
        state = self.state(at)
        by_phase = state.depth[:, None] * state.wave.sine / state.ripple
        by_defocus = 2 * np.pi * self.lens.wavelength * self.square * by_phase
        return (self.count * (state.ratio - 1) * by_defocus).sum(0), (self.count * by_defocus**2).sum(0)

    def _fields(self, state: _State) -> Float[np.ndarray, "rings fields columns"]:
        """Derivatives of log P by the lens, and by level, swings and depth before their splines."""
        depth, wave = state.depth[:, None], state.wave
        by_phase = depth * wave.sine / state.ripple
        by_defocus = 2 * np.pi * self.lens.wavelength * self.square * by_phase
        lens = [by_defocus, by_defocus * self.cosine, by_defocus * self.sine, 2 * by_phase]
        if wave.thinner is not None:
            lens.append(-depth * wave.thinner / state.ripple)
        smooth = [np.ones_like(by_phase), self.cosine, self.sine, self.lattice]
        deeper = -depth * (1 - depth) * wave.cosine / state.ripple
        return np.stack([*(lens[k] for k in self.moved), *smooth, deeper], 1)


def _sinc(square: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """sin πx / πx of x², by its series up to the first zero, and zero beyond."""
    y = np.minimum(np.pi**2 * square, np.pi**2)
    return 1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110))))


def refine_ctf(likelihood: SpectrumLikelihood, at: Float[np.ndarray, "all"], *, steps: int = 20) -> LikelyCtf:
    """Climb to the nearest maximum of the likelihood.

    Args:
        likelihood: Of the spectrum.
        at: Where to begin, from its `start`.
        steps: At most.
    """
    damping, state = 1e-3, likelihood.state(at)
    for _ in range(steps):
        gradient, information = likelihood.derivatives(state)
        at = state.at
        free = _movable(likelihood, at, gradient)
        normal = information[np.ix_(free, free)]
        gain = 0.0
        while damping < 1e6:
            move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient[free])
            trial = at.copy()
            trial[free] += move
            after = likelihood.state(_bounded(trial, likelihood.freedom))
            if after.cost < state.cost:
                gain, state = state.cost - after.cost, after
                damping = max(damping / 10, 1e-6)
                break
            damping *= 10
        if gain < 1e-2:
            break
        damping = min(damping, 1.0)
    return _outcome(likelihood, state)


def _movable(
    likelihood: SpectrumLikelihood, at: Float[np.ndarray, "all"], gradient: Float[np.ndarray, "all"]
) -> Int[np.ndarray, "free"]:
    """Free parameters without those that press against an end of their range."""
    low, high = likelihood.freedom.bounds
    pressed = np.zeros(len(at), bool)
    pressed[:5] = ((at[:5] <= low) & (gradient[:5] < 0)) | ((at[:5] >= high) & (gradient[:5] > 0))
    return likelihood.free[~pressed[likelihood.free]]


def _bounded(at: Float[np.ndarray, "all"], freedom: Freedom) -> Float[np.ndarray, "all"]:
    at[:5] = np.clip(at[:5], *freedom.bounds)
    return at


def _outcome(likelihood: SpectrumLikelihood, state: _State) -> LikelyCtf:
    free, moved = likelihood.free, likelihood.moved
    information = likelihood.derivatives(state)[1][np.ix_(free, free)]
    covariance = np.zeros((5, 5))
    covariance[np.ix_(moved, moved)] = np.linalg.inv(information)[: len(moved), : len(moved)]
    count = likelihood.count
    misfit = float((count * (state.ratio - 1) ** 2).sum() / ((count > 0).sum() - len(free)))
    width = -0.5 * float(np.linalg.slogdet(information)[1])
    return LikelyCtf(state.at, covariance, state.cost, width, misfit)
