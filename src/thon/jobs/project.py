"""Project a map along even directions, or at the poses of particles, with or without their CTFs (relion_project).

Writes a stack with a star that says the poses, to look at beside particles or class averages, or as templates.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thon.algorithms.project_map import ProjectOptions, even_rotations, project_particles
from thon.base.errors import InputError
from thon.base.options import Options
from thon.data.optics import Optics
from thon.data.particles import ParticleOptics, Particles
from thon.formats.maps import read_map
from thon.formats.mrc import MrcWriter
from thon.formats.relion_particles import read_particles
from thon.formats.report.classes import montage_figure
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.published import publish

_SHOWN = 32


class ProjectJobOptions(ProjectOptions):
    poses: Path | None = None
    """Star of particles whose poses are taken; even directions without."""


def expand_map(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """One map, named after its file."""
    return {path.stem: {"file": (path,)}}


@each(title="Project", stage="tools", expand=expand_map)
def project(file: Path, options: ProjectJobOptions, context: Context) -> Particles:
    volume, pixel_size = read_map(file)
    if len(set(volume.shape)) != 1:
        raise InputError("is no cube", path=file, got=volume.shape, mend="crop or pad it with `thon volume`")
    if options.poses is None:
        rotation = even_rotations(options.angular_step, options.symmetry)
        particles = _of_directions(rotation, len(volume), pixel_size)
    else:
        particles = _of_star(options.poses, len(volume), pixel_size, ctf=options.ctf)
        context.uses(options.poses)
    if options.ctf and particles.ctf is None:
        raise InputError("there are no CTFs to multiply projections with", mend="give particles with CTFs by --poses")
    torch.set_num_threads(context.threads)
    path = context.output(f"{context.item}_projections.mrcs", title="Projections")
    shown: list[np.ndarray] = []
    first = 0
    with MrcWriter(path, (len(particles), len(volume), len(volume)), pixel_size) as stack:
        for images in project_particles(volume, pixel_size, particles, ctf=options.ctf):
            stack[first : first + len(images)] = images
            first += len(images)
            shown += list(images[: _SHOWN - len(shown)])
            context.progress(first, len(particles))
    number, box = len(particles), len(volume)
    title, what = f"Projections of {context.item}", f"The first {len(shown)} of {number:,} projections, side by side"
    publish(
        context,
        title,
        [montage_figure(np.stack(shown), "projections", "Projections", what)],
        numbers={
            "Projections": f"{number:,}",
            "Images": f"{box} px of {pixel_size:.4g} Å",
            "Directions": "those of the particles" if options.poses else f"even, {options.angular_step:g}° apart",
        },
        options=options,
    )
    context.log(f"{len(particles):,} projections of {len(volume)} px at {pixel_size:g} Å.")
    return _in_stack(particles, path)


def _of_directions(rotation: np.ndarray, box: int, pixel_size: float) -> Particles:
    n = len(rotation)
    nothing = np.zeros(n, np.int64)
    return Particles(
        optics=(ParticleOptics("projections", Optics(), pixel_size, box),),
        group=nothing,
        files=("",),
        file=nothing,
        section=np.arange(n),
        micrograph=nothing - 1,
        rotation=rotation,
        shift=np.zeros((n, 2)),
    )


def _of_star(path: Path, box: int, pixel_size: float, *, ctf: bool) -> Particles:
    """Particles with poses, as their projections lie in the map's box.

    Raises:
        InputError: They have no poses, or another pixel size than the map.
    """
    found = read_particles(path, need_images=False, need_ctf=ctf)
    if found.rotation is None or not len(found):
        raise InputError("has no poses", path=path, expected="particles of a refinement")
    for group in found.optics:
        if abs(group.pixel_size - pixel_size) > 0.01 * pixel_size:
            raise InputError(
                f"optics group '{group.name}' has another pixel size than the map",
                path=path,
                got=f"{group.pixel_size:g} Å",
                expected=f"{pixel_size:g} Å",
                mend="resample the map with `thon volume`",
            )
    optics = tuple(ParticleOptics(group.name, group.optics, pixel_size, box) for group in found.optics)
    return replace(found, optics=optics, columns={})


def _in_stack(particles: Particles, path: Path) -> Particles:
    n = len(particles)
    return replace(particles, files=(str(path),), file=np.zeros(n, np.int64), section=np.arange(n))
