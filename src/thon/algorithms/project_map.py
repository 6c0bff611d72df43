"""Project a map along directions, with or without the CTF of a microscope."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Self

import numpy as np
import torch
from annotated_types import Gt
from jaxtyping import Complex, Float

from thon import kernels
from thon.algorithms.likelihood.images import straightening, transfer_function
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.poses import RotationGrid
from thon.algorithms.likelihood.references import PADDING, to_spectrum
from thon.algorithms.likelihood.search import in_plane
from thon.base.options import Options, Unit
from thon.data.particles import ParticleCtf, ParticleOptics, Particles
from thon.ops.symmetry import PointGroup, symmetry_rotations

_AT_ONCE = 64


class ProjectOptions(Options):
    """Which projections of a map are made."""

    angular_step: Annotated[float, Unit("degrees"), Gt(0)] = 15.0
    """Distance of even directions, where no poses are given."""

    symmetry: PointGroup = "C1"
    """Point group of the map: of directions that it makes equal one is taken."""

    ctf: bool = False
    """Show projections as the microscope of the poses would: with their CTFs, aberrations and magnification."""


def even_rotations(step: float, symmetry: str) -> Float[np.ndarray, "n 3 3"]:
    """Rotations of (z, y, x) with directions of a HEALPix order about so many degrees apart or less.

    Args:
        step: Degrees.
        symmetry: Point group; of directions that it makes equal one is taken, with a margin of half a step.
    """
    grid = RotationGrid(3, symmetry_rotations(symmetry), np.eye(3), first_angles=1)
    level = max(0, math.ceil(math.log2(60 / step) - 1e-9))
    directions = np.unique(grid.unique(level) // grid.angles(level))
    return grid.matrices(level, directions * grid.angles(level))


@dataclass(frozen=True)
class MapProjector:
    """Projects a map.

    Args:
        volume: A cube.
        pixel_size: Of it, Å.
    """

    volume: Float[np.ndarray, "z y x"]
    pixel_size: float

    def __post_init__(self) -> None:
        if len(set(self.volume.shape)) != 1:
            raise ValueError(f"a map that is projected is a cube, got {self.volume.shape}")

    @property
    def box(self) -> int:
        """Side of map and projections, px."""
        return len(self.volume)

    @cached_property
    def pixels(self) -> FourierPixels:
        """Pixels of the projections' spectra; those in the corners, and at the Nyquist frequency, are left out."""
        return FourierPixels(self.box, self.pixel_size, self.box * self.pixel_size, self.box // 2)

    @cached_property
    def spectrum(self) -> Float[torch.Tensor, "one z y x 2"]:
        """Oversampled, of the map."""
        return to_spectrum(torch.from_numpy(self.volume)[None], self.box // 2)

    def project(
        self,
        rotation: Float[np.ndarray, "n 3 3"],
        shift: Float[np.ndarray, "n 2"],
        seen: Seen | None = None,
    ) -> Float[torch.Tensor, "n box box"]:
        """Projections: sums along z, of voxels.

        Args:
            rotation: Map into image.
            shift: (y, x) of the map's centre from the image's, Å.
            seen: What the microscope makes of the projections; nothing unless given.
        """
        pixels = self.pixels if seen is None else seen.pixels
        places = torch.from_numpy(np.ascontiguousarray(pixels.places.T * PADDING, np.float32))
        which = torch.zeros(len(rotation), dtype=torch.int64)
        slices = kernels.cut_slices(self.spectrum, which, in_plane(rotation), places)
        values = torch.complex(*slices.unbind(1)) * torch.complex(*pixels.ramps(-shift / self.pixel_size).unbind(1))
        values = values if seen is None else values * seen.factor
        half = torch.zeros((len(rotation), self.box, self.box // 2 + 1), dtype=torch.complex64)
        rows, columns = torch.from_numpy(pixels.index % self.box).T
        half[:, rows, columns] = values
        edge = columns == 0
        half[:, -rows[edge] % self.box, 0] = values[:, edge].conj()
        middle = self.box // 2
        return torch.fft.irfft2(half, s=(self.box, self.box), norm="ortho").roll((middle, middle), (-2, -1))


@dataclass(frozen=True)
class Seen:
    """What a microscope makes of projections.

    Args:
        pixels: Of the images' spectra, with the places in the map's spectrum that they show.
        factor: What each is multiplied by: the CTF, and the phases of odd aberrations.
    """

    pixels: FourierPixels
    factor: Complex[torch.Tensor, "n pixels"]

    @classmethod
    def of(cls, ctf: ParticleCtf | None, count: int, optics: ParticleOptics, projector: MapProjector) -> Self:
        """For particles of one optics group."""
        pixels = replace(projector.pixels, magnification=optics.magnification)
        transfer, turn = transfer_function(ctf, count, optics, pixels), straightening(optics, pixels)
        back = torch.ones((), dtype=torch.complex64) if turn is None else torch.complex(turn[0], -turn[1])
        return cls(pixels, transfer * back)


def project_particles(
    volume: Float[np.ndarray, "z y x"], pixel_size: float, particles: Particles, *, ctf: bool
) -> Iterator[Float[np.ndarray, "n box box"]]:
    """Projections of a map at the poses of particles, some at once, in order.

    Args:
        volume: A cube.
        pixel_size: Of it, Å.
        particles: With poses, and with CTFs where they are asked for.
        ctf: Whether projections show them, with aberrations and anisotropic magnification.
    """
    if particles.rotation is None:
        raise ValueError("particles without poses cannot be projected")
    projector = MapProjector(volume, pixel_size)
    shift = np.zeros((len(particles), 2)) if particles.shift is None else particles.shift
    ends = np.append(np.flatnonzero(np.diff(particles.group)) + 1, len(particles))
    start = 0
    for end in ends.tolist():
        optics = particles.optics[particles.group[start]] if len(particles) else None
        for first in range(start, end, _AT_ONCE):
            chosen = np.arange(first, min(first + _AT_ONCE, end))
            seen = None
            if ctf and optics is not None:
                known = None if particles.ctf is None else particles.ctf.select(chosen)
                seen = Seen.of(known, len(chosen), optics, projector)
            yield projector.project(particles.rotation[chosen], shift[chosen], seen).numpy()
        start = end
