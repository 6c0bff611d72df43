"""Particles with given poses, one image each in one stack."""

from __future__ import annotations

import numpy as np

from thon.data.optics import Optics
from thon.data.particles import ParticleOptics, Particles


def particles_with(rotation: np.ndarray | None, shift: np.ndarray | None) -> Particles:
    """As many particles as there are poses; three without any."""
    count = 3 if rotation is None else len(rotation)
    zeros = np.zeros(count, np.int64)
    return Particles(
        optics=(ParticleOptics("all", Optics(), 4.0, 44),),
        group=zeros,
        files=("particles.mrcs",),
        file=zeros,
        section=np.arange(count),
        micrograph=zeros - 1,
        rotation=rotation,
        shift=shift,
    )
