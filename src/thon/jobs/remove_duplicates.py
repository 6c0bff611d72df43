"""Remove particles that were picked twice: those closer to a better one of the same micrograph than a distance.

Places are where particles were picked, and shifted as alignment says, since neighbours often shift onto each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Gt

from thon.algorithms.particle_sets import find_duplicates, particle_values, positions
from thon.base.options import Options, Unit
from thon.data.particles import Particles, join_particles
from thon.job.context import Context
from thon.job.spec import whole


class RemoveDuplicatesOptions(Options):
    distance: Annotated[float, Unit("Å"), Gt(0)] = 30.0
    """Least distance between two particles."""

    keep: str | None = None
    """Value of which the particle with the larger one stays; the picking score unless given, or the first of them."""

    micrograph_pixel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the micrographs whose pixels the places count; that of the optics groups unless given."""


@whole(title="Remove duplicates", stage="particles")
def remove_duplicates(
    particles: tuple[Particles, ...], options: RemoveDuplicatesOptions, context: Context
) -> Particles:
    together = join_particles(particles)
    if options.micrograph_pixel_size is not None:
        size = options.micrograph_pixel_size
        together = replace(together, optics=tuple(replace(one, micrograph_pixel_size=size) for one in together.optics))
    score = together.score if options.keep is None else particle_values(together, options.keep)
    removed = find_duplicates(positions(together), together.micrograph, options.distance, score)
    context.log(f"{int(removed.sum()):,} of {len(together):,} particles lie within {options.distance:g} Å of another.")
    return together.select(~removed).compact()
