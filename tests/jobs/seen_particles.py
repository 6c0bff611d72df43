"""Simulated particles in files, for the jobs that find classes and maps in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.algorithms.likelihood_phantom import PIXEL, Phantom, Simulated, ctf_image, phantom, simulate
from thon.data.particles import Particles
from thon.formats.maps import write_map
from thon.formats.mrc import write_mrc
from thon.formats.relion_particles import write_particles


def write_seen(folder: Path, data: Simulated, *, poses: bool = False, classes: np.ndarray | None = None) -> Path:
    """A stack and its star, with the true poses or without."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mrc(folder / "seen.mrcs", data.images, PIXEL)
    particles = replace(data.particles, files=(str(folder / "seen.mrcs"),), class_number=classes)
    if poses:
        particles = replace(particles, rotation=data.rotation, shift=data.shift)
    write_particles(folder / "seen.star", particles)
    return folder / "seen.star"


def write_simulated(folder: Path, count: int = 40, box: int = 32, *, poses: bool = False) -> Path:
    """The star of simulated particles of one kind."""
    return write_seen(folder, simulate(count, box, noise=1.0), poses=poses)


def write_phantom(folder: Path, box: int = 32) -> Path:
    """The map that they were made from."""
    folder.mkdir(parents=True, exist_ok=True)
    write_map(folder / "phantom.mrc", phantom().volume(box).astype(np.float32), PIXEL)
    return folder / "phantom.mrc"


def simulate_mixture(
    kinds: list[Phantom], count: int, box: int = 32, *, noise: float = 1.0, still: bool = False
) -> tuple[Simulated, np.ndarray]:
    """Particles of several kinds in turn, and the kind of each; `still` shows all from one side, turned in plane."""
    data = simulate(count, box, noise=noise)
    kind = np.arange(count) % len(kinds)
    rotation = data.rotation.copy()
    if still:
        angle = np.random.default_rng(1).uniform(0, 2 * np.pi, count)
        rotation = np.tile(np.eye(3), (count, 1, 1))
        rotation[:, 1:, 1:] = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(
            -1, 2, 2
        )
    generator = np.random.default_rng(2)
    images = np.empty_like(data.images)
    for i in range(count):
        clean = kinds[kind[i]].projection(rotation[i], data.shift[i] / PIXEL, box)
        images[i] = np.fft.ifft2(np.fft.fft2(clean) * _ctf(data.particles, i, box)).real
    images += generator.normal(0, noise, images.shape)
    return replace(data, images=images.astype(np.float32), rotation=rotation), kind


def _ctf(particles: Particles, i: int, box: int) -> np.ndarray:
    assert particles.ctf is not None
    mean = (particles.ctf.defocus_u[i] + particles.ctf.defocus_v[i]) / 2
    return ctf_image(box, mean, 300.0, particles.ctf.angle[i], particles.optics[0].optics)
