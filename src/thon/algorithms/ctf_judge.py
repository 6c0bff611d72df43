"""How well a fitted CTF explains a spectrum: radial curves, correlation, the resolution to which rings fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thon.algorithms.ctf_refine import LikelyCtf, SpectrumLikelihood
from thon.data.ctf import Ctf, CtfCurves

FITS = 0.5
"""Correlation of measured and modelled rings from which they are said to fit."""

ICE = (1 / 3.9, 1 / 3.67)
"""Frequencies of the strongest rings of crystalline ice, 1/Å."""

ICE_VALUES = 400
"""Independent values that an ice ring needs: their mean is then known to 5 %."""


@dataclass(frozen=True)
class Judgement:
    """How well a CTF fits.

    Args:
        curves: Radial curves.
        score: Correlation within the range to which rings fit, −1 to 1.
        resolution: Å.
        ice_ring: Power at the ice rings over that around them; NaN out of range, or in too small an image.
    """

    curves: CtfCurves
    score: float
    resolution: float
    ice_ring: float


def judge_fit(likelihood: SpectrumLikelihood, likely: LikelyCtf) -> Judgement:
    """Compare measured and modelled spectrum along rings of equal phase."""
    spectrum = likelihood.spectrum
    level, depth = likelihood.curves(likely.at)
    wave = likelihood.wave(likely.at).cosine
    ratio = np.where(likelihood.count > 0, likelihood.power * np.exp(-level), 1.0)
    ring = _equal_phase_ring(likelihood, likely)
    weight = np.bincount(ring, likelihood.count.ravel(), spectrum.rings)

    def collapse(values: Float[np.ndarray, "rings columns"]) -> Float[np.ndarray, "rings"]:
        total = np.bincount(ring, (likelihood.count * values).ravel(), spectrum.rings)
        return total / np.maximum(weight, 1e-9)

    measured, model = collapse(ratio - 1), collapse(-wave)
    frequency = np.sqrt(spectrum.centers)
    correlation = _sliding_correlation(measured, model, weight, _window(likelihood, likely))
    last = _last_fitting(correlation)
    score = _correlation(measured[: last + 1], model[: last + 1], weight[: last + 1])
    background = np.exp(0.5 * collapse(level)) * np.sqrt(1 - depth)
    curves = CtfCurves(
        frequency,
        0.5 + 0.5 * (measured / np.maximum(depth, 0.01)).clip(-3, 3),
        0.5 + 0.5 * model,
        background,
        correlation,
    )
    return Judgement(curves, score, float(1 / frequency[last]), _ice_ring(frequency, measured, weight))


def _equal_phase_ring(likelihood: SpectrumLikelihood, likely: LikelyCtf) -> np.ndarray:
    """Ring, for each bin in turn, at which the mean defocus has that bin's phase."""
    spectrum, lens = likelihood.spectrum, likelihood.lens
    mean, cosine, sine = likely.at[:3]
    here = mean + spectrum.offset + cosine * likelihood.cosine + sine * likelihood.sine
    bend = 0.5 * lens.cs * lens.wavelength**2 * likelihood.square
    moved = likelihood.square * (here - bend) / np.where(np.abs(mean - bend) > 500, mean - bend, np.inf)
    moved = np.where(np.abs(mean - bend) > 500, moved, likelihood.square)
    first = spectrum.centers[0] - 0.5 * spectrum.step
    return np.floor((moved - first) / spectrum.step).astype(np.int64).clip(0, spectrum.rings - 1).ravel()


