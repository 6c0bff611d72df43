"""Micrographs whose CTF is known: random specimens through a lens onto a counting detector.

Written apart from the code it judges: NumPy in float64, with its own wavelength, CTF and orientation. Row 0 is the
bottom of the picture; the angle of the larger defocus is anticlockwise from +x. Contrast is that of weak phase
objects with physical strength (atoms per area, scattering amplitudes, interaction constant), so a dose means what it
means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Array = np.ndarray

INTERACTION = 1.587
"""Relativistic gain of scattering amplitudes at 300 kV."""


@dataclass(frozen=True)
class Scene:
    """A micrograph to come.

    Args:
        defocus_u, defocus_v: Å at the middle of the image.
        angle: Of the larger, degrees.
        phase: Phase plate, degrees.
        material: carbon: strong rings; ice: weak, with protein at low and the water peak at high resolution.
        dose: e/Å².
        b_factor: Of the envelope on amplitudes, Å².
        tilt, axis: Inclination, and direction of the line of constant defocus from +y, degrees.
        thickness: Sample thickness over which defocus is spread, Å.
        bump: Sine-shaped height over the image's diagonal, Å.
    """

    shape: tuple[int, int] = (1024, 1024)
    pixel_size: float = 1.35
    defocus_u: float = 18000.0
    defocus_v: float = 17000.0
    angle: float = 30.0
    phase: float = 0.0
    material: Literal["carbon", "ice"] = "carbon"
    dose: float = 30.0
    b_factor: float = 80.0
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.07
    tilt: float = 0.0
    axis: float = 0.0
    thickness: float = 0.0
    bump: float = 0.0
    seed: int = 0


def wavelength_of(voltage: float) -> float:
    """de Broglie wavelength from constants of nature, Å."""
    h, m, e, c = 6.62607015e-34, 9.1093837e-31, 1.602176634e-19, 299792458.0
    energy = e * voltage * 1e3
    return 1e10 * h / np.sqrt(2 * m * energy * (1 + energy / (2 * m * c**2)))


def scattering(scene: Scene, s: Array) -> Array:
    """Spectral density of the projected phase, Å² (Kirkland-like amplitudes of carbon and water)."""
    strength = wavelength_of(scene.voltage) * INTERACTION
    if scene.material == "carbon":
        amplitude = 2.5 / (1 + (s / 0.45) ** 2)
        return 15.0 * (strength * amplitude) ** 2 * (0.5 + 0.5 / (1 + (0.12 / np.maximum(s, 1e-4)) ** 4))
    amplitude = 3.0 / (1 + (s / 0.5) ** 2)
    water = 0.08 + 1.2 * np.exp(-0.5 * ((s - 0.27) / 0.03) ** 2)
    protein = 0.5 * np.exp(-((s / 0.07) ** 2)) + 0.12 / (1 + (s / 0.2) ** 4)
    return 13.0 * (strength * amplitude) ** 2 * (water + protein)


def phase_error(scene: Scene, kx: Array, ky: Array, defocus_offset: float = 0.0) -> Array:
    """χ with phase plate and amplitude contrast, radians."""
    lam = wavelength_of(scene.voltage)
    s2 = kx**2 + ky**2
    mean, half = (scene.defocus_u + scene.defocus_v) / 2, (scene.defocus_u - scene.defocus_v) / 2
    defocus = mean + defocus_offset + half * np.cos(2 * (np.arctan2(ky, kx) - np.radians(scene.angle)))
    chi = np.pi * lam * defocus * s2 - 0.5 * np.pi * scene.cs * 1e7 * lam**3 * s2**2
    return chi + np.radians(scene.phase) + np.arcsin(scene.amplitude_contrast)


def _contrast(scene: Scene, shape: tuple[int, int], generator: np.random.Generator) -> Array:
    """Relative change of intensity, without noise, on a periodic field."""
    noise = np.fft.rfft2(generator.standard_normal(shape))
    ky, kx = np.fft.fftfreq(shape[0], scene.pixel_size)[:, None], np.fft.rfftfreq(shape[1], scene.pixel_size)[None]
    s = np.hypot(kx, ky)
    potential = noise * np.sqrt(scattering(scene, s)) / scene.pixel_size * np.exp(-scene.b_factor * s**2 / 4)
    potential[0, 0] = 0
    if not (scene.tilt or scene.bump):
        return np.fft.irfft2(2 * potential * np.sin(phase_error(scene, kx, ky)), s=shape)
    return _varying_contrast(scene, potential, (ky, kx))


def height_of(scene: Scene, y: Array, x: Array) -> Array:
    """Defocus beyond that of the middle at a place in Å from the image's centre."""
    phi = np.radians(scene.axis)
    slope = np.tan(np.radians(scene.tilt)) * (x * np.cos(phi) + y * np.sin(phi))
    length = min(scene.shape) * scene.pixel_size
    return slope + scene.bump * np.sin(np.pi * (x + y) / length)


def _varying_contrast(scene: Scene, potential: Array, frequency: tuple[Array, Array], step: float = 60.0) -> Array:
    """Contrast where defocus differs from place to place: linear between images of constant defocus."""
    shape = (potential.shape[0], 2 * (potential.shape[1] - 1))
    y = (np.arange(shape[0]) - shape[0] // 2)[:, None] * scene.pixel_size
    x = (np.arange(shape[1]) - shape[1] // 2)[None] * scene.pixel_size
    level = height_of(scene, y, x) / step
    result = np.zeros(shape)
    for k in range(int(np.floor(level.min())), int(np.ceil(level.max())) + 1):
        share = np.maximum(1 - np.abs(level - k), 0)
        transfer = np.sin(phase_error(scene, frequency[1], frequency[0], k * step))
        result += share * np.fft.irfft2(2 * potential * transfer, s=shape)
    return result


def simulate(scene: Scene) -> Array:
    """The micrograph, float32, in counts: Poisson noise, then the detector's blur, on a sloping illumination."""
    generator = np.random.default_rng(scene.seed)
    margin = 128
    shape = (scene.shape[0] + scene.shape[0] % 2 + 2 * margin, scene.shape[1] + scene.shape[1] % 2 + 2 * margin)
    if scene.thickness:
        layers = max(2, int(np.ceil(scene.thickness / 40)))
        heights = (np.arange(layers) + 0.5) / layers - 0.5
        parts = [_contrast(_moved(scene, h * scene.thickness), shape, generator) / np.sqrt(layers) for h in heights]
        contrast = np.sum(parts, 0)
    else:
        contrast = _contrast(scene, shape, generator)
    slope = 1 + 0.1 * np.linspace(-1, 1, shape[0])[:, None] - 0.05 * np.linspace(-1, 1, shape[1])[None]
    expected = scene.dose * scene.pixel_size**2 * slope * np.maximum(1 - contrast, 0)
    counts = generator.poisson(expected).astype(np.float64)
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    blurred = np.fft.irfft2(np.fft.rfft2(counts) * (0.4 + 0.6 * np.exp(-((f / 0.35) ** 2))), s=shape)
    # The centre pixel n // 2 of the picture is that of the field that was rendered.
    first = [big // 2 - n // 2 for big, n in zip(shape, scene.shape, strict=True)]
    return blurred[first[0] : first[0] + scene.shape[0], first[1] : first[1] + scene.shape[1]].astype(np.float32)


def _moved(scene: Scene, height: float) -> Scene:
    return replace(scene, defocus_u=scene.defocus_u + height, defocus_v=scene.defocus_v + height)
