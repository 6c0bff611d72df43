"""Expand particles by a point group: each once for each of its rotations, for focused classification of one unit."""

from __future__ import annotations

from thon.algorithms.symmetry_poses import expand_poses
from thon.base.errors import InputError
from thon.base.options import Options
from thon.data.maps import ClassifiedParticles, HalfMaps
from thon.data.particles import Particles
from thon.job.context import Context
from thon.job.spec import each
from thon.ops.symmetry import symmetry_name


class ExpandSymmetryOptions(Options):
    symmetry: str | None = None
    """Point group; that of the map the particles were refined with unless given."""


@each(title="Expand symmetry", stage="post-process")
def expand_symmetry(particles: Particles, options: ExpandSymmetryOptions, context: Context) -> Particles:
    known = particles.symmetry if isinstance(particles, HalfMaps | ClassifiedParticles) else None
    name = options.symmetry or known
    if name is None:
        raise InputError("the point group is not known", mend="give it with --symmetry")
    expanded = expand_poses(particles.plain(), name)
    context.log(f"{len(particles)} particles by {symmetry_name(name)}: {len(expanded)}.")
    return expanded
