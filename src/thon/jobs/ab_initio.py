"""Find maps from particles alone, then their axes of symmetry.

Writes run_class001.mrc and so on. The hand of the result is not determined: if helices turn out left-handed, turn the
map over with `thon volume MAP OUT --flip-hand` and refine again from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.ab_initio import AbInitio, AbInitioOptions, AbInitioRecord, AbInitioState
from thon.algorithms.find_symmetry import align_to_symmetry
from thon.algorithms.symmetry_poses import move_poses
from thon.data.maps import ClassifiedParticles, ParticleClass
from thon.data.particles import Particles, join_particles
from thon.data.volume import Volume
from thon.formats.maps import write_map
from thon.formats.png import encode_png
from thon.formats.report.classes import maps_figure
from thon.formats.report.convergence import ClassHistory, class_history_figure
from thon.formats.report.posterior import posterior_figure
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views, views_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole
from thon.jobs.classified_results import check_particles
from thon.jobs.iterations import keep_state, last_state
from thon.jobs.particle_source import open_particles
from thon.jobs.published import box_text, publish, resolution_text, views_seen
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_rotation import move_volume, symmetrise_volume

UNDETERMINED = "The hand is not determined: the map may be its mirror image."


def plan_ab_initio(particles: tuple[Particles, ...], options: AbInitioOptions, resources: Resources) -> Plan:
    """What a search needs, from the number of particles and their box."""
    joined = join_particles(particles)
    box = max((group.box for group in joined.optics), default=0)
    return Plan(
        understood=(f"{len(joined)} particles of {box} px, {options.classes} maps",),
        memory=1_000_000_000 + options.classes * 8 * 4 * 8 * box**3 // 4 + resources.threads * 128 * 60 * box * box,
        disk=options.classes * 4 * box**3,
        seconds=2.0 * options.mini_batches * options.classes,
        output=joined,
    )


@whole(title="Ab-initio map", stage="refine", plan=plan_ab_initio, spreads=True)
def ab_initio(particles: tuple[Particles, ...], options: AbInitioOptions, context: Context) -> ClassifiedParticles:
    joined = check_particles(join_particles(particles), options.diameter, options.classes)
    torch.set_num_threads(context.threads)
    with open_particles(joined) as source:
        search = AbInitio(joined, source, options, context.seed)
        state = last_state(context, len(joined), search.start, what="step")
        while len(state.records) < options.mini_batches:
            number = len(state.records)
            state = search.iterate(state)
            context.progress(number + 1, options.mini_batches, f"step {number + 1}")
            if (number + 1) % 10 == 0:
                keep_state(context, state)
                _show(context, state, search.pixel_size)
    if options.symmetry == "C1":
        context.log(UNDETERMINED)
        return _result(context, joined, state, state.references, options, search.pixel_size)
    return _with_symmetry(context, joined, state, options, search.pixel_size)


def _with_symmetry(
    context: Context, particles: Particles, state: AbInitioState, options: AbInitioOptions, pixel_size: float
) -> ClassifiedParticles:
    """Maps turned so that their axes lie where they belong, and made symmetric."""
    maps, operators = [], symmetry_rotations(options.symmetry)
    rotation, shift = state.poses.rotation.copy(), state.poses.shift.copy()
    for k, reference in enumerate(state.references):
        volume = torch.from_numpy(reference)
        resolution = max(state.records[-1].resolution[k], 3 * pixel_size)
        found = align_to_symmetry(
            volume, options.symmetry, voxel_size=pixel_size, resolution=resolution, diameter=options.diameter
        )
        context.log(
            f"Map {k + 1} correlates with itself turned by {options.symmetry} to {found.score:.2f} (lowest "
            f"{found.lowest:.2f})."
        )
        if found.lowest < 0.5:
            context.warn(f"Map {k + 1} may not have the symmetry {options.symmetry}: refine it in C1 and compare.")
        moved = move_volume(volume, found.rotation, -found.rotation @ found.centre / pixel_size)
        maps.append(symmetrise_volume(moved, operators).numpy())
        mine = state.poses.classes == k
        posed = replace(particles, rotation=rotation, shift=shift).select(mine)
        posed = move_poses(posed, found.rotation, found.centre)
        rotation[mine], shift[mine] = posed.rotation, posed.shift
    context.log(UNDETERMINED)
    state = replace(state, poses=replace(state.poses, rotation=rotation, shift=shift))
    return _result(context, particles, state, np.stack(maps), options, pixel_size)


def _show(context: Context, state: AbInitioState, pixel_size: float) -> None:
    context.log(_sentence(state.records[-1]))
    for k, reference in enumerate(state.references):
        picture = encode_png(pixels(draw_views(reference, pixel_size, LIGHT)))
        context.preview(f"map{k + 1}", picture, f"Map {k + 1}, {100 * state.shares[k]:.0f} % of the particles")


def _sentence(record: AbInitioRecord) -> str:
    agree = ", ".join(f"{resolution:.0f} Å" for resolution in record.resolution)
    return (
        f"Step {record.step}: {record.particles} particles compared to {record.finest:.0f} Å; halves agree to {agree}; "
        f"best poses hold {100 * record.probability:.0f} % of the posterior."
    )


def _result(
    context: Context,
    particles: Particles,
    state: AbInitioState,
    maps: Float[np.ndarray, "classes z y x"],
    options: AbInitioOptions,
    pixel_size: float,
) -> ClassifiedParticles:
    volumes: list[Volume] = []
    for k, values in enumerate(maps):
        path = context.output(f"run_class{k + 1:03d}.mrc", title=f"Map {k + 1}")
        volumes.append(write_map(path, values, pixel_size))
    last = state.records[-1]
    fields = {name: getattr(particles, name) for name in Particles.__dataclass_fields__}
    seen = state.poses.probability > 0
    fields |= {
        "rotation": state.poses.rotation,
        "shift": state.poses.shift,
        "class_number": np.where(seen, state.poses.classes + 1, 0),
        "probability": state.poses.probability,
    }
    classes = tuple(
        ParticleClass(float(share), resolution if math.isfinite(resolution) else float("nan"), volume=volume)
        for share, resolution, volume in zip(last.shares, last.resolution, volumes, strict=True)
    )
    _report(context, state, maps, classes, options, pixel_size)
    return ClassifiedParticles(**fields, classes=classes, symmetry=options.symmetry, diameter=options.diameter)


def _report(
    context: Context,
    state: AbInitioState,
    maps: Float[np.ndarray, "classes z y x"],
    classes: Sequence[ParticleClass],
    options: AbInitioOptions,
    pixel_size: float,
) -> None:
    records, poses, last = state.records, state.poses, state.records[-1]
    seen, largest = poses.probability > 0, int(np.argmax(last.shares))
    efficiency, views = views_seen(poses.rotation[seen & (poses.classes == largest)], options.symmetry)
    history = ClassHistory(
        shares=np.array([one.shares for one in records]),
        resolution=np.array([one.resolution for one in records]),
        probability=np.array([one.probability for one in records]),
        changed=None,
        finest=np.array([one.finest for one in records]),
    )
    several = len(maps) > 1
    publish(
        context,
        f"Ab-initio map{'s' * several} from {len(seen):,} particles",
        [
            maps_figure(maps, classes, len(seen), pixel_size) if several else views_figure(maps[0], pixel_size),
            class_history_figure(history),
            posterior_figure(poses.probability[seen], poses.significant[seen]),
            views,
        ],
        numbers={
            "Halves agree to": ", ".join(resolution_text(one) for one in last.resolution),
            "Particles": f"{int(seen.sum()):,} of {len(seen):,} looked at",
            "Largest map": f"{100 * last.shares[largest]:.0f} % of the particles",
            "Symmetry": options.symmetry,
            "Hand": "not determined",
            "Map": box_text(maps.shape[1:], pixel_size),
            "Steps": str(last.step),
            "Efficiency of the views": f"{efficiency:.2f}",
        },
        options=options,
        warnings=[UNDETERMINED],
    )
