"""Change or compare maps in files: align, flip, symmetrise, filter, resample, crop, pad, mask, subtract, FSC.

What is asked for is done in that order. With --fsc, a table of the curve is written beside OUT as OUT_fsc.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt

from thon.algorithms.align_volumes import AlignVolumesOptions, align_volumes
from thon.algorithms.half_correlation import filled, resolution_of
from thon.algorithms.mask import MaskOptions, make_mask
from thon.algorithms.volume_tools import VolumeOptions, describe_volume, scaled_difference, transform_volume
from thon.base.errors import InputError
from thon.base.options import Unit
from thon.formats.maps import read_map, require_same_box, write_map
from thon.formats.png import encode_png
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views
from thon.job.context import Context
from thon.job.spec import each
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.volume_rotation import flip_hand, move_volume


class VolumeJobOptions(VolumeOptions):
    target: str = "volume.mrc"
    """Name of the new file."""

    given_voxel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Voxel size of the input, in place of what its header says."""

    align_to: Path | None = None
    """Turn and move the map onto this one first."""

    align: AlignVolumesOptions = AlignVolumesOptions()
    """How that is done."""

    to: Literal["map", "mask", "difference"] = "map"
    """What is written: the map, a soft mask made from it, or what is left when --other is taken off."""

    mask: MaskOptions = MaskOptions()
    """How a mask is made."""

    multiply: Path | None = None
    """Mask that the map is multiplied by at last, and within which maps are compared."""

    other: Path | None = None
    """Map to take off, scaled by least squares."""

    fsc: Path | None = None
    """Map to compare with shell by shell."""


@each(title="Volume", stage="tools", standalone=True)
def volume(source: Path, options: VolumeJobOptions, context: Context) -> Path:
    target = context.output(options.target)
    values, stored = read_map(source)
    size = options.given_voxel_size or stored
    made = torch.from_numpy(values)
    context.log(describe_volume(made, size))
    if options.align_to is not None:
        made = _aligned(made, size, options.align_to, options.align, context)
    made, size, notes = transform_volume(made, size, options)
    for note in notes:
        context.log(note)
    mask = None if options.multiply is None else _like(options.multiply, made, "the mask", context)
    if options.fsc is not None:
        _compare(made, _like(options.fsc, made, "the other map", context), mask, size, target, context)
    made = made if mask is None else made * mask
    if options.to == "mask":
        made = make_mask(made, size, options.mask).mask
    elif options.to == "difference":
        made = _difference(made, options.other, mask, context)
    write_map(target, made.numpy(), size)
    context.log(describe_volume(made, size))
    context.preview("views", encode_png(pixels(draw_views(made.numpy(), size, LIGHT))))
    return target


def _aligned(
    made: torch.Tensor, voxel_size: float, path: Path, options: AlignVolumesOptions, context: Context
) -> torch.Tensor:
    reference = _like(path, made, "the map to align to", context)
    found = align_volumes(made, reference, voxel_size, options)
    hand = ", mirror image" if found.flipped else ""
    context.log(f"Aligned{hand}: correlation {found.score:.3f}, moved by {np.linalg.norm(found.shift):.1f} Å.")
    turned = flip_hand(made) if found.flipped else made
    return move_volume(turned, found.rotation, found.shift / voxel_size)


def _like(path: Path, made: torch.Tensor, what: str, context: Context) -> torch.Tensor:
    """Another map in the same box."""
    context.uses(path)
    values, _ = read_map(path)
    require_same_box(values, tuple(made.shape), what, path)
    return torch.from_numpy(values)


def _compare(
    made: torch.Tensor,
    other: torch.Tensor,
    mask: torch.Tensor | None,
    voxel_size: float,
    target: Path,
    context: Context,
) -> None:
    found = fourier_shell_correlation(made, other, voxel_size, mask=mask)
    frequency, curve = found.frequency.numpy(), filled(found)
    table = context.output(f"{target.stem}_fsc.csv")
    np.savetxt(table, np.stack([frequency, curve], -1), fmt="%.6f", delimiter=",", header="frequency (1/Å),FSC")
    context.log(f"FSC: 0.143 at {resolution_of(frequency, curve):.2f} Å, mean {curve[1:].mean():.3f}.")


def _difference(made: torch.Tensor, path: Path | None, mask: torch.Tensor | None, context: Context) -> torch.Tensor:
    if path is None:
        raise InputError("there is no other map to take off", mend="give it with --other")
    other = _like(path, made, "the other map", context)
    left, correlation = scaled_difference(made, other if mask is None else other * mask)
    context.log(f"The maps correlate by {correlation:.4f}.")
    return left
