"""Particle images as the likelihood wants them: centred, masked, as spectra divided by the noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.references import particle_mask
from thon.data.particles import ParticleCtf, ParticleOptics
from thon.ops.particle_ctf import odd_phase, particle_ctf

_FAINTEST = 1e-4  # mean C² of a shell
_DARK = 0.03  # of it: smaller C² are left out; of a fine shell, they hold 0.1 % of what is known


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
        surplus: How much more a reference explains of that power than Σ C² |P|², by shell: 1, but for images that were
            multiplied by their CTFs.
    """

    compared: Float[torch.Tensor, "n 2 pixels"]
    summed: Float[torch.Tensor, "n 2 pixels"]
    weights: Float[torch.Tensor, "n pixels"]
    power: Float[torch.Tensor, "n shells"]
    surplus: Float[torch.Tensor, "n shells"] | None = None

    def residual(
        self, agreement: Float[np.ndarray, "n used_shells"], explained: Float[np.ndarray, "n used_shells"]
    ) -> Float[np.ndarray, "n shells"]:
        """Power that references do not explain.

        Args:
            agreement: Σ C X conj(P), by particle and shell.
            explained: Σ C² |P|², by particle and shell.
        """
        residual, change = self.power.double().numpy().copy(), explained - 2 * agreement
        shells = change.shape[1]
        residual[:, :shells] += change if self.surplus is None else self.surplus[:, :shells].double().numpy() * change
        return residual


@dataclass(frozen=True)
class BlockOptics:
    """What the microscope did to a block of images.

    Args:
        transfer: CTF of each.
        scale: Factor of each CTF that images were not multiplied by, and that the reference has in the images' box.
        turn: Phase factors that undo odd aberrations.
        premultiplied: Whether the images were multiplied by the CTF.
    """

    transfer: Float[torch.Tensor, "n pixels"]
    scale: Float[torch.Tensor, "n"]
    turn: Float[torch.Tensor, "2 pixels"] | None = None
    premultiplied: bool = False

    @classmethod
    def of(
        cls,
        ctf: ParticleCtf | None,
        scale: Float[np.ndarray, "n"],
        group: ParticleOptics,
        pixels: FourierPixels,
    ) -> Self:
        """Of particles of one optics group.

        Args:
            ctf: Of each; None where it is not taken into account.
            scale: Factor of each one's CTF.
            group: Optics group.
            pixels: Pixels that take part.
        """
        return cls(
            transfer_function(ctf, len(scale), group, pixels),
            torch.from_numpy(scale * pixels.amplitude).float(),
            straightening(group, pixels),
            group.premultiplied and ctf is not None,
        )


def prepare_block(
    images: Float[torch.Tensor, "n box box"],
    moves: Int[np.ndarray, "n 2"],
    optics: BlockOptics,
    noise: Float[torch.Tensor, "shells"],
    pixels: FourierPixels,
    radius: float | None,
) -> BlockImages:
    """Spectra of a block.

    An image that was multiplied by its CTF is C X already, and its noise C² N. The power of X is taken to be that of
    C X over the share of the noise that is left, and what a reference explains of it is Σ C⁴ |P|² over that share.

    Args:
        images: As read, divided by their norm.
        moves: Whole pixels (y, x) that each particle lies off its image's centre.
        optics: CTF of each, and what else the microscope did.
        noise: Expected power of the noise of an image that is not multiplied by its CTF, by shell.
        pixels: Pixels that take part.
        radius: Of the soft mask around the particle, px; none without.
    """
    mask = 1.0 if radius is None else particle_mask(pixels.box, 2 * radius, 2)
    centred = torch.stack(
        [torch.roll(image, (-y, -x), (0, 1)) for image, (y, x) in zip(images, moves.tolist(), strict=True)]
    )
    whole, masked = pixels.gather(centred), pixels.gather(centred * mask)
    if optics.turn is not None:
        whole, masked = (times(spectra, optics.turn) for spectra in (whole, masked))
    shell = torch.from_numpy(pixels.shell)
    transfer, scale = optics.transfer, optics.scale[:, None]
    by_noise = scale / noise[shell]
    factor = by_noise if optics.premultiplied else by_noise * transfer
    power, surplus = pixels.sum_shells(masked.square().sum(1)), None
    if optics.premultiplied:
        mean, fourth = (pixels.mean_shells(transfer**n) for n in (2, 4))
        left = noise_left(mean, pixels, radius)
        power, surplus = power / left, fourth / (mean * left).clamp(min=_FAINTEST**2)
        # Where the CTF is nothing the mask leaves noise all the same, which would count as much signal.
        masked = masked * (transfer.square() > _DARK * left[:, shell])[:, None]
    return BlockImages(
        compared=masked * (2 * factor)[:, None],
        summed=whole * factor[:, None],
        weights=transfer.square() * scale * by_noise,
        power=power,
        surplus=surplus,
    )


def noise_left(
    square: Float[torch.Tensor, "n shells"], pixels: FourierPixels, radius: float | None
) -> Float[torch.Tensor, "n shells"]:
    """Share of the noise's power that is left in masked images that were multiplied by their CTFs.

    Args:
        square: Mean of C² over each shell, by particle.
        pixels: That take part.
        radius: Of the mask, px; none without.
    """
    spread = square if radius is None else square @ mask_spread(pixels, radius).T
    return spread.clamp(min=_FAINTEST)


@lru_cache(maxsize=16)
def mask_spread(pixels: FourierPixels, radius: float) -> Float[torch.Tensor, "shells shells"]:
    """What a mask makes of noise: the part of each shell's power (row) that comes from each shell (column).

    Noise beyond the last shell counts as that shell's.
    """
    rows, columns = torch.from_numpy(pixels.index).T
    shell = torch.full((pixels.box, pixels.box), pixels.shells - 1)
    for sign in (-1, 1):
        shell[sign * rows, sign * columns] = torch.from_numpy(pixels.shell)
    window = torch.fft.fft2(particle_mask(pixels.box, 2 * radius, 2).double()).abs().square()
    blur = torch.fft.fft2(window / window.sum())
    parts = torch.stack([(shell == s).double() for s in range(pixels.shells)])
    blurred = torch.fft.ifft2(torch.fft.fft2(parts) * blur).real[:, rows, columns]
    return pixels.mean_shells(blurred).T.float()


def transfer_function(
    ctf: ParticleCtf | None, count: int, group: ParticleOptics, pixels: FourierPixels
) -> Float[torch.Tensor, "n pixels"]:
    """CTF of particles of one optics group at each pixel; 1 where there is none."""
    if ctf is None:
        return torch.ones((count, len(pixels.index)))
    return particle_ctf(torch.from_numpy(pixels.true_frequency), ctf, group).float()


def straightening(group: ParticleOptics, pixels: FourierPixels) -> Float[torch.Tensor, "2 pixels"] | None:
    """Phase factors that undo the odd aberrations of an optics group's images; None where there are none."""
    phase = odd_phase(torch.from_numpy(pixels.true_frequency), group)
    return None if phase is None else torch.stack([phase.cos(), -phase.sin()]).float()


def times(
    spectra: Float[torch.Tensor, "n 2 pixels"], factor: Float[torch.Tensor, "*n 2 pixels"]
) -> Float[torch.Tensor, "n 2 pixels"]:
    """Spectra times complex factors, one for all or one for each."""
    (a, b), (c, d) = spectra.unbind(-2), factor.unbind(-2)
    return torch.stack([a * c - b * d, a * d + b * c], -2)
