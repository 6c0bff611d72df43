"""Phases that an imperfect lens and a tilted beam add to an image's spectrum, beyond defocus and spherical aberration.

Aberrations that are odd in the frequency shift the phases of the image itself; even ones add to the phase whose sine is
the CTF. RELION tells both by Zernike polynomials of the frequency in 1/Å (rlnOddZernike, rlnEvenZernike).

Source: Zivanov et al. 2020, IUCrJ 7, 253.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def zernike_phase(
    frequency: Float[torch.Tensor, "*grid 2"], coefficients: Sequence[float], *, odd: bool
) -> Float[torch.Tensor, "*grid"]:
    """Phase of a sum of Zernike polynomials Z(n, m) of the frequency.

    Args:
        frequency: (y, x), 1/Å; length and azimuth (from +x towards +y) are the polynomials' ρ and φ.
        coefficients: Of n = 1, 3, 5, … or n = 0, 2, 4, …, and for each n of m = −n, −n + 2, …, n: the order of
            rlnOddZernike and rlnEvenZernike. Radians.
        odd: Which of the two.

    Returns:
        Radians: what odd aberrations add to the phases of an image, or what even ones take from the CTF's phase.
    """
    phase = torch.zeros_like(frequency[..., 0])
    for (n, m), coefficient in zip(_orders(len(coefficients), odd), coefficients, strict=True):
        if coefficient:
            phase = phase + coefficient * zernike_polynomial(n, m, frequency)
    return phase


def zernike_polynomial(n: int, m: int, frequency: Float[torch.Tensor, "*grid 2"]) -> Float[torch.Tensor, "*grid"]:
    """R(n, |m|) cos(mφ), or sin(|m|φ) where m < 0, with R = 1 at ρ = 1.

    Args:
        n: Degree.
        m: Angular order, of n's parity and no larger.
        frequency: (y, x).
    """
    square, half = frequency.square().sum(-1), (n - abs(m)) // 2
    # ρᵐ exp(imφ) is a power of the frequency as a complex number, so no angle is needed.
    turn = torch.complex(frequency[..., 1], frequency[..., 0]) ** abs(m)
    radial = sum(
        (-1) ** k * math.comb(n - k, k) * math.comb(n - 2 * k, half - k) * square ** (half - k) for k in range(half + 1)
    )
    return radial * (turn.imag if m < 0 else turn.real)


def _orders(count: int, odd: bool) -> list[tuple[int, int]]:
    """The first (n, m) of one parity."""
    orders: list[tuple[int, int]] = []
    n = int(odd)
    while len(orders) < count:
        orders += [(n, m) for m in range(-n, n + 1, 2)]
        n += 2
    return orders[:count]
