"""Maps that jobs begin from: references at the scale of the particles, half maps and masks as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.half_correlation import correlate_halves
from thon.algorithms.mask import MaskOptions, make_mask
from thon.algorithms.volume_tools import crop_or_pad
from thon.base.errors import InputError
from thon.data.maps import HalfMaps
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.maps import read_map, require_same_box, write_map
from thon.job.context import Context
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_fourier import fourier_resize

AUTOMATIC = MaskOptions(edge=6)
"""How a mask is made where none is given: a softer edge than for other uses, since halves are compared within it."""


def fit_to_particles(
    reference: Float[np.ndarray, "z y x"], voxel_size: float, particles: Particles, context: Context
) -> tuple[Float[np.ndarray, "z2 y2 x2"], float]:
    """A reference in the widest box of the particles, its voxels as fine as their finest pixels.

    What is refined has the reference's box: one with coarser voxels would hold all detail back. RELION does so too.

    Returns:
        The reference, and its voxel size in Å, which is that of the pixels as nearly as even boxes of the same extent
        come.
    """
    pixel_size = min(group.pixel_size for group in particles.optics)
    extent = max(group.box * group.pixel_size for group in particles.optics)
    box, wide = (2 * round(extent / size / 2) for size in (pixel_size, voxel_size))
    if len(reference) == box and abs(voxel_size - pixel_size) < 1e-3 * pixel_size:
        return reference, voxel_size
    padded = crop_or_pad(torch.from_numpy(reference), (wide, wide, wide))
    made, size = fourier_resize(padded, (box, box, box)).numpy(), voxel_size * wide / box
    context.log(
        f"The reference, {len(reference)} voxels of {voxel_size:.4g} Å, was brought to {box} of {size:.4g} Å, as the "
        "particles."
    )
    return made, size


def read_halves(maps: HalfMaps) -> tuple[Float[torch.Tensor, "z y x"], Float[torch.Tensor, "z y x"], float]:
    """The two half maps and their voxel size, Å.

    Raises:
        InputError: They cannot be read, or have different boxes.
    """
    first, voxel_size = read_map(maps.first)
    second, _ = read_map(maps.second)
    require_same_box(second, first.shape, "the second half map", maps.second.path)
    return torch.from_numpy(first), torch.from_numpy(second), voxel_size


def find_mask(
    maps: HalfMaps,
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    given: Volume | Path | None,
    context: Context,
) -> tuple[Float[torch.Tensor, "z y x"], Volume] | None:
    """The mask that was given, or that of the map's record, or one made from the map and written.

    None is made where the halves have nothing in common: it would follow their noise.

    Raises:
        InputError: It has another box than the map, or is no mask.
    """
    source = given or maps.mask
    size = maps.first.voxel_size
    if source is None:
        order = len(symmetry_rotations(maps.symmetry))
        if not np.isfinite(correlate_halves(first, second, size, symmetry_order=order).resolution):
            context.log("No mask was made: the halves have nothing in common.")
            return None
        made = make_mask((first + second) / 2, size, AUTOMATIC)
        context.log(f"A mask was made from the map: {100 * made.share:.1f} % of the box.")
        return made.mask, write_map(context.output(f"{context.item}_mask.mrc"), made.mask.numpy(), size)
    values = read_mask(source, tuple(first.shape), context)
    z, y, x = values.shape
    return torch.from_numpy(values), Volume(str(_path(source)), (z, y, x), size)


def read_mask(source: Volume | Path, box: tuple[int, ...], context: Context) -> Float[np.ndarray, "z y x"]:
    """A mask that was given for maps of a box.

    Raises:
        InputError: It has another box, holds nothing, or values outside 0 … 1.
    """
    values, path = read_map(source)[0], _path(source)
    context.uses(path)
    require_same_box(values, box, "the mask", path)
    if values.min() < -1e-3 or values.max() > 1 + 1e-3 or values.max() <= 0:
        raise InputError("is no mask", path=path, got=f"{values.min():g} to {values.max():g}", expected="0 to 1")
    return values


def require_room(
    reference: Float[np.ndarray, "z y x"], pixel_size: float, diameter: float, source: Volume | Path
) -> None:
    """Refuse a reference whose box does not hold a particle.

    Raises:
        InputError: It is no cube, or smaller than the diameter, Å.
    """
    path = _path(source)
    if len(set(reference.shape)) > 1:
        got = " × ".join(map(str, reference.shape))
        raise InputError("the reference is no cube", path=path, got=got, mend="pad it with `thon volume`")
    if len(reference) * pixel_size < diameter:
        raise InputError(
            "the reference's box is too small for the diameter",
            path=path,
            got=f"{len(reference) * pixel_size:.0f} Å",
            expected=f"at least {diameter:.0f} Å",
            mend="pad it with `thon volume`, or give a smaller --diameter",
        )


def _path(source: Volume | Path) -> Path:
    return Path(source.path) if isinstance(source, Volume) else source
