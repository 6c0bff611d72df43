"""Fit the CTFs of a tilt series together: defocus tied by geometry and time, hand, inclination of the sample.

Writes NAME_CTF.txt, NAME_CTF_Imod.txt and the spectra NAME_CTF.mrc as AreTomo3 does, NAME.defocus for IMOD, and a plot.
Where no image shows rings, the series goes on without CTFs, unless --required.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from thon.algorithms.tilt_ctf import TiltCtfOptions, TiltCtfResult, fit_tilt_ctf
from thon.algorithms.tilt_ctf_picture import draw_spectrum, spectrum_side
from thon.base.errors import InputError
from thon.data.tilt_series import TiltSeries
from thon.formats.aretomo_ctf import ctf_to_table, write_ctf_imod
from thon.formats.aretomo_tables import write_ctf_table
from thon.formats.mrc import MrcWriter
from thon.formats.png import encode_png, write_png
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.tilt_ctf import draw_tilt_ctf
from thon.formats.tilt_images import TiltImages
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each

SURE = 0.9
"""Confidence in the hand from which it is taken."""


class TiltCtfJobOptions(TiltCtfOptions):
    """CTF fits of tilt series in files."""

    hand: Literal["auto", "+1", "-1"] = "auto"
    """Sign of the defocus gradient as in RELION's rlnTomoHand, where it is known; auto lets the images tell."""

    required: bool = False
    """Fail where no CTF can be fitted."""


def plan_tilt_ctf(series: TiltSeries, options: TiltCtfJobOptions, resources: Resources) -> Plan:
    """What the fit needs, from the size of the images."""
    rows, columns = series.image_shape
    pixels_in_all = len(series) * rows * columns
    return Plan(
        understood=(f"{series.name}: {len(series)} images of {columns} × {rows} px at {series.pixel_size:g} Å",),
        memory=700_000_000 + 24 * rows * columns,
        disk=1_000_000,
        seconds=5 + 1.5e-7 * pixels_in_all,
        output=series,
    )


@each(title="Fit CTFs of tilt series", stage="tomography", plan=plan_tilt_ctf)
def tilt_ctf(series: TiltSeries, options: TiltCtfJobOptions, context: Context) -> TiltSeries:
    try:
        found = _fit(series, options, context)
    except InputError as error:
        if options.required:
            raise
        context.warn(f"No CTF is fitted: {error.what}; {error.got}.")
        return series
    hand = _hand(series, found, options, context)
    spectra = _write_spectra(series, found, context)
    fitted = replace(series, ctf=replace(found.ctf, spectra=str(spectra)), hand=hand)
    alpha, beta = found.inclination
    context.log(f"The sample lies {alpha:.1f}° about the tilt axis and {beta:.1f}° across it off the geometry.")
    for index, why in found.ctf.borrowed.items():
        context.log(f"{series.geometry.tilt[index]:g}°: {why}")
    write_ctf_table(context.output(f"{series.name}_CTF.txt"), ctf_to_table(found.ctf, hand))
    for name in (f"{series.name}_CTF_Imod.txt", f"{series.name}.defocus"):
        write_ctf_imod(context.output(name), found.ctf, series.geometry.tilt)
    picture = pixels(draw_tilt_ctf(fitted, LIGHT))
    write_png(context.output(f"{series.name}_ctf.png", title="CTF fit"), picture)
    context.preview("ctf", encode_png(picture), "Defocus, astigmatism and fit resolution over the tilts")
    return fitted


def _fit(series: TiltSeries, options: TiltCtfJobOptions, context: Context) -> TiltCtfResult:
    with TiltImages(series) as images:
        return fit_tilt_ctf(
            images,
            series.geometry,
            series.pixel_size,
            series.optics,
            options,
            order=series.order,
            excluded=series.excluded,
            hand=None if options.hand == "auto" else int(options.hand),
            progress=lambda share: context.progress(share, 1.0, "fitting CTFs"),
        )


def _write_spectra(series: TiltSeries, found: TiltCtfResult, context: Context) -> Path:
    """A stack with the spectrum of each image, half measured and half model; grey for those that take no part."""
    path = context.output(f"{series.name}_CTF.mrc")
    side = spectrum_side(series.image_shape)
    with (
        TiltImages(series) as images,
        MrcWriter(path, (len(series), side, side), series.pixel_size, kind="images") as writer,
    ):
        for k in range(len(series)):
            picture = np.full((side, side), 0.5, np.float32)
            if k not in series.excluded:
                image = torch.from_numpy(images[k])
                picture = draw_spectrum(image, series.pixel_size, series.optics, found.ctf.of(k)).astype(np.float32)
            writer[k : k + 1] = picture[None]
    return path


def _hand(series: TiltSeries, found: TiltCtfResult, options: TiltCtfJobOptions, context: Context) -> int | None:
    """The hand that was given, or that the images tell clearly, or that the series had."""
    if options.hand != "auto":
        return found.hand
    context.log(f"Hand {found.hand:+d} with a confidence of {found.hand_confidence:.2f}.")
    if found.hand_confidence >= SURE:
        return found.hand
    context.warn("The images do not tell the hand clearly: the vote of all series does (vote-hand), or --hand.")
    return series.hand
