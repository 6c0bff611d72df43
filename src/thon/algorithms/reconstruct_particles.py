"""Reconstruct a map and its halves from particles whose poses are known, by direct inversion in Fourier space.

Each image adds to the slice where it was seen, weighted by its CTF over the noise; what comes out is the Wiener filter
of all images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int
from pydantic import model_validator

from thon.algorithms.half_correlation import correlate_halves
from thon.algorithms.likelihood.expectation import NoiseModel, Poses
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.reconstruction import prior_precision
from thon.algorithms.likelihood.references import particle_mask
from thon.algorithms.particle_sets import half_sets
from thon.base.options import Advanced, Options, Unit
from thon.data.maps import ShellCurves
from thon.data.particles import Particles
from thon.ops.symmetry import PointGroup, symmetry_rotations


class ReconstructParticlesOptions(Options):
    """Reconstruction from particles with poses."""

    symmetry: PointGroup = "C1"
    """Point group: Cn, Dn, T, O, I1 to I4, with RELION's axes."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of a soft sphere around the map; that of the box unless given."""

    ctf: bool = True
    """Correct for the CTFs."""

    ewald: bool = False
    """Take Ewald's sphere for what it is, curved: for large particles at high resolution."""

    reverse_curvature: Annotated[bool, Advanced()] = False
    """With --ewald: curve it the other way, for a map of the other hand or images that are mirrored."""

    classes: tuple[Annotated[int, Unit("1"), Ge(1)], ...] = ()
    """Use particles of these classes only."""

    max_resolution: Annotated[float, Unit("Å"), Ge(0)] = 0.0
    """Nothing finer is reconstructed; 0 for no limit."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ewald and not self.ctf:
            raise ValueError("ewald needs the CTF, which tells the two waves in an image apart")
        if self.reverse_curvature and not self.ewald:
            raise ValueError("reverse_curvature is for ewald")
        return self

    @property
    def curvature(self) -> int:
        """Of Ewald's sphere: 0 for flat, −1 as RELION has it with --ewald, 1 the other way."""
        return (1 if self.reverse_curvature else -1) if self.ewald else 0


@dataclass(frozen=True)
class Reconstruction:
    """A map with its halves.

    Args:
        volume: Of all particles, filtered as far as the halves agree.
        halves: Of each half, not filtered.
        half: Half set of each particle.
        curves: FSC of the halves.
        resolution: Where it falls below 0.143, Å; NaN where nothing agrees.
    """

    volume: Float[np.ndarray, "z y x"]
    halves: Float[np.ndarray, "2 z y x"]
    half: Int[np.ndarray, "n"]
    curves: ShellCurves
    resolution: float


def reconstruct_with_poses(
    particles: Particles,
    source: ImageSource,
    options: ReconstructParticlesOptions,
    *,
    mask: Float[np.ndarray, "z y x"] | None = None,
    seed: int = 0,
    done: Callable[[int], None] = lambda count: None,
) -> Reconstruction:
    """Reconstruct a map from particles.

    Box and voxel size are those of the optics group with most particles.

    Args:
        particles: With poses.
        source: Their images.
        options: How.
        mask: Within which the halves are compared; a sphere unless given.
        seed: By which particles without half set get one.
        done: Told the number of particles after each block.
    """
    main = particles.optics[int(np.bincount(particles.group).argmax())]
    box, extent = main.box, main.box * main.pixel_size
    diameter = options.diameter or extent
    shells = min(box // 2, round(extent / options.max_resolution)) if options.max_resolution else box // 2
    half = half_sets(particles, np.random.default_rng(seed))
    model = _model(particles, source, extent, box // 2, diameter)
    known = KnownPoses(
        particles,
        source,
        Poses.start(particles),
        model,
        extent,
        shells,
        diameter,
        correct=options.ctf,
        curvature=options.curvature,
    )
    symmetry = symmetry_rotations(options.symmetry)
    first, second = (one.of_class(0, symmetry) for one in known.sum(half - 1, done))
    halves = torch.stack([first.reconstruct(box), second.reconstruct(box)])
    sphere = particle_mask(box, diameter / main.pixel_size, 3)
    within = sphere if mask is None else torch.from_numpy(mask).float()
    common = correlate_halves(
        halves[0], halves[1], main.pixel_size, mask=within, symmetry_order=len(symmetry), seed=seed
    )
    both = first + second
    curve = torch.from_numpy(np.nan_to_num(common.curves.best[:shells]))
    volume = both.reconstruct(box, prior_precision(both.mean_weight() / 2, curve)) * sphere
    return Reconstruction(volume.numpy(), halves.numpy(), half, common.curves, common.resolution)


def _model(particles: Particles, source: ImageSource, extent: float, shells: int, diameter: float) -> NoiseModel:
    model = first_noise(particles, source, extent, shells, diameter)
    if particles.norm is None or not math.isfinite(float(particles.norm.sum())):
        return model
    return NoiseModel(model.noise, model.scale, particles.norm.copy(), model.offset_sigma)
