"""Maps from particles alone: stochastic steps from featureless beginnings, then symmetry found and applied.

A few particles at a time pull the maps along, first at a low resolution, later at a finer one, so that no view decides
early. Images of one hand and of its mirror are equally likely: the hand of the result is not determined.

Source: Kimanius et al. 2021, Biochem. J. 478, 4169; Punjani et al. 2017, Nat. Methods 14, 290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Int

from thon.algorithms.likelihood.classes import Classifier, ClassState, filter_shells, soft_mask
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.search import SearchPlan
from thon.base.options import Options, Unit
from thon.data.particles import Particles
from thon.ops.rotation import rotation_about, rotation_from_quaternion

_LEVELS = (1, 4)
"""Coarsest and finest level of rotations."""


class AbInitioOptions(Options):
    """Maps without a reference."""

    classes: Annotated[int, Ge(1)] = 1
    """Number of maps."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and maps."""

    symmetry: str = "C1"
    """Point group whose axes are looked for in the map, and that is applied to it, at the end."""

    mini_batches: Annotated[int, Ge(10)] = 100
    """Number of steps, each from a few particles."""

    regularisation: Annotated[float, Gt(0)] = 4.0
    """T: larger values let finer detail into the maps, and noise with it."""

    first_resolution: Annotated[float, Unit("Å"), Gt(0)] = 35.0
    """Finest detail that is compared in the beginning."""

    last_resolution: Annotated[float, Unit("Å"), Gt(0)] = 12.0
    """Finest detail that is compared at the end."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 6.0
    """Shifts are searched so far."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Finest step of the shifts."""


@dataclass(frozen=True)
class AbInitio:
    """A search for maps: its particles, images and options.

    Args:
        particles: With CTFs.
        source: Their images.
        options: How.
        seed: Of what is random.
    """

    particles: Particles
    source: ImageSource
    options: AbInitioOptions
    seed: int = 0

    @property
    def box(self) -> int:
        """Side of the maps, px."""
        return self.particles.optics[0].box

    @property
    def pixel_size(self) -> float:
        """Of the maps, Å."""
        return self.particles.optics[0].pixel_size

    @property
    def total(self) -> int:
        """Number of steps."""
        return self.options.mini_batches

    def start(self) -> ClassState:
        """Random blobs, faint enough that no view is likelier than another."""
        options, box = self.options, self.box
        extent = box * self.pixel_size
        generator = np.random.default_rng(self.seed)
        noise = generator.normal(size=(options.classes, box, box, box)).astype(np.float32)
        sphere = soft_mask(box, 0.7 * options.diameter / self.pixel_size, 3)
        keep = np.ones(max(2, round(extent / options.first_resolution)))
        blobs = torch.stack([filter_shells(torch.from_numpy(one), keep) for one in noise]).abs() * sphere
        model = first_noise(self.particles, self.source, extent, box // 2, options.diameter)
        projection = blobs.sum(1)
        faint = 0.2 * math.sqrt(float(model.noise[0, 1:].mean())) / float(projection.square().mean().sqrt())
        return ClassState(
            references=(blobs * faint).numpy(),
            shares=np.full(options.classes, 1 / options.classes),
            power=np.zeros((options.classes, box // 2)),
            poses=Poses.start(self.particles),
            model=model,
            shells=self._shells(0),
        )

    def iterate(self, state: ClassState, done: Callable[[int], None] = lambda count: None) -> ClassState:
        """One step."""
        number, options = len(state.records), self.options
        classifier = Classifier(
            self.particles, self.source, self.pixel_size, options.diameter, np.eye(3)[None], options.regularisation
        )
        part = number / options.mini_batches
        step = 0.5 + 0.4 / (1 + math.exp((part - 0.3) * 30))
        return classifier.stochastic_step(
            state, self._plan(state), self._batch(number), step=step, most_shells=self._shells(number + 1), done=done
        )

    def _shells(self, number: int) -> int:
        """Shells that take part in a step: up to the first resolution, then on to the last by even steps."""
        options, extent = self.options, self.box * self.pixel_size
        part = min(max((number / options.mini_batches - 0.2) / 0.6, 0), 1)
        first, last = extent / options.first_resolution, extent / options.last_resolution
        return min(self.box // 2, round(first + part * (last - first)) + 2)

    def _plan(self, state: ClassState) -> SearchPlan:
        options = self.options
        generator = np.random.default_rng((self.seed, len(state.records)))
        quaternion = generator.normal(size=4)
        axis = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion)) @ np.array([1.0, 0, 0])
        # Steps turn what is at the edge of the particle by no more than the finest detail.
        needed = math.degrees(self.box * self.pixel_size / state.shells / (options.diameter / 2))
        last = next(level for level in range(_LEVELS[0] + 1, _LEVELS[1] + 1) if 60 / 2**level <= needed or level == 4)
        first = max(_LEVELS[0], last - 1)
        grid = RotationGrid(3, np.eye(3)[None], rotation_about(axis, generator.uniform(-0.5, 0.5) * 60 / 2**first))
        offset = generator.uniform(-0.5, 0.5, 2) * options.offset_step
        shifts = ShiftGrid(options.offset_step, options.offset_range, (float(offset[0]), float(offset[1])))
        resolution = 60 / 2**first * math.pi * options.diameter / 360 / 1.2
        coarse = min(state.shells, math.ceil(self.box * self.pixel_size / resolution))
        return SearchPlan(grid, shifts, first, (coarse, state.shells), most=1000)

    def _batch(self, number: int) -> Int[np.ndarray, "n"]:
        """Particles of a step: few in the beginning, more towards the end."""
        n, total = len(self.particles), self.options.mini_batches
        first = min(n, max(200, min(n // 200, 5_000)))
        last = min(n, max(1000, min(n // 10, 50_000)))
        part = min(max((number / total - 0.3) / 0.5, 0), 1)
        generator = np.random.default_rng((self.seed, number, 2))
        return np.sort(generator.choice(n, round(first + part * (last - first)), replace=False))
