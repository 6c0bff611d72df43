"""The spectrum of one image of a tilt series for the eye: measured on the left, its CTF squared on the right."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float

from thon.data.ctf import Ctf
from thon.data.optics import Optics
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration
from thon.ops.power_spectrum import tile_spectra

SIZE = 512


def draw_spectrum(
    image: Float[torch.Tensor, "rows columns"], pixel_size: float, optics: Optics, ctf: Ctf
) -> Float[np.ndarray, "size size"]:
    """Squared CTF, measured and modelled.

    Args:
        image: Grey values.
        pixel_size: Å.
        optics: Microscope.
        ctf: Of the image's centre; NaN leaves the right half empty.

    Returns:
        Origin at n // 2, row 0 at the bottom; the left half is the averaged power over its level, ring by ring, with a
        mean of 0.5.
    """
    size = spectrum_side((image.shape[0], image.shape[1]))
    spectra = tile_spectra(image, pixel_size, size=size)
    power = spectra.mean().double()
    rows = torch.fft.fftfreq(spectra.size, spectra.pixel_size, dtype=torch.float64)[:, None]
    columns = torch.fft.rfftfreq(spectra.size, spectra.pixel_size, dtype=torch.float64)[None]
    radius = torch.sqrt(rows**2 + columns**2)
    # Row 0 of the half spectrum is the centre's: turned over, the halves fit together about it.
    measured = torch.fft.fftshift(_flatten(power, radius, spectra.size * spectra.pixel_size), dim=0)
    azimuth = torch.atan2(rows.expand_as(radius), columns.expand_as(radius))
    model = torch.fft.fftshift(_model(radius, azimuth, optics, ctf), dim=0)
    half = spectra.size // 2
    left = measured.flip(0).roll(1, 0)[:, 1 : half + 1].flip(1)
    return torch.cat([left, model[:, :half]], 1).numpy()


def spectrum_side(image_shape: tuple[int, int]) -> int:
    """Side of the picture of an image of so many (rows, columns)."""
    return min(SIZE, min(image_shape) // 2 * 2)


def _flatten(
    power: Float[torch.Tensor, "size half"], radius: Float[torch.Tensor, "size half"], extent: float
) -> Float[torch.Tensor, "size half"]:
    """Power over twice its smooth radial level."""
    ring = torch.round(radius * extent).long()
    count = torch.bincount(ring.reshape(-1)).clamp(min=1)
    level = torch.bincount(ring.reshape(-1), power.reshape(-1)) / count
    window = max(3, len(level) // 15) | 1
    padded = torch.nn.functional.pad(level.log()[None, None], (window // 2, window // 2), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(padded, window, 1)[0, 0].exp()
    return (power / (2 * smooth[ring])).clamp(0, 1)


def _model(
    radius: Float[torch.Tensor, "size half"], azimuth: Float[torch.Tensor, "size half"], optics: Optics, ctf: Ctf
) -> Float[torch.Tensor, "size half"]:
    """Squared CTF; 0.5 where it is not known."""
    if not math.isfinite(ctf.defocus) or optics.voltage is None or optics.cs is None:
        return torch.full_like(radius, 0.5)
    u, v, angle = (torch.tensor(x, dtype=radius.dtype) for x in (ctf.defocus_u, ctf.defocus_v, math.radians(ctf.angle)))
    defocus = astigmatic_defocus(azimuth, u, v, angle)
    phase = phase_aberration(radius, defocus, wavelength=electron_wavelength(optics.voltage), cs=optics.cs)
    shift = math.radians(ctf.phase_shift)
    return contrast_transfer(phase, amplitude_contrast=optics.amplitude_contrast or 0.1, phase_shift=shift).square()
