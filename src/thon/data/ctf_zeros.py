"""Where a CTF is zero, for those who draw rings over spectra and may not load PyTorch, which `thon.ops.ctf` needs."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from thon.data.ctf import Ctf
from thon.data.optics import Optics


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength of electrons, Å, for an acceleration voltage in kV."""
    volts = voltage * 1e3
    return 12.2642597 / math.sqrt(volts * (1 + 0.9784756e-6 * volts))


def zero_rings(
    ctf: Ctf, optics: Optics, finest: float, *, directions: int = 90, rings: int = 40
) -> list[tuple[Float[np.ndarray, "directions"], Float[np.ndarray, "directions"]]]:
    """The first zeros of a CTF: (y, x) of each ring's points, Å⁻¹, y pointing up.

    Args:
        ctf: Of the image.
        optics: Microscope; where voltage, spherical aberration or amplitude contrast is not known there are no rings.
        finest: Rings that leave this frequency are left out, Å⁻¹.
        directions: Points on each ring, the first one again at the end.
        rings: Most rings.
    """
    if optics.voltage is None or optics.cs is None or optics.amplitude_contrast is None:
        return []
    azimuth = np.linspace(0, 2 * math.pi, directions)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for number in range(1, rings + 1):
        radius = zero_radius(ctf, optics, azimuth, number)
        if not np.isfinite(radius).all() or radius.max() > finest:
            break
        found.append((radius * np.sin(azimuth), radius * np.cos(azimuth)))
    return found


def zero_radius(
    ctf: Ctf, optics: Optics, azimuth: Float[np.ndarray, "directions"], number: int
) -> Float[np.ndarray, "directions"]:
    """Frequency of a zero in each direction, Å⁻¹; NaN where spherical aberration turns the phase before it is reached.

    Args:
        ctf: Of the image.
        optics: Microscope, with voltage, spherical aberration and amplitude contrast.
        azimuth: Anticlockwise from +x, radians.
        number: Of the zero, from 1.

    Raises:
        ValueError: One of those is not known.
    """
    voltage, cs, contrast = optics.voltage, optics.cs, optics.amplitude_contrast
    if voltage is None or cs is None or contrast is None:
        raise ValueError(f"the zeros of a CTF need voltage, cs and amplitude contrast, not {optics}")
    wavelength = electron_wavelength(voltage)
    offset = math.atan2(contrast, math.sqrt(1 - contrast**2)) + math.radians(ctf.phase_shift)
    turns = 2 * (azimuth - math.radians(ctf.angle))
    defocus = ctf.defocus + ctf.astigmatism / 2 * np.cos(turns)
    # π λ s² (Δf − ½ Cs λ² s²) + offset = n π is quadratic in s².
    phase = number * math.pi - offset
    a, b = 0.5 * math.pi * cs * 1e7 * wavelength**3, math.pi * wavelength * defocus
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b**2 - 4 * a * phase)
        return np.sqrt(2 * phase / (b + root))
