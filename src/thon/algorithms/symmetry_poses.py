"""Poses of particles when their reference is turned, or stands for all its symmetric copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.particles import Particles
from thon.ops.symmetry import symmetry_rotations


def move_poses(particles: Particles, turn: Float[np.ndarray, "3 3"], centre: Float[np.ndarray, "3"]) -> Particles:
    """The same particles for a reference that was turned about a point, which then became its centre.

    A point x of the old reference is u = turn · (x − centre) in the new one, and falls on the same place of each image.

    Args:
        particles: With poses.
        turn: Active rotation of (z, y, x).
        centre: (z, y, x) from the old reference's centre, Å.

    Raises:
        InputError: The particles have no poses.
    """
    rotation, shift = _poses(particles)
    return replace(particles, rotation=rotation @ turn.T, shift=shift + (rotation @ centre)[:, 1:])


def expand_poses(particles: Particles, symmetry: str) -> Particles:
    """Each particle once for each rotation of a point group, all with the pose that sees that copy of the unit.

    The copies of a particle follow each other, the first with its own pose.

    Raises:
        InputError: The particles have no poses, or there is no such point group.
    """
    group = symmetry_rotations(symmetry)
    rotation, _ = _poses(particles)
    repeated = particles.select(np.repeat(np.arange(len(particles)), len(group)))
    return replace(repeated, rotation=(rotation[:, None] @ group[None]).reshape(-1, 3, 3))


def _poses(particles: Particles) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
    if particles.rotation is None:
        raise InputError("the particles have no poses", mend="refine or classify them first")
    shift = np.zeros((len(particles), 2)) if particles.shift is None else particles.shift
    return particles.rotation, shift
