"""Fit the contrast transfer function of a micrograph, with uncertainties.

The spectrum of the whole image is binned over azimuth and squared frequency, where the CTF is a chirp
(`ctf_spectrum`); a chirp transform finds it (`ctf_search`); the likelihood of all bins is climbed (`ctf_refine`). Where
the specimen is inclined, or its defocus differs from place to place, tiles take the place of the whole image
(`ctf_tiles`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Real

from thon.algorithms.ctf_image import ImageSpectrum, image_spectrum
from thon.algorithms.ctf_judge import Judgement, judge_fit, principal_defoci
from thon.algorithms.ctf_options import CtfFitOptions
from thon.algorithms.ctf_picture import draw_fit
from thon.algorithms.ctf_search import Lens
from thon.algorithms.ctf_solve import Solution, lens_of, solve_ctf
from thon.algorithms.ctf_tiles import find_inclination, gradient_of, map_defocus, solve_inclined, tile_bins
from thon.algorithms.ctf_warnings import ctf_warnings
from thon.base.errors import InputError
from thon.data.ctf import CtfFit, DefocusMap, SpecimenTilt
from thon.data.optics import Optics
from thon.ops.ctf_spectrum import PolarGrid, polar_spectrum

__all__ = ["CtfFitOptions", "CtfFitted", "fit_ctf"]


SMALLEST = 80.0
"""Side of an image below which there are not enough frequencies for rings, Å."""


@dataclass(frozen=True)
class CtfFitted:
    """A fit and its picture.

    Args:
        fit: The CTF and how sure it is.
        diagnostic: (rows, columns), measured squared CTF on the left and the model on the right, origin at n // 2.
    """

    fit: CtfFit
    diagnostic: Float[np.ndarray, "rows columns"]


def fit_ctf(
    image: Real[torch.Tensor, "rows columns"],
    pixel_size: float,
    optics: Optics,
    options: CtfFitOptions | None = None,
    *,
    specimen_tilt: SpecimenTilt | None = None,
    spectrum: Float[torch.Tensor, "size size"] | None = None,
    spectrum_pixel_size: float | None = None,
) -> CtfFitted:
    """Fit the CTF of one micrograph.

    Args:
        image: Grey values as recorded; contrast may have either sign. Dose weights that keep the noise as it was
            (those of motion correction) raise the finest rings.
        pixel_size: Å.
        optics: Voltage and spherical aberration are needed.
        options: What to fit and where to look.
        specimen_tilt: How the specimen lies, for `tilt="given"`; None takes it as flat.
        spectrum: Sum of power spectra, origin in the centre, from motion correction: used in place of the image's own
            where the specimen is taken as flat.
        spectrum_pixel_size: Of an image with that spectrum, Å; that of the image, or 1.4 Å where that is more, if not
            given.

    Raises:
        InputError: If voltage or spherical aberration is unknown or impossible, or the image is too small, flat or not
            of numbers.
    """
    options = options or CtfFitOptions()
    lens, said = lens_of(optics)
    image = image if image.dtype in (torch.float32, torch.float64) else image.float()
    if spectrum is not None:
        pixel_size = spectrum_pixel_size or max(pixel_size, 1.4)
    _check_image(image if spectrum is None else spectrum, pixel_size)
    measured = image_spectrum(image) if spectrum is None else _given_spectrum(spectrum)
    grid = ring_grid(pixel_size, lens, options)
    bins = polar_spectrum(measured.power, measured.columns, pixel_size, grid, worth=measured.worth)
    solution = solve_ctf(bins, lens, options)
    tilt, surface = None, None
    if spectrum is None and (options.tilt != "none" or options.local):
        solution, tilt, surface = _solve_varying(image, pixel_size, solution, lens, options, grid, specimen_tilt)
    judgement = judge_fit(solution.likelihood, solution.likely)
    picture = draw_fit(solution.likelihood, solution.likely, options.tile_size)
    fit = replace(_record(solution, judgement, options, grid), tilt=tilt, surface=surface)
    return CtfFitted(replace(fit, warnings=said + ctf_warnings(fit, solution, options, measured.masked)), picture)


def _check_image(image: Float[torch.Tensor, "rows columns"], pixel_size: float) -> None:
    """Refuse what has no CTF.

    Raises:
        InputError: If the image is small, flat or not of numbers, or its pixels have no size.
    """
    if not 0 < pixel_size < math.inf:
        raise InputError("a pixel size that cannot be", got=f"{pixel_size:g} Å", expected="above 0 Å")
    if min(image.shape) < 64 or min(image.shape) * pixel_size < SMALLEST:
        side = max(64, math.ceil(SMALLEST / pixel_size))
        size = f"{image.shape[0]} × {image.shape[1]} px of {pixel_size:g} Å"
        raise InputError("an image too small for its CTF", got=size, expected=f"at least {side} × {side} px")
    low, high = (float(end) for end in torch.aminmax(image))
    if not math.isfinite(low + high):
        raise InputError("an image of which not all values are numbers", mend="repair it, or leave it out")
    if low == high:
        raise InputError("an image without contrast", got=f"{low:g} everywhere", mend="leave it out")


def _solve_varying(
    image: Float[torch.Tensor, "rows columns"],
    pixel_size: float,
    solution: Solution,
    lens: Lens,
    options: CtfFitOptions,
    grid: PolarGrid,
    specimen_tilt: SpecimenTilt | None,
) -> tuple[Solution, SpecimenTilt | None, DefocusMap | None]:
    """The CTF of a specimen whose defocus varies, from tiles."""
    tiles = tile_bins(image, pixel_size, grid, options)
    tilt, gradient = None, np.zeros(2)
    if options.tilt == "given" and specimen_tilt is not None:
        tilt, gradient = specimen_tilt, gradient_of(specimen_tilt)
        solution = solve_inclined(tiles, gradient, lens, options)
    elif options.tilt == "fit":
        tilt, solution = find_inclination(tiles, lens, options)
        gradient = gradient_of(tilt)
    return solution, tilt, map_defocus(tiles, solution, gradient, options) if options.local else None


def ring_grid(pixel_size: float, lens: Lens, options: CtfFitOptions) -> PolarGrid:
    """Bins fine enough for the largest defocus, five rings to a wave.

    Raises:
        InputError: If the pixels are too coarse for the range of resolution.
    """
    finest = min(1 / options.max_resolution, 0.475 / pixel_size)
    coarsest = 1 / (options.min_resolution or max(30.0, 7.5 * pixel_size))
    if coarsest >= 0.8 * finest:
        raise InputError(
            "no room between the coarsest and the finest ring",
            got=f"{1 / coarsest:.1f} Å and {1 / finest:.1f} Å",
            mend="use an image with finer pixels, or a larger min_resolution",
        )
    waves = lens.wavelength * (options.max_defocus + options.max_astigmatism / 2) * finest**2
    return PolarGrid(coarsest, finest, 64 * int(np.clip(np.ceil(5 * waves / 64), 4, 32)))


def _given_spectrum(spectrum: Float[torch.Tensor, "size size"]) -> ImageSpectrum:
    """The half spectrum, origin in the corner, of a centred one."""
    size = spectrum.shape[-1]
    half = torch.fft.ifftshift(spectrum, dim=(-2, -1))[:, : size // 2 + 1]
    return ImageSpectrum(half, size, 1.0, 0.0)


def _record(solution: Solution, judgement: Judgement, options: CtfFitOptions, grid: PolarGrid) -> CtfFit:
    ctf, sigma = principal_defoci(solution.likely, options.max_defocus - options.min_defocus)
    if options.fit_phase:
        ctf = replace(ctf, phase_shift=_wrapped(ctf.phase_shift, options.phase_range))
    thickness = float(solution.likely.lens[4]) if options.fit_thickness else None
    error = float(np.sqrt(solution.likely.covariance[4, 4])) if options.fit_thickness else None
    return CtfFit(
        ctf,
        sigma,
        judgement.score,
        judgement.resolution,
        (1 / grid.coarsest, 1 / grid.finest),
        thickness,
        error,
        ice_ring=judgement.ice_ring,
        curves=judgement.curves,
    )


def _wrapped(phase: float, limits: tuple[float, float]) -> float:
    """A phase in its range, half a turn being no difference; just outside it where only that is near."""
    low, high = limits
    return low + (phase - low) % 180.0 if high - low >= 180 else phase
