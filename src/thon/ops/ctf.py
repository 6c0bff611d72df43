"""The contrast transfer function: wavelength, phase aberration, its sine.

Sign: positive where the phase of amplitude contrast alone would put it, so that the CTF multiplies an image in which
matter is bright (RELION's convention after inverting). A micrograph as recorded, matter dark, carries minus this.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength of electrons, Å, for an acceleration voltage in kV: h / √(2meV (1 + eV / 2mc²))."""
    volts = voltage * 1e3
    return 12.2642597 / math.sqrt(volts * (1 + 0.9784756e-6 * volts))


def amplitude_phase(amplitude_contrast: float) -> float:
    """Phase that stands for a fraction of amplitude contrast, radians."""
    return math.atan2(amplitude_contrast, math.sqrt(1 - amplitude_contrast**2))


def astigmatic_defocus(
    azimuth: Float[torch.Tensor, "*grid"],
    defocus_u: Float[torch.Tensor, "*#grid"],
    defocus_v: Float[torch.Tensor, "*#grid"],
    angle: Float[torch.Tensor, "*#grid"],
) -> Float[torch.Tensor, "*grid"]:
    """Defocus in each direction of the spectrum, Å.

    Args:
        azimuth: Direction of the frequency, anticlockwise from +x (towards larger row indices), radians.
        defocus_u: Larger defocus, Å.
        defocus_v: Smaller defocus, Å.
        angle: Direction of the larger one, radians.
    """
    return (defocus_u + defocus_v + (defocus_u - defocus_v) * torch.cos(2 * (azimuth - angle))) / 2


def phase_aberration(
    frequency: Float[torch.Tensor, "*grid"],
    defocus: Float[torch.Tensor, "*#grid"],
    *,
    wavelength: float,
    cs: float,
) -> Float[torch.Tensor, "*grid"]:
    """Phase that the lens takes from a wave scattered to each spatial frequency.

    Args:
        frequency: Spatial frequency, 1/Å.
        defocus: Underfocus is positive, Å.
        wavelength: Electron wavelength, Å.
        cs: Spherical aberration, mm.

    Returns:
        Phase in radians; zero at zero frequency, growing with underfocus.

    Source: Rohou & Grigorieff 2015, eq. 2.
    """
    s2 = frequency.square()
    return math.pi * wavelength * s2 * (defocus - 0.5 * cs * 1e7 * wavelength**2 * s2)


def contrast_transfer(
    aberration: Float[torch.Tensor, "*grid"],
    *,
    amplitude_contrast: float,
    phase_shift: float | Float[torch.Tensor, "*#grid"] = 0.0,
) -> Float[torch.Tensor, "*grid"]:
    """CTF of a phase aberration, −1 to 1.

    Args:
        aberration: As `phase_aberration` gives it, radians.
        amplitude_contrast: Fraction of amplitude contrast, 1.
        phase_shift: Of a phase plate, radians.
    """
    return torch.sin(aberration + phase_shift + amplitude_phase(amplitude_contrast))
