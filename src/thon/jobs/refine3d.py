"""Refine a map and the poses of its particles to gold-standard resolution, from a reference.

Writes RELION's run_class001.mrc and run_half1_class001_unfil.mrc with its twin. Every iteration leaves a checkpoint: a
run that was killed goes on from there.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from thon.algorithms.likelihood.poses import RotationGrid
from thon.algorithms.refine3d import IterationRecord, Refine3d, Refine3dOptions, Refinement
from thon.base.errors import InputError
from thon.data.maps import ClassifiedParticles, RefinedParticles
from thon.data.particles import Particles, join_particles
from thon.data.volume import Volume
from thon.formats.maps import read_map, write_map
from thon.formats.png import encode_png
from thon.formats.report.convergence import RefinementHistory, refinement_history_figure
from thon.formats.report.origin import origin_figure
from thon.formats.report.posterior import posterior_figure
from thon.formats.report.postprocess import draw_half_fsc, fsc_figure
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views, views_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole
from thon.jobs.classified_results import check_halves, check_particles, teller
from thon.jobs.iterations import keep_state, last_state
from thon.jobs.map_sources import fit_to_particles, read_mask, require_room
from thon.jobs.particle_source import open_particles
from thon.jobs.published import anisotropy_warnings, box_text, by_direction, publish, resolution_text, views_seen
from thon.ops.symmetry import symmetry_rotations

_KEPT = 6
"""States of iterations that are kept: the last two, and every fifth of about twenty."""

_FINEST = 7
"""Level that rotations become no finer than."""


class Refine3dJobOptions(Refine3dOptions):
    """Refinement of particles in files."""

    reference: Path | None = None
    """Map to begin from; its hand and its centre decide those of the result. Unless given, the map that came with the
    particles: the largest class, or an earlier refinement's."""

    mask: Path | None = None
    """Soft mask of the reference's box that references are multiplied with and their resolution measured in."""


def plan_refine3d(particles: tuple[Particles, ...], options: Refine3dJobOptions, resources: Resources) -> Plan:
    """What a refinement needs, from the number of particles and their box."""
    joined = join_particles(particles)
    box = max((group.box for group in joined.optics), default=0)
    return Plan(
        understood=(f"{len(joined)} particles of {box} px in {len(joined.optics)} optics groups, {options.symmetry}",),
        memory=_memory(joined, box, options, resources.threads),
        disk=4 * 4 * box**3 + (2 + _KEPT) * (6 * 4 * box**3 + 140 * len(joined)),
        seconds=2e-6 * len(joined) * box * box * 15,
        output=joined,
    )


def _memory(particles: Particles, box: int, options: Refine3dJobOptions, threads: int) -> int:
    """Peak of the expectation step, or of the change of its sums into others, with the maps of the state, bytes."""
    padded, sums = 8 * box**3 // 2, 2 * 24
    field = max((group.box * group.pixel_size for group in particles.optics), default=0.0) / options.diameter
    grid = RotationGrid(3, np.eye(3)[None], np.eye(3))
    # Slices of both references at all rotations of the finest level that is searched whole: values and powers.
    searched = [level for level in range(1, _FINEST) if grid.step(level + 1) > options.local_from]
    level = max([options.first_level, *searched])
    pixels = math.pi / 2 * (field * 1.2 * 360 / (math.pi * grid.step(level))) ** 2
    slices = int(2 * 12 * pixels * grid.count(level) / len(symmetry_rotations(options.symmetry)))
    expectation = padded * (sums + 2 * 8) + slices + threads * 256 * 60 * box * box
    return 1_000_000_000 + 6 * 4 * box**3 + max(expectation, padded * (sums + 24))


@whole(title="Refine 3D", stage="refine", plan=plan_refine3d, spreads=True)
def refine3d(particles: tuple[Particles, ...], options: Refine3dJobOptions, context: Context) -> RefinedParticles:
    joined = check_particles(join_particles(particles), options.diameter)
    check_halves(joined, context.seed)
    source_map = _reference(particles, options, context)
    reference, pixel_size = read_map(source_map)
    require_room(reference, pixel_size, options.diameter, source_map)
    reference, pixel_size = fit_to_particles(reference, pixel_size, joined, context)
    mask = None if options.mask is None else read_mask(options.mask, reference.shape, context)
    torch.set_num_threads(context.threads)
    with open_particles(joined) as source:
        refinement = Refine3d(joined, source, pixel_size, options, context.seed, mask)
        state = last_state(context, len(joined), lambda: refinement.start(reference))
        while not state.converged:
            state = refinement.iterate(state, teller(context, len(state.records) + 1, len(joined)))
            keep_state(context, state)
            context.log(_sentence(state.records[-1]))
            _show(context, state, pixel_size)
    return _result(context, joined, state, options, pixel_size)


