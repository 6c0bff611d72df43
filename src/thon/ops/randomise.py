"""Phases replaced by random ones beyond a resolution: what still correlates afterwards is the mask's doing."""

from __future__ import annotations

import torch
from jaxtyping import Float

from thon.ops.fourier import half_spectrum
from thon.ops.volume_fourier import frequency_radius, volume_shape


def randomise_phases(
    volume: Float[torch.Tensor, "*batch z y x"], first_shell: int, seed: int
) -> Float[torch.Tensor, "*batch z y x"]:
    """The volume with random phases, and its own amplitudes, from the radius of a shell of `thon.ops.fsc` on.

    The phases are those of white noise, so that they belong to a real volume.

    Source: Chen et al. 2013.
    """
    axes, shape = (-3, -2, -1), volume_shape(volume)
    noise = torch.randn(volume.shape, generator=torch.Generator().manual_seed(seed)).to(volume)
    random = half_spectrum(noise, 3)
    spectrum = half_spectrum(volume, 3)
    beyond = frequency_radius(shape, device=volume.device) * max(shape) > first_shell - 1e-4
    phase = random / random.abs().clamp(min=1e-30)
    return torch.fft.irfftn(torch.where(beyond, spectrum.abs() * phase, spectrum), s=shape, dim=axes)
