"""From the bins of a power spectrum to the most likely CTF: search, refinement of the best starts, mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from thon.algorithms.ctf_options import CtfFitOptions
from thon.algorithms.ctf_refine import Freedom, LikelyCtf, SpectrumLikelihood, refine_ctf
from thon.algorithms.ctf_search import SURE, Lens, SearchRange, Start, search_ctf
from thon.base.errors import InputError
from thon.data.optics import Optics
from thon.ops.ctf import amplitude_phase, electron_wavelength
from thon.ops.ctf_spectrum import PolarSpectrum

FOUND = 6.0
"""Height below which noise alone may have made it: some ten thousand places are tried."""


STARTS = 12
"""Places that are refined where there is doubt."""


@dataclass(frozen=True)
class Solution:
    """The CTF of a spectrum.

    Args:
        likelihood: Of the bins that took part.
        likely: Its maximum; the covariance tells also of other maxima nearly as high.
        height: Of the search, in standard deviations of the noise.
        thickness_gain: Logarithm of how much likelier the sample is with the fitted thickness than without any.
    """

    likelihood: SpectrumLikelihood
    likely: LikelyCtf
    height: float
    thickness_gain: float = 0.0


def lens_of(optics: Optics) -> tuple[Lens, tuple[str, ...]]:
    """Constants of the CTF, and what had to be assumed.

    Raises:
        InputError: If voltage or spherical aberration is not known, or cannot be.
    """
    if optics.voltage is None or optics.cs is None:
        missing = "voltage" if optics.voltage is None else "spherical aberration"
        raise InputError(f"no CTF without the {missing}", mend="state it when the micrographs are imported")
    if not 0 < optics.voltage < math.inf:
        raise InputError("a voltage that cannot be", got=f"{optics.voltage:g} kV", expected="such as 300 kV")
    if not math.isfinite(optics.cs):
        raise InputError("a spherical aberration that cannot be", got=f"{optics.cs:g} mm", expected="such as 2.7 mm")
    if optics.amplitude_contrast is None:
        said = ("Nobody stated the amplitude contrast: 0.1 was assumed.",)
        return Lens(electron_wavelength(optics.voltage), optics.cs * 1e7, amplitude_phase(0.1)), said
    if not 0 <= optics.amplitude_contrast <= 1:
        raise InputError("an amplitude contrast that cannot be", got=optics.amplitude_contrast, expected="0 to 1")
    amplitude = amplitude_phase(optics.amplitude_contrast)
    return Lens(electron_wavelength(optics.voltage), optics.cs * 1e7, amplitude), ()


def solve_ctf(spectrum: PolarSpectrum, lens: Lens, options: CtfFitOptions) -> Solution:
    """Find the CTF of a spectrum.

    Args:
        spectrum: Bins.
        lens: Constants.
        options: What to fit and where.
    """
    freedom = _freedom(options)
    starts = search_ctf(spectrum, lens, SearchRange(freedom.defocus, _reach(options), freedom.phase), starts=STARTS)
    reach = lens.wavelength * (spectrum.centers[-1] - spectrum.centers[0])
    # A trend that was taken off badly looks like few waves and stands high.
    sure = starts[0].height > SURE and min(start.defocus for start in starts[:4]) * reach > 6
    if sure:
        starts = [start for start in starts[:4] if start.height > 0.5 * starts[0].height]
    spectrum = _fitting_rings(spectrum, lens, starts if sure else None)
    likelihood = SpectrumLikelihood(spectrum, lens, replace(freedom, thickness=False))
    tried = [refine_ctf(likelihood, likelihood.start(start)) for start in starts]
    solution = Solution(likelihood, _mixed(tried), starts[0].height)
    return _with_thickness(solution, freedom) if freedom.thickness else solution


def _freedom(options: CtfFitOptions) -> Freedom:
    low, high = options.phase_range if options.fit_phase else (options.phase_shift,) * 2
    return Freedom(
        options.expected_astigmatism if options.fit_astigmatism else 0.0,
        (math.radians(low), math.radians(high)),
        options.fit_thickness,
        (options.min_defocus, options.max_defocus),
    )


def _reach(options: CtfFitOptions) -> float:
    return options.max_astigmatism if options.fit_astigmatism else 0.0


def _fitting_rings(spectrum: PolarSpectrum, lens: Lens, starts: list[Start] | None) -> PolarSpectrum:
    """As many rings as the fastest ripple needs, eight to each of its waves, and as the background needs."""
    if starts is None:
        return spectrum
    fastest = max(start.defocus + math.hypot(start.cosine, start.sine) for start in starts)
    rate = lens.wavelength * (fastest + float(np.abs(spectrum.offset).max()))
    return spectrum.merged(max(1, min(int(1 / (8 * rate * spectrum.step)), spectrum.rings // 256)))


def _mixed(tried: list[LikelyCtf]) -> LikelyCtf:
    """The best of several maxima, its covariance that of all of them weighed by their probability."""
    apart: list[LikelyCtf] = []
    for one in sorted(tried, key=lambda one: -one.weight):
        if all(np.abs(one.lens[:3] - other.lens[:3]).max() > 5 for other in apart):
            apart.append(one)
    best = apart[0]
    share = np.exp(np.array([one.weight - best.weight for one in apart]))
    share = share / share.sum()
    covariance = np.zeros((5, 5))
    for weight, one in zip(share, apart, strict=True):
        away = one.lens - best.lens
        covariance += weight * (one.covariance + np.outer(away, away))
    return replace(best, covariance=covariance)


def _with_thickness(solution: Solution, freedom: Freedom) -> Solution:
    """Try samples of many thicknesses and refine the likeliest."""
    likelihood = SpectrumLikelihood(solution.likelihood.spectrum, solution.likelihood.lens, freedom)
    thin = solution.likely.lens
    start = Start(float(thin[0]), float(thin[1]), float(thin[2]), float(thin[3]), solution.height)
    finest = float(likelihood.spectrum.centers[-1]) * likelihood.lens.wavelength
    trials = np.arange(0.5, 12.0, 0.5) / finest
    rough = [refine_ctf(likelihood, likelihood.start(start, float(trial)), steps=3) for trial in trials]
    likely = refine_ctf(likelihood, min(rough, key=lambda one: one.cost).at)
    return Solution(likelihood, likely, solution.height, solution.likely.cost - likely.cost)
