"""The contrast transfer function of an image, and how well it is known.

Underfocus is positive. The angle of the larger defocus is anticlockwise from +x, with rows pointing up as everywhere
in the house; where a format counts rows downwards, it turns the sign.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError


@dataclass(frozen=True)
class Ctf:
    """What the lens did to one image; the microscope's constants are in `Optics`.

    Args:
        defocus_u: Larger defocus, Å.
        defocus_v: Smaller defocus, Å.
        angle: Direction of the larger defocus, degrees, 0 to 180.
        phase_shift: Of a phase plate, degrees.
    """

    defocus_u: float
    defocus_v: float
    angle: float = 0.0
    phase_shift: float = 0.0

    @property
    def defocus(self) -> float:
        """Mean defocus, Å."""
        return (self.defocus_u + self.defocus_v) / 2

    @property
    def astigmatism(self) -> float:
        """Difference between the two, Å."""
        return self.defocus_u - self.defocus_v


@dataclass(frozen=True)
class CtfCurves:
    """Radial curves of a fit, for plots; astigmatism is followed, so rings do not blur.

    Args:
        frequency: 1/Å.
        measured: Power with the background taken off and the envelope divided out, 1.
        model: Squared CTF, 1.
        background: Of the amplitude spectrum, its units.
        correlation: Between measured and model around each frequency, −1 to 1.
    """

    frequency: Float[np.ndarray, "rings"]
    measured: Float[np.ndarray, "rings"]
    model: Float[np.ndarray, "rings"]
    background: Float[np.ndarray, "rings"]
    correlation: Float[np.ndarray, "rings"]


@dataclass(frozen=True)
class SpecimenTilt:
    """How the specimen lies under the beam, as the CTF of its parts tells.

    Args:
        tilt: Inclination, degrees, 0 to 90.
        axis: Direction of the line of constant defocus, anticlockwise from +y (as a tilt axis), degrees, −180 to 180.
            Defocus grows to the right of an upright axis for positive angles.
        sigma: Standard deviation of tilt and axis, degrees; zero where they were given.
    """

    tilt: float
    axis: float
    sigma: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class DefocusMap:
    """Defocus that differs over a micrograph: a smooth surface on a regular grid of nodes.

    Args:
        defocus: (rows, columns), mean defocus at the nodes, Å. The nodes at the ends lie on the micrograph's edges;
            linear between nodes.
        sigma: Standard deviation of each, Å.
    """

    defocus: Float[np.ndarray, "rows columns"]
    sigma: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class CtfFit:
    """A fitted CTF with how sure it is.

    Args:
        ctf: The parameters.
        sigma: Their standard deviations, in the same places; angle and phase shift in degrees.
        score: Correlation of spectrum and model within the fitted range, −1 to 1.
        resolution: To where the rings fit, Å.
        fit_range: Coarsest and finest spacing that took part, Å.
        thickness: Of the sample, from the nodes where its layers cancel, Å; None where not fitted.
        thickness_sigma: Its standard deviation, Å.
        tilt: Inclination of the specimen, given or fitted; None where taken as flat.
        surface: Defocus over the micrograph; None where not fitted.
        ice_ring: Power in the ice rings (3.9 and 3.7 Å) over its surroundings, 1; NaN beyond Nyquist.
        curves: For plots.
        warnings: Sentences for people.
    """

    ctf: Ctf
    sigma: Ctf
    score: float
    resolution: float
    fit_range: tuple[float, float]
    thickness: float | None = None
    thickness_sigma: float | None = None
    tilt: SpecimenTilt | None = None
    surface: DefocusMap | None = None
    ice_ring: float = float("nan")
    curves: CtfCurves | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TiltCtf:
    """The CTFs of a tilt series, at the centre of each image, in the series' order.

    Args:
        defocus_u: Larger defocus, Å; NaN for an image without a fit.
        defocus_v: Smaller defocus, Å.
        angle: Direction of the larger one, degrees, as in `Ctf`.
        phase_shift: Degrees.
        sigma: (tilts, 4), standard deviations of the four, Å and degrees.
        score: Correlation of spectrum and model, −1 to 1.
        resolution: To where the rings fit, Å.
        borrowed: Why an image's values come from its neighbours, by index.
        hand_confidence: Hand of the series as its images tell it, times how clearly, −1 to 1; NaN where not asked.
        spectra: Stack of spectra, half measured and half model, if written (MRC).
    """

    defocus_u: Float[np.ndarray, "tilts"]
    defocus_v: Float[np.ndarray, "tilts"]
    angle: Float[np.ndarray, "tilts"]
    phase_shift: Float[np.ndarray, "tilts"]
    sigma: Float[np.ndarray, "tilts 4"]
    score: Float[np.ndarray, "tilts"]
    resolution: Float[np.ndarray, "tilts"]
    borrowed: dict[int, str] = field(default_factory=dict[int, str])
    hand_confidence: float = float("nan")
    spectra: str | None = None

    def __post_init__(self) -> None:
        n = len(self.defocus_u)
        for name in ("defocus_v", "angle", "phase_shift", "sigma", "score", "resolution"):
            if len(getattr(self, name)) != n:
                raise InputError(f"{name} and defocus of a tilt series differ in number", got=len(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.defocus_u)

    @property
    def defocus(self) -> Float[np.ndarray, "tilts"]:
        """Mean defocus of each image, Å."""
        return (self.defocus_u + self.defocus_v) / 2

    def of(self, index: int) -> Ctf:
        """The CTF of one image."""
        return Ctf(*(float(getattr(self, name)[index]) for name in ("defocus_u", "defocus_v", "angle", "phase_shift")))
