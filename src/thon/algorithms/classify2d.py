"""Sort particles into classes of equal views and average each.

Every particle is compared with every class average at all in-plane angles and shifts that matter, and adds to each
average as likely as it belongs there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Int

from thon.algorithms.likelihood.averages import FirstAverages, centred, revive
from thon.algorithms.likelihood.classes import Classifier, ClassState
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.search import SearchPlan
from thon.base.options import Options, Unit
from thon.data.particles import ParticleOptics, Particles
from thon.ops.rotation import rotation_about

_LAST_PASSES = 3  # over all particles after the mini-batches
_SETTLE = 0.6  # of the iterations; no class is replaced later
_BATCH_RESOLUTION = (35.0, 12.0)  # of the first and the last mini-batches, Å
_MOST = 5000  # poses of a particle; only the first iterations, which know little, would take more


class Classify2dOptions(Options):
    """Classes of two dimensions."""

    classes: Annotated[int, Unit("1"), Ge(1)] = 50
    """Number of classes."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and averages."""

    method: Literal["EM", "VDAM"] = "EM"
    """All particles in each iteration (EM), or mini-batches first (VDAM)."""

    iterations: Annotated[int, Unit("1"), Ge(1)] = 25
    """Iterations, for EM."""

    mini_batches: Annotated[int, Unit("1"), Ge(1)] = 100
    """Number of mini-batches, for VDAM; three iterations over all particles come after them."""

    regularisation: Annotated[float, Unit("1"), Gt(0)] = 2.0
    """T: larger values let finer detail into the averages, and noise with it."""

    psi_step: Annotated[float, Unit("degrees"), Gt(0)] = 6.0
    """Finest step of the in-plane angles."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 5.0
    """Shifts are searched so far from the last ones."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Finest step of the shifts."""

    center: bool = True
    """Move averages so that their matter lies in the centre."""

    inactive: Annotated[float, Unit("1"), Ge(0)] = 0.1
    """A class with less than this fraction of an even share is replaced by a variant of the largest, until 60 % of the
    iterations are done."""

    max_resolution: Annotated[float, Unit("Å"), Ge(0)] = 0.0
    """Nothing finer takes part; 0 for no limit, but that of 12 Å for mini-batches."""


@dataclass(frozen=True)
class Classify2d:
    """A classification: its particles, images and options.

    Averages have box and pixel size of the optics group with most particles; images of other groups are compared with
    them by their true frequencies.
    """

    particles: Particles
    source: ImageSource
    options: Classify2dOptions
    seed: int = 0

    @cached_property
    def optics(self) -> ParticleOptics:
        """Optics group whose box and pixel size the averages have."""
        count = np.bincount(self.particles.group, minlength=len(self.particles.optics))
        return self.particles.optics[int(count.argmax())]

    @property
    def box(self) -> int:
        """Side of the averages, px."""
        return self.optics.box

    @property
    def pixel_size(self) -> float:
        """Of the averages, Å."""
        return self.optics.pixel_size

    @property
    def extent(self) -> float:
        """Side of the averages, Å."""
        return self.box * self.pixel_size

    @property
    def total(self) -> int:
        """Number of iterations, mini-batches included."""
        options = self.options
        return options.iterations if options.method == "EM" else options.mini_batches + _LAST_PASSES

    def taking_part(self, number: int) -> int:
        """How many particles take part in an iteration, counted from 0."""
        return len(self.particles) if self._is_full(number) else len(self._batch(number))

    def start(self) -> ClassState:
        """State before the first iteration: averages of random particles."""
        options, box = self.options, self.box
        model = first_noise(self.particles, self.source, self.extent, box // 2, options.diameter)
        shells = min(box // 2, max(6, round(self.extent / 35)) + 5)
        first = FirstAverages(self.particles, self.source, model, box, self.pixel_size, options.diameter, shells)
        return ClassState(
            references=first.make(options.classes, self.seed),
            shares=np.full(options.classes, 1 / options.classes),
            power=np.zeros((options.classes, box // 2)),
            poses=replace(Poses.start(self.particles), rotation=np.tile(np.eye(3), (len(self.particles), 1, 1))),
            model=model,
            shells=shells,
        )

    def iterate(self, state: ClassState, done: Callable[[int], None] = lambda count: None) -> ClassState:
        """One iteration."""
        options, number = self.options, len(state.records)
        classifier = Classifier(
            self.particles, self.source, self.pixel_size, options.diameter, np.eye(3)[None], options.regularisation
        )
        plan, most = self._plan(state, number), self._most_shells(number)
        if self._is_full(number):
            state = classifier.full_step(state, plan, most_shells=most, done=done)
        else:
            step = float(0.3 + 0.6 / (1 + np.exp((number / options.mini_batches - 0.3) * 30)))
            chosen = self._batch(number)
            state = classifier.stochastic_step(state, plan, chosen, step=step, most_shells=most, done=done)
        if number < _SETTLE * self.total:
            state = revive(state, options.inactive, np.random.default_rng((self.seed, number, 1)))
        return centred(state, options.diameter, self.pixel_size) if options.center else state

    def _is_full(self, number: int) -> bool:
        """Whether all particles take part in an iteration."""
        return self.options.method == "EM" or number >= self.options.mini_batches

    def _most_shells(self, number: int) -> int:
        """Shells that may take part after an iteration; few particles tell little of fine ones, so they come slowly."""
        options = self.options
        most = self.box // 2 if not options.max_resolution else round(self.extent / options.max_resolution)
        if self._is_full(number):
            return most
        part = min(max((number / options.mini_batches - 0.2) / 0.6, 0), 1)
        first, last = (self.extent / resolution for resolution in _BATCH_RESOLUTION)
        return min(most, round(first + part * (last - first)) + 2)

    def _plan(self, state: ClassState, number: int) -> SearchPlan:
        """Two levels of poses; one where references hold nothing that the finer one could tell."""
        options = self.options
        generator = np.random.default_rng((self.seed, number))
        angles = max(1, round(360 / (2 * options.psi_step)))
        jitter = float(generator.uniform(-0.5, 0.5)) * 360 / angles
        grid = RotationGrid(2, np.eye(3)[None], rotation_about((1, 0, 0), jitter), angles)
        offset = generator.uniform(-0.5, 0.5, 2) * options.offset_step
        shifts = ShiftGrid(options.offset_step, options.offset_range, (float(offset[0]), float(offset[1])))
        resolution = grid.step(0) * np.pi * options.diameter / 360 / 1.5
        coarse = int(np.ceil(self.extent / resolution))
        levels = (state.shells,) if state.shells <= coarse else (coarse, state.shells)
        return SearchPlan(grid, shifts, 0, levels, most=_MOST)

    def _batch(self, number: int) -> Int[np.ndarray, "n"]:
        """Particles of a mini-batch: few in the beginning, more towards the end."""
        n, total = len(self.particles), self.options.mini_batches
        first = min(n, max(200, min(n // 200, 10_000)))
        last = min(n, max(1000, min(n // 20, 100_000)))
        part = min(max((number / total - 0.3) / 0.5, 0), 1)
        generator = np.random.default_rng((self.seed, number, 2))
        return np.sort(generator.choice(n, round(first + part * (last - first)), replace=False))
