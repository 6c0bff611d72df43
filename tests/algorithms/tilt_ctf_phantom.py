"""Tilt series of a thin flat specimen, random as ice is, imaged with the CTF of every place: truth for CTF fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics

OPTICS = Optics(voltage=300.0, cs=2.7, amplitude_contrast=0.07)
WAVELENGTH = 0.019687489  # Å, of 300 kV


@dataclass(frozen=True)
class CtfPhantom:
    """How a series is taken.

    Args:
        shape: (rows, columns).
        pixel_size: Å.
        geometry: Per image.
        defocus: Mean at each image's centre, Å.
        astigmatism: Difference of U and V, Å.
        angle: Of U, degrees anticlockwise from +x.
        hand: +1 or −1.
        inclination: Specimen against geometry, (tilt, x-tilt), degrees.
        dose: e/Å² of each image.
        strength: Power of the specimen over that of the noise, at 1 e/Å² and low frequency.
        decay: Å², of that ratio along squared frequency.
        phase_shift: Degrees.
    """

    shape: tuple[int, int]
    pixel_size: float
    geometry: TiltGeometry
    defocus: np.ndarray
    astigmatism: float = 0.0
    angle: float = 0.0
    hand: int = 1
    inclination: tuple[float, float] = (0.0, 0.0)
    dose: float = 3.0
    strength: float = 0.05
    decay: float = 150.0
    phase_shift: float = 0.0

    def __len__(self) -> int:
        return len(self.geometry)

    def height(self, k: int) -> np.ndarray:
        """Of the specimen's plane under each pixel, above that at the centre, by the rotation of points (Å)."""
        tilt, pitch = (
            np.deg2rad(float(angle) + offset)
            for angle, offset in zip((self.geometry.tilt[k], self.geometry.x_tilt[k]), self.inclination, strict=True)
        )
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        whole = about_y @ about_x  # on (x, y, z)
        y, x = (np.arange(n)[:, None] - n // 2 for n in self.shape)
        turn = np.deg2rad(self.geometry.rotation[k])
        y, x = y * self.pixel_size, x.T * self.pixel_size
        v, u = y * np.cos(turn) - x * np.sin(turn), y * np.sin(turn) + x * np.cos(turn)
        # (x, y) in the specimen's plane that is seen at (u, v), then its height.
        inverse = np.linalg.inv(whole[:2, :2])
        sx, sy = inverse[0, 0] * u + inverse[0, 1] * v, inverse[1, 0] * u + inverse[1, 1] * v
        return whole[2, 0] * sx + whole[2, 1] * sy

    def transfer(self, defocus: float) -> np.ndarray:
        """CTF on the half spectrum at a mean defocus."""
        rows = np.fft.fftfreq(self.shape[0], self.pixel_size)[:, None]
        columns = np.fft.rfftfreq(self.shape[1], self.pixel_size)[None]
        s2 = rows**2 + columns**2
        around = np.cos(2 * (np.arctan2(rows, columns) - np.deg2rad(self.angle)))
        local = defocus + self.astigmatism / 2 * around
        phase = np.pi * WAVELENGTH * s2 * (local - 0.5 * 2.7e7 * WAVELENGTH**2 * s2)
        return np.sin(phase + np.arcsin(0.07) + np.deg2rad(self.phase_shift)).astype(np.float32)

    def blur(self, spectrum: np.ndarray, k: int, step: float = 200.0) -> np.ndarray:
        """An image whose every place has the CTF of its own defocus, from its half spectrum."""
        local = (self.defocus[k] + self.hand * self.height(k)).astype(np.float32)
        nodes = np.arange(local.min() - step, local.max() + 2 * step, step)
        image = np.zeros(self.shape, np.float32)
        for node in nodes:
            weight = np.clip(1 - np.abs(local - node) / step, 0, 1)
            if weight.any():
                image += weight * np.fft.irfft2(spectrum * self.transfer(float(node)), self.shape)
        return image

    def image(self, k: int, seed: int = 0) -> np.ndarray:
        """One image: specimen of unit power, dark, in the noise of its dose."""
        random = np.random.default_rng([seed, k])
        rows = np.fft.fftfreq(self.shape[0], self.pixel_size)[:, None]
        columns = np.fft.rfftfreq(self.shape[1], self.pixel_size)[None]
        envelope = np.sqrt(self.strength * self.dose) * np.exp(-self.decay * (rows**2 + columns**2) / 2)
        specimen = np.fft.rfft2(random.standard_normal(self.shape, np.float32)) * envelope
        seen = self.blur(specimen.astype(np.complex64), k)
        return 100 - (seen + random.standard_normal(self.shape, np.float32))

    def images(self, seed: int = 0) -> Iterator[np.ndarray]:
        """All images, one at a time."""
        return (self.image(k, seed) for k in range(len(self)))


def dose_symmetric(tilt: np.ndarray) -> np.ndarray:
    """Place of each image in a dose-symmetric order of acquisition."""
    return np.argsort(np.argsort(np.abs(tilt) + 0.1 * (tilt < 0), kind="stable"), kind="stable")


def drifting(order: np.ndarray, first: float, step: float, seed: int = 0) -> np.ndarray:
    """Defoci that wander from image to image as they are taken, Å."""
    random = np.random.default_rng([seed, 99])
    return first + np.cumsum(random.normal(0, step, len(order)))[order]
