"""Reconstruct a map and its two halves from particles whose poses are known (RELION's relion_reconstruct).

Nothing is searched. Writes reconstruction.mrc and reconstruction_half1_class001_unfil.mrc with its twin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from thon.algorithms.reconstruct_particles import (
    Reconstruction,
    ReconstructParticlesOptions,
    reconstruct_with_poses,
)
from thon.base.errors import InputError
from thon.data.maps import HalfMaps, RefinedParticles
from thon.data.particles import Particles, join_particles
from thon.formats.maps import read_map, require_same_box, write_map
from thon.formats.particle_images import ParticleImages
from thon.formats.png import encode_png
from thon.formats.report.postprocess import draw_half_fsc
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole
from thon.jobs.classified_results import check_particles, teller


class ReconstructParticlesJobOptions(ReconstructParticlesOptions):
    mask: Path | None = None
    """Soft mask within which the halves are compared; a sphere unless given."""


def plan_reconstruct_particles(
    particles: tuple[Particles, ...], options: ReconstructParticlesJobOptions, resources: Resources
) -> Plan:
    """What a reconstruction needs, from the number of particles and their box."""
    joined = join_particles(particles)
    box = max(group.box for group in joined.optics)
    return Plan(
        understood=(f"{len(joined)} particles of {box} px, {options.symmetry}",),
        memory=800_000_000 + 4 * box**3 * (2 * 24 + 36) + resources.threads * 256 * 60 * box * box,
        disk=3 * 4 * box**3,
        seconds=1e-7 * len(joined) * box * box,
        output=joined,
    )


@whole(title="Reconstruct particles", stage="refine", plan=plan_reconstruct_particles)
def reconstruct_particles(
    particles: tuple[Particles, ...], options: ReconstructParticlesJobOptions, context: Context
) -> RefinedParticles:
    joined = join_particles(particles)
    if options.classes:
        if joined.class_number is None:
            raise InputError("the particles have no classes", mend="leave --classes out")
        joined = joined.select(np.isin(joined.class_number, options.classes))
    if joined.rotation is None:
        raise InputError("the particles have no poses", mend="refine them, or import them from a refinement")
    joined = check_particles(joined, options.diameter or 0.0, 2, need_ctf=options.ctf)
    mask = _read_mask(options.mask, joined, context)
    torch.set_num_threads(context.threads)
    with ParticleImages(joined) as source:
        tell = teller(context, 1, len(joined))
        found = reconstruct_with_poses(joined, source, options, mask=mask, seed=context.seed, done=tell)
    return _result(context, joined, found, options)


def _pixel_size(particles: Particles) -> float:
    return particles.optics[int(np.bincount(particles.group).argmax())].pixel_size


def _read_mask(path: Path | None, particles: Particles, context: Context) -> np.ndarray | None:
    if path is None:
        return None
    mask, _ = read_map(path)
    box = particles.optics[int(np.bincount(particles.group).argmax())].box
    require_same_box(mask, (box,) * 3, "the mask", path)
    context.uses(path)
    return mask


def _result(
    context: Context, particles: Particles, found: Reconstruction, options: ReconstructParticlesJobOptions
) -> RefinedParticles:
    size = _pixel_size(particles)
    context.log(f"{len(particles):,} particles; the halves agree to {found.resolution:.2f} Å.")
    context.preview("map", encode_png(pixels(draw_views(found.volume, size, LIGHT))), "Sections and projections")
    picture = encode_png(pixels(draw_half_fsc(found.curves, found.resolution, LIGHT)))
    context.preview("fsc", picture, "Correlation of the two halves")
    names = ("reconstruction", "reconstruction_half1_class001_unfil", "reconstruction_half2_class001_unfil")
    volume, first, second = (
        write_map(context.output(f"{name}.mrc", title=title), values, size)
        for name, title, values in zip(names, ("Map", None, None), (found.volume, *found.halves), strict=True)
    )
    fields = {name: getattr(particles, name) for name in Particles.__dataclass_fields__} | {"half": found.half}
    maps = HalfMaps(
        volume=volume,
        first=first,
        second=second,
        symmetry=options.symmetry,
        resolution=found.resolution,
        curves=found.curves,
        diameter=options.diameter,
    )
    return RefinedParticles(**fields, **{name: getattr(maps, name) for name in HalfMaps.__dataclass_fields__})
