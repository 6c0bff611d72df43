"""Cut particles out of a micrograph: boxes, Fourier rescaling, contrast, and grey values relative to the background."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from jaxtyping import Bool, Float, Int
from pydantic import model_validator

from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration
from thon.ops.fourier import crop_spectrum, frequency_grid
from thon.ops.lengths import smooth_even_length

ROOM = 1.5
"""Side of a box over the particle's longest extent: room for what the CTF spreads and for the background."""


class ExtractOptions(Options):
    """How particles are cut out."""

    box: Annotated[int | None, Unit("px"), Ge(16), Le(4096), MultipleOf(2)] = None
    """Side of the box that is cut out, in pixels of the micrograph; half as much again as the particle unless given."""

    rescale: Annotated[int | None, Unit("px"), Ge(16), Le(4096), MultipleOf(2)] = None
    """Side to which the box is then brought by cropping its Fourier transform; that of the box unless given."""

    invert: bool = True
    """Turn the contrast, so that matter is bright."""

    normalise: bool = True
    """Take a plane off and scale, so that the background has mean 0 and standard deviation 1."""

    background_diameter: Annotated[float, Unit("1"), Gt(0), Lt(1)] = 0.75
    """Diameter of the circle outside of which lies the background, over the box."""

    white_dust: Annotated[float | None, Unit("1"), Gt(0), Advanced()] = None
    """Standard deviations above the mean from which a pixel is replaced by noise; none is unless given."""

    black_dust: Annotated[float | None, Unit("1"), Gt(0), Advanced()] = None
    """The same below the mean."""

    multiply_ctf: bool = False
    """Multiply each particle by its CTF."""

    edges: Literal["skip", "pad"] = "skip"
    """What becomes of particles whose box runs over the micrograph's edge: skip them, or pad the box with the mean."""

    def box_for(self, diameter: float, pixel_size: float) -> int:
        """The box that was given, or one for particles of a diameter: even, with small prime factors.

        Args:
            diameter: Longest extent of the particles, Å.
            pixel_size: Of the micrograph, Å.
        """
        return smooth_even_length(max(16, ROOM * diameter / pixel_size)) if self.box is None else self.box

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.box is not None and self.rescale is not None and self.rescale > self.box:
            raise ValueError("rescale must not be larger than box: it adds nothing")
        return self


def boxes_inside(
    centre: Int[np.ndarray, "n 2"], box: int, shape: tuple[int, int], options: ExtractOptions
) -> Bool[np.ndarray, "n"]:
    """Which particles can be cut out: boxes inside of the micrograph, or with padding at least the centre.

    Args:
        centre: (y, x), px of the micrograph.
        box: Side, px.
        shape: Of the micrograph.
        options: What becomes of edges.
    """
    limit = np.array(shape)
    if options.edges == "pad":
        return np.all((centre >= 0) & (centre < limit), axis=1)
    start = centre - box // 2
    return np.all((start >= 0) & (start + box <= limit), axis=1)


