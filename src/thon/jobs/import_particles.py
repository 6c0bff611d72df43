"""Import particles: a star file of RELION's (3.0 to 5), or a .cs or .csg file of cryoSPARC's, with all that it says.

Poses, classes, half sets and CTFs come along, and so do columns that nobody here knows. Images stay where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Gt

from thon.base.options import Options, Unit
from thon.data.particles import Particles
from thon.formats.cryosparc import CRYOSPARC_SUFFIXES, read_cryosparc
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import ReadParticles, read_particle_star
from thon.job.context import Context
from thon.job.spec import each

_SHOWN = (4, 10)


class ImportParticlesOptions(Options):
    pixel_size: Annotated[float | None, Gt(0), Unit("Å")] = None
    """Pixel size of the images, where neither the file nor the stacks tell it."""

    need_ctf: bool = True
    """Refuse particles without a CTF."""

    need_images: bool = True
    """Refuse particles whose stacks are not there; otherwise only what the file says is imported."""

    check_pixel_size: bool = True
    """Refuse stacks whose header tells another pixel size than the file."""


def expand_particles(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """One set of particles, named after its file."""
    return {path.stem: {"file": (path,)}}


@each(title="Import particles", stage="import", expand=expand_particles)
def import_particles(file: Path, options: ImportParticlesOptions, context: Context) -> Particles:
    how = ReadParticles(
        need_ctf=options.need_ctf, need_images=options.need_images, check_pixel_size=options.check_pixel_size
    )
    if options.pixel_size is not None:
        how["pixel_size"] = options.pixel_size
    if file.suffix.lower() in CRYOSPARC_SUFFIXES:
        found = read_cryosparc(file, **how)
    else:
        found = read_particle_star(file, **how)
    particles = found.particles
    for note in found.notes:
        context.warn(note)
    context.log(describe(particles))
    if options.need_images:
        context.preview("particles", _montage(particles), "The first images")
    return particles


def describe(particles: Particles) -> str:
    """What a set of particles is, in a sentence."""
    sizes = ", ".join(f"{one.box} px at {one.pixel_size:g} Å" for one in particles.optics)
    has = {"CTFs": particles.ctf, "poses": particles.rotation, "half sets": particles.half}
    known = [name for name, values in has.items() if values is not None]
    groups = len(particles.optics)
    return (
        f"{len(particles):,} particles of {sizes} in {groups} optics group{'s' * (groups > 1)}, "
        f"{len(particles.micrographs):,} micrographs, with {' and '.join(known) or 'neither CTFs nor poses'}."
    )


def _montage(particles: Particles) -> np.ndarray:
    """The first images of the first optics group, side by side."""
    rows, columns = _SHOWN
    chosen = np.flatnonzero(particles.group == 0)[: rows * columns]
    with ParticleImages(particles) as images:
        found = images.read(chosen)
    box = found.shape[-1]
    tiles = np.full((rows * columns, box, box), np.float32(found.mean()))
    tiles[: len(found)] = found
    # Row 0 of a picture is drawn at the bottom: the first images shall be at the top.
    return tiles.reshape(rows, columns, box, box)[::-1].transpose(0, 2, 1, 3).reshape(rows * box, columns * box)
