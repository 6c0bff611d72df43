"""What the microscope was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Optics:
    """Constant optics of a set of images; None where nobody said.

    Args:
        voltage: Acceleration voltage, kV.
        cs: Spherical aberration, mm.
        amplitude_contrast: Fraction of amplitude contrast, 1.
    """

    voltage: float | None = None
    cs: float | None = None
    amplitude_contrast: float | None = None
