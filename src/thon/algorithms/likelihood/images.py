"""Particle images as the likelihood wants them: centred, masked, as spectra divided by the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.likelihood.pixels import FourierPixels
from thon.data.particles import ParticleCtf, ParticleOptics
from thon.ops.aberration import coma_phase
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration

EDGE = 5.0
"""Width of the soft edge of the mask around a particle, px."""


class ImageSource(Protocol):
    """Where images come from."""

    def read(self, indices: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n box box"]:
        """Images of some particles of one optics group, matter bright, noise of mean 0 and variance 1."""
        ...


@dataclass(frozen=True)
class BlockImages:
    """Spectra of a block of particles; see `thon.kernels.pose_products` for the formula.

    Args:
        compared: Y = 2 C X / N of the masked images.
        summed: C X / N of the images as they are.
        weights: D = C² / N.
        power: Of the masked images, by shell.
    """

    compared: Float[torch.Tensor, "n 2 pixels"]
    summed: Float[torch.Tensor, "n 2 pixels"]
    weights: Float[torch.Tensor, "n pixels"]
    power: Float[torch.Tensor, "n shells"]


def prepare_block(
    images: Float[torch.Tensor, "n box box"],
    moves: Int[np.ndarray, "n 2"],
    transfer: Float[torch.Tensor, "n pixels"],
    noise: Float[torch.Tensor, "shells"],
    pixels: FourierPixels,
    mask: Float[torch.Tensor, "box box"],
    turn: Float[torch.Tensor, "2 pixels"] | None = None,
) -> BlockImages:
    """Spectra of a block.

    Args:
        images: As read, divided by their norm.
        moves: Whole pixels (y, x) that each particle lies off its image's centre.
        transfer: CTF of each, its scale included.
        noise: Expected power of the noise by shell.
        pixels: Pixels that take part.
        mask: Soft mask around the particle.
        turn: Phase factors that undo odd aberrations.
    """
    centred = torch.stack(
        [torch.roll(image, (-y, -x), (0, 1)) for image, (y, x) in zip(images, moves.tolist(), strict=True)]
    )
    whole, masked = pixels.gather(centred), pixels.gather(centred * mask)
    if turn is not None:
        whole, masked = (times(spectra, turn) for spectra in (whole, masked))
    shell = torch.from_numpy(pixels.shell)
    by_noise = transfer / noise[shell]
    power = images.new_zeros((len(images), pixels.shells)).index_add_(1, shell, masked.square().sum(1))
    return BlockImages(
        compared=masked * (2 * by_noise)[:, None],
        summed=whole * by_noise[:, None],
        weights=transfer * by_noise,
        power=power,
    )


def transfer_function(
    ctf: ParticleCtf | None, count: int, group: ParticleOptics, pixels: FourierPixels
) -> Float[torch.Tensor, "n pixels"]:
    """CTF of particles of one optics group at each pixel; 1 where there is none."""
    if ctf is None:
        return torch.ones((count, len(pixels.index)))
    optics = group.optics
    if optics.voltage is None or optics.cs is None or optics.amplitude_contrast is None:
        raise ValueError(f"optics group '{group.name}' lacks voltage, spherical aberration or amplitude contrast")
    frequency = torch.from_numpy(pixels.frequency)
    square = frequency.square().sum(1).expand(count, -1)
    azimuth = torch.atan2(frequency[:, 0], frequency[:, 1]).expand(count, -1)
    u, v, angle, phase, fall, scale = (
        torch.from_numpy(np.asarray(values, np.float64))[:, None]
        for values in (ctf.defocus_u, ctf.defocus_v, ctf.angle, ctf.phase_shift, ctf.b_factor, ctf.scale)
    )
    defocus = astigmatic_defocus(azimuth, u, v, torch.deg2rad(angle))
    wavelength = electron_wavelength(optics.voltage)
    aberration = phase_aberration(square.sqrt(), defocus, wavelength=wavelength, cs=optics.cs)
    value = contrast_transfer(
        aberration, amplitude_contrast=optics.amplitude_contrast, phase_shift=torch.deg2rad(phase)
    )
    if bool((fall != 0).any()) or bool((scale != 1).any()):
        value = value * scale * torch.exp(-fall * square / 4)
    return value.float()


def straightening(group: ParticleOptics, pixels: FourierPixels) -> Float[torch.Tensor, "2 pixels"] | None:
    """Phase factors that undo what the beam's tilt did to the images of an optics group; None without tilt."""
    optics = group.optics
    if not any(group.beam_tilt) or optics.voltage is None or optics.cs is None:
        return None
    phase = coma_phase(
        torch.from_numpy(pixels.frequency),
        group.beam_tilt,
        wavelength=electron_wavelength(optics.voltage),
        cs=optics.cs,
    )
    return torch.stack([phase.cos(), -phase.sin()]).float()


def circular_mask(box: int, radius: float) -> Float[torch.Tensor, "box box"]:
    """One within a radius of the centre, px, with a soft edge outside it that ends within the box."""
    axis = (torch.arange(box) - box // 2).float().square()
    distance = (axis[:, None] + axis).sqrt()
    radius = min(radius, box / 2 - EDGE)
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius) / EDGE).clamp(0, 1))


def times(
    spectra: Float[torch.Tensor, "n 2 pixels"], factor: Float[torch.Tensor, "*n 2 pixels"]
) -> Float[torch.Tensor, "n 2 pixels"]:
    """Spectra times complex factors, one for all or one for each."""
    (a, b), (c, d) = spectra.unbind(-2), factor.unbind(-2)
    return torch.stack([a * c - b * d, a * d + b * c], -2)
