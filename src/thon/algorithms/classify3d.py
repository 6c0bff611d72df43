"""Sort particles into classes of different structures, each with its own map.

All particles are compared with all maps, at all poses that matter or at the pose they have. There are no half sets: the
prior of each map is its own power, loosened by T.

Source: Scheres 2012, J. Struct. Biol. 180, 519.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Self

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Int
from pydantic import model_validator

from thon.algorithms.likelihood.classes import Classifier, ClassState, filter_shells
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.references import particle_mask, to_spectrum
from thon.algorithms.likelihood.search import References, SearchPlan
from thon.base.options import Options, Unit
from thon.data.particles import Particles
from thon.ops.rotation import random_turn
from thon.ops.symmetry import PointGroup, symmetry_rotations

_FIRST = 2  # HEALPix order of the rotations that are all searched: 15°
_OWN = 4.0
"""Log-likelihood that a particle's own noise in its class's map may be worth. What separates classes is a few times
more; beyond that, particles would stay in a class for their noise."""

_QUARTER = 15.0  # degrees: a fourth of the step of rotations on level 0
_LEAST = 8  # shells that take part however few particles there are
_MOST = 3000  # poses of a particle; only the first iterations, which know little, would take more


class Classify3dOptions(Options):
    """Classes of three dimensions."""

    classes: Annotated[int, Unit("1"), Ge(1)] = 4
    """Number of classes; with several references, as many as there are."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and references."""

    symmetry: PointGroup = "C1"
    """Point group: Cn, Dn, T, O, I1 to I4, with RELION's axes."""

    iterations: Annotated[int, Unit("1"), Ge(1)] = 25
    """Number of iterations."""

    regularisation: Annotated[float, Unit("1"), Gt(0)] = 4.0
    """T: larger values let finer detail into the maps, and noise with it."""

    initial_lowpass: Annotated[float, Unit("Å"), Gt(0)] = 60.0
    """Resolution that references are low-pass filtered to before the first iteration."""

    absolute_greyscale: bool = False
    """Whether references have the grey values of the particles; otherwise the first iteration of a search of all
    rotations goes by correlation. At poses that are kept or searched nearby, references must have them."""

    align: bool = True
    """Search poses; otherwise particles keep those they have, and only their classes are found."""

    level: Annotated[int, Unit("1"), Ge(2), Le(6)] = 4
    """HEALPix order of the finest rotations: 2 for 15°, 3 for 7.5°, 4 for 3.7°. Where classes differ in little, coarser
    steps decide by how near a pose happens to lie."""

    local_sigma: Annotated[float, Unit("degrees"), Ge(0), Le(30)] = 0.0
    """Search rotations near the last ones only, with this standard deviation, at least a quarter of the finest step; 0
    for all rotations."""

    relax_symmetry: PointGroup = "C1"
    """Point group that the last poses were found with and that classes may lack: a local search looks near all poses
    that it makes equal, as RELION's --relax_sym does."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 5.0
    """Shifts are searched so far from the last ones."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Finest step of the shifts."""

    max_resolution: Annotated[float, Unit("Å"), Ge(0)] = 0.0
    """Nothing finer takes part; 0 for the resolution at which a particle begins to agree with its class for its own
    noise in the map."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.relax_symmetry != "C1" and not self.local_sigma:
            raise ValueError("relax_symmetry is for a search near the last poses: give local_sigma")
        if self.local_sigma and not self.align:
            raise ValueError("local_sigma is for a search of poses: leave align on")
        least = _QUARTER / 2**self.level
        if 0 < self.local_sigma < least:
            raise ValueError(
                f"local_sigma is finer than the rotations tried, {4 * least:g}° apart: raise level, or give {least:g}°"
            )
        return self


@dataclass(frozen=True)
class Classify3d:
    """A classification: its particles, images and options.

    Args:
        particles: With CTFs, and with poses where they are kept or searched nearby.
        source: Images.
        pixel_size: Of the maps, Å.
        options: How.
        seed: Of what is random.
        mask: Multiplied onto the maps instead of a sphere: what lies outside cannot tell classes apart.
    """

    particles: Particles
    source: ImageSource
    pixel_size: float
    options: Classify3dOptions
    seed: int = 0
    mask: Float[np.ndarray, "z y x"] | None = None

    def __post_init__(self) -> None:
        local = self.options.local_sigma > 0
        if self.particles.rotation is None and (local or not self.options.align):
            raise ValueError("without poses there is nothing to keep or to search nearby")

    @cached_property
    def symmetry(self) -> Float[np.ndarray, "operators 3 3"]:
        """Rotations of the point group."""
        return symmetry_rotations(self.options.symmetry)

    def start(self, references: Float[np.ndarray, "maps z y x"]) -> ClassState:
        """State before the first iteration.

        Args:
            references: One for all classes, or one for each.
        """
        options, box = self.options, references.shape[-1]
        extent = box * self.pixel_size
        count = options.classes if len(references) == 1 else len(references)
        filtered = self._coarse(references.astype(np.float32))
        return ClassState(
            references=filtered if len(filtered) == count else np.repeat(filtered, count, 0),
            shares=np.full(count, 1 / count),
            power=np.zeros((count, box // 2)),
            poses=Poses.start(self.particles),
            model=first_noise(self.particles, self.source, extent, box // 2, options.diameter),
            shells=min(box // 2, math.ceil(extent / options.initial_lowpass) + 10),
        )

    def iterate(self, state: ClassState, done: Callable[[int], None] = lambda count: None) -> ClassState:
        """One iteration; in the first, classes that are alike each get particles at random."""
        first = not state.records
        alike = first and len(state.references) > 1 and (state.references == state.references[0]).all()
        known = self.options.absolute_greyscale or self.options.local_sigma > 0 or not self.options.align
        correlate = first and not known
        most = self._most_shells(state)
        owners = self._at_random(len(state.references)) if alike else None
        if self.options.align:
            plan = self._plan(state, correlate=correlate)
            new = self._classifier.full_step(
                state, plan, most_shells=most, keep_noise=correlate, owners=owners, done=done
            )
        else:
            new = self._step_of_known(state, owners, most, done)
        return self._after_correlation(state, new) if correlate else new

    def _most_shells(self, state: ClassState) -> int:
        """Shells that may take part.

        A map of n independent voxels from N particles holds n / N of each one's noise: so much, in natural
        units, is a particle likelier in its own class than in one that it did not add to.
        """
        box = state.references.shape[-1]
        if self.options.max_resolution:
            return max(_LEAST, round(box * self.pixel_size / self.options.max_resolution))
        sphere = particle_mask(box, self.options.diameter / self.pixel_size, 3)
        within = float(sphere.mean()) if self.mask is None else float(self.mask.mean())
        each = len(self.particles) * len(self.symmetry) / len(state.references)
        return max(_LEAST, round((_OWN * each * 3 / (4 * math.pi * within)) ** (1 / 3)))

    @property
    def _classifier(self) -> Classifier:
        options = self.options
        return Classifier(
            self.particles, self.source, self.pixel_size, options.diameter, self.symmetry, options.regularisation,
            mask=self.mask,
        )  # fmt: skip

    def _at_random(self, classes: int) -> Int[np.ndarray, "n"]:
        return np.random.default_rng((self.seed, 0)).permutation(len(self.particles)) % classes

    def _plan(self, state: ClassState, *, correlate: bool) -> SearchPlan:
        options, extent = self.options, state.references.shape[-1] * self.pixel_size
        generator = np.random.default_rng((self.seed, len(state.records) + 1))
        sigma, last = options.local_sigma or None, options.level
        first = min(_FIRST, last) if sigma is None else last - 1
        grid = RotationGrid(3, self.symmetry, np.eye(3))
        grid = replace(grid, turn=random_turn(generator, grid.step(first)))
        offset = generator.uniform(-0.5, 0.5, 2) * options.offset_step
        shifts = ShiftGrid(options.offset_step, options.offset_range, (float(offset[0]), float(offset[1])))
        # References hold no more before the second step than they were filtered to.
        limit = math.ceil(extent / options.initial_lowpass) + 2
        if len(state.records) < 2 and sigma is None:
            return SearchPlan(grid, shifts, first, (min(state.shells, limit),), most=_MOST, correlate=correlate)
        tell = [math.ceil(extent / (grid.step(k) * math.pi * options.diameter / 360 / 1.2)) for k in range(first, last)]
        shells = (*(min(k, state.shells) for k in tell), state.shells)
        return SearchPlan(grid, shifts, first, shells, sigma, symmetry_rotations(options.relax_symmetry), most=_MOST)

    def _step_of_known(
        self, state: ClassState, owners: Int[np.ndarray, "n"] | None, most: int, done: Callable[[int], None]
    ) -> ClassState:
        known = self._known(state)
        spectra = to_spectrum(torch.from_numpy(state.references), state.shells)
        prior = torch.from_numpy(np.log(np.maximum(state.shares, 1e-10))).float()
        found = known.classify(References(spectra, prior), owners, done)
        return self._classifier.maximise(state, found, most_shells=most)

    def _known(self, state: ClassState) -> KnownPoses:
        extent = state.references.shape[-1] * self.pixel_size
        return KnownPoses(
            self.particles, self.source, state.poses, state.model, extent, state.shells, self.options.diameter
        )

    def _after_correlation(self, before: ClassState, new: ClassState) -> ClassState:
        """Maps no finer than the references were: correlation tells no more of where particles belong."""
        return replace(new, references=self._coarse(new.references), shells=before.shells, shares=before.shares)

    def _coarse(self, maps: Float[np.ndarray, "maps z y x"]) -> Float[np.ndarray, "maps z y x"]:
        shells = np.arange(maps.shape[-1] // 2)
        limit = maps.shape[-1] * self.pixel_size / self.options.initial_lowpass
        factors = 0.5 + 0.5 * np.cos(np.pi * np.clip((shells - limit + 1) / 2, 0, 1))
        return np.stack([filter_shells(torch.from_numpy(one), factors).numpy() for one in maps])
