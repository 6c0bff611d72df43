"""Write particles as other programs want them, into one folder, with maps and models where they have some.

relion: particles.star, and for particles from a refinement or classification a job of a RELION project, with which
RELION can go on. cryosparc: particles.cs with the particles.csg that cryoSPARC imports. Names count from the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from thon.algorithms.cut_particles import cut_particles
from thon.algorithms.particle_noise import noise_power
from thon.base.errors import InputError
from thon.base.options import Options
from thon.data.maps import ClassifiedParticles, RefinedParticles
from thon.data.particles import Particles, join_particles
from thon.formats.cryosparc_write import write_cryosparc
from thon.formats.particle_copies import copy_stacks
from thon.formats.relion_particles import write_particles
from thon.formats.relion_results import write_results
from thon.job.context import Context
from thon.job.spec import whole
from thon.jobs.particle_source import open_particles

Layout = Literal["relion", "cryosparc"]

_NOISE_IMAGES = 500


class ExportParticlesOptions(Options):
    write: tuple[Layout, ...] = ("relion",)
    """For whom: relion, cryosparc; several are separated by commas."""

    folder: str | None = None
    """Where the files go: a new folder, or a RELION project; the job's own folder unless given."""

    stacks: bool = False
    """Also write the images of these particles, so that the folder can travel; otherwise they stay where they are."""

    float16: bool = False
    """Write them in half the size, which RELION 4 and later read."""

    relion_3: bool = False
    """Write the noise of each micrograph as well, which RELION 3.1 needs to go on."""


@whole(title="Export particles", stage="particles")
def export_particles(particles: tuple[Particles, ...], options: ExportParticlesOptions, context: Context) -> Path:
    own = context.output("export", title=None if options.folder else "Exported particles")
    folder = Path(options.folder).absolute() if options.folder else own
    folder.mkdir(parents=True, exist_ok=True)
    together = particles[0] if len(particles) == 1 else join_particles(particles)
    plain = _with_stacks(together.compact(), folder, options, context)
    notes: list[str] = []
    for layout in options.write:
        if layout == "relion":
            notes += _write_relion(folder, plain, options)
        else:
            notes += write_cryosparc(folder / "particles.cs", plain, relative_to=folder)
    for note in notes:
        context.log(note)
    context.log(f"{len(plain):,} particles for {' and '.join(options.write)}.")
    return folder


def _write_relion(folder: Path, particles: Particles, options: ExportParticlesOptions) -> list[str]:
    """The star file, and with results of a refinement or classification a job of a RELION project."""
    notes = write_particles(folder / "particles.star", particles, relative_to=folder)
    if not isinstance(particles, RefinedParticles | ClassifiedParticles):
        return notes
    noise = [_noise(particles, group) for group in range(len(particles.optics))]
    return notes + write_results(folder, particles, noise, for_relion_3=options.relion_3)


def _noise(particles: RefinedParticles | ClassifiedParticles, group: int) -> np.ndarray:
    """The noise of an optics group, from some of its images, evenly over the set."""
    members = np.flatnonzero(particles.group == group)
    optics = particles.optics[group]
    with open_particles(particles) as images:
        some = images.read(members[:: max(1, len(members) // _NOISE_IMAGES)])
    return noise_power(some, particles.diameter or 0.9 * optics.box * optics.pixel_size, optics.pixel_size)


def _with_stacks(particles: Particles, folder: Path, options: ExportParticlesOptions, context: Context) -> Particles:
    """The particles with their images in the folder, where that is wanted."""
    if not options.stacks:
        if any(one.cut is not None for one in particles.optics):
            raise InputError(
                "images are still in their micrographs, and other programs want stacks",
                got=", ".join(one.name for one in particles.optics if one.cut is not None),
                mend="add --stacks, which writes them",
            )
        if "relion" in options.write and any(one.dark for one in particles.optics):
            raise InputError(
                "matter is dark in some of the images, and RELION wants it bright",
                got=", ".join(one.name for one in particles.optics if one.dark),
                mend="add --stacks, which writes them the other way round",
            )
        return particles
    places = folder / "Particles"
    places.mkdir(exist_ok=True)
    return copy_stacks(
        particles,
        places,
        float16=options.float16,
        cutter=cut_particles,
        progress=lambda share: context.progress(share, 1.0, "images"),
    )
