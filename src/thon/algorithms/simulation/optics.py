"""The lens: how the wave behind each layer of the specimen becomes contrast.

Defocus differs with height: Δf = Δf₀ + hand · height, as RELION has it with its `rlnTomoHand`. A tilt of the beam by β
(y, x) multiplies the image's spectrum by exp(−2πi Cs λ² k² (k · β)), the sign of RELION's `rlnBeamTiltX` and Y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float

from thon.base.options import Options, Unit
from thon.data.ctf import Ctf
from thon.ops.ctf import amplitude_phase, astigmatic_defocus, electron_wavelength, phase_aberration
from thon.ops.fourier import frequency_grid, radius_grid

GOLD_CONTRAST = 0.6
"""Amplitude contrast of gold beads, which scatter most electrons out of the aperture."""


class MicroscopeOptions(Options):
    """The lens and the beam."""

    voltage: Annotated[float, Unit("kV"), Ge(60), Lt(1000)] = 300.0
    """Acceleration voltage."""

    cs: Annotated[float, Unit("mm"), Ge(0)] = 2.7
    """Spherical aberration."""

    amplitude_contrast: Annotated[float, Unit("1"), Ge(0), Lt(1)] = 0.1
    """Fraction of amplitude contrast."""

    defocus: tuple[Annotated[float, Unit("Å")], Annotated[float, Unit("Å")]] = (8000.0, 20000.0)
    """Smallest and largest mean defocus; drawn evenly between."""

    astigmatism: Annotated[float, Unit("Å"), Ge(0)] = 400.0
    """Largest difference of the two defoci; drawn evenly from 0, its direction too."""

    phase_shift: Annotated[float, Unit("degrees"), Ge(0), Lt(180)] = 0.0
    """Of a phase plate."""

    beam_tilt: tuple[Annotated[float, Unit("mrad")], Annotated[float, Unit("mrad")]] = (0.0, 0.0)
    """Tilt of the beam along y and x, which gives coma; RELION's rlnBeamTiltY and rlnBeamTiltX."""

    bfactor: Annotated[float, Unit("Å²"), Ge(0)] = 30.0
    """Loss of contrast at high resolution for no reason named here: exp(−B k² / 4)."""

    focal_spread: Annotated[float, Unit("Å"), Ge(0)] = 60.0
    """Standard deviation of the focus from the energy spread and unsteady supplies."""

    convergence: Annotated[float, Unit("mrad"), Ge(0)] = 0.02
    """Half angle of the illumination."""

    wave: bool = False
    """Follow the full wave through the specimen, layer by layer, instead of weak phases added up."""


@dataclass(frozen=True)
class Lens:
    """The microscope's constants during one exposure, on one grid.

    Args:
        shape: (rows, columns) of the grid, px.
        pixel_size: Å.
        ctf: Defocus at the specimen's centre.
        options: What `ctf` does not hold.
    """

    shape: tuple[int, int]
    pixel_size: float
    ctf: Ctf
    options: MicroscopeOptions

    @property
    def wavelength(self) -> float:
        """Å."""
        return electron_wavelength(self.voltage)

    @property
    def voltage(self) -> float:
        """kV."""
        return self.options.voltage

    @cached_property
    def frequency(self) -> Float[torch.Tensor, "rows half"]:
        """Length of each frequency, 1/Å."""
        return radius_grid(self.shape) / self.pixel_size

    @cached_property
    def _defocus(self) -> Float[torch.Tensor, "rows half"]:
        """Defocus in each direction at height zero, Å."""
        rows, columns = frequency_grid(self.shape)
        one = torch.ones(1)
        return astigmatic_defocus(
            torch.atan2(rows + 0 * columns, columns + 0 * rows),
            one * self.ctf.defocus_u,
            one * self.ctf.defocus_v,
            one * math.radians(self.ctf.angle),
        )

    def aberration(self, rise: float) -> Float[torch.Tensor, "rows half"]:
        """Phase that the lens takes from waves scattered where the defocus is larger by `rise` Å, rad."""
        defocus = self._defocus + rise
        return phase_aberration(self.frequency, defocus, wavelength=self.wavelength, cs=self.options.cs)

    def weak_contrast(self, rise: float, amplitude_contrast: float | None = None) -> Float[torch.Tensor, "rows half"]:
        """What a small phase turns into: minus twice the CTF, and nothing at zero frequency."""
        contrast = self.options.amplitude_contrast if amplitude_contrast is None else amplitude_contrast
        plate = math.radians(self.ctf.phase_shift)
        transfer = -2 * torch.sin(self.aberration(rise) + (plate + amplitude_phase(contrast)))
        transfer[0, 0] = -2 * math.sin(amplitude_phase(contrast))
        return transfer

    def envelope(self) -> Float[torch.Tensor, "rows half"]:
        """Share of the contrast that incoherence leaves, 0 to 1.

        Source: Frank 1973; Wade & Frank 1977, for a Gaussian source and a Gaussian spread of focus.
        """
        k, wavelength = self.frequency, self.wavelength
        spread = 0.5 * (math.pi * wavelength * self.options.focal_spread) ** 2 * k**4
        cs = self.options.cs * 1e7
        gradient = cs * wavelength**3 * k**3 - self.ctf.defocus * wavelength * k
        source = (math.pi * self.options.convergence * 1e-3 / wavelength * gradient) ** 2
        return torch.exp(-spread - source - self.options.bfactor * k**2 / 4)

    def coma(self) -> Float[torch.Tensor, "rows half"]:
        """Phase that the beam's tilt adds to the image's spectrum, rad; odd."""
        rows, columns = (grid / self.pixel_size for grid in frequency_grid(self.shape))
        along = rows * self.options.beam_tilt[0] * 1e-3 + columns * self.options.beam_tilt[1] * 1e-3
        return -2 * math.pi * self.options.cs * 1e7 * self.wavelength**2 * self.frequency**2 * along

    @property
    def has_coma(self) -> bool:
        """Whether the beam is tilted."""
        return any(self.options.beam_tilt)
