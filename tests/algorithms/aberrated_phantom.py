"""Images of balls through an imperfect lens, in float64 and written out: aberrations, magnification, Ewald's sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tests.algorithms.likelihood_phantom import Phantom, Simulated
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf, ParticleOptics, Particles
from thon.ops.rotation import rotation_from_quaternion


@dataclass(frozen=True)
class Microscope:
    """What acts on images.

    Args:
        group: Box, pixel size and aberrations.
        curvature: Times the change of defocus with height, ±1; 0 for a flat Ewald sphere.
        width: Of each ball, px.
        defocus: Range of the particles' defocus, Å.
    """

    group: ParticleOptics
    curvature: int = 0
    width: float = 1.6
    defocus: tuple[float, float] = (10_000.0, 25_000.0)


def optics_group(box: int, pixel_size: float, **changes: object) -> ParticleOptics:
    return replace(ParticleOptics("one", Optics(300.0, 2.7, 0.1), pixel_size, box), **changes)  # pyright: ignore[reportArgumentType]


def zernike(n: int, m: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """By the sum of factorials that defines it."""
    rho, angle, k = np.hypot(y, x), np.arctan2(y, x), abs(m)
    radial = sum(
        (-1) ** s * math.factorial(n - s) * rho ** (n - 2 * s)
        / (math.factorial(s) * math.factorial((n + k) // 2 - s) * math.factorial((n - k) // 2 - s))
        for s in range((n - k) // 2 + 1)
    )  # fmt: skip
    return radial * (np.cos(m * angle) if m >= 0 else np.sin(-m * angle))


def zernike_sum(coefficients: tuple[float, ...], first: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    orders = [(n, m) for n in range(first, first + 20, 2) for m in range(-n, n + 1, 2)]
    return sum((c * zernike(*order, y, x) for c, order in zip(coefficients, orders, strict=False)), np.zeros_like(y))


def balls_spectrum(phantom: Phantom, width: float, rotation: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Fourier transform of balls, turned into the image's frame, at (…, z y x) in 1/px."""
    centres = phantom.centres @ rotation.T
    waves = np.exp(-2j * np.pi * np.einsum("...j,bj->b...", places, centres))
    fall = (2 * np.pi) ** 1.5 * width**3 * np.exp(-2 * (np.pi * width) ** 2 * np.square(places).sum(-1))
    return np.einsum("b,b...->...", phantom.weights, waves) * fall


def balls_volume(phantom: Phantom, width: float, box: int) -> np.ndarray:
    """The balls on a grid, without what is finer than it shows."""
    s = np.fft.fftfreq(box)
    places = np.stack(np.meshgrid(s, s, s, indexing="ij"), -1)
    spectrum = balls_spectrum(phantom, width, np.eye(3), places)
    spectrum[box // 2], spectrum[:, box // 2], spectrum[:, :, box // 2] = 0, 0, 0
    return np.fft.fftshift(np.fft.ifftn(spectrum).real).astype(np.float32)


def simulate_aberrated(
    phantom: Phantom, microscope: Microscope, count: int, *, noise: float = 0.0, seed: int = 0, shift: float = 2.0
) -> Simulated:
    """Particles at random poses and shifts up to so many px."""
    generator = np.random.default_rng(seed)
    group = microscope.group
    box, pixel = group.box, group.pixel_size
    quaternion = generator.normal(size=(count, 4))
    rotation = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    moved = generator.uniform(-shift, shift, (count, 2))
    middle, angle = generator.uniform(*microscope.defocus, count), generator.uniform(0, 180, count)
    ctf = ParticleCtf.of(middle + 200, middle - 200, angle)
    images = np.empty((count, box, box), np.float32)
    for i in range(count):
        spectrum = seen_spectrum(phantom, microscope, rotation[i], moved[i], ctf.select(np.array([i])))
        images[i] = np.fft.fftshift(np.fft.ifft2(spectrum).real) + generator.normal(0, noise or 1e-9, (box, box))
    particles = Particles(
        optics=(group,),
        group=np.zeros(count, np.int64),
        files=("stack.mrcs",),
        file=np.zeros(count, np.int64),
        section=np.arange(count),
        micrographs=("a.mrc",),
        micrograph=np.zeros(count, np.int64),
        ctf=ctf,
        rotation=rotation,
        shift=moved * pixel,
    )
    return Simulated(particles, images, rotation, moved * pixel)


def seen_spectrum(
    phantom: Phantom, microscope: Microscope, rotation: np.ndarray, shift: np.ndarray, ctf: ParticleCtf
) -> np.ndarray:
    """Spectrum of one image, its centre at the origin: two waves from two points of the object's that interfere."""
    group, box = microscope.group, microscope.group.box
    s = np.fft.fftfreq(box)
    recorded = np.stack(np.meshgrid(s, s, indexing="ij"), -1)
    true = recorded if group.magnification is None else recorded @ np.linalg.inv(np.array(group.magnification)).T
    y, x = true[..., 0] / group.pixel_size, true[..., 1] / group.pixel_size
    s2 = y**2 + x**2
    volts, cs = (group.optics.voltage or 0) * 1e3, (group.optics.cs or 0) * 1e7
    wavelength = 12.2642597 / math.sqrt(volts * (1 + 0.9784756e-6 * volts))
    q = group.optics.amplitude_contrast or 0.0
    local = (ctf.defocus_u + ctf.defocus_v) / 2 + (ctf.defocus_u - ctf.defocus_v) / 2 * np.cos(
        2 * (np.arctan2(y, x) - np.deg2rad(ctf.angle))
    )
    chi = np.pi * wavelength * s2 * (local - 0.5 * cs * wavelength**2 * s2) + np.arctan2(q, np.sqrt(1 - q * q))
    chi = chi - zernike_sum(group.even_zernike, 0, y, x)
    tilt_y, tilt_x = group.beam_tilt
    odd = zernike_sum(group.odd_zernike, 1, y, x)
    odd = odd - 2e-3 * np.pi * cs * wavelength**2 * s2 * (tilt_y * y + tilt_x * x)
    # A point at height z has its defocus larger by curvature · z.
    depth = microscope.curvature * wavelength * s2 / 2 * group.pixel_size
    near, far = (
        balls_spectrum(phantom, microscope.width, rotation, np.concatenate([z[..., None], true], -1))
        for z in (-depth, depth)
    )
    wave = (near * np.exp(1j * chi) - far * np.exp(-1j * chi)) / 2j
    seen = wave * np.exp(1j * odd) * np.exp(-2j * np.pi * recorded @ shift)
    seen[box // 2], seen[:, box // 2] = 0, 0
    return seen
