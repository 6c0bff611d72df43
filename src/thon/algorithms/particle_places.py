"""Where particles lie in a micrograph: centres on whole pixels with what remains, and the defocus there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thon.algorithms.ctf_tiles import gradient_of
from thon.data.ctf import CtfFit, DefocusMap
from thon.data.particles import ParticleCtf


@dataclass(frozen=True)
class ParticlePlaces:
    """Centres of boxes.

    Args:
        centre: (y, x), px of the micrograph.
        shift: Where the particles lie from there, Å.
    """

    centre: Int[np.ndarray, "n 2"]
    shift: Float[np.ndarray, "n 2"]


def recentre(
    coordinates: Float[np.ndarray, "n 2"],
    pixel_size: float,
    *,
    shift: Float[np.ndarray, "n 2"] | None,
    rotation: Float[np.ndarray, "n 3 3"] | None = None,
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> ParticlePlaces:
    """Boxes around where particles turned out to be.

    Args:
        coordinates: (y, x) of the centres of the boxes that they were in, px of the micrograph; a fraction is dropped
            as RELION drops it where it cuts boxes.
        pixel_size: Of the micrograph, Å.
        shift: Where the particles lie from the centres of those boxes, Å; None for right there.
        rotation: Their poses, for `target`.
        target: Point (z, y, x) of the reference, from its centre, that is to lie in the middle, Å.
    """
    old = np.floor(coordinates).astype(np.int64)
    moved = np.zeros((len(old), 2)) if shift is None else shift.copy()
    if rotation is not None:
        moved += (rotation @ np.array(target))[:, 1:]
    whole = np.rint(moved / pixel_size).astype(np.int64)
    return ParticlePlaces(old + whole, moved - whole * pixel_size)


def local_ctf(fit: CtfFit, centre: Int[np.ndarray, "n 2"], shape: tuple[int, int], pixel_size: float) -> ParticleCtf:
    """The CTF at particles: that of the micrograph, with the defocus of its surface or of its inclination there.

    Args:
        fit: Of the micrograph.
        centre: (y, x), px.
        shape: Of the micrograph, px.
        pixel_size: Å.
    """
    ctf, change = fit.ctf, np.zeros(len(centre))
    if fit.surface is not None:
        change = _surface_at(fit.surface, centre, shape) - ctf.defocus
    elif fit.tilt is not None:
        change = (centre - np.array(shape) // 2) * pixel_size @ gradient_of(fit.tilt)
    same = np.ones(len(centre))
    return ParticleCtf.of(ctf.defocus_u + change, ctf.defocus_v + change, ctf.angle * same, ctf.phase_shift * same)


def _surface_at(surface: DefocusMap, centre: Int[np.ndarray, "n 2"], shape: tuple[int, int]) -> Float[np.ndarray, "n"]:
    """Linear between nodes, of which those at the ends lie on the edges."""
    nodes = np.array(surface.defocus.shape)
    place = np.clip((centre + 0.5) / np.array(shape), 0, 1) * (nodes - 1)
    low = np.minimum(place.astype(np.int64), nodes - 2)
    (fy, fx), (y, x) = (place - low).T, low.T
    value = surface.defocus
    lower = value[y, x] * (1 - fx) + value[y, x + 1] * fx
    return lower * (1 - fy) + (value[y + 1, x] * (1 - fx) + value[y + 1, x + 1] * fx) * fy
