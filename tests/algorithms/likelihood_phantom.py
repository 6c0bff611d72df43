"""Particles of a phantom of Gaussian balls, whose projections are known without a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thon.data.optics import Optics
from thon.data.particles import ParticleCtf, ParticleOptics, Particles
from thon.ops.rotation import rotation_from_quaternion

PIXEL = 4.0
WIDTH = 1.6  # px, of each ball


@dataclass(frozen=True)
class Phantom:
    """Centres of balls (z, y, x), px from the centre, and their weights."""

    centres: np.ndarray
    weights: np.ndarray

    def volume(self, box: int) -> np.ndarray:
        axis = np.arange(box) - box // 2
        total = np.zeros((box, box, box))
        for centre, weight in zip(self.centres, self.weights, strict=True):
            z, y, x = (np.exp(-((axis - c) ** 2) / (2 * WIDTH**2)) for c in centre)
            total += weight * z[:, None, None] * y[:, None] * x
        return total

    def projection(self, rotation: np.ndarray, shift: np.ndarray, box: int) -> np.ndarray:
        axis = np.arange(box) - box // 2
        total = np.zeros((box, box))
        for centre, weight in zip(self.centres @ rotation.T, self.weights, strict=True):
            y, x = (np.exp(-((axis - c) ** 2) / (2 * WIDTH**2)) for c in centre[1:] + shift)
            total += weight * np.sqrt(2 * np.pi) * WIDTH * y[:, None] * x
        return total


def phantom(seed: int = 3, balls: int = 12, radius: float = 7.0) -> Phantom:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(balls, 3))
    centres *= radius * generator.random((balls, 1)) ** (1 / 3) / np.linalg.norm(centres, axis=1, keepdims=True)
    return Phantom(centres, generator.uniform(0.5, 1.5, balls))


def ctf_image(box: int, defocus: float, astigmatism: float, angle: float, optics: Optics) -> np.ndarray:
    """CTF over a whole spectrum in float64, written out."""
    assert optics.voltage is not None
    assert optics.cs is not None
    assert optics.amplitude_contrast is not None
    volts = optics.voltage * 1e3
    wavelength = 12.2642597 / np.sqrt(volts * (1 + 0.9784756e-6 * volts))
    s = np.fft.fftfreq(box, PIXEL)
    y, x = np.meshgrid(s, s, indexing="ij")
    s2, azimuth = x**2 + y**2, np.arctan2(y, x)
    local = defocus + astigmatism / 2 * np.cos(2 * (azimuth - np.deg2rad(angle)))
    q = optics.amplitude_contrast
    chi = np.pi * wavelength * s2 * (local - 0.5 * optics.cs * 1e7 * wavelength**2 * s2)
    return np.sin(chi + np.arctan2(q, np.sqrt(1 - q * q)))


@dataclass(frozen=True)
class Simulated:
    """Particles with their images and true poses; it is its own image source."""

    particles: Particles
    images: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.images[indices]


def simulate(count: int, box: int = 32, *, noise: float = 1.0, seed: int = 0, signal: float = 1.0) -> Simulated:
    """Particles with CTF, shifts up to 2 px and white noise of a standard deviation."""
    generator = np.random.default_rng(seed)
    quaternion = generator.normal(size=(count, 4))
    rotation = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    shift = generator.uniform(-2, 2, (count, 2))
    defocus, angle = generator.uniform(15_000, 30_000, count), generator.uniform(0, 180, count)
    optics, ball = Optics(300.0, 2.7, 0.1), phantom()
    images = np.empty((count, box, box), np.float32)
    for i in range(count):
        clean = signal * ball.projection(rotation[i], shift[i], box)
        spectrum = np.fft.fft2(clean) * ctf_image(box, defocus[i], 300.0, angle[i], optics)
        images[i] = np.fft.ifft2(spectrum).real + generator.normal(0, noise, (box, box))
    particles = Particles(
        optics=(ParticleOptics("one", optics, PIXEL, box),),
        group=np.zeros(count, np.int64),
        files=("stack.mrcs",),
        file=np.zeros(count, np.int64),
        section=np.arange(count),
        micrographs=("a.mrc", "b.mrc"),
        micrograph=np.arange(count) % 2,
        ctf=ParticleCtf.of(defocus + 150, defocus - 150, angle),
    )
    return Simulated(particles, images, rotation, shift * PIXEL)