def _window(likelihood: SpectrumLikelihood, likely: LikelyCtf) -> int:
    """Rings of the spectrum in two of the CTF's, odd."""
    spectrum, lens = likelihood.spectrum, likelihood.lens
    wave = 1 / (lens.wavelength * max(abs(likely.at[0]), 1e3) * spectrum.step)
    return int(np.clip(2 * (2 * wave // 2) + 1, 11, 2 * (spectrum.rings // 6) + 1))


def _sliding_correlation(
    measured: Float[np.ndarray, "rings"],
    model: Float[np.ndarray, "rings"],
    weight: Float[np.ndarray, "rings"],
    width: int,
) -> Float[np.ndarray, "rings"]:
    """Correlation of two curves in a window around each point, shorter at the ends."""

    def total(values: Float[np.ndarray, "rings"]) -> Float[np.ndarray, "rings"]:
        return np.convolve(values, np.ones(width), "same")

    share = 1 / np.maximum(total(weight), 1e-9)
    first, second = total(weight * measured) * share, total(weight * model) * share
    cross = total(weight * measured * model) * share - first * second
    power = (total(weight * measured**2) * share - first**2) * (total(weight * model**2) * share - second**2)
    return (cross / np.sqrt(np.maximum(power, 1e-30))).clip(-1, 1)


def _correlation(
    measured: Float[np.ndarray, "rings"], model: Float[np.ndarray, "rings"], weight: Float[np.ndarray, "rings"]
) -> float:
    first, second = (values - np.average(values, weights=weight + 1e-9) for values in (measured, model))
    norm = np.sqrt((weight * first**2).sum() * (weight * second**2).sum())
    return float((weight * first * second).sum() / norm) if norm > 0 else 0.0


def _last_fitting(correlation: Float[np.ndarray, "rings"]) -> int:
    """Ring before which a tenth of the rings fits, and after which correlation stays low for as many."""
    patience = max(3, len(correlation) // 30)
    good = correlation >= FITS
    if not good.any():
        return 0
    last = int(np.argmax(good))
    for k in range(last, len(good)):
        if good[k]:
            last = k
        elif k - last > patience:
            break
    return last


def _ice_ring(
    frequency: Float[np.ndarray, "rings"], measured: Float[np.ndarray, "rings"], weight: Float[np.ndarray, "rings"]
) -> float:
    """Largest ratio of the power at an ice ring to that on both sides of it; NaN where too few values tell."""
    ratios = [float("nan")]
    for place in ICE:
        away = np.abs(frequency - place)
        near, around = away < 0.003, (away > 0.008) & (away < 0.016)
        if frequency[-1] > place + 0.016 and min(weight[near].sum(), weight[around].sum()) > ICE_VALUES:
            ratios.append(
                float(
                    np.average(measured[near] + 1, weights=weight[near])
                    / np.average(measured[around] + 1, weights=weight[around])
                )
            )
    return float(np.fmax.reduce(ratios))


def principal_defoci(likely: LikelyCtf, span: float) -> tuple[Ctf, Ctf]:
    """Larger and smaller defocus with the angle between, and their standard deviations.

    Astigmatism is a length, never negative: where it is not much larger than its error, the errors of both defoci grow
    by what a direction that is not known adds. No error is larger than that of no knowledge: an even chance of every
    angle, or of every defocus in a range of `span` Å.
    """
    mean, cosine, sine, phase, _ = likely.at[:5]
    covariance = likely.covariance
    half, twice = float(np.hypot(cosine, sine)), float(np.arctan2(sine, cosine))
    along = np.array([0, np.cos(twice), np.sin(twice), 0, 0])
    across = np.array([0, -np.sin(twice), np.cos(twice), 0, 0])
    sideways = float(across @ covariance @ across)
    unsure = sideways * np.exp(-0.5 * half**2 / sideways) if sideways > 0 else 0.0
    sigma = [
        min(float(np.sqrt((unit + sign * along) @ covariance @ (unit + sign * along) + unsure)), span / math.sqrt(12))
        for unit, sign in ((np.eye(5)[0], 1), (np.eye(5)[0], -1))
    ]
    angle_sigma = np.degrees(np.sqrt(sideways) / (2 * half)) if half > 0 else np.inf
    angle_sigma = min(float(angle_sigma), 180 / math.sqrt(12)) if sideways > 0 else 0.0
    ctf = Ctf(float(mean + half), float(mean - half), float(np.degrees(twice) / 2 % 180), float(np.degrees(phase)))
    return ctf, Ctf(sigma[0], sigma[1], angle_sigma, float(np.degrees(np.sqrt(covariance[3, 3]))))
