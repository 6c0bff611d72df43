"""Join several sets of particles into one; optics groups of one name become one, repeated images are taken once."""

from __future__ import annotations

from dataclasses import replace

from thon.algorithms.particle_sets import repeated_images
from thon.base.options import Options
from thon.data.particles import Particles, join_particles
from thon.job.context import Context
from thon.job.spec import whole

_OF_ONE_SET = ("rlnGroupNumber",)
"""Columns that number something within one set, and would mix things up in several."""


class JoinOptions(Options):
    repeated: bool = False
    """Keep images that are in several sets as often as they come."""


@whole(title="Join particles", stage="particles")
def join(particles: tuple[Particles, ...], options: JoinOptions, context: Context) -> Particles:
    joined = join_particles(particles)
    if len(particles) > 1:
        kept = {label: texts for label, texts in joined.columns.items() if label not in _OF_ONE_SET}
        joined = replace(joined, columns=kept)
    repeated = repeated_images(joined)
    if repeated.any() and not options.repeated:
        context.warn(f"{int(repeated.sum()):,} images are in several sets and are taken once.")
        joined = joined.select(~repeated)
    names = ", ".join(group.name for group in joined.optics)
    context.log(f"{len(joined):,} particles of {len(particles)} sets, optics groups {names}.")
    return joined
