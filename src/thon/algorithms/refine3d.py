"""Refine a map and the poses of its particles, two independent halves of which tell its resolution.

Each iteration compares every particle with its half's reference at all poses that matter, and makes new references from
all particles, weighted by what the Fourier shell correlation of the halves says of each shell. Sampling grows finer as
the references allow, until nothing changes.

Source: Scheres 2012, J. Struct. Biol. 180, 519; Scheres & Chen 2012, Nat. Methods 9, 853.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Int

from thon.algorithms.half_correlation import HalfCorrelation, correlate_halves
from thon.algorithms.likelihood.accuracy import pose_accuracy
from thon.algorithms.likelihood.expectation import (
    Expectation,
    Expected,
    NoiseModel,
    Poses,
    make_blocks,
)
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.noise import first_noise, update_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.reconstruction import ClassSums, prior_precision
from thon.algorithms.likelihood.references import PADDING, particle_mask, shell_radius, to_spectrum
from thon.algorithms.likelihood.search import References, SearchPlan
from thon.algorithms.local_regularisation import regularise_locally
from thon.algorithms.mask import MaskOptions, make_mask
from thon.algorithms.particle_sets import half_sets
from thon.base.options import Options, Unit
from thon.data.maps import ShellCurves
from thon.data.particles import Particles
from thon.ops.rotation import random_turn
from thon.ops.symmetry import PointGroup, angular_distance, symmetry_rotations
from thon.ops.volume_fourier import low_pass

_MOST = 3000  # poses of a particle; only the first iterations, which know little, would take more
_BEFORE_LOCAL = 0.1
"""Share of the prior that references keep before they are regularised locally: without any, directions that hardly a
particle shows would be nothing but noise."""

_SOLVENT_RESOLUTION = 15.0  # Å
_SOLVENT = MaskOptions(low_pass=_SOLVENT_RESOLUTION, extend=4, edge=6)


class Refine3dOptions(Options):
    """Refinement of one map from particles."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and references."""

    symmetry: PointGroup = "C1"
    """Point group: Cn, Dn, T, O, I1 to I4, with RELION's axes."""

    initial_lowpass: Annotated[float, Unit("Å"), Gt(0)] = 60.0
    """Resolution that the reference is low-pass filtered to before the first iteration."""

    absolute_greyscale: bool = False
    """Whether the reference has the grey values of the particles; otherwise the first iteration goes by correlation."""

    first_level: Annotated[int, Unit("1"), Ge(1), Le(4)] = 2
    """HEALPix order of the coarsest search of all rotations: 1 for 30°, 2 for 15°, 3 for 7.5°."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 5.0
    """Shifts are searched so far from the last ones in the beginning."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Steps of the shifts in the beginning."""

    local_from: Annotated[float, Unit("degrees"), Ge(0)] = 1.9
    """Once steps are no larger, rotations are searched near the last ones only."""

    solvent: Literal["automatic", "sphere"] = "automatic"
    """What references are multiplied with, and their resolution measured in, where no mask is given: a soft mask around
    the density that both halves have at 15 Å, or a sphere."""

    regularisation: Literal["spectral", "local"] = "spectral"
    """How noise is kept out of the references: by the signal-to-noise ratio of each shell, the same everywhere, or by
    that of each place and shell, which helps where parts are better ordered than others."""

    join_halves: Annotated[float, Unit("Å"), Ge(0)] = 40.0
    """The halves share what is coarser, so that they keep one orientation."""

    iterations: Annotated[int, Unit("1"), Ge(1)] = 50
    """At most so many iterations."""


@dataclass(frozen=True)
class IterationRecord:
    """What an iteration was and brought.

    Args:
        iteration: Its number, from 1.
        resolution: Where the FSC of the halves falls below 0.143, Å; NaN where they agree no better than noise does.
        shells: Shells that took part.
        angular_step: Finest, degrees.
        offset_step: Finest, px.
        offset_range: Px.
        local: Whether rotations were searched near the last ones.
        probability: Mean of the largest share of one pose.
        significant: Mean number of poses that matter.
        accuracy: Of rotations, degrees, and shifts, Å, as the references allow.
        changes: Of rotations, degrees, and shifts, Å, root mean square.
        likelihood: Sum over particles.
    """

    iteration: int
    resolution: float
    shells: int
    angular_step: float
    offset_step: float
    offset_range: float
    local: bool
    probability: float
    significant: float
    accuracy: tuple[float, float]
    changes: tuple[float, float]
    likelihood: float


