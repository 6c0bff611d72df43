"""The images of particles for whichever job wants them: out of stacks, or cut out of micrographs."""

from __future__ import annotations

from thon.algorithms.cut_particles import cut_particles
from thon.data.particles import Particles
from thon.formats.particle_images import ParticleImages


def open_particles(particles: Particles) -> ParticleImages:
    """A reader of the images of particles, to be closed by whoever asks for it."""
    return ParticleImages(particles, cut_particles)
