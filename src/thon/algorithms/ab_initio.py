"""Maps from particles alone: mini-batches from featureless beginnings, resolution and batches growing step by step.

Each step finds the poses of a few particles and lets what they say fade into what earlier ones said (online expectation
maximisation), so that no view decides early and later poses outweigh those found on poorer maps. Two halves of the
particles tell how far a map can be trusted. Noise is overstated at first, which keeps all views in play.

Images of one hand and of its mirror are equally likely: the hand of the result is not determined.

Source: Cappé & Moulines 2009, J. R. Stat. Soc. B 71, 593; Punjani et al. 2017, Nat. Methods 14, 290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from thon.algorithms.likelihood.expectation import Expectation, Expected, NoiseModel, Poses, make_blocks
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.reconstruction import ClassSums, prior_precision
from thon.algorithms.likelihood.references import particle_mask, spectrum_shape, to_spectrum
from thon.algorithms.likelihood.search import References, SearchPlan
from thon.base.options import Options, Unit
from thon.data.particles import Particles
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.rotation import random_turn
from thon.ops.symmetry import PointGroup
from thon.ops.volume_fourier import low_pass

_STILL = np.eye(3)[None]
_BLOCK = 128


class AbInitioOptions(Options):
    """Maps without a reference."""

    classes: Annotated[int, Unit("1"), Ge(1)] = 1
    """Number of maps."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and maps."""

    symmetry: PointGroup = "C1"
    """Point group whose axes are looked for in the map, and that is applied to it, at the end."""

    mini_batches: Annotated[int, Unit("1"), Ge(10)] = 100
    """Number of steps, each from a few particles."""

    first_resolution: Annotated[float, Unit("Å"), Gt(0)] = 35.0
    """Finest detail that is compared in the beginning."""

    last_resolution: Annotated[float, Unit("Å"), Gt(0)] = 12.0
    """Finest detail that is compared at the end."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 6.0
    """Shifts are searched so far."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Finest step of the shifts."""


@dataclass(frozen=True)
class AbInitioRecord:
    """What a step was and brought.

    Args:
        step: Its number, from 1.
        particles: That took part.
        finest: Finest detail that was compared, Å.
        resolution: To which the two halves of each map agree, Å.
        shares: Of each map.
        probability: Mean of the largest share of one pose.
    """

    step: int
    particles: int
    finest: float
    resolution: tuple[float, ...]
    shares: tuple[float, ...]
    probability: float


