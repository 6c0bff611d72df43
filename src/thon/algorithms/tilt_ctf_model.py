"""The joint model of a tilt series' rings: what a CTF does to them, how likely they are, and where the model leads.

Power over background is 1 − a(q) cos 2χ. The noise of each pixel is that of a periodogram, whose standard deviation is
the power itself. The amplitude a(q) ≥ 0 is measured along the way: an image whose rings are not to be seen has a = 0,
and so nothing to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from thon.algorithms.tilt_ctf_rings import SECTORS, RingGrid, TiltRings
from thon.data.optics import Optics
from thon.ops.ctf import amplitude_phase, electron_wavelength

_SMOOTH = 0.07  # standard deviation, as a share of the range, over which the amplitude is averaged
_LARGEST = 0.9


@dataclass(frozen=True)
class Lens:
    """The microscope's part of a CTF.

    Args:
        wavelength: Å.
        cs: Å.
        phase: Of amplitude contrast, radians.
    """

    wavelength: float
    cs: float
    phase: float

    @classmethod
    def of(cls, optics: Optics) -> Lens:
        """From known optics.

        Raises:
            ValueError: Voltage, Cs or amplitude contrast is unknown.
        """
        if optics.voltage is None or optics.cs is None or optics.amplitude_contrast is None:
            raise ValueError(f"a CTF needs voltage, Cs and amplitude contrast, not {optics}")
        phase = amplitude_phase(optics.amplitude_contrast)
        return cls(electron_wavelength(optics.voltage), optics.cs * 1e7, phase)

    def rate(self, grid: RingGrid) -> Float[np.ndarray, "bins"]:
        """Phase χ per defocus, radians/Å."""
        return math.pi * self.wavelength * grid.squared

    def rest(self, grid: RingGrid) -> Float[np.ndarray, "bins"]:
        """Phase χ at zero defocus, radians."""
        return self.phase - self.rate(grid) * self.cs * self.wavelength**2 * grid.squared / 2


@dataclass(frozen=True)
class TiltState:
    """Parameters of the joint model.

    Args:
        values: (tilts, 4), mean defocus, the two parts of the astigmatism, A cos 2φ and A sin 2φ, in Å, and the phase
            shift in radians.
        inclination: Of the specimen against the geometry: tilt offset and x-tilt, degrees.
        hand: +1 or −1.
    """

    values: Float[np.ndarray, "tilts 4"]
    inclination: tuple[float, float]
    hand: int


@dataclass(frozen=True)
class TiltEvidence:
    """What one image's rings say about a state.

    Args:
        likelihood: Logarithm, over that of no rings at all.
        amplitude: a(q).
        curvature: (tiles, sectors, 3), information on (phase, phase × rate, phase × rate²): radians and Å.
        slope: (tiles, sectors, 2), derivative of the likelihood by phase, and by defocus.
        modulation: −a cos 2χ.
    """

    likelihood: float
    amplitude: Float[np.ndarray, "bins"]
    curvature: Float[np.ndarray, "tiles sectors 3"]
    slope: Float[np.ndarray, "tiles sectors 2"]
    modulation: Float[np.ndarray, "tiles sectors bins"]


def sector_factors(grid: RingGrid) -> Float[np.ndarray, "sectors 2"]:
    """Defocus of each sector per unit of the two parts of the astigmatism."""
    mean = math.sin(math.pi / SECTORS) / (math.pi / SECTORS)
    return np.stack([np.cos(2 * grid.sectors), np.sin(2 * grid.sectors)], -1) * mean / 2


def row_defocus(
    values: Float[np.ndarray, "4"], rings: TiltRings, slope: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "tiles sectors"]:
    """Defocus of each tile and sector, Å, where the defocus rises by `slope` (Å/Å along y, x) over the image."""
    return values[0] + (rings.center @ slope)[:, None] + sector_factors(rings.grid) @ values[1:3]


def weigh_evidence(
    rings: TiltRings,
    deviation: Float[np.ndarray, "tiles sectors bins"],
    defocus: Float[np.ndarray, "tiles sectors"],
    phase_shift: float,
    lens: Lens,
) -> TiltEvidence:
    """How well a state explains one image's rings, and where it should move.

    Args:
        rings: Of the image.
        deviation: Power over background less one, summed over each bin.
        defocus: Of each tile and sector, Å.
        phase_shift: Radians.
        lens: Of the microscope.
    """
    rate, rest = lens.rate(rings.grid), lens.rest(rings.grid)
    turn = 2 * (defocus[..., None] * rate + (rest + phase_shift)).astype(np.float32)
    cosine, sine = -np.cos(turn), np.sin(turn)
    overlap = np.einsum("tsq,tsq->q", deviation, cosine).astype(np.float64)
    energy = np.einsum("sq,tsq,tsq->q", rings.count, cosine, cosine, optimize=True).astype(np.float64)
    noise = rings.noise(2 * lens.wavelength * abs(float(defocus.mean())) * np.sqrt(rings.grid.squared))
    amplitude = _amplitude(overlap, energy, noise)
    scale = (2 * amplitude).astype(np.float32)
    modulation = cosine * amplitude.astype(np.float32)
    steep = sine * scale
    powers = np.stack([np.ones_like(rate), rate, rate**2], -1)
    information = rings.count * steep * steep
    push = (deviation - rings.count * modulation) * steep
    powers = powers / noise[:, None]
    gain = amplitude * overlap - amplitude**2 * energy / 2
    return TiltEvidence(
        likelihood=float((gain / noise).sum()),
        amplitude=amplitude,
        curvature=information @ powers,
        slope=push @ powers[:, :2],
        modulation=modulation,
    )


def _amplitude(
    overlap: Float[np.ndarray, "bins"], energy: Float[np.ndarray, "bins"], noise: Float[np.ndarray, "bins"]
) -> Float[np.ndarray, "bins"]:
    """Amplitude of the rings along frequency, smooth, never negative, and less than measured where noise made it."""
    width = _SMOOTH * len(overlap)
    top, bottom = (scipy.ndimage.gaussian_filter1d(part, width, mode="constant") for part in (overlap, energy))
    found = np.maximum(top / np.maximum(bottom, 1e-9), 0)
    # Averaging over w bins of standard deviation σ is averaging over √(4π) σ of them.
    variance = noise / np.maximum(bottom * math.sqrt(4 * math.pi) * width, 1e-9)
    return np.clip(found * np.maximum(1 - variance / np.maximum(found**2, 1e-12), 0), 0, _LARGEST)
