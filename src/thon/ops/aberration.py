"""Aberrations that differ between opposite directions: what a tilted beam does to an image's phases."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float


def coma_phase(
    frequency: Float[torch.Tensor, "*grid 2"], beam_tilt: tuple[float, float], *, wavelength: float, cs: float
) -> Float[torch.Tensor, "*grid"]:
    """Phase that a tilt of the beam adds to an image's spectrum, odd in the frequency.

    Args:
        frequency: (y, x), 1/Å.
        beam_tilt: (y, x), mrad, with the sign of RELION's rlnBeamTiltY and rlnBeamTiltX.
        wavelength: Å.
        cs: Spherical aberration, mm.

    Returns:
        Radians.

    Source: Zivanov et al. 2020, IUCrJ 7, 253: axial coma.
    """
    along = frequency[..., 0] * (beam_tilt[0] * 1e-3) + frequency[..., 1] * (beam_tilt[1] * 1e-3)
    return -2 * math.pi * cs * 1e7 * wavelength**2 * frequency.square().sum(-1) * along
