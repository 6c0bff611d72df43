"""What an alignment found, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from thon.base.errors import InputError
from thon.data.tilt_series import TiltSeries


@dataclass(frozen=True)
class Tracks:
    """Positions of features (patches or gold beads) in the raw images of a series.

    Args:
        position: (points, tilts, 2), (y, x) from the raw image's centre, Å; NaN where a feature was not seen.
        sigma: (points, tilts), standard deviation of each coordinate, Å.
    """

    position: Float[np.ndarray, "points tilts 2"]
    sigma: Float[np.ndarray, "points tilts"]

    def __post_init__(self) -> None:
        if self.sigma.shape != self.position.shape[:2]:
            raise InputError(
                "sigma and position of tracks differ", got=self.sigma.shape, expected=self.position.shape[:2]
            )

    @property
    def seen(self) -> Bool[np.ndarray, "points tilts"]:
        """Where a feature has a position."""
        return np.isfinite(self.position.sum(-1))


@dataclass(frozen=True)
class TiltSigma:
    """Standard deviation of each parameter of a `TiltGeometry`; zero for what was held fixed.

    Args:
        shift: (tilts, 2), Å.
        rotation: degrees.
        tilt: degrees.
        x_tilt: degrees.
        magnification: 1.
    """

    shift: Float[np.ndarray, "tilts 2"]
    rotation: Float[np.ndarray, "tilts"]
    tilt: Float[np.ndarray, "tilts"]
    x_tilt: Float[np.ndarray, "tilts"]
    magnification: Float[np.ndarray, "tilts"]


@dataclass(frozen=True)
class ThicknessProfile:
    """Where along z the sample is.

    Args:
        z: Height above the volume's centre, Å.
        signal: Strength of reproducible signal at each z, 1.
        lower: Height of the lower face, Å.
        upper: Height of the upper face, Å.
        inclination: Slope of the sample's mid-plane along y and x (dz/dy, dz/dx) as angles, degrees.
        inclination_sigma: Their standard deviations, degrees.
    """

    z: Float[np.ndarray, "heights"]
    signal: Float[np.ndarray, "heights"]
    lower: float
    upper: float
    inclination: tuple[float, float] = (0.0, 0.0)
    inclination_sigma: tuple[float, float] = (0.0, 0.0)

    @property
    def certain_inclination(self) -> tuple[float, float]:
        """The inclination, zero where it is not three times its standard deviation: few features tell no slope."""
        y, x = (a if abs(a) > 3 * s else 0.0 for a, s in zip(self.inclination, self.inclination_sigma, strict=True))
        return y, x

    @property
    def thickness(self) -> float:
        """Distance between the faces, Å."""
        return self.upper - self.lower


@dataclass(frozen=True)
class AlignmentDiagnostics:
    """How an alignment went; everything a report draws.

    Args:
        method: Name of the method.
        sigma: Uncertainty of the geometry per tilt.
        correlation: Agreement of each image with the reprojection of the others, −1 to 1; NaN for excluded ones.
        confidence: Overall confidence, 0 to 1.
        warnings: Sentences for people.
        axis_angle: Trial angles of the tilt-axis search, degrees.
        axis_score: Their scores, 1.
        tracks: Features used in the joint refinement.
        points: (points, 3), their specimen positions (z, y, x), Å.
        residual: (points, tilts, 2), measured minus predicted position (y, x), Å; NaN where not seen or rejected.
        rejected: Number of track positions rejected as outliers.
        profile: The sample along z.
        seconds: Time by stage, s.
    """

    method: str
    sigma: TiltSigma
    correlation: Float[np.ndarray, "tilts"]
    confidence: float
    warnings: tuple[str, ...] = ()
    axis_angle: Float[np.ndarray, "angles"] = field(default_factory=lambda: np.zeros(0))
    axis_score: Float[np.ndarray, "angles"] = field(default_factory=lambda: np.zeros(0))
    tracks: Tracks | None = None
    points: Float[np.ndarray, "points 3"] | None = None
    residual: Float[np.ndarray, "points tilts 2"] | None = None
    rejected: int = 0
    profile: ThicknessProfile | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class AlignedTiltSeries(TiltSeries):
    """A tilt series whose geometry was refined from its own images, with the diagnostics of that."""

    diagnostics: AlignmentDiagnostics | None = None
