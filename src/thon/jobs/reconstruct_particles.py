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
from thon.data.particles import ParticleOptics, Particles, join_particles
from thon.formats.maps import write_map
from thon.formats.report.origin import origin_figure
from thon.formats.report.postprocess import fsc_figure
from thon.formats.report.volume_views import views_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole
from thon.jobs.classified_results import check_halves, check_particles, teller
from thon.jobs.map_sources import read_mask
from thon.jobs.particle_source import open_particles
from thon.jobs.published import anisotropy_warnings, box_text, by_direction, publish, resolution_text, views_seen


class ReconstructParticlesJobOptions(ReconstructParticlesOptions):
    mask: Path | None = None
    """Soft mask within which the halves are compared; a sphere unless given."""


def plan_reconstruct_particles(
    particles: tuple[Particles, ...], options: ReconstructParticlesJobOptions, resources: Resources
) -> Plan:
    """What a reconstruction needs, from the number of particles and their box."""
    joined = join_particles(particles)
    box = max((group.box for group in joined.optics), default=0)
    return Plan(
        understood=(f"{len(joined)} particles of {box} px, {options.symmetry}",),
        memory=800_000_000 + 4 * box**3 * (2 * 24 + 36) + resources.threads * 256 * 60 * box * box,
        disk=3 * 4 * box**3,
        seconds=1e-7 * len(joined) * box * box,
        output=joined,
    )


@whole(title="Reconstruct particles", stage="refine", plan=plan_reconstruct_particles, spreads=True)
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
    check_halves(joined, context.seed)
    mask = None if options.mask is None else read_mask(options.mask, (_main(joined).box,) * 3, context)
    torch.set_num_threads(context.threads)
    with open_particles(joined) as source:
        tell = teller(context, 1, len(joined))
        found = reconstruct_with_poses(joined, source, options, mask=mask, seed=context.seed, done=tell)
    return _result(context, joined, found, options)


def _main(particles: Particles) -> ParticleOptics:
    """The optics group of most particles, whose box and pixel size the map has."""
    return particles.optics[int(np.bincount(particles.group).argmax())]


def _result(
    context: Context, particles: Particles, found: Reconstruction, options: ReconstructParticlesJobOptions
) -> RefinedParticles:
    size = _main(particles).pixel_size
    context.log(f"{len(particles):,} particles; the halves agree to {found.resolution:.2f} Å.")
    _report(context, particles, found, options)
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


def _report(
    context: Context, particles: Particles, found: Reconstruction, options: ReconstructParticlesJobOptions
) -> None:
    assert particles.rotation is not None
    size, (first, second) = _main(particles).pixel_size, (torch.from_numpy(half) for half in found.halves)
    efficiency, views = views_seen(particles.rotation, options.symmetry)
    cones = by_direction(first, second, size, None)
    publish(
        context,
        f"Reconstruction from {len(particles):,} particles",
        [
            views_figure(found.volume, size),
            fsc_figure(found.curves, found.resolution),
            views,
            cones and cones[1],
            origin_figure(particles),
        ],
        numbers={
            "Resolution": resolution_text(found.resolution),
            "Particles": f"{len(particles):,}",
            "Symmetry": options.symmetry,
            "Map": box_text(found.volume.shape, size),
            "Efficiency of the views": f"{efficiency:.2f}",
            "FSC area ratio (cFAR)": "–" if cones is None else f"{cones[0].ratio:.2f}",
        },
        options=options,
        warnings=[] if cones is None else anisotropy_warnings(cones[0].ratio),
    )
