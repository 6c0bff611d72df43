"""First guess of a tilt series' CTFs: defocus over a wide range, hand, inclination and astigmatism, without a start."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Complex, Float, Int

from thon.algorithms.tilt_ctf_geometry import height_slope, level
from thon.algorithms.tilt_ctf_model import Lens, TiltState, sector_factors
from thon.algorithms.tilt_ctf_rings import TiltRings
from thon.data.geometry import TiltGeometry

_STEP = 0.1  # of a ring between trial defoci, at the finest frequency
_DECAY = 100.0  # Å², of the expected amplitude of the rings
_FAR = 12.0  # standard deviations that the defocus may jump from image to image
_INCLINATIONS = (0.0, -6.0, 6.0, -12.0, 12.0, -18.0, 18.0)


@dataclass(frozen=True)
class Neighbourhood:
    """What is known before the images are asked.

    Args:
        order: Places of the images, in the order of acquisition.
        defocus_step: Standard deviation of the defocus between an image and the next, Å.
        expected: Defocus of each image, Å; NaN where nobody said.
        expected_sigma: Its standard deviation, Å.
    """

    order: Int[np.ndarray, "tilts"]
    defocus_step: float
    expected: Float[np.ndarray, "tilts"]
    expected_sigma: float


@dataclass(frozen=True)
class Trials:
    """Trial defoci, and the rings that they make.

    Args:
        defocus: Å.
        template: Conjugate of the expected rings, times their amplitude.
        lens: Of the microscope.
    """

    defocus: Float[np.ndarray, "trials"]
    template: Complex[np.ndarray, "bins trials"]
    lens: Lens

    @classmethod
    def between(cls, low: float, high: float, rings: TiltRings, lens: Lens, phase_shift: float) -> Trials:
        """From the least to the greatest defocus, Å, at a phase shift in radians."""
        step = _STEP / (lens.wavelength * rings.grid.high**2)
        defocus = np.arange(low, high + step, step)
        phase = 2 * (np.outer(lens.rate(rings.grid), defocus) + (lens.rest(rings.grid) + phase_shift)[:, None])
        amplitude = np.exp(-_DECAY * rings.grid.squared)[:, None]
        return cls(defocus, -amplitude * np.exp(1j * phase), lens)

    def likelihood(
        self, shifted: Complex[np.ndarray, "tilts bins"], rings: list[TiltRings]
    ) -> Float[np.ndarray, "tilts trials"]:
        """Gain in the logarithm of the likelihood by rings of the best amplitude, for each trial defocus."""
        overlap = np.maximum(np.real(shifted @ self.template), 0)
        amplitude = np.abs(self.template[:, 0]) ** 2
        energy = [float(one.count.sum(0) @ amplitude) * len(one.center) * one.inflation[0] for one in rings]
        # The mean of cos² is one half, and so is the factor of a Gaussian's exponent.
        return overlap**2 / np.array(energy)[:, None]


def search_state(
    rings: list[TiltRings],
    deviations: list[Float[np.ndarray, "tiles sectors bins"]],
    geometry: TiltGeometry,
    trials: Trials,
    known: Neighbourhood,
    hand: int,
) -> tuple[TiltState, float]:
    """Best state on a coarse grid for one hand, and the logarithm of its likelihood.

    Args:
        rings: Of each image.
        deviations: Power over background less one, of each image.
        geometry: Of the images.
        trials: Trial defoci.
        known: Order of acquisition and what ties the images.
        hand: +1 or −1.
    """
    sums = [one.sum(1) for one in deviations]
    # The tilt offset first, then the x-tilt: each moves rings of its own tiles.
    best, inclination = -math.inf, (0.0, 0.0)
    for axis in (0, 1):
        for angle in _INCLINATIONS:
            trial = (angle, inclination[1]) if axis == 0 else (inclination[0], angle)
            slope = hand * height_slope(level(geometry, trial))
            score = score_slope(rings, sums, slope, trials, known) - (trial[0] ** 2 + trial[1] ** 2) / 200
            if score > best + 1e-9:
                best, inclination = score, trial
    slope = hand * height_slope(level(geometry, inclination))
    by_sector = [_in_step(*one, trials.lens) for one in zip(deviations, rings, slope, strict=True)]
    astigmatism, defocus, score = _search_astigmatism(np.stack(by_sector), rings, trials, known)
    values = np.zeros((len(rings), 4))
    values[:, 0], values[:, 1:3] = defocus, astigmatism
    return TiltState(values, inclination, hand), score


def score_slope(
    rings: list[TiltRings],
    sums: list[Float[np.ndarray, "tiles bins"]],
    slope: Float[np.ndarray, "tilts 2"],
    trials: Trials,
    known: Neighbourhood,
) -> float:
    """Logarithm of the likelihood of the best defoci where the defocus rises by `slope` (Å/Å along y, x) over images.

    Args:
        rings: Of each image.
        sums: Power over background less one, of each image, over all directions.
        slope: Of each image.
        trials: Trial defoci.
        known: What ties the images.
    """
    moved = np.stack([_in_step(*one, trials.lens) for one in zip(sums, rings, slope, strict=True)])
    return _follow(trials.likelihood(moved, rings), trials.defocus, known)[1]


def _in_step(
    deviation: Float[np.ndarray, "tiles *sectors bins"],
    rings: TiltRings,
    slope: Float[np.ndarray, "2"],
    lens: Lens,
) -> Complex[np.ndarray, "*sectors bins"]:
    """Sum over the tiles, the rings of each moved to where those of the image's centre are."""
    turn = 2 * np.outer(rings.center @ slope, lens.rate(rings.grid))
    return np.einsum("t...q,tq->...q", deviation, np.exp(1j * turn).astype(np.complex64))


