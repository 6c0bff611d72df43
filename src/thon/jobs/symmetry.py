"""Find the point group of a map, turn map and poses to its standard axes, and apply it.

Takes classes from ab-initio or 3D classification, or a refinement, or particles with poses and --map-file, which
become one class. Each class is turned by itself, with the point group of the largest. Writes NAME_classNNN.mrc.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt

from thon.algorithms.find_symmetry import (
    FindSymmetryOptions,
    SymmetryAlignment,
    align_to_symmetry,
    find_symmetry,
)
from thon.algorithms.symmetry_poses import move_poses
from thon.base.errors import InputError
from thon.base.options import Unit
from thon.data.maps import ClassifiedParticles, HalfMaps, ParticleClass
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.maps import read_map, write_map
from thon.formats.png import encode_png
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views
from thon.job.context import Context
from thon.job.spec import each
from thon.ops.symmetry import symmetry_name, symmetry_rotations
from thon.ops.volume_rotation import move_volume, symmetrise_volume


class SymmetryOptions(FindSymmetryOptions):
    symmetry: str | None = None
    """Point group to turn the map to; found unless given."""

    map_file: Path | None = None
    """Map that the poses belong to, for particles that come without one."""

    apply: bool = True
    """Average the map over its point group."""

    trusted: Annotated[float, Unit("1"), Gt(0)] = 1.3
    """The map is compared with itself to its own resolution times this, where that is coarser than --resolution."""


@each(title="Symmetry", stage="post-process")
def symmetry(particles: Particles, options: SymmetryOptions, context: Context) -> ClassifiedParticles:
    found = _as_classes(particles, options.map_file, context)
    maps = [k for k, one in enumerate(found.classes) if one.volume is not None]
    if not maps:
        raise InputError("these classes have no maps", mend="take those of ab-initio or 3D classification")
    name = options.symmetry and symmetry_name(options.symmetry)
    largest = max(maps, key=lambda k: found.classes[k].share)
    classes, turned = list(found.classes), found.plain()
    for k in sorted(maps, key=lambda k: k != largest):
        alignment = _alignment(found, found.classes[k], name, options, context)
        name = alignment.symmetry
        context.log(f"Class {k + 1}: {name}, correlation {alignment.score:.2f}, lowest {alignment.lowest:.2f}.")
        classes[k] = _turned_class(
            found.classes[k], alignment, f"{context.item}_class{k + 1:03d}.mrc", options, context
        )
        turned = _turn_members(turned, k + 1, alignment)
    rest = {entry: getattr(turned, entry) for entry in Particles.__dataclass_fields__}
    diameter = options.diameter or found.diameter
    return ClassifiedParticles(**rest, classes=tuple(classes), symmetry=name or "C1", diameter=diameter)


def _as_classes(particles: Particles, path: Path | None, context: Context) -> ClassifiedParticles:
    """The particles as classes; those of a refinement, or of a map in a file, in one.

    Raises:
        InputError: There is no map.
    """
    if isinstance(particles, ClassifiedParticles):
        return particles
    if isinstance(particles, HalfMaps):
        one, diameter = ParticleClass(1.0, particles.resolution, volume=particles.volume), particles.diameter
    elif path is not None:
        context.uses(path)
        values, voxel_size = read_map(path)
        z, y, x = values.shape
        one, diameter = ParticleClass(1.0, float("nan"), volume=Volume(str(path), (z, y, x), voxel_size)), None
    else:
        raise InputError("these particles have no map", mend="give it with --map-file, or take classes or a refinement")
    rest = {entry: getattr(particles, entry) for entry in Particles.__dataclass_fields__}
    rest["class_number"] = np.ones(len(particles), np.int64)
    return ClassifiedParticles(**rest, classes=(one,), diameter=diameter)


def _alignment(
    found: ClassifiedParticles, one: ParticleClass, name: str | None, options: SymmetryOptions, context: Context
) -> SymmetryAlignment:
    values, voxel_size = read_map(one.volume)  # pyright: ignore[reportArgumentType]
    volume = torch.from_numpy(values)
    resolution, diameter = options.resolution, options.diameter or found.diameter
    if np.isfinite(one.resolution):
        resolution = max(resolution, options.trusted * one.resolution)
    if name is not None:
        return align_to_symmetry(volume, name, voxel_size=voxel_size, resolution=resolution, diameter=diameter)
    looked = options.model_copy(update={"resolution": resolution, "diameter": diameter})
    best, tried = find_symmetry(volume, voxel_size, looked)
    for other in tried:
        context.log(f"{other.symmetry}: correlation {other.score:.2f}, lowest {other.lowest:.2f}")
    return best


def _turned_class(
    one: ParticleClass, alignment: SymmetryAlignment, name: str, options: SymmetryOptions, context: Context
) -> ParticleClass:
    values, voxel_size = read_map(one.volume)  # pyright: ignore[reportArgumentType]
    shift = -alignment.rotation @ alignment.centre / voxel_size
    volume = move_volume(torch.from_numpy(values), alignment.rotation, shift)
    if options.apply:
        volume = symmetrise_volume(volume, symmetry_rotations(alignment.symmetry))
    context.preview(name.removesuffix(".mrc"), encode_png(pixels(draw_views(volume.numpy(), voxel_size, LIGHT))))
    return replace(one, volume=write_map(context.output(name), volume.numpy(), voxel_size))


def _turn_members(particles: Particles, number: int, alignment: SymmetryAlignment) -> Particles:
    """The particles of one class with poses for its turned map; the others as they are."""
    members = np.ones(len(particles), bool) if particles.class_number is None else particles.class_number == number
    if particles.rotation is None or not members.any():
        return particles
    moved = move_poses(particles, alignment.rotation, alignment.centre)
    rotation = np.where(members[:, None, None], moved.rotation, particles.rotation)  # pyright: ignore[reportArgumentType, reportCallIssue]
    before = np.zeros((len(particles), 2)) if particles.shift is None else particles.shift
    shift = np.where(members[:, None], moved.shift, before)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return replace(particles, rotation=rotation, shift=shift)
