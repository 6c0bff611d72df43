"""Sort particles into classes of equal views and average each: the view of what a data set holds.

Writes the averages, classes.mrcs, each with a score of how good it looks. Every iteration leaves a checkpoint: a run
that was killed goes on from there.
"""

from __future__ import annotations

import numpy as np
import torch

from thon.algorithms.class_ranking import rank_classes
from thon.algorithms.classify2d import Classify2d, Classify2dOptions
from thon.algorithms.likelihood.classes import ClassState
from thon.data.maps import ClassifiedParticles, ParticleClass
from thon.data.particles import Particles, join_particles
from thon.formats.maps import write_map
from thon.formats.png import encode_png
from thon.formats.report.classes import draw_gallery, gallery_figure
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
from thon.jobs.particle_source import open_particles
from thon.jobs.published import publish


def plan_classify2d(particles: tuple[Particles, ...], options: Classify2dOptions, resources: Resources) -> Plan:
    """What a classification needs, from the number of particles, their box and the number of classes."""
    joined = join_particles(particles)
    box = max((group.box for group in joined.optics), default=0)
    passes = options.iterations if options.method == "EM" else 25
    return Plan(
        understood=(f"{len(joined)} particles of {box} px into {options.classes} classes, by {options.method}",),
        memory=800_000_000 + options.classes * 60 * box * box + resources.threads * 256 * 60 * box * box,
        disk=4 * options.classes * box**2,
        seconds=1e-7 * len(joined) * box * box * passes,
        output=joined,
    )


@whole(title="Classify 2D", stage="classify", plan=plan_classify2d, spreads=True)
def classify2d(particles: tuple[Particles, ...], options: Classify2dOptions, context: Context) -> ClassifiedParticles:
    joined = check_particles(join_particles(particles), options.diameter, options.classes)
    torch.set_num_threads(context.threads)
    with open_particles(joined) as source:
        run = Classify2d(joined, source, options, context.seed)
        state = last_state(context, len(joined), run.start)
        trail = ClassTrail.begin(context, len(joined), len(state.records))
        while len(state.records) < run.total:
            state = run.iterate(state, teller(context, len(state.records) + 1, run.taking_part(len(state.records))))
            trail = trail.follow(context, state, run.total)
            keep_state(context, state)
            context.log(sentence(state.records[-1]))
            _show(context, run, state)
    return _result(context, run, state, trail)


def _show(context: Context, run: Classify2d, state: ClassState) -> None:
    gallery = draw_gallery(state.references, _classes(run, state), len(run.particles), run.pixel_size, LIGHT)
    caption = "Classes by size, with particles, resolution and score"
    context.preview("classes", encode_png(pixels(gallery)), caption)


def _classes(run: Classify2d, state: ClassState) -> tuple[ParticleClass, ...]:
    shares, resolution = class_shares(state), state.records[-1].resolution
    radius = run.options.diameter / 2 / run.pixel_size
    scores = rank_classes(state.references, resolution, shares, radius=radius)
    return tuple(ParticleClass(*known) for known in zip(shares, resolution, scores.tolist(), strict=True))


def _result(context: Context, run: Classify2d, state: ClassState, trail: ClassTrail) -> ClassifiedParticles:
    path = context.output("classes.mrcs", title="Class averages")
    averages = write_map(path, np.ascontiguousarray(state.references, np.float32), run.pixel_size)
    classes = _classes(run, state)
    total = len(run.particles)
    publish(
        context,
        f"Classify 2D: {total:,} particles",
        [
            gallery_figure(state.references, classes, total, run.pixel_size),
            *class_figures(state, trail, run.pixel_size),
            origin_figure(run.particles),
        ],
        numbers=class_numbers(state, run.particles, run.pixel_size),
        options=run.options,
        warnings=empty_classes(context, classes),
    )
    return ClassifiedParticles(
        **classified_fields(run.particles, state),
        classes=classes,
        averages=averages,
        diameter=run.options.diameter,
    )