def _search_astigmatism(
    moved: Complex[np.ndarray, "tilts sectors bins"],
    rings: list[TiltRings],
    trials: Trials,
    known: Neighbourhood,
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "tilts"], float]:
    """One astigmatism for all images, with the defoci that go with it and the score."""
    factors, rate = sector_factors(rings[0].grid), trials.lens.rate(rings[0].grid)
    candidates = [(0.0, 0.0)] + [
        (size * math.cos(angle), size * math.sin(angle))
        for size, angle in itertools.product((400.0, 800.0, 1300.0, 2000.0), np.arange(8) * math.pi / 4)
    ]
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for parts in candidates:
        turn = np.exp(2j * np.outer(factors @ np.array(parts), rate)).astype(np.complex64)
        path, score = _follow(trials.likelihood(np.einsum("ksq,sq->kq", moved, turn), rings), trials.defocus, known)
        if best is None or score > best[0]:
            best = (score, np.array(parts), path)
    if best is None:
        raise ValueError("there is no astigmatism to try")
    return best[1], best[2], best[0]


def _follow(
    likelihood: Float[np.ndarray, "tilts trials"], defocus: Float[np.ndarray, "trials"], known: Neighbourhood
) -> tuple[Float[np.ndarray, "tilts"], float]:
    """The most likely defoci where each is tied to the next in the order of acquisition, and their score."""
    given = np.isfinite(known.expected)
    distance = (defocus - np.where(given, known.expected, 0)[:, None]) / known.expected_sigma
    unary = likelihood - np.where(given[:, None], distance**2 / 2, 0)
    step = float(defocus[1] - defocus[0])
    reach = math.ceil(_FAR * known.defocus_step / step)
    tie = (np.arange(-reach, reach + 1) * step) ** 2 / (2 * known.defocus_step**2)
    total, back = unary[known.order[0]], []
    for k in known.order[1:]:
        around = np.pad(total, reach, constant_values=-math.inf)
        arriving = np.lib.stride_tricks.sliding_window_view(around, len(tie)) - tie
        nearest = arriving.argmax(1)
        back.append(nearest + np.arange(len(defocus)) - reach)
        total = arriving[np.arange(len(defocus)), nearest] + unary[k]
    place = int(total.argmax())
    path = np.empty(len(known.order))
    for k, arrived in zip(known.order[:0:-1], reversed(back), strict=True):
        path[k] = defocus[place]
        place = int(arrived[place])
    path[known.order[0]] = defocus[place]
    return path, float(total.max())


def with_phase(state: TiltState, phase_shift: float) -> TiltState:
    """The same state with a phase shift, radians, in all images."""
    values = state.values.copy()
    values[:, 3] = phase_shift
    return replace(state, values=values)
