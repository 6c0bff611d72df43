"""Regularise the references of a refinement place by place: what its halves do not share is noise.

The spectrum is cut into bands. In each band and at each voxel, a reference keeps the part that the correlation of the
two halves within a window bears out, which is the Wiener filter of that place. So flexible parts and the solvent stay
quiet without taking detail from what is well ordered. The halves learn nothing of each other but these weights, which
are the same for both.

Source: the idea of Ramlaul, Palmer & Aylett 2020, J. Struct. Biol. 211, 107545, and of Punjani, Zhang & Fleet 2020,
Nat. Methods 17, 1214.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float

from thon.ops.fourier import half_spectrum
from thon.ops.volume_fourier import frequency_radius, volume_shape

_WINDOW = 4.0  # full width at half maximum of the windows, in wavelengths of a band
_LEAST_WIDTH, _MOST_BANDS = 8.0, 12
_COARSEST = 2.0  # shells, for the window of the first band


def regularise_locally(
    halves: Float[torch.Tensor, "2 z y x"], whole: Float[torch.Tensor, "z y x"], finest: float
) -> tuple[Float[torch.Tensor, "2 z y x"], Float[torch.Tensor, "z y x"]]:
    """The halves, and the map of both, with each band weighted at each voxel by the halves' local correlation.

    Args:
        halves: Maps of two independent halves, not filtered.
        whole: Map of all particles, not filtered.
        finest: Shell beyond which the halves hold nothing.
    """
    shape = volume_shape(halves)
    spectra = half_spectrum(torch.cat([halves, whole[None]]), 3)
    radius = frequency_radius(shape, device=halves.device) * max(shape)
    width = max(_LEAST_WIDTH, finest / _MOST_BANDS)
    result = halves.new_zeros((3, *shape))
    for k in range(math.ceil(finest / width) + 1):
        # Triangles of neighbouring bands add up to one.
        band = _inverse(spectra * (1 - (radius - k * width).abs() / width).clamp(min=0), shape)
        window = _window(radius / max(k * width, _COARSEST))
        shared, power = (
            _inverse(half_spectrum(values, 3) * window, shape)
            for values in (band[0] * band[1], band[:2].square().mean(0))
        )
        part = (shared / power.clamp(min=1e-30)).clamp(0, 1)
        result[:2] += band[:2] * part
        result[2] += band[2] * (2 * part / (1 + part))  # of twice the particles
    return result[:2], result[2]


def _window(waves: torch.Tensor) -> torch.Tensor:
    """Spectrum of the Gaussian window, at frequencies in those of the band."""
    sigma = _WINDOW / math.sqrt(8 * math.log(2))
    return torch.exp(-2 * (math.pi * sigma * waves) ** 2)


def _inverse(spectrum: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.fft.irfftn(spectrum, s=shape, dim=(-3, -2, -1))
