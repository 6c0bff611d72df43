"""Sort particles into classes of different structures, each with its own map.

Begins from one reference, from which classes part by chance and by what particles say, or from several. Writes
classNNN.mrc. Every iteration leaves a checkpoint: a run that was killed goes on from there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.classify3d import Classify3d, Classify3dOptions
from thon.algorithms.likelihood.classes import ClassState
from thon.base.errors import InputError
from thon.data.maps import ClassifiedParticles, HalfMaps, ParticleClass
from thon.data.particles import Particles, join_particles
from thon.formats.maps import read_map, require_same_box, write_map
from thon.formats.png import encode_png
from thon.formats.report.classes import draw_gallery, maps_figure
from thon.formats.report.origin import origin_figure
from thon.formats.report.style import LIGHT, pixels
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole
from thon.jobs.classified_results import (
    ClassTrail,
    check_particles,
    class_figures,
    class_numbers,
    class_shares,
    classified_fields,
    empty_classes,
    sentence,
    teller,
)
from thon.jobs.iterations import keep_state, last_state
from thon.jobs.map_sources import fit_to_particles, read_mask, require_room
from thon.jobs.particle_source import open_particles
from thon.jobs.published import publish


class Classify3dJobOptions(Classify3dOptions):
    """Classification of particles in files."""

    references: tuple[Path, ...] = ()
    """Maps to begin from: one for all classes, or one for each; without, the map that particles come with."""

    mask: Path | None = None
    """Soft mask of the references' box that maps are multiplied with: what lies outside cannot tell classes apart."""


def plan_classify3d(particles: tuple[Particles, ...], options: Classify3dJobOptions, resources: Resources) -> Plan:
    """What a classification needs, from the number of particles, their box and the number of classes."""
    joined = join_particles(particles)
    box = max((group.box for group in joined.optics), default=0)
    classes = max(options.classes, len(options.references))
    padded = 8 * box**3 // 2
    return Plan(
        understood=(f"{len(joined)} particles of {box} px into {classes} classes, {options.symmetry}",),
        memory=1_000_000_000 + padded * classes * (8 + 24) + padded * 36 + resources.threads * 256 * 60 * box * box,
        disk=4 * classes * box**3,
        seconds=3e-7 * len(joined) * box * box * classes * options.iterations,
        output=joined,
    )


@whole(title="Classify 3D", stage="classify", plan=plan_classify3d, spreads=True)
def classify3d(
    particles: tuple[Particles, ...], options: Classify3dJobOptions, context: Context
) -> ClassifiedParticles:
    joined = check_particles(join_particles(particles), options.diameter, options.classes)
    references, pixel_size = _read_references(particles, joined, options, context)
    mask = None if options.mask is None else read_mask(options.mask, references.shape[1:], context)
    if joined.rotation is None and (options.local_sigma or not options.align):
        raise InputError("the particles have no poses to keep or to search nearby", mend="refine them, or search all")
    torch.set_num_threads(context.threads)
    with open_particles(joined) as source:
        run = Classify3d(joined, source, pixel_size, options, context.seed, mask)
        state = last_state(context, len(joined), lambda: run.start(references))
        trail = ClassTrail.begin(context, len(joined), len(state.records))
        while len(state.records) < options.iterations:
            state = run.iterate(state, teller(context, len(state.records) + 1, len(joined)))
            trail = trail.follow(context, state, options.iterations)
            keep_state(context, state)
            context.log(sentence(state.records[-1]))
            _show(context, run, state)
    return _result(context, run, state, trail)


def _read_references(
    particles: tuple[Particles, ...], joined: Particles, options: Classify3dJobOptions, context: Context
) -> tuple[Float[np.ndarray, "maps z y x"], float]:
    """The maps to begin from at the scale of the particles, and their voxel size, Å.

    Raises:
        InputError: There are none, or their boxes or voxel sizes differ.
    """
    paths: list[Path] = list(options.references)
    if not paths:
        paths = [Path(one.volume.path) for one in particles if isinstance(one, HalfMaps)][:1]
        paths = paths or _maps_of_classes(particles)
    if not paths:
        raise InputError("there is no map to begin from", mend="give it with --references")
    maps, sizes = zip(*(read_map(path) for path in paths), strict=True)
    for path, one, size in zip(paths, maps, sizes, strict=True):
        context.uses(path)
        require_same_box(one, maps[0].shape, "a reference", path)
        require_room(one, size, options.diameter, path)
        if abs(size - sizes[0]) > 1e-3 * sizes[0]:
            raise InputError("references differ in voxel size", path=path, got=size, expected=sizes[0])
    fitted = [fit_to_particles(one, sizes[0], joined, context) for one in maps]
    return np.stack([one for one, _ in fitted]), fitted[0][1]


def _maps_of_classes(particles: tuple[Particles, ...]) -> list[Path]:
    for one in particles:
        if isinstance(one, ClassifiedParticles):
            return [Path(known.volume.path) for known in one.classes if known.volume is not None]
    return []


def _show(context: Context, run: Classify3d, state: ClassState) -> None:
    classes = [ParticleClass(*known) for known in zip(class_shares(state), state.records[-1].resolution, strict=True)]
    views = state.references.sum(1)
    gallery = draw_gallery(views, classes, len(run.particles), run.pixel_size, LIGHT)
    context.preview("classes", encode_png(pixels(gallery)), "Projections along z, with particles and resolution")


def _result(context: Context, run: Classify3d, state: ClassState, trail: ClassTrail) -> ClassifiedParticles:
    known = zip(class_shares(state), state.records[-1].resolution, state.references, strict=True)
    classes = tuple(
        ParticleClass(
            share,
            resolution,
            volume=write_map(context.output(f"class{k:03d}.mrc", title=f"Class {k}"), volume, run.pixel_size),
        )
        for k, (share, resolution, volume) in enumerate(known, 1)
    )
    total = len(run.particles)
    publish(
        context,
        f"Classify 3D: {total:,} particles",
        [
            maps_figure(state.references, classes, total, run.pixel_size),
            *class_figures(state, trail, run.pixel_size),
            origin_figure(run.particles),
        ],
        numbers=class_numbers(state, run.particles, run.pixel_size) | {"Symmetry": run.options.symmetry},
        options=run.options,
        warnings=empty_classes(context, classes),
    )
    return ClassifiedParticles(
        **classified_fields(run.particles, state),
        classes=classes,
        symmetry=run.options.symmetry,
        diameter=run.options.diameter,
    )