@dataclass(frozen=True)
class Refinement:
    """State of a refinement after an iteration: all that the next one needs.

    Args:
        references: Of the two halves, regularised and masked.
        halves: Maps of the two halves, not filtered.
        volume: Map of all particles; the mean of the references before the last iteration.
        poses: Of the particles.
        half: Half set of each particle, 1 or 2.
        model: Noise, scales and norms.
        curves: FSC of the halves; None before the first iteration.
        solvent: Mask within which the curves were measured.
        shells: Shells that take part in the next iteration.
        level: Level of the finest rotations of the next iteration.
        offset_step: Finest shifts of the next iteration, px.
        offset_range: Their range, px.
        stalled: Iterations since the resolution grew and since the poses settled.
        best_changes: Smallest changes of rotations and shifts so far.
        records: Of the iterations.
        converged: Whether nothing more is to be done.
    """

    references: Float[np.ndarray, "2 z y x"]
    halves: Float[np.ndarray, "2 z y x"]
    volume: Float[np.ndarray, "z y x"]
    poses: Poses
    half: Int[np.ndarray, "n"]
    model: NoiseModel
    shells: int
    level: int
    offset_step: float
    offset_range: float
    curves: ShellCurves | None = None
    solvent: Float[np.ndarray, "z y x"] | None = None
    stalled: tuple[int, int] = (0, 0)
    best_changes: tuple[float, float] = (math.inf, math.inf)
    records: tuple[IterationRecord, ...] = field(default_factory=tuple)
    converged: bool = False