@dataclass(frozen=True)
class AbInitioState:
    """State after a step: all that the next one needs.

    Args:
        references: Maps, masked.
        shares: Of the particles, by map.
        data: Faded sums of the two halves, Σ γ C X / N.
        weight: The same of γ C² / N.
        poses: Of all particles, as they were found last.
        model: Noise.
        records: Of the steps.
    """

    references: Float[np.ndarray, "classes box box box"]
    shares: Float[np.ndarray, "classes"]
    data: Float[np.ndarray, "2 classes z y x 2"]
    weight: Float[np.ndarray, "2 classes z y x"]
    poses: Poses
    model: NoiseModel
    records: tuple[AbInitioRecord, ...] = field(default_factory=tuple)


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
    def extent(self) -> float:
        """Side of the maps, Å."""
        return self.box * self.pixel_size

    def start(self) -> AbInitioState:
        """Random blobs, faint enough that no view is much likelier than another."""
        options, box = self.options, self.box
        generator = np.random.default_rng(self.seed)
        noise = torch.from_numpy(generator.normal(size=(options.classes, box, box, box)).astype(np.float32))
        core = particle_mask(box, 0.6 * options.diameter / self.pixel_size, 3)
        blobs = torch.stack([low_pass(one, self.pixel_size, 1.5 * options.first_resolution) for one in noise])
        blobs = (blobs / blobs.std() + 1) * core
        model = first_noise(self.particles, self.source, self.extent, box // 2, options.diameter)
        projected = float(blobs.sum(1).square().mean().sqrt())
        shape = (2, options.classes, *spectrum_shape(3, self._shells(options.mini_batches)))
        return AbInitioState(
            references=(blobs * (0.1 / projected)).numpy(),
            shares=np.full(options.classes, 1 / options.classes),
            data=np.zeros((*shape, 2), np.float32),
            weight=np.zeros(shape, np.float32),
            poses=Poses.start(self.particles),
            model=model,
        )

    def iterate(self, state: AbInitioState, done: Callable[[int], None] = lambda count: None) -> AbInitioState:
        """One step."""
        number = len(state.records)
        chosen = self._batch(number)
        shells = self._shells(number)
        halves = np.full(len(self.particles), -1)
        halves[chosen] = np.arange(len(chosen)) % 2
        spectra = to_spectrum(torch.from_numpy(state.references), shells)
        prior = torch.from_numpy(np.log(np.maximum(state.shares, 1e-10))).float()
        # Noise that is overstated keeps all views in play until the map has features.
        model = replace(state.model, noise=state.model.noise * (1 + 3 * max(0.0, 1 - 3 * self._part(number))))
        expectation = Expectation(
            self.particles, self.source, [References(spectra, prior)] * 2, self._plan(number, shells), model,
            self.extent, shells, self.options.diameter,
        )  # fmt: skip
        found = expectation.run(state.poses, make_blocks(self.particles, halves, _BLOCK), done)
        return self._fade(state, found, chosen, shells)

    def _part(self, number: int) -> float:
        """How far a step lies on the way from the first to the last."""
        return number / self.options.mini_batches

    def _fade(self, state: AbInitioState, found: Expected, chosen: Int[np.ndarray, "n"], shells: int) -> AbInitioState:
        """Let new sums fade into old ones, and make maps of them."""
        number = len(state.records)
        new = 1.0 if number == 0 else 0.5 + (0.1 - 0.5) * min(1.0, self._part(number) / 0.5)
        data, weight = state.data * np.float32(1 - new), state.weight * np.float32(1 - new)
        lead = (weight.shape[2] - spectrum_shape(3, shells)[0]) // 2
        inner = slice(lead, weight.shape[2] - lead)
        references, resolution = [], []
        for k in range(len(state.references)):
            for half in range(2):
                sums = found.sums[half].of_class(k, _STILL)
                depth = sums.weight.shape[2]
                data[half, k, inner, inner, :depth] += np.float32(new / len(chosen)) * sums.data.numpy()
                weight[half, k, inner, inner, :depth] += np.float32(new / len(chosen)) * sums.weight.numpy()
            reference, shell = self._map(data[:, k], weight[:, k], shells)
            references.append(reference)
            resolution.append(self.extent / max(shell, 1))
        shares = sum((one.class_weights.sum(0) for one in found.statistics), np.zeros(len(references)))
        shares = (1 - new) * state.shares + new * shares / shares.sum()
        record = AbInitioRecord(
            step=number + 1,
            particles=len(chosen),
            finest=self.extent / shells,
            resolution=tuple(resolution),
            shares=tuple(float(share) for share in shares),
            probability=float(found.poses.probability[chosen].mean()),
        )
        return replace(
            state,
            references=np.stack(references),
            shares=shares,
            data=data,
            weight=weight,
            poses=found.poses,
            records=(*state.records, record),
        )

    def _map(
        self, data: Float[np.ndarray, "2 z y x 2"], weight: Float[np.ndarray, "2 z y x"], shells: int
    ) -> tuple[Float[np.ndarray, "box box box"], int]:
        """A map from the sums of two halves, weighted by how far they agree; and the shell to which they do."""
        depth = (weight.shape[1] - 1) // 4
        sums = [ClassSums(torch.from_numpy(data[h]), torch.from_numpy(weight[h]), 3, depth) for h in range(2)]
        sphere = particle_mask(self.box, self.options.diameter / self.pixel_size, 3)
        halves = [one.reconstruct(self.box) * sphere for one in sums]
        curve = fourier_shell_correlation(halves[0], halves[1], self.pixel_size).correlation[:depth].nan_to_num(0)
        curve[shells:] = 0
        both = sums[0] + sums[1]
        made = both.reconstruct(self.box, prior_precision(both.mean_weight() / 2, curve))
        below = torch.nonzero(curve[1:] < 0.5)[:, 0]
        return (made * sphere).numpy(), int(below[0]) if len(below) else shells

    def _shells(self, number: int) -> int:
        """Shells that take part in a step: up to the first resolution, then on to the last by even steps."""
        options = self.options
        part = min(max((self._part(number) - 0.3) / 0.5, 0), 1)
        first, last = self.extent / options.first_resolution, self.extent / options.last_resolution
        return min(self.box // 2, round(first + part * (last - first)) + 1)

    def _plan(self, number: int, shells: int) -> SearchPlan:
        options = self.options
        generator = np.random.default_rng((self.seed, number))
        # Rotations of the last level move the edge of the particle by no more than the finest detail.
        finest = math.degrees(self.extent / shells / (options.diameter / 2))
        last = next(level for level in (2, 3, 4) if 60 / 2**level <= 1.2 * finest or level == 4)
        turn = random_turn(generator, 60 / 2 ** (last - 1))
        offset = generator.uniform(-0.5, 0.5, 2) * options.offset_step
        shifts = ShiftGrid(options.offset_step, options.offset_range, (float(offset[0]), float(offset[1])))
        resolution = 60 / 2 ** (last - 1) * math.pi * options.diameter / 360 / 1.2
        coarse = min(shells, math.ceil(self.extent / resolution))
        return SearchPlan(RotationGrid(3, _STILL, turn), shifts, last - 1, (coarse, shells), most=500)

    def _batch(self, number: int) -> Int[np.ndarray, "n"]:
        """Particles of a step: few in the beginning, more towards the end."""
        n = len(self.particles)
        first = min(n, max(200, min(n // 200, 5_000)))
        last = min(n, max(1000, min(n // 10, 50_000)))
        part = min(max((self._part(number) - 0.3) / 0.5, 0), 1)
        generator = np.random.default_rng((self.seed, number, 2))
        return np.sort(generator.choice(n, round(first + part * (last - first)), replace=False))
