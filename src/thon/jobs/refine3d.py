"""Refine a map and the poses of its particles to gold-standard resolution, from a reference.

Writes RELION's run_class001.mrc and run_half1_class001_unfil.mrc with its twin. Every iteration leaves a checkpoint: a
run that was killed goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from thon.algorithms.refine3d import IterationRecord, Refine3d, Refine3dOptions, Refinement
from thon.base.errors import InputError
from thon.data.maps import RefinedParticles
from thon.data.particles import Particles, join_particles
from thon.formats.checkpoint import read_checkpoint, write_checkpoint
from thon.formats.maps import read_map, require_same_box, write_map
from thon.formats.particle_images import ParticleImages
from thon.formats.png import encode_png
from thon.formats.report.postprocess import draw_half_fsc
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import whole


class Refine3dJobOptions(Refine3dOptions):
    """Refinement of particles in files."""

    reference: Path
    """Map to begin from; its hand and its centre decide those of the result."""

    mask: Path | None = None
    """Soft mask of the reference's box that references are multiplied with and their resolution measured in."""


def plan_refine3d(particles: tuple[Particles, ...], options: Refine3dJobOptions, resources: Resources) -> Plan:
    """What a refinement needs, from the number of particles and their box."""
    joined = join_particles(particles)
    box = max(group.box for group in joined.optics)
    padded = 8 * box**3 // 2
    return Plan(
        understood=(f"{len(joined)} particles of {box} px in {len(joined.optics)} optics groups, {options.symmetry}",),
        memory=1_000_000_000 + padded * (2 * 24 + 2 * 8 + 3 * 12) + resources.threads * 256 * 60 * box * box,
        disk=8 * 4 * box**3,
        seconds=2e-6 * len(joined) * box * box * 15,
        output=joined,
    )


@whole(title="Refine 3D", stage="refine", plan=plan_refine3d)
def refine3d(particles: tuple[Particles, ...], options: Refine3dJobOptions, context: Context) -> RefinedParticles:
    joined = check_particles(join_particles(particles), options.diameter)
    reference, pixel_size = read_map(options.reference)
    context.uses(options.reference)
    mask = _read_mask(options, reference.shape, context)
    torch.set_num_threads(context.threads)
    with ParticleImages(joined) as source:
        refinement = Refine3d(joined, source, pixel_size, options, context.seed, mask)
        checkpoint = context.checkpoints / "state.npz"
        if checkpoint.exists():
            state: Refinement = read_checkpoint(checkpoint)
            context.log(f"Going on after iteration {len(state.records)}.")
        else:
            state = refinement.start(reference)
        while not state.converged:
            state = refinement.iterate(state, _teller(context, len(state.records) + 1, len(joined)))
            write_checkpoint(checkpoint, state)
            context.log(_sentence(state.records[-1]))
            _show(context, state, pixel_size)
    return _result(context, joined, state, options, pixel_size)


def check_particles(particles: Particles, diameter: float) -> Particles:
    """The particles, if something can be refined from them.

    Raises:
        InputError: There are none, they have no CTF, or their box is too small for the mask.
    """
    if not len(particles):
        raise InputError("there are no particles", got=0, expected="some")
    if particles.ctf is None:
        raise InputError("the particles have no CTF", mend="fit it with `thon ctf-fit` before extracting")
    used = [particles.optics[k] for k in np.unique(particles.group).tolist()]
    for group in used:
        if diameter > group.box * group.pixel_size:
            raise InputError(
                f"the box of optics group '{group.name}' is too small for the diameter",
                got=f"{group.box * group.pixel_size:.0f} Å",
                expected=f"more than {diameter:.0f} Å",
                mend="extract a larger box, or give a smaller --diameter",
            )
    return particles


def _read_mask(options: Refine3dJobOptions, shape: tuple[int, ...], context: Context) -> np.ndarray | None:
    if options.mask is None:
        return None
    mask, _ = read_map(options.mask)
    require_same_box(mask, shape, "the mask", options.mask)
    context.uses(options.mask)
    return mask


def _teller(context: Context, iteration: int, total: int) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        context.progress(done, total, f"iteration {iteration}")

    return tell


def _sentence(record: IterationRecord) -> str:
    return (
        f"Iteration {record.iteration}: {record.resolution:.2f} Å; rotations by {record.angular_step:.2g}°, "
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
