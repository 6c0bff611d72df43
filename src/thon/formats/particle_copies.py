"""Stacks of particle images written anew: those that are wanted, bright on dark, in a folder that can travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from thon.data.particles import Particles
from thon.formats.mrc import MrcWriter
from thon.formats.particle_images import Cutter, ParticleImages

_AT_ONCE = 1 << 28


def copy_stacks(
    particles: Particles,
    folder: Path,
    *,
    float16: bool = False,
    cutter: Cutter | None = None,
    progress: Callable[[float], None] | None = None,
) -> Particles:
    """Write the images of these particles, a stack for each that they come from, and say where they are now.

    Args:
        particles: Whose images; the order of the particles stays.
        folder: Where the stacks go; it must exist.
        float16: Half the size, three digits, which RELION 4 and later read.
        cutter: Makes the images of particles that no stack holds.
        progress: Is told the share that is done.

    Raises:
        InputError: Images cannot be read, or do not fit float16.
        StoreError: The disk refuses.
    """
    file, section = np.empty(len(particles), np.int64), np.empty(len(particles), np.int64)
    names: list[str] = []
    with ParticleImages(particles, cutter) as images:
        # A stack has one box, so particles of one stack and different optics groups go apart.
        parts, part = np.unique(np.stack([particles.file, particles.group], -1), axis=0, return_inverse=True)
        for k, (source, group) in enumerate(parts.tolist()):
            chosen = np.flatnonzero(part.reshape(-1) == k)
            chosen = chosen[np.argsort(particles.section[chosen], kind="stable")]
            path = _free_name(folder, Path(particles.files[source]).stem, names)
            _write(path, images, chosen, particles.optics[group].pixel_size, np.float16 if float16 else np.float32)
            names.append(str(path))
            file[chosen], section[chosen] = k, np.arange(len(chosen))
            if progress is not None:
                progress((k + 1) / len(parts))
    optics = tuple(replace(one, dark=False, cut=None) for one in particles.optics)
    return replace(particles, optics=optics, files=tuple(names), file=file, section=section)


def _write(path: Path, images: ParticleImages, chosen: Int[np.ndarray, "k"], pixel_size: float, dtype: type) -> None:
    box = images.particles.optics[images.particles.group[chosen[0]]].box
    step = max(1, _AT_ONCE // (4 * box * box))
    with MrcWriter(path, (len(chosen), box, box), pixel_size, dtype=dtype, kind="images") as writer:
        for start in range(0, len(chosen), step):
            writer[start : start + step] = images.read(chosen[start : start + step])


def _free_name(folder: Path, stem: str, taken: list[str]) -> Path:
    """A name that no other stack has: micrographs of different sessions may share theirs."""
    path, number = folder / f"{stem}.mrcs", 1
    while str(path) in taken:
        number += 1
        path = folder / f"{stem}_{number}.mrcs"
    return path
