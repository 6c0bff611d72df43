"""Find the point group of a map, turn map and poses to its standard axes, and apply it.

Takes classes from ab-initio or 3D classification, or a refinement, or particles with poses and --map-file, which
become one class. Each class is turned by itself, with the point group of the largest. Writes NAME_classNNN.mrc and a
report.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from thon.formats.report.job_page import ReportFigure
from thon.formats.report.symmetries import symmetries_figure
from thon.formats.report.volume_views import views_figure
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.published import publish
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
    classes, turned, views = list(found.classes), found.plain(), list[ReportFigure]()
    alignments: list[SymmetryAlignment] = []
    groups: Sequence[SymmetryAlignment] = ()
    for k in sorted(maps, key=lambda k: k != largest):
        alignment, tried = _alignment(found, found.classes[k], name, options, context)
        alignments.append(alignment)
        # Those of the largest class, which comes first.
        name, groups = alignment.symmetry, groups or tried
        context.log(f"Class {k + 1}: {name}, correlation {alignment.score:.2f}, lowest {alignment.lowest:.2f}.")
        path = context.output(f"{context.item}_class{k + 1:03d}.mrc", title=f"Class {k + 1}")
        classes[k], shown = _turned_class(found.classes[k], alignment, path, options)
        turned = _turn_members(turned, k + 1, alignment)
        views.append(shown)
    _report(alignments, groups, views, options, context)
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
) -> tuple[SymmetryAlignment, Sequence[SymmetryAlignment]]:
    """Where the axes lie, and how well each point group that was tried fits."""
    values, voxel_size = read_map(one.volume)  # pyright: ignore[reportArgumentType]
    volume = torch.from_numpy(values)
    resolution, diameter = options.resolution, options.diameter or found.diameter
    if np.isfinite(one.resolution):
        resolution = max(resolution, options.trusted * one.resolution)
    if name is not None:
        best = align_to_symmetry(volume, name, voxel_size=voxel_size, resolution=resolution, diameter=diameter)
        return best, [best]
    looked = options.model_copy(update={"resolution": resolution, "diameter": diameter})
    best, tried = find_symmetry(volume, voxel_size, looked)
    for other in tried:
        context.log(f"{other.symmetry}: correlation {other.score:.2f}, lowest {other.lowest:.2f}")
    return best, tried or [best]


def _turned_class(
    one: ParticleClass, alignment: SymmetryAlignment, path: Path, options: SymmetryOptions
) -> tuple[ParticleClass, ReportFigure]:
    """The class with its map on the standard axes, written to the path, and its figure."""
    values, voxel_size = read_map(one.volume)  # pyright: ignore[reportArgumentType]
    shift = -alignment.rotation @ alignment.centre / voxel_size
    volume = move_volume(torch.from_numpy(values), alignment.rotation, shift)
    if options.apply:
        volume = symmetrise_volume(volume, symmetry_rotations(alignment.symmetry))
    views = views_figure(volume.numpy(), voxel_size, path.stem, f"{path.stem}, {alignment.symmetry}")
    return replace(one, volume=write_map(path, volume.numpy(), voxel_size)), views


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


def _report(
    alignments: Sequence[SymmetryAlignment],
    groups: Sequence[SymmetryAlignment],
    views: Sequence[ReportFigure],
    options: SymmetryOptions,
    context: Context,
) -> None:
    first = alignments[0]
    names, mean, lowest = zip(*((one.symmetry, one.score, one.lowest) for one in groups), strict=True)
    publish(
        context,
        f"Symmetry: {first.symmetry}",
        [symmetries_figure(names, mean, lowest), *views],
        numbers={
            "Point group": first.symmetry,
            "Correlation": f"{first.score:.2f}, lowest {first.lowest:.2f}",
            "Maps turned": str(len(alignments)),
            "Averaged over the group": "yes" if options.apply else "no",
        },
        options=options,
    )
