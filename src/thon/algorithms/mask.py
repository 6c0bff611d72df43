"""Soft masks around a particle: from a map by threshold, or a sphere or cylinder.

A thresholded mask is made as RELION makes it: the map is low-passed, what is at least as dense as the threshold is
extended, and a raised cosine falls off outside of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.ops.volume_fourier import low_pass, volume_shape
from thon.ops.volume_mask import cylinder_mask, soft_mask, solvent_noise, sphere_mask

NOISE_FACTOR, PEAK_SHARE = 5, 0.1
"""An automatic threshold lies this many deviations above the solvent, and this share of the way to the peak."""


class MaskOptions(Options):
    """What a mask follows and how wide it is."""

    shape: Literal["threshold", "sphere", "cylinder"] = "threshold"
    """What it follows: the density of the map, or a sphere or a cylinder (along z) about the centre of its box."""

    low_pass: Annotated[float | None, Unit("Å"), Gt(0)] = 15.0
    """Resolution to which the map is filtered before its density is looked at; none leaves it as it is."""

    threshold: Annotated[float | None, Unit("1")] = None
    """Density from which a voxel belongs to the particle; from the noise of the solvent and the peak unless given."""

    extend: Annotated[float, Unit("px"), Ge(0)] = 3.0
    """How far what was found is extended."""

    edge: Annotated[float, Unit("px"), Ge(0)] = 3.0
    """Width of the raised cosine beyond."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the sphere or the cylinder; what fits into the box with its edge unless given."""

    length: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the cylinder; the whole box unless given."""

    combine: Literal["and", "or", "and-not", "or-not"] = "and"
    """How another map takes part: where it is dense as well, or instead, or where it is not."""

    invert: bool = False
    """One outside and zero inside."""


@dataclass(frozen=True)
class MadeMask:
    """A mask and how it came about.

    Args:
        mask: 0 to 1.
        threshold: Density from which voxels were inside; None for a sphere or cylinder.
        share: Of the box that the mask takes, its values summed, 0 to 1.
    """

    mask: Float[torch.Tensor, "z y x"]
    threshold: float | None

    @property
    def share(self) -> float:
        """Of the box that the mask takes, its values summed."""
        return float(self.mask.mean())


def make_mask(
    volume: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    options: MaskOptions,
    *,
    other: Float[torch.Tensor, "z2 y2 x2"] | None = None,
) -> MadeMask:
    """Make a soft mask in the box of a map.

    Args:
        volume: The map.
        voxel_size: Å.
        options: What it follows and how wide it is.
        other: Another map or mask that takes part, for masks by threshold.

    Raises:
        InputError: The mask would be empty or fill its box, or the other map has another box.
    """
    if options.shape != "threshold":
        mask, threshold = _geometric(volume_shape(volume), voxel_size, options).to(volume.device), None
    else:
        inside, threshold = _dense(volume, voxel_size, options)
        if other is not None:
            inside = _combined(inside, _dense_in_other(other, volume, voxel_size, options), options.combine)
        _check(inside, volume, threshold)
        mask = soft_mask(inside, extend=options.extend, edge=options.edge)
    return MadeMask(1 - mask if options.invert else mask, threshold)


def automatic_threshold(volume: Float[torch.Tensor, "z y x"]) -> float:
    """Density that tells particle from solvent in a low-passed map.

    The higher of five deviations of the solvent above its mean, and a tenth of the way from there to the peak: the
    latter where the solvent was flattened, or is so even that the particle's own ripples stand out of it.
    """
    mean, deviation = solvent_noise(volume)
    return max(mean + NOISE_FACTOR * deviation, mean + PEAK_SHARE * (float(volume.max()) - mean))


def _dense(
    volume: Float[torch.Tensor, "z y x"], voxel_size: float, options: MaskOptions
) -> tuple[Bool[torch.Tensor, "z y x"], float]:
    smooth = volume if options.low_pass is None else low_pass(volume, voxel_size, options.low_pass)
    threshold = automatic_threshold(smooth) if options.threshold is None else options.threshold
    return smooth >= threshold, threshold


def _dense_in_other(
    other: torch.Tensor, volume: torch.Tensor, voxel_size: float, options: MaskOptions
) -> Bool[torch.Tensor, "z y x"]:
    if other.shape != volume.shape:
        got, expected = tuple(other.shape), tuple(volume.shape)
        raise InputError("the other map has another box", got=got, expected=expected, mend="crop, pad or resize it")
    return _dense(other, voxel_size, options)[0]


def _combined(first: torch.Tensor, second: torch.Tensor, how: str) -> Bool[torch.Tensor, "z y x"]:
    second = ~second if how.endswith("not") else second
    return first & second if how.startswith("and") else first | second


def _check(inside: torch.Tensor, volume: torch.Tensor, threshold: float) -> None:
    share = float(inside.float().mean())
    if share in (0.0, 1.0):
        raise InputError(
            f"the mask is {'empty' if share == 0 else 'the whole box'} at a threshold of {threshold:.4g}",
            got=f"densities from {float(volume.min()):.4g} to {float(volume.max()):.4g}",
            mend="give a threshold between them",
        )


def _geometric(shape: tuple[int, int, int], voxel_size: float, options: MaskOptions) -> Float[torch.Tensor, "z y x"]:
    room = min(shape) / 2 - options.edge - 1 if options.shape == "sphere" else min(shape[1:]) / 2 - options.edge - 1
    radius = room if options.diameter is None else options.diameter / voxel_size / 2
    if radius <= 0 or radius + options.edge > min(shape) / 2 + 1:
        raise InputError(
            f"a {options.shape} of this diameter and its edge do not fit into the box",
            got=f"{2 * radius * voxel_size:.4g} Å",
            expected=f"at most {2 * room * voxel_size:.4g} Å",
        )
    if options.shape == "sphere":
        return sphere_mask(shape, radius, edge=options.edge)
    length = shape[0] + 2 * options.edge if options.length is None else options.length / voxel_size
    return cylinder_mask(shape, radius, length, edge=options.edge)
