"""What single-particle jobs yield besides particles: picks, class averages, maps with their halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thon.data.micrograph import CtfMicrograph
from thon.data.particles import Particles
from thon.data.volume import Volume


@dataclass(frozen=True)
class Picks:
    """Particles found in one micrograph.

    Args:
        micrograph: Where.
        coordinates: (y, x) of their centres, px of the micrograph.
        score: Figure of merit of each, 1; higher is better.
        diameter: Of what was looked for, Å; the best matching one of each pick.
        class_number: Template that matched best, from 1; 0 where there were none.
        psi: In-plane angle at which it matched, degrees.
    """

    micrograph: CtfMicrograph
    coordinates: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, "n"]
    diameter: Float[np.ndarray, "n"]
    class_number: Int[np.ndarray, "n"]
    psi: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True)
class ShellCurves:
    """Fourier shell correlations of two half maps, by shell.

    Args:
        frequency: Å⁻¹.
        unmasked: Of the maps as they are.
        masked: Within the mask; None without one, as the next two.
        randomised: Within the mask with phases randomised beyond some shell.
        corrected: What is left of `masked` when what the mask itself correlates is taken off.
    """

    frequency: Float[np.ndarray, "shells"]
    unmasked: Float[np.ndarray, "shells"]
    masked: Float[np.ndarray, "shells"] | None = None
    randomised: Float[np.ndarray, "shells"] | None = None
    corrected: Float[np.ndarray, "shells"] | None = None

    @property
    def best(self) -> Float[np.ndarray, "shells"]:
        """The curve that tells the resolution: corrected where there is a mask."""
        return self.unmasked if self.corrected is None else self.corrected


@dataclass(frozen=True)
class GuinierPlot:
    """Logarithms of the mean amplitude of each shell, against the square of its frequency.

    Args:
        frequency2: Å⁻².
        original: Of the map, divided by the detector's transfer where that is known.
        weighted: After the FSC weighting.
        sharpened: After sharpening.
        slope: Of the line that was fitted, Å²; a quarter of the B-factor. NaN where none was.
        intercept: Of that line.
        correlation: Of the shells with it.
    """

    frequency2: Float[np.ndarray, "shells"]
    original: Float[np.ndarray, "shells"]
    weighted: Float[np.ndarray, "shells"]
    sharpened: Float[np.ndarray, "shells"]
    slope: float
    intercept: float
    correlation: float


@dataclass(frozen=True, kw_only=True)
class HalfMaps:
    """A map with its two halves from independent particles.

    Args:
        volume: From all particles.
        first: From half set 1, not filtered.
        second: From half set 2, not filtered.
        symmetry: Name of the point group.
        resolution: Where the FSC falls below 0.143, Å.
        curves: Its FSC.
        diameter: Of the particle, Å.
        mask: Mask within which the resolution was measured.
    """

    volume: Volume
    first: Volume
    second: Volume
    symmetry: str = "C1"
    resolution: float = float("nan")
    curves: ShellCurves | None = None
    diameter: float | None = None
    mask: Volume | None = None


@dataclass(frozen=True, kw_only=True)
class SharpenedMap(HalfMaps):
    """A post-processed map.

    Args:
        b_factor: That the map was sharpened by, Å² (negative sharpens).
        unsharpened: The map before.
        guinier: Its amplitudes before and after.
    """

    b_factor: float
    unsharpened: Volume
    guinier: GuinierPlot | None = None


@dataclass(frozen=True, kw_only=True)
class LocalResolutionMap(HalfMaps):
    """A map whose resolution was measured from place to place; `volume` is filtered to it.

    Args:
        local: The resolution at each voxel, Å.
        b_factor: That the map was sharpened by, Å².
    """

    local: Volume
    b_factor: float


@dataclass(frozen=True, kw_only=True)
class RefinedParticles(Particles, HalfMaps):
    """Particles with the poses that a refinement gave them, and its map."""


@dataclass(frozen=True)
class ParticleClass:
    """One class.

    Args:
        share: Of the particles, 0 to 1.
        resolution: Estimated, Å.
        score: How good its average looks, 0 to 1; NaN where not judged.
        volume: Its map; None for classes of two dimensions.
    """

    share: float
    resolution: float
    score: float = float("nan")
    volume: Volume | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifiedParticles(Particles):
    """Particles in classes.

    Args:
        classes: From number 1 on.
        averages: Stack of class averages, for classes of two dimensions.
        symmetry: Name of the point group, for classes of three dimensions.
        diameter: Of the particle, Å.
    """

    classes: tuple[ParticleClass, ...]
    averages: Volume | None = None
    symmetry: str = "C1"
    diameter: float | None = None