def _reference(particles: tuple[Particles, ...], options: Refine3dJobOptions, context: Context) -> Volume | Path:
    """The map to begin from.

    Raises:
        InputError: None is given, and none came with the particles.
    """
    if options.reference is not None:
        context.uses(options.reference)
        return options.reference
    for one in particles:
        if isinstance(one, RefinedParticles):
            return one.volume
        if isinstance(one, ClassifiedParticles):
            largest = max(one.classes, key=lambda found: found.share)
            if largest.volume is not None:
                return largest.volume
    raise InputError(
        "there is no map to begin from", mend="give one with --reference, or make one with `thon ab-initio`"
    )


def _sentence(record: IterationRecord) -> str:
    reached = f"{record.resolution:.2f} Å" if math.isfinite(record.resolution) else "no resolution yet"
    return (
        f"Iteration {record.iteration}: {reached}; rotations by {record.angular_step:.2g}°, "
        f"{'near the last ones' if record.local else 'all'}; shifts by {record.offset_step:.2g} px; best poses hold "
        f"{100 * record.probability:.0f} % of the posterior; changed by {record.changes[0]:.2g}° and "
        f"{record.changes[1]:.2g} Å."
    )


def _show(context: Context, state: Refinement, pixel_size: float) -> None:
    context.preview("map", encode_png(pixels(draw_views(state.volume, pixel_size, LIGHT))), "Sections and projections")
    if state.curves is not None:
        picture = encode_png(pixels(draw_half_fsc(state.curves, state.records[-1].resolution, LIGHT)))
        context.preview("fsc", picture, "Correlation of the two halves")


def _result(
    context: Context, particles: Particles, state: Refinement, options: Refine3dJobOptions, pixel_size: float
) -> RefinedParticles:
    fields = {name: getattr(particles, name) for name in Particles.__dataclass_fields__}
    poses = state.poses
    fields |= {
        "rotation": poses.rotation,
        "shift": poses.shift,
        "half": state.half,
        "probability": poses.probability,
        "likelihood": poses.likelihood,
        "significant": poses.significant,
        "norm": state.model.norm,
    }
    names = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
    volumes = [
        write_map(context.output(name, title=title), values, pixel_size)
        for name, title, values in zip(names, ("Map", None, None), (state.volume, *state.halves), strict=True)
    ]
    solvent = None
    if state.solvent is not None:
        solvent = write_map(context.output("solvent_mask.mrc"), state.solvent, pixel_size)
    _report(context, particles, state, options, pixel_size)
    return RefinedParticles(
        **fields,
        volume=volumes[0],
        first=volumes[1],
        second=volumes[2],
        symmetry=options.symmetry,
        resolution=state.records[-1].resolution,
        curves=state.curves,
        diameter=options.diameter,
        mask=solvent,
    )


def _report(
    context: Context, particles: Particles, state: Refinement, options: Refine3dJobOptions, pixel_size: float
) -> None:
    last, poses = state.records[-1], state.poses
    efficiency, views = views_seen(poses.rotation, options.symmetry)
    halves = [torch.from_numpy(half) for half in state.halves]
    mask = None if state.solvent is None else torch.from_numpy(state.solvent)
    cones = by_direction(halves[0], halves[1], pixel_size, mask)
    known = math.isfinite(last.resolution)
    warnings = [] if known else ["The half maps have no resolution: they agree no better than noise does."]
    if cones is not None and known:
        warnings += anisotropy_warnings(cones[0].ratio)
    publish(
        context,
        f"Refine 3D: {len(particles):,} particles",
        [
            views_figure(state.volume, pixel_size),
            None if state.curves is None else fsc_figure(state.curves, last.resolution),
            refinement_history_figure(_history(state.records, len(state.volume) * pixel_size, pixel_size)),
            posterior_figure(poses.probability, poses.significant),
            views,
            cones and cones[1],
            origin_figure(particles),
        ],
        numbers={
            "Resolution": resolution_text(last.resolution),
            "Particles": f"{len(particles):,} in halves of {(state.half == 1).sum():,} and {(state.half == 2).sum():,}",
            "Symmetry": options.symmetry,
            "Map": box_text(state.volume.shape, pixel_size),
            "Iterations": f"{last.iteration}, the last steps {last.angular_step:.2g}°",
            "Accuracy": f"{last.accuracy[0]:.2f}°, {last.accuracy[1]:.2f} Å",
            "Best poses (Pmax)": f"{last.probability:.2f} on average",
            "Efficiency of the views": f"{efficiency:.2f}",
            "FSC area ratio (cFAR)": "–" if cones is None else f"{cones[0].ratio:.2f}",
        },
        options=options,
        warnings=warnings,
    )


def _history(records: tuple[IterationRecord, ...], extent: float, pixel_size: float) -> RefinementHistory:
    return RefinementHistory(
        resolution=np.array([one.resolution for one in records]),
        finest=extent / np.array([one.shells for one in records]),
        steps=np.array([(one.angular_step, one.offset_step * pixel_size) for one in records]),
        accuracy=np.array([one.accuracy for one in records]),
        changes=np.array([one.changes for one in records]),
        probability=np.array([one.probability for one in records]),
        significant=np.array([one.significant for one in records]),
        local=np.array([one.local for one in records]),
    )