@dataclass(frozen=True)
class Refine3d:
    """A refinement: its particles, images and options.

    Args:
        particles: With CTFs; half sets are kept where they are known.
        source: Images.
        pixel_size: Of the map, Å.
        options: How.
        seed: Of what is random.
        mask: Multiplied onto references instead of a sphere, of the map's shape.
        block: Particles that are done at once.
    """

    particles: Particles
    source: ImageSource
    pixel_size: float
    options: Refine3dOptions
    seed: int = 0
    mask: Float[np.ndarray, "z y x"] | None = None
    block: int = 256

    def start(self, reference: Float[np.ndarray, "z y x"]) -> Refinement:
        """State before the first iteration."""
        options, box = self.options, len(reference)
        extent = box * self.pixel_size
        generator = np.random.default_rng(self.seed)
        half = half_sets(self.particles, generator)
        filtered = low_pass(torch.from_numpy(reference.astype(np.float32)), self.pixel_size, options.initial_lowpass)
        reference = (filtered * self._sphere(box)).numpy()
        nothing = np.zeros((2, *reference.shape), np.float32)
        first_shells = min(box // 2, math.ceil(extent / options.initial_lowpass) + 10)
        return Refinement(
            references=np.stack([reference, reference]),
            halves=nothing,
            volume=reference,
            poses=Poses.start(self.particles),
            half=half,
            model=first_noise(self.particles, self.source, extent, box // 2, options.diameter),
            shells=first_shells,
            level=options.first_level + 1,
            offset_step=options.offset_step,
            offset_range=options.offset_range,
        )

    def iterate(self, state: Refinement, done: Callable[[int], None] = lambda count: None) -> Refinement:
        """One iteration."""
        correlate = not state.records and not self.options.absolute_greyscale
        final = self._is_settled(state)
        shells = state.references.shape[-1] // 2 if final else state.shells
        plan = self._plan(state, shells, correlate)
        found, sums = self._expect(state, plan, shells, done)
        return self._maximise(state, plan, found, sums, final=final)

    def _expect(
        self, state: Refinement, plan: SearchPlan, shells: int, done: Callable[[int], None]
    ) -> tuple[Expected, list[ClassSums]]:
        """Poses and the rest of what the expectation step found, and the sums of the halves in their own units."""
        blocks = make_blocks(self.particles, state.half - 1, self.block)
        found = self._expectation(state, plan, shells).run(state.poses, blocks, done)
        # Sums are the largest of all: those in whole numbers are let go one by one.
        whole, found = list(found.sums), replace(found, sums=())
        symmetry = symmetry_rotations(self.options.symmetry)
        return found, [whole.pop(0).of_class(0, symmetry) for _ in range(len(whole))]

    def _expectation(self, state: Refinement, plan: SearchPlan, shells: int) -> Expectation:
        spectra = to_spectrum(torch.from_numpy(state.references), shells)
        references = [References(spectra[h : h + 1], torch.zeros(1)) for h in range(2)]
        extent = state.references.shape[-1] * self.pixel_size
        return Expectation(
            self.particles, self.source, references, plan, state.model, extent, shells, self.options.diameter
        )

    def _plan(self, state: Refinement, shells: int, correlate: bool) -> SearchPlan:
        options, box = self.options, state.references.shape[-1]
        generator = np.random.default_rng((self.seed, len(state.records) + 1))
        grid = RotationGrid(3, symmetry_rotations(options.symmetry), np.eye(3))
        grid = replace(grid, turn=random_turn(generator, grid.step(state.level - 1)))
        step = state.offset_step
        offset = generator.uniform(-0.5, 0.5, 2) * step
        shifts = ShiftGrid(step, state.offset_range, (float(offset[0]), float(offset[1])))
        if correlate:
            coarse = min(shells, math.ceil(box * self.pixel_size / options.initial_lowpass) + 2)
            return SearchPlan(grid, shifts, options.first_level + 1, (coarse,), correlate=True)
        local = grid.step(state.level) <= options.local_from
        # A level that is much coarser than the last would drop poses that only the last can tell.
        first = max(options.first_level + 1, state.level - 2) if local else max(options.first_level, state.level - 1)
        sizes = [min(shells, self._shells_of(grid.step(level), box)) for level in range(first, state.level)]
        sigma = 2 * grid.step(state.level) if local else None
        return SearchPlan(grid, shifts, first, (*sizes, shells), sigma, most=_MOST)

    def _shells_of(self, step: float, box: int) -> int:
        """Shells that rotations so far apart can tell from each other."""
        resolution = step * math.pi * self.options.diameter / 360 / 1.2
        return math.ceil(box * self.pixel_size / resolution)

    def _sphere(self, box: int) -> torch.Tensor:
        return particle_mask(box, self.options.diameter / self.pixel_size, 3)

    def _correlate(self, halves: torch.Tensor) -> tuple[HalfCorrelation, torch.Tensor]:
        """FSC of the halves, and the soft mask around the particle within which it was measured."""
        sphere = self._sphere(halves.shape[-1])

        def within(mask: torch.Tensor) -> tuple[HalfCorrelation, torch.Tensor]:
            order = len(symmetry_rotations(self.options.symmetry))
            found = correlate_halves(
                halves[0], halves[1], self.pixel_size, mask=mask, symmetry_order=order, seed=self.seed
            )
            return found, mask

        if self.mask is not None:
            return within(torch.from_numpy(self.mask).float())
        found = within(sphere)
        # A map that is coarser than what the mask follows would lose its weaker parts.
        if self.options.solvent == "sphere" or not found[0].resolution < _SOLVENT_RESOLUTION:
            return found
        return within(sphere * make_mask(halves.mean(0) * sphere, self.pixel_size, _SOLVENT).mask)

    def _is_settled(self, state: Refinement) -> bool:
        return (state.stalled[0] >= 1 and state.stalled[1] >= 1) or len(state.records) + 1 >= self.options.iterations

    def _maximise(
        self, state: Refinement, plan: SearchPlan, found: Expected, sums: list[ClassSums], *, final: bool
    ) -> Refinement:
        box, correlate = state.references.shape[-1], plan.correlate
        extent, shells = box * self.pixel_size, sums[0].shells
        halves = torch.stack([one.reconstruct(box) for one in sums])
        common, solvent = self._correlate(halves)
        curve = torch.from_numpy(np.nan_to_num(common.curves.best[:shells]))
        local = self.options.regularisation == "local"
        references, volume = regularise(sums, curve, box, extent / (self.options.join_halves or math.inf), local=local)
        if correlate:
            references = low_pass(references, self.pixel_size, self.options.initial_lowpass)
        references = references * solvent
        model = state.model if correlate else update_noise(state.model, self.particles, found, extent, shells)
        accuracy = pose_accuracy(
            self.particles, found.poses, state.half, references, model, self.pixel_size, shells, seed=self.seed
        )
        # Beyond the shells that took part the halves share nothing but the mask.
        resolution = max(extent / shells, common.resolution) if math.isfinite(common.resolution) else math.nan
        record = self._record(state, plan, found, shells, resolution, accuracy)
        return replace(
            _next(state, record, curve, box, plan, self.pixel_size),
            references=references.numpy(),
            halves=halves.numpy(),
            volume=(volume * self._sphere(box)).numpy(),
            poses=found.poses,
            model=model,
            curves=common.curves,
            solvent=solvent.numpy(),
            converged=final,
        )

    def _record(
        self,
        state: Refinement,
        plan: SearchPlan,
        found: Expected,
        shells: int,
        resolution: float,
        accuracy: tuple[float, float],
    ) -> IterationRecord:
        poses = found.poses
        return IterationRecord(
            iteration=len(state.records) + 1,
            resolution=resolution,
            shells=shells,
            angular_step=plan.grid.step(plan.last),
            offset_step=plan.shifts.step,
            offset_range=plan.shifts.reach,
            local=plan.sigma is not None,
            probability=float(poses.probability.mean()),
            significant=float(poses.significant.mean()),
            accuracy=accuracy,
            changes=pose_changes(state.poses, poses, self.options.symmetry),
            likelihood=float(poses.likelihood.sum()),
        )


def _next(
    state: Refinement, record: IterationRecord, curve: torch.Tensor, box: int, plan: SearchPlan, pixel_size: float
) -> Refinement:
    """What the next iteration is to do."""
    half_box = box // 2
    shells = max(round(_crossing(curve, 0.5)) + 10, round(_crossing(curve, 0.143)) + 5)
    last = float(curve[min(record.shells, half_box) - 1])
    if record.probability > 0.1 and last > 0.2:
        shells = max(shells, record.shells + half_box // 4)
    best = min((old.resolution for old in state.records if math.isfinite(old.resolution)), default=math.inf)
    gained = not state.records or record.resolution < 0.99 * best
    step = record.angular_step
    # The grid is turned and moved at random in each iteration: poses that change by less than its steps stand still.
    small = record.changes[0] < step and record.changes[1] < record.offset_step * pixel_size
    settled = small or all(
        change >= 0.9 * least for change, least in zip(record.changes, state.best_changes, strict=True)
    )
    level = state.level
    stalled = (0 if gained else state.stalled[0] + 1, state.stalled[1] + 1 if settled else 0)
    target = record.accuracy[0]
    if plan.grid.step(level) > target and level < 7:
        level += 1
        stalled = (0, 0)
    told = max(0.25, 0.75 * record.accuracy[1] / pixel_size)
    reach = min(record.offset_range, max(3 * told, 3 * record.changes[1] / pixel_size))
    # No finer than an eighth of the range: the number of shifts grows with the square.
    new_step = min(record.offset_step, max(told, reach / 8))
    return replace(
        state,
        shells=min(half_box, shells),
        level=level,
        offset_step=new_step,
        offset_range=reach,
        stalled=stalled,
        best_changes=(
            min(state.best_changes[0], record.changes[0]),
            min(state.best_changes[1], record.changes[1]),
        ),
        records=(*state.records, record),
    )


def regularise(
    sums: list[ClassSums], curve: Float[torch.Tensor, "shells"], box: int, joined: float, *, local: bool
) -> tuple[Float[torch.Tensor, "2 z y x"], Float[torch.Tensor, "z y x"]]:
    """References of the halves, and the map of both, without what is noise.

    Args:
        sums: Of the halves; they are changed.
        curve: FSC of the halves.
        box: Side of the references, px.
        joined: Shells that the halves share.
        local: Whether noise is told place by place.
    """

    def made(one: ClassSums, halves: int) -> torch.Tensor:
        prior = prior_precision(one.mean_weight() / halves, curve)
        return one.reconstruct(box, _BEFORE_LOCAL * prior if local else prior)

    volume = made(sums[0] + sums[1], 2)
    join_halves(sums, joined)
    references = torch.stack([made(one, 1) for one in sums])
    return regularise_locally(references, volume, _crossing(curve, 0.143)) if local else (references, volume)


def join_halves(sums: list[ClassSums], shells: float) -> None:
    """Let two halves share what lies within some shells, in place."""
    z, y, _ = sums[0].weight.shape
    reach = min(math.ceil(PADDING * shells) + 1, z // 2)
    near = (slice(z // 2 - reach, z // 2 + reach + 1), slice(y // 2 - reach, y // 2 + reach + 1), slice(reach + 1))
    inside = shell_radius((2 * reach + 1, 2 * reach + 1, reach + 1)) < shells
    for name in ("data", "weight"):
        first, second = (getattr(one, name)[near] for one in sums)
        first[inside] = second[inside] = (first[inside] + second[inside]) / 2


def pose_changes(before: Poses, after: Poses, symmetry: str) -> tuple[float, float]:
    """Root mean square change of rotations, degrees, the same but for symmetry, and of shifts, Å."""
    angle = angular_distance(after.rotation, before.rotation, symmetry)
    moved = np.square(after.shift - before.shift).sum(1)
    return float(np.sqrt(np.mean(angle**2))), float(np.sqrt(np.mean(moved)))


def _crossing(curve: Float[torch.Tensor, "shells"], threshold: float) -> float:
    """Shell where a curve first falls below a threshold, between shells by a line; the last where it never does."""
    below = torch.nonzero(curve[1:] < threshold)[:, 0]
    if not len(below):
        return float(len(curve) - 1)
    k = int(below[0]) + 1
    if k == 1:
        return 1.0
    high, low = float(curve[k - 1]), float(curve[k])
    return k - 1 + (high - threshold) / max(high - low, 1e-9)