def cut_boxes(
    image: Float[torch.Tensor, "rows columns"], centre: Int[np.ndarray, "n 2"], box: int
) -> Float[torch.Tensor, "n box box"]:
    """Boxes whose pixel box // 2 is the centre; what lies outside of the image takes the mean of what lies inside."""
    result = image.new_empty(len(centre), box, box)
    for k, (y, x) in enumerate((centre - box // 2).tolist()):
        part = image[max(y, 0) : max(y + box, 0), max(x, 0) : max(x + box, 0)]
        if part.shape == (box, box):
            result[k] = part
        else:
            top, left = max(-y, 0), max(-x, 0)
            result[k] = part.mean()
            result[k, top : top + part.shape[0], left : left + part.shape[1]] = part
    return result


def finish_boxes(
    boxes: Float[torch.Tensor, "n box box"],
    pixel_size: float,
    options: ExtractOptions,
    *,
    ctf: ParticleCtf | None = None,
    optics: Optics | None = None,
    seed: int = 0,
) -> Float[torch.Tensor, "n side side"]:
    """From boxes as they are in the micrograph to particle images.

    In turn: multiply by the CTF, rescale, invert, remove dust, normalise, as RELION does.

    Args:
        boxes: Grey values as recorded.
        pixel_size: Å.
        options: What to do.
        ctf: Of each particle, to multiply by it.
        optics: The same.
        seed: For the noise that replaces dust.

    Raises:
        InputError: The CTF is needed and not known, or a background is flat.
    """
    box = boxes.shape[-1]
    side = options.rescale or box
    if options.multiply_ctf or side != box:
        spectrum = torch.fft.rfft2(boxes)
        if options.multiply_ctf:
            spectrum = spectrum * _transfer(box, pixel_size, ctf, optics)
        boxes = torch.fft.irfft2(crop_spectrum(spectrum, box, (side, side)), s=(side, side))
    if options.invert:
        boxes = -boxes
    boxes = _without_dust(boxes, options, seed)
    return normalise(boxes, options.background_diameter) if options.normalise else boxes


def normalise(
    images: Float[torch.Tensor, "n side side"], background_diameter: float
) -> Float[torch.Tensor, "n side side"]:
    """Images without the plane that fits their background, which then has mean 0 and standard deviation 1.

    Args:
        images: Particles.
        background_diameter: Of the circle outside of which the background lies, over the box.

    Raises:
        InputError: A background is flat, or the circle leaves none.
    """
    side = images.shape[-1]
    axis = torch.arange(side, device=images.device, dtype=images.dtype) - side // 2
    outside = torch.hypot(axis[:, None], axis[None]) > background_diameter * side / 2
    weight = outside.to(images.dtype).reshape(-1)
    y, x = torch.meshgrid(axis / side, axis / side, indexing="ij")
    plane = torch.stack([torch.ones_like(y), y, x], -1).reshape(-1, 3)
    ring = plane * weight[:, None]
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdim=True)
    slope = torch.linalg.solve(ring.T @ ring, ring.T @ flat.T)
    flat = torch.addmm(flat, slope.T, plane.T, alpha=-1)
    spread = (flat.square() @ weight / weight.sum()).sqrt()
    if not bool((spread > 0).all()):
        raise InputError("the background of a particle is flat", mend="exclude that micrograph, or pad no edges")
    return flat.div_(spread[:, None]).reshape(images.shape)


def _transfer(
    box: int, pixel_size: float, ctf: ParticleCtf | None, optics: Optics | None
) -> Float[torch.Tensor, "n box half"]:
    if ctf is None or optics is None or optics.voltage is None or optics.cs is None:
        raise InputError(
            "the particles cannot be multiplied by a CTF that is not known", mend="fit it first, or --no-multiply-ctf"
        )
    y, x = (part / pixel_size for part in frequency_grid((box, box)))
    u, v, angle, phase = (
        torch.from_numpy(values).float()[:, None, None]
        for values in (ctf.defocus_u, ctf.defocus_v, np.deg2rad(ctf.angle), np.deg2rad(ctf.phase_shift))
    )
    azimuth, frequency = (part.expand(len(ctf), -1, -1) for part in (torch.atan2(y, x), torch.hypot(y, x)))
    aberration = phase_aberration(
        frequency,
        astigmatic_defocus(azimuth, u, v, angle),
        wavelength=electron_wavelength(optics.voltage),
        cs=optics.cs,
    )
    amplitude = 0.1 if optics.amplitude_contrast is None else optics.amplitude_contrast
    return contrast_transfer(aberration, amplitude_contrast=amplitude, phase_shift=phase)


def _without_dust(images: torch.Tensor, options: ExtractOptions, seed: int) -> torch.Tensor:
    """Pixels far from the mean replaced by noise of the image's mean and standard deviation."""
    if options.white_dust is None and options.black_dust is None:
        return images
    mean, spread = images.mean((1, 2), keepdim=True), images.std((1, 2), keepdim=True)
    far = (images - mean) / spread
    dust = (far > (options.white_dust or math.inf)) | (far < -(options.black_dust or math.inf))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator).to(images) * spread + mean
    return torch.where(dust, noise, images)
