"""The CTFs of a tilt series in one fit: images tied by geometry and by their neighbours, with the hand of the series.

Every tile of every image takes part with the defocus that its height under the beam gives it. One likelihood decides
on the defocus, astigmatism and phase shift of each image, on how the specimen lies, and on the hand. Neighbours in the
order of acquisition are expected to be alike, so that an image without visible rings takes its values from them.

Source: the model of `thon.data.geometry`; Zivanov et al. 2022 for the defocus of a point; the likelihood of a
periodogram is Whittle's, close to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Int

from thon.algorithms.ctf_solve import lens_of
from thon.algorithms.tilt_ctf_geometry import height_slope
from thon.algorithms.tilt_ctf_model import Lens
from thon.algorithms.tilt_ctf_refine import Prior, Refined, refine_state
from thon.algorithms.tilt_ctf_report import TileDefocus, describe_fit
from thon.algorithms.tilt_ctf_rings import RingGrid, TiltRings, measure_rings
from thon.algorithms.tilt_ctf_search import Neighbourhood, Trials, score_slope, search_state, with_phase
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.ctf import CtfCurves, TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics

LARGEST_VOTE = 10.0
"""Most that one series can add to the vote on the hand, as a logarithm of odds: none decides for all."""


class TiltCtfOptions(Options):
    """How the CTFs of a tilt series are fitted."""

    tile: Annotated[float, Unit("Å"), Ge(100)] = 700.0
    """Side of the tiles whose spectra are used: large for high defocus, small for high tilt."""

    min_resolution: Annotated[float, Unit("Å"), Gt(0)] = 40.0
    """Coarsest ring that is used."""

    max_resolution: Annotated[float, Unit("Å"), Gt(0)] = 6.0
    """Finest ring that is used; no finer than 2.2 pixels."""

    min_defocus: Annotated[float, Unit("Å"), Gt(0)] = 5000.0
    """Least defocus that is searched."""

    max_defocus: Annotated[float, Unit("Å"), Gt(0), Le(300_000)] = 80_000.0
    """Greatest defocus that is searched."""

    defocus_step: Annotated[float, Unit("Å"), Gt(0)] = 500.0
    """By how much the defocus changes between an image and the next one taken, as a standard deviation."""

    astigmatism_step: Annotated[float, Unit("Å"), Gt(0), Advanced()] = 60.0
    """The same for the astigmatism."""

    phase_plate: bool = False
    """Fit a phase shift for each image."""

    phase_shift: Annotated[float, Unit("°"), Ge(0), Le(180)] = 0.0
    """Phase shift of all images, where it is known and not fitted."""

    phase_step: Annotated[float, Unit("°"), Gt(0), Advanced()] = 5.0
    """By how much a fitted phase shift changes between an image and the next, as a standard deviation."""

    inclination: Annotated[float, Unit("°"), Ge(0), Le(30), Advanced()] = 8.0
    """How far specimens lie from level, as a standard deviation; 0 takes them as the geometry has them."""


@dataclass(frozen=True)
class TiltCtfResult:
    """What a joint fit found.

    Args:
        ctf: Of each image; its hand confidence included, negative where the images tell −1.
        hand: +1 or −1: given, or the more likely one.
        hand_evidence: Logarithm of the odds of +1 over −1; NaN where the hand was given.
        inclination: Of the specimen against the geometry: tilt offset (alpha) and x-tilt (beta), degrees. Added to
            the geometry's tilt and x-tilt they make it lie level.
        inclination_sigma: Their standard deviations, degrees.
        tiles: Defocus of each tile by itself, of each image; None for images that took no part.
        curves: Rings of each image, its tiles and directions brought in step; None likewise.
    """

    ctf: TiltCtf
    hand: int
    hand_evidence: float
    inclination: tuple[float, float]
    inclination_sigma: tuple[float, float]
    tiles: tuple[TileDefocus | None, ...]
    curves: tuple[CtfCurves | None, ...]

    @property
    def hand_confidence(self) -> float:
        """How clearly the images tell the hand, 0 to 1; NaN where it was given."""
        return abs(self.ctf.hand_confidence)


def vote_hand(evidence: Sequence[float]) -> tuple[int | None, float]:
    """The hand of a session, which all its series share, and the confidence from 0 to 1; None where nothing tells.

    Args:
        evidence: Of each series, `TiltCtfResult.hand_evidence`: logarithm of the odds of +1 over −1, NaN where it was
            not asked. Each counts with at most ±`LARGEST_VOTE`.
    """
    votes = [one for one in evidence if math.isfinite(one)]
    total = float(np.clip(votes, -LARGEST_VOTE, LARGEST_VOTE).sum())
    return (None if total == 0 else 1 if total > 0 else -1), math.tanh(abs(total) / 2)


def measure_tilt(
    image: Float[torch.Tensor, "rows columns"],
    pixel_size: float,
    optics: Optics,
    options: TiltCtfOptions | None = None,
) -> TiltRings | None:
    """What the joint fit needs of one image, so that images can be measured as they arrive; None if it is empty."""
    options = options or TiltCtfOptions()
    return measure_rings(image, pixel_size, options.tile, _grid(pixel_size, _lens(optics), options))


def fit_tilt_ctf(
    images: Any,
    geometry: TiltGeometry,
    pixel_size: float,
    optics: Optics,
    options: TiltCtfOptions | None = None,
    *,
    order: Int[np.ndarray, "tilts"] | None = None,
    excluded: Mapping[int, str] | None = None,
    start: TiltCtf | None = None,
    hand: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> TiltCtfResult:
    """Fit the CTFs of a tilt series from its images, read one at a time.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index.
        geometry: One entry per image: aligned, or nominal with the tilt axis.
        pixel_size: Å.
        optics: Microscope.
        options: Ranges and what ties the images.
        order: Acquisition order of the images; by index if not given.
        excluded: Reason by image index for images that take no part; their values are NaN.
        start: An earlier fit: values that are not NaN are expected again, with a standard deviation of 2000 Å.
        hand: +1 or −1 where it is known.
        progress: Told the share that is done.

    Raises:
        InputError: Optics are missing, or no image shows rings, as with pixels that are too large for the defocus.
    """
    options = options or TiltCtfOptions()
    grid, rings = _grid(pixel_size, _lens(optics), options), list[TiltRings | None]()
    for k in range(len(geometry)):
        found = None
        if k not in (excluded or {}):
            image = torch.from_numpy(np.array(images[k], np.float32))
            found = measure_rings(image, pixel_size, options.tile, grid)
        rings.append(found)
        if progress is not None:
            progress(0.6 * (k + 1) / len(geometry))
    return fit_tilt_rings(rings, geometry, optics, options, order=order, start=start, hand=hand)


def fit_tilt_rings(
    rings: Sequence[TiltRings | None],
    geometry: TiltGeometry,
    optics: Optics,
    options: TiltCtfOptions | None = None,
    *,
    order: Int[np.ndarray, "tilts"] | None = None,
    start: TiltCtf | None = None,
    hand: int | None = None,
) -> TiltCtfResult:
    """The same from images that were measured before, as `measure_tilt` does; None for those that take no part."""
    options, lens = options or TiltCtfOptions(), _lens(optics)
    used = np.array([k for k, one in enumerate(rings) if one is not None], int)
    if len(used) == 0:
        raise InputError("no image of the series shows anything", got=f"{len(rings)} empty or excluded images")
    problem = _Problem(
        [one for one in rings if one is not None],
        geometry.select(used),
        lens,
        options,
        np.argsort(np.arange(len(rings))[used] if order is None else np.asarray(order)[used], kind="stable"),
        np.full((len(used), 4), np.nan) if start is None else _as_values(start)[used],
    )
    fits = {sign: problem.fit(sign) for sign in ((1, -1) if hand is None else (hand,))}
    best = hand or max(fits, key=lambda sign: fits[sign].score)
    if all(fits[best].is_silent(k) for k in range(len(used))):
        grid = problem.rings[0].grid
        raise InputError(
            "no image shows rings that can be told from the background",
            got=f"{len(used)} images, between {1 / grid.low:.0f} and {1 / grid.high:.0f} Å",
            expected=f"finer pixels, or more than {1 / (lens.wavelength * grid.high**2):.0f} Å of defocus: that puts "
            "the first zero at the finest of these",
        )
    evidence = math.nan if hand is not None else fits[1].score - fits[-1].score
    return _result(problem, fits[best], used, len(rings), evidence)


@dataclass(frozen=True)
class _Problem:
    """One series, ready to be fitted for either hand."""

    rings: list[TiltRings]
    geometry: TiltGeometry
    lens: Lens
    options: TiltCtfOptions
    order: Int[np.ndarray, "tilts"]
    expected: Float[np.ndarray, "tilts 4"]

    def fit(self, hand: int) -> Refined:
        """Search, then refine; with a phase plate from several phase shifts."""
        options, first = self.options, [one.deviation() for one in self.rings]
        known = Neighbourhood(self.order, options.defocus_step, self.expected[:, 0], 2000.0)
        every = range(0, 180, 15) if options.phase_plate else [options.phase_shift]
        trials = [
            Trials.between(options.min_defocus, options.max_defocus, self.rings[0], self.lens, math.radians(shift))
            for shift in every
        ]
        chosen = 0
        if len(trials) > 1:
            sums, slope = [one.sum(1) for one in first], hand * height_slope(self.geometry)
            chosen = int(np.argmax([score_slope(self.rings, sums, slope, one, known) for one in trials]))
        state, _ = search_state(self.rings, first, self.geometry, trials[chosen], known, hand)
        start = with_phase(state, math.radians(every[chosen]))
        if options.inclination == 0:
            start = replace(start, inclination=(0.0, 0.0))
        return refine_state(self.rings, first, self.geometry, start, self.lens, self.prior(start.values[:, 3]))

    def prior(self, phase: Float[np.ndarray, "tilts"]) -> Prior:
        """What is known beforehand; phase shifts, unless fitted, are as given."""
        options = self.options
        mean = np.nan_to_num(self.expected)
        mean[:, 3] = phase
        sigma = np.tile([1e6, 2000.0, 2000.0, math.pi if options.phase_plate else 1e-6], (len(mean), 1))
        sigma[np.isfinite(self.expected[:, 0]), 0] = 2000.0
        steps = (options.defocus_step, options.astigmatism_step, math.radians(options.phase_step))
        inclined = max(options.inclination, 1e-6)
        return Prior.of(self.order, steps, mean, sigma, (inclined, inclined))


def _lens(optics: Optics) -> Lens:
    missing = [name for name in ("voltage", "cs", "amplitude_contrast") if getattr(optics, name) is None]
    if missing:
        raise InputError("the optics of the series are incomplete", got=f"no {', '.join(missing)}", mend="state them")
    lens_of(optics)  # refuses numbers that cannot be
    return Lens.of(optics)


def _grid(pixel_size: float, lens: Lens, options: TiltCtfOptions) -> RingGrid:
    if not 0 < pixel_size < math.inf:
        raise InputError("a pixel size that cannot be", got=f"{pixel_size:g} Å", expected="above 0 Å")
    finest = max(options.max_resolution, 2.2 * pixel_size)
    if finest >= options.min_resolution:
        raise InputError(
            "the pixels are too large to see rings",
            got=f"{pixel_size:g} Å, rings from {options.min_resolution:g} to {finest:g} Å",
            mend="fit the CTF on images with finer pixels, or allow coarser rings",
        )
    return RingGrid.for_range((options.min_resolution, finest), options.max_defocus, lens.wavelength)


def _as_values(ctf: TiltCtf) -> Float[np.ndarray, "tilts 4"]:
    """Parameters of the model from a record."""
    size, angle = ctf.defocus_u - ctf.defocus_v, 2 * np.deg2rad(ctf.angle)
    parts = (ctf.defocus, size * np.cos(angle), size * np.sin(angle), np.deg2rad(ctf.phase_shift))
    return np.stack(parts, -1).astype(np.float64)


def _result(problem: _Problem, fit: Refined, used: np.ndarray, total: int, evidence: float) -> TiltCtfResult:
    described = describe_fit(fit, problem.rings, problem.geometry, problem.lens, problem.options.defocus_step)
    columns = np.full((total, 10), np.nan)
    columns[used] = described.columns
    parts = np.split(columns, [1, 2, 3, 4, 8, 9], axis=1)
    ctf = TiltCtf(
        *(one[:, 0] for one in parts[:4]),
        sigma=parts[4],
        score=parts[5][:, 0],
        resolution=parts[6][:, 0],
        borrowed={int(used[k]): reason for k, reason in described.borrowed.items()},
        hand_confidence=math.tanh(evidence / 2),
    )
    place = {int(index): k for k, index in enumerate(used)}
    sigma = np.sqrt(np.diag(fit.covariance)[-2:])
    return TiltCtfResult(
        ctf=ctf,
        hand=fit.state.hand,
        hand_evidence=evidence,
        inclination=fit.state.inclination,
        inclination_sigma=(float(sigma[0]), float(sigma[1])),
        tiles=tuple(described.tiles[place[k]] if k in place else None for k in range(total)),
        curves=tuple(described.curves[place[k]] if k in place else None for k in range(total)),
    )
