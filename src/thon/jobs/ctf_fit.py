"""Fit the contrast transfer function of micrographs: defocus, astigmatism and phase shift, each with its uncertainty.

Writes NAME_ctf.mrc, the spectrum half measured and half model, NAME_ctf.png and NAME_ctf.txt as CTFFIND writes it.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
import torch
from annotated_types import Ge, Lt
from pydantic import model_validator

from thon.algorithms.ctf_fit import CtfFitOptions, CtfFitted, fit_ctf
from thon.base.options import Unit
from thon.data.ctf import SpecimenTilt
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.formats.ctffind import CtffindTable, write_ctffind
from thon.formats.images import open_images
from thon.formats.mrc import write_mrc
from thon.formats.png import encode_png, write_png
from thon.formats.report.ctf import draw_ctf
from thon.formats.report.style import LIGHT, pixels
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each


class CtfFitJobOptions(CtfFitOptions):
    """CTF fits of micrographs in files."""

    use_spectrum: bool = False
    """Fit the sum of the frames' spectra where motion correction wrote it (--sums-spectrum): for movies whose motion
    could not be undone. Otherwise the dose-weighted micrograph shows rings to a finer resolution."""

    specimen_tilt: Annotated[float | None, Unit("degrees"), Ge(0), Lt(90)] = None
    """Inclination of the specimen, for --tilt given."""

    specimen_axis: Annotated[float, Unit("degrees")] = 0.0
    """Its line of constant defocus, anticlockwise from +y; defocus grows to the right of an upright one."""

    @model_validator(mode="after")
    def _is_given(self) -> Self:
        if (self.tilt == "given") != (self.specimen_tilt is not None):
            raise ValueError("tilt given and specimen_tilt go together: state both, or none")
        return self


def plan_ctf_fit(micrograph: Micrograph, options: CtfFitJobOptions, resources: Resources) -> Plan:
    """What a fit needs, from the micrograph's size."""
    rows, columns = micrograph.image_shape
    return Plan(
        understood=(f"{micrograph.name}: {columns} × {rows} px at {micrograph.pixel_size:g} Å",),
        memory=500_000_000 + 40 * rows * columns,
        disk=2_000_000,
        seconds=0.7 + 6e-8 * rows * columns,
        output=micrograph,
    )


@each(title="Fit CTF", stage="preprocess", plan=plan_ctf_fit)
def ctf_fit(micrograph: Micrograph, options: CtfFitJobOptions, context: Context) -> CtfMicrograph:
    found = _fit(micrograph, options)
    fit, name = found.fit, micrograph.name
    # An image of a tilt series has few electrons: what its own rings do not tell, the fit of the whole series does.
    tell = context.warn if micrograph.tilt is None else context.log
    for sentence in fit.warnings:
        tell(sentence)
    ctf, sigma = fit.ctf, fit.sigma
    context.log(
        f"Defocus {ctf.defocus_u:.0f} ± {sigma.defocus_u:.0f} / {ctf.defocus_v:.0f} ± {sigma.defocus_v:.0f} Å at "
        f"{ctf.angle:.1f}°, rings to {fit.resolution:.1f} Å."
    )
    diagnostic = context.output(f"{name}_ctf.mrc")
    write_mrc(diagnostic, found.diagnostic.astype(np.float32), micrograph.pixel_size)
    table = CtffindTable((fit,), source=micrograph.path, pixel_size=micrograph.pixel_size, optics=micrograph.optics)
    write_ctffind(context.output(f"{name}_ctf.txt"), table)
    picture = pixels(draw_ctf(fit, found.diagnostic, LIGHT))
    write_png(context.output(f"{name}_ctf.png", title="CTF fit"), picture)
    context.preview("ctf", encode_png(picture), f"Rings to {fit.resolution:.1f} Å")
    fields = {name: getattr(micrograph, name) for name in Micrograph.__dataclass_fields__}
    return CtfMicrograph(**fields, fit=fit, diagnostic=str(diagnostic))


def _fit(micrograph: Micrograph, options: CtfFitJobOptions) -> CtfFitted:
    image, _ = _read(micrograph.path)
    given = None if options.specimen_tilt is None else SpecimenTilt(options.specimen_tilt, options.specimen_axis)
    spectrum = spectrum_pixel_size = None
    if micrograph.spectrum is not None and options.use_spectrum and options.tilt == "none" and not options.local:
        spectrum, spectrum_pixel_size = _read(micrograph.spectrum)
    return fit_ctf(
        image,
        micrograph.pixel_size,
        micrograph.optics,
        options,
        specimen_tilt=given,
        spectrum=spectrum,
        spectrum_pixel_size=spectrum_pixel_size,
    )


def _read(path: str) -> tuple[torch.Tensor, float | None]:
    with open_images(path) as file:
        return torch.from_numpy(file.image(0).astype(np.float32)), file.pixel_size
