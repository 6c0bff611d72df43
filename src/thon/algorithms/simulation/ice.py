"""Noise of what is everywhere: vitreous ice and carbon film, as random phase of the wave.

Water is almost incompressible: seen through a layer, its molecules scatter only a small share of what they would if
each lay where it liked, with a broad ring at 3.7 Å. The share used here is that of a whole exposure, in which the
molecules' own motion has washed out most of the ring. Source: Dowell & Rice 1960 for the ring, compressibility for the
rest; McMullan, Vinothkumar & Henderson 2015 for the motion.
"""

from __future__ import annotations

import torch
from jaxtyping import Float

from thon.ops.scattering import WATER_DENSITY, electron_scattering, phase_per_scattering, water_scattering

CARBON_DENSITY = 0.1
"""Atoms of amorphous carbon in 1 Å³ (2.0 g/cm³)."""

CARBON_STRUCTURE = 0.3
"""Share that atoms of amorphous carbon scatter of what independent ones would."""


def water_structure(frequency: Float[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
    """Share that water molecules scatter of what independent ones would, at spatial frequencies in 1/Å."""
    ring = 0.2 * torch.exp(-0.5 * ((frequency - 0.27) / 0.035) ** 2)
    return 0.07 + ring + 0.1 * torch.sigmoid((frequency - 0.33) / 0.04)


def ice_power(frequency: Float[torch.Tensor, "*grid"], voltage: float) -> Float[torch.Tensor, "*grid"]:
    """Power spectrum of the phase behind 1 Å of ice, rad² Å²."""
    amplitude = water_scattering(frequency) * phase_per_scattering(voltage)
    return WATER_DENSITY * amplitude**2 * water_structure(frequency)


def carbon_power(frequency: Float[torch.Tensor, "*grid"], voltage: float) -> Float[torch.Tensor, "*grid"]:
    """Power spectrum of the phase behind 1 Å of amorphous carbon, rad² Å²."""
    amplitude = electron_scattering("C", frequency) * phase_per_scattering(voltage)
    return CARBON_DENSITY * CARBON_STRUCTURE * amplitude**2
