"""Cut particles out of a micrograph: boxes, Fourier rescaling, contrast, and grey values relative to the background."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from jaxtyping import Bool, Float, Int
from pydantic import model_validator

from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.particles import ParticleCtf, ParticleOptics
from thon.ops.fourier import crop_spectrum, frequency_grid
from thon.ops.lengths import smooth_even_length
from thon.ops.particle_ctf import particle_ctf, true_frequency
from thon.ops.threads import map_in_threads

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

    def read(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns].numpy()

    shape = (image.shape[0], image.shape[1])
    found = [cut_box(read, shape, (y, x), box) for y, x in centre.tolist()]
    return torch.stack(found) if found else image.new_empty(0, box, box)


def cut_box(
    read: Callable[[slice, slice], np.ndarray], shape: tuple[int, int], centre: tuple[int, int], box: int
) -> Float[torch.Tensor, "box box"]:
    """One box, of which only what lies inside of the image is read; see `cut_boxes`.

    Args:
        read: Gives rows and columns of the image.
        shape: Of the image.
        centre: (y, x), px.
        box: Side, px.
    """
    (top, left), (rows, columns) = (c - box // 2 for c in centre), shape
    inside = read(slice(max(top, 0), min(top + box, rows)), slice(max(left, 0), min(left + box, columns)))
    part = torch.from_numpy(np.ascontiguousarray(inside, np.float32))
    if part.shape == (box, box):
        return part
    result = part.mean().repeat(box, box)
    result[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    return result


def dust_seeds(centre: Int[np.ndarray, "n 2"]) -> list[int]:
    """Seeds of the noise that replaces dust, by where each box lies: the same whenever and with whomever it is cut."""
    return [(y << 20) + x for y, x in centre.tolist()]


def finish_boxes(
    boxes: Float[torch.Tensor, "n box box"],
    pixel_size: float,
    options: ExtractOptions,
    *,
    ctf: ParticleCtf | None = None,
    group: ParticleOptics | None = None,
    seeds: Sequence[int] | None = None,
) -> Float[torch.Tensor, "n side side"]:
    """From boxes as they are in the micrograph to particle images.

    In turn: multiply by the CTF, rescale, invert, remove dust, normalise, as RELION does. Each box is worked on by
    itself, so that its image is the same, bit for bit, in whichever company it is made.

    Args:
        boxes: Grey values as recorded.
        pixel_size: Å.
        options: What to do.
        ctf: Of each particle, to multiply by it.
        group: Their optics group, for the same.
        seeds: Of the noise that replaces dust, for each particle; 0, 1, 2, … unless given.

    Raises:
        InputError: The CTF is needed and not known, or a background is flat.
    """
    box, side = boxes.shape[-1], options.rescale or boxes.shape[-1]
    seeds = range(len(boxes)) if seeds is None else seeds
    background = Background.of(side, options.background_diameter) if options.normalise else None

    def finish(k: int) -> torch.Tensor:
        image = boxes[k]
        if options.multiply_ctf or side != box:
            spectrum = torch.fft.rfft2(image)
            if options.multiply_ctf:
                spectrum = spectrum * _transfer(box, pixel_size, ctf, group, k)
            image = torch.fft.irfft2(crop_spectrum(spectrum, box, (side, side)), s=(side, side))
        image = _without_dust(-image if options.invert else image, options, seeds[k])
        return image if background is None else background.normalise(image)

    return torch.stack(map_in_threads(finish, range(len(boxes)))) if len(boxes) else boxes.new_empty(0, side, side)


@dataclass(frozen=True)
class Background:
    """What lies outside of a circle in images of one size.

    Args:
        plane: Constant, slope along y and along x, of each pixel.
        fit: What makes the coefficients of the plane that fits the background best of an image.
        share: 1 over their number for pixels of the background, 0 for others.
    """

    plane: Float[torch.Tensor, "3 pixels"]
    fit: Float[torch.Tensor, "3 pixels"]
    share: Float[torch.Tensor, "pixels"]

    @classmethod
    def of(cls, side: int, diameter: float) -> Self:
        """Outside of a circle of a diameter that counts from the side, 0 to 1."""
        axis = torch.arange(side, dtype=torch.float64) - side // 2
        outside = (torch.hypot(axis[:, None], axis[None]) > diameter * side / 2).double().reshape(-1)
        y, x = torch.meshgrid(axis / side, axis / side, indexing="ij")
        plane = torch.stack([torch.ones_like(y), y, x]).reshape(3, -1)
        ring = plane * outside
        fit = torch.linalg.solve(ring @ plane.T, ring)
        return cls(plane.float(), fit.float(), (outside / outside.sum()).float())

    def normalise(self, image: Float[torch.Tensor, "side side"]) -> Float[torch.Tensor, "side side"]:
        """The image without the plane that fits its background, which then has mean 0 and standard deviation 1.

        Raises:
            InputError: The background is flat, or the circle leaves none.
        """
        flat = image.reshape(-1) - image.mean()
        flat = torch.addmv(flat, self.plane.T, self.fit @ flat, alpha=-1)
        spread = float((flat.square() @ self.share).sqrt())
        if spread == 0:
            raise InputError("the background of a particle is flat", mend="exclude that micrograph, or pad no edges")
        return (flat / spread).reshape(image.shape)


def _transfer(
    box: int, pixel_size: float, ctf: ParticleCtf | None, group: ParticleOptics | None, k: int
) -> Float[torch.Tensor, "box half"]:
    """The CTF of one particle over a half spectrum."""
    if ctf is None or group is None or None in (group.optics.voltage, group.optics.cs, group.optics.amplitude_contrast):
        raise InputError(
            "the particles cannot be multiplied by a CTF that is not known", mend="fit it first, or --no-multiply-ctf"
        )
    y, x = (part / pixel_size for part in frequency_grid((box, box)))
    recorded = torch.stack(torch.broadcast_tensors(y, x), -1).double()
    return particle_ctf(true_frequency(recorded, group), ctf.select(np.array([k])), group)[0].float()


def _without_dust(
    image: Float[torch.Tensor, "side side"], options: ExtractOptions, seed: int
) -> Float[torch.Tensor, "side side"]:
    """Pixels far from the mean replaced by noise of the image's mean and standard deviation."""
    if options.white_dust is None and options.black_dust is None:
        return image
    mean, spread = image.mean(), image.std()
    far = (image - mean) / spread
    dust = (far > (options.white_dust or math.inf)) | (far < -(options.black_dust or math.inf))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * spread + mean
    return torch.where(dust, noise, image)
