"""A tilt series: which images, how they were taken, and how they lie to each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import InputError
from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics


@dataclass(frozen=True)
class ImageRef:
    """One image in a file: its path as text, and its section (0-based) where the file is a stack."""

    path: str
    section: int = 0


@dataclass(frozen=True)
class TiltSeries:
    """Images of one specimen area, one per stage tilt, in ascending tilt order.

    Args:
        name: Name of the series, used for files.
        images: Where each image is.
        image_shape: (rows, columns), px.
        pixel_size: Å.
        geometry: Geometry per image; nominal before alignment.
        order: Acquisition order, 0-based.
        exposure: Electrons that hit the specimen during the image, e/Å²; NaN where nobody said.
        prior_exposure: The same before the image, e/Å²; NaN where nobody said.
        movies: Path of each image's movie; empty where nobody said.
        optics: Microscope.
        excluded: Reason by image index (in this series) for the images that take no part: dark, blocked, by hand.
        hand: Sign of the defocus gradient, +1 or −1 as in RELION's `rlnTomoHand`; None where undetermined.
        tilt_axis: Tilt axis as the microscope, the user or an imported alignment states it, degrees; None where nobody
            said, and the nominal geometry has 0.
        ctf: CTF of each image; None where not fitted.
        halves: Files of the even and the odd frames' sum of each image; empty where there are none.
    """

    name: str
    images: tuple[ImageRef, ...]
    image_shape: tuple[int, int]
    pixel_size: float
    geometry: TiltGeometry
    order: Int[np.ndarray, "tilts"]
    exposure: Float[np.ndarray, "tilts"]
    prior_exposure: Float[np.ndarray, "tilts"]
    movies: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    excluded: dict[int, str] = field(default_factory=dict[int, str])
    hand: int | None = None
    tilt_axis: float | None = None
    ctf: TiltCtf | None = None
    halves: tuple[tuple[ImageRef, ImageRef], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.images)
        for name in ("geometry", "order", "exposure", "prior_exposure"):
            found = len(getattr(self, name))
            if found != n:
                raise InputError(f"{name} and images of '{self.name}' differ in number", got=found, expected=n)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def kept(self) -> Int[np.ndarray, "kept"]:
        """Indices of the images that take part."""
        return np.array([k for k in range(len(self)) if k not in self.excluded], np.int64)

    def with_geometry(self, geometry: TiltGeometry) -> TiltSeries:
        """The same series, aligned."""
        return replace(self, geometry=geometry)
