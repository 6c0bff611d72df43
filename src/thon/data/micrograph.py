"""A micrograph: the motion-corrected sum of a movie, or an image that came as such."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

from thon.data.ctf import CtfFit
from thon.data.motion import FrameMotion
from thon.data.movie import Movie, TiltPlace
from thon.data.optics import Optics


@dataclass(frozen=True)
class Micrograph:
    """One image of the specimen.

    Args:
        name: Name, used for files.
        path: File, as text.
        image_shape: (rows, columns), px.
        pixel_size: Å.
        optics: Microscope.
        exposure: Electrons that hit the specimen, e/Å²; NaN where nobody said.
        prior_exposure: The same before it, e/Å².
        tilt: Place in a tilt series; None for single particles.
        movie: What it was summed from.
        dose_weighted: Whether the frames in `path` were weighted for radiation damage.
        unweighted: The same sum without dose weights, if asked for.
        even: Sum of the even frames, if asked for.
        odd: Sum of the odd frames, if asked for.
        spectrum: Sum of the power spectra of groups of frames, for CTF fitting (origin in the centre), if asked for.
        gain: File of the gain that was applied, as text; None for none.
        metadata: RELION's star file about the movie, for polishing elsewhere.
        motion: How the specimen moved.
    """

    name: str
    path: str
    image_shape: tuple[int, int]
    pixel_size: float
    optics: Optics = field(default_factory=Optics)
    exposure: float = float("nan")
    prior_exposure: float = 0.0
    tilt: TiltPlace | None = None
    movie: Movie | None = None
    dose_weighted: bool = False
    unweighted: str | None = None
    even: str | None = None
    odd: str | None = None
    spectrum: str | None = None
    gain: str | None = None
    metadata: str | None = None
    motion: FrameMotion | None = None

    @property
    def series(self) -> str | None:
        """Name of the tilt series that it belongs to; None for single particles."""
        return None if self.tilt is None else self.tilt.series


@dataclass(frozen=True)
class CtfMicrograph(Micrograph):
    """A micrograph whose CTF was fitted.

    Args:
        fit: The fit.
        diagnostic: Picture of the spectrum, half measured and half model, if written (MRC).
    """

    fit: CtfFit | None = None
    diagnostic: str | None = None

    @classmethod
    def of(cls, micrograph: Micrograph) -> Self:
        """The micrograph itself where it is one whose CTF was looked for, else the same with no fit."""
        if isinstance(micrograph, cls):
            return micrograph
        return cls(**{entry.name: getattr(micrograph, entry.name) for entry in fields(Micrograph)})
