"""What is done to a map between steps: hand, symmetry, filters, resampling, box; and what it is like in numbers."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float

from thon.algorithms.find_symmetry import FindSymmetryOptions, align_to_symmetry, find_symmetry
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_fourier import (
    b_factor_transfer,
    fourier_filter,
    fourier_resize,
    low_pass_transfer,
    volume_shape,
)
from thon.ops.volume_mask import centre_of_mass, solvent_noise
from thon.ops.volume_rotation import flip_hand, move_volume, symmetrise_volume

EDGE = 2
"""Width of the filters' raised cosines, shells."""


class VolumeOptions(Options):
    """In the order in which they are done."""

    flip_hand: bool = False
    """Mirror the map along x."""

    align_symmetry: str | None = None
    """Turn the map so that the axes of this point group lie where they belong; `find` finds the group as well."""

    symmetrise: str | None = None
    """Average the map over this point group."""

    centre: bool = False
    """Move the centre of mass into the centre of the box."""

    low_pass: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Leave out what is finer."""

    high_pass: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Leave out what is coarser."""

    b_factor: Annotated[float, Unit("Å²")] = 0.0
    """Multiply by exp(−B s² / 4); negative sharpens."""

    voxel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Resample to about this voxel size, in Fourier space; to the nearest even box."""

    box: Annotated[int | None, Unit("voxels"), Ge(4)] = None
    """Crop or pad to a cube of this side about the centre, with the solvent's mean around."""

    invert: bool = False
    """Change the sign."""


def transform_volume(
    volume: Float[torch.Tensor, "z y x"], voxel_size: float, options: VolumeOptions
) -> tuple[Float[torch.Tensor, "z2 y2 x2"], float, list[str]]:
    """Do to a map what the options say.

    Returns:
        The map, its voxel size in Å, and sentences about what was found on the way.

    Raises:
        InputError: A box is not cubic where it must be, or there is no such point group.
    """
    notes: list[str] = []
    if options.flip_hand:
        volume = flip_hand(volume)
    if options.align_symmetry is not None:
        volume, note = _align_symmetry(volume, voxel_size, options.align_symmetry)
        notes.append(note)
    if options.symmetrise is not None:
        volume = symmetrise_volume(volume, symmetry_rotations(options.symmetrise))
    if options.centre:
        middle = torch.tensor([n // 2 for n in volume.shape], dtype=torch.float64)
        shift = middle.numpy() - centre_of_mass(volume)
        volume = move_volume(volume, symmetry_rotations("C1")[0], shift)
    volume = _filter(volume, voxel_size, options)
    if options.voxel_size is not None:
        volume, voxel_size = rescale_volume(volume, voxel_size, options.voxel_size)
    if options.box is not None:
        volume = crop_or_pad(volume, (options.box, options.box, options.box))
    return (-volume if options.invert else volume), voxel_size, notes


def rescale_volume(
    volume: Float[torch.Tensor, "z y x"], voxel_size: float, wanted: float
) -> tuple[Float[torch.Tensor, "z2 y2 x2"], float]:
    """Resample a cubic map to the even box whose voxels come nearest to a size, Å; and the size they have.

    Raises:
        InputError: The box is not cubic.
    """
    side = volume.shape[0]
    if len(set(volume.shape)) > 1:
        raise InputError("only cubes are resampled", got=tuple(volume.shape), mend="crop or pad to a cube with --box")
    new = 2 * max(1, round(side * voxel_size / wanted / 2))
    return fourier_resize(volume, (new, new, new)), side * voxel_size / new


def crop_or_pad(volume: Float[torch.Tensor, "z y x"], shape: tuple[int, int, int]) -> Float[torch.Tensor, "z2 y2 x2"]:
    """Cut to a smaller box, or put into a larger one, about the centre voxel n // 2; what is new is solvent."""
    result = volume.new_full(shape, solvent_noise(volume)[0])
    into: list[slice] = []
    out_of: list[slice] = []
    for old, new in zip(volume.shape, shape, strict=True):
        first = new // 2 - old // 2
        start, stop = max(first, 0), min(first + old, new)
        into.append(slice(start, stop))
        out_of.append(slice(start - first, stop - first))
    result[tuple(into)] = volume[tuple(out_of)]
    return result


def scaled_difference(
    volume: Float[torch.Tensor, "z y x"], other: Float[torch.Tensor, "z y x"]
) -> tuple[Float[torch.Tensor, "z y x"], float]:
    """A map less another one, which was scaled to it by least squares; and their correlation.

    Raises:
        ValueError: A map is constant.
    """
    first, second = volume - volume.mean(), other - other.mean()
    power = float((second * second).sum())
    if power == 0 or not bool(first.any()):
        raise ValueError("a constant map has nothing to compare")
    overlap = float((first * second).sum())
    return first - overlap / power * second, overlap / (power * float((first * first).sum())) ** 0.5


def describe_volume(volume: Float[torch.Tensor, "z y x"], voxel_size: float) -> str:
    """Size and statistics of a map in one sentence."""
    z, y, x = volume.shape
    mean, deviation = solvent_noise(volume)
    return (
        f"{x} × {y} × {z} voxels of {voxel_size:.4g} Å, {float(volume.min()):.4g} to {float(volume.max()):.4g}, "
        f"mean {float(volume.mean()):.4g}, deviation {float(volume.std()):.4g}; solvent {mean:.4g} ± {deviation:.2g}."
    )


def _align_symmetry(volume: torch.Tensor, voxel_size: float, name: str) -> tuple[Float[torch.Tensor, "z y x"], str]:
    options = FindSymmetryOptions()
    resolution = max(options.resolution, 4 * voxel_size)
    if name.lower() == "find":
        looked = options.model_copy(update={"resolution": resolution})
        found = find_symmetry(volume, voxel_size, looked)[0]
    else:
        found = align_to_symmetry(volume, name, voxel_size=voxel_size, resolution=resolution)
    moved = move_volume(volume, found.rotation, -found.rotation @ found.centre / voxel_size)
    return moved, f"{found.symmetry}: the map correlates with itself by {found.score:.2f}, at least {found.lowest:.2f}."


def _filter(volume: torch.Tensor, voxel_size: float, options: VolumeOptions) -> torch.Tensor:
    if options.low_pass is None and options.high_pass is None and options.b_factor == 0:
        return volume
    shape = volume_shape(volume)
    transfer = b_factor_transfer(shape, voxel_size, options.b_factor)
    if options.low_pass is not None:
        transfer = transfer * low_pass_transfer(shape, voxel_size, options.low_pass, edge=EDGE)
    if options.high_pass is not None:
        transfer = transfer * (1 - low_pass_transfer(shape, voxel_size, options.high_pass, edge=EDGE))
    return fourier_filter(volume, transfer)
