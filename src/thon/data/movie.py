"""A movie as the microscope wrote it, and where it stands in a tilt series."""

from __future__ import annotations

from dataclasses import dataclass, field

from thon.data.optics import Optics


@dataclass(frozen=True)
class TiltPlace:
    """Where an image stands in its tilt series.

    Args:
        series: Name of the series.
        tilt: Stage tilt, degrees.
        order: Acquisition order, 0-based.
        axis: Tilt axis in the house's sense (`thon.data.geometry`), degrees; None where nobody said.
        time: When it was taken, seconds since 1970; None where nobody said.
        source: The `.mdoc` that said so, as text; None where the movie's name did.
    """

    series: str
    tilt: float
    order: int
    axis: float | None = None
    time: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Movie:
    """Frames of one exposure in one file.

    Args:
        name: Name of the movie, used for files.
        path: File, as text.
        frames: Number of raw frames in the file.
        image_shape: (rows, columns) of a raw frame, px; for EER those of the physical sensor.
        pixel_size: Of `image_shape`, Å.
        exposure: Electrons that hit the specimen during the whole movie, e/Å²; NaN where nobody said.
        prior_exposure: The same before the movie, e/Å²; NaN where nobody said.
        optics: Microscope.
        tilt: Place in a tilt series; None for single particles.
    """

    name: str
    path: str
    frames: int
    image_shape: tuple[int, int]
    pixel_size: float
    exposure: float = float("nan")
    prior_exposure: float = 0.0
    optics: Optics = field(default_factory=Optics)
    tilt: TiltPlace | None = None

    @property
    def series(self) -> str | None:
        """Name of the tilt series that it belongs to; None for single particles."""
        return None if self.tilt is None else self.tilt.series
