"""The expectation step: poses of all particles, in blocks, and the sums that new references and noise come from.

Blocks are the same however many threads or processes share them, and sums are kept in whole numbers, so results do not
depend on how the work is shared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from thon import kernels
from thon.algorithms.likelihood.images import (
    BlockImages,
    BlockOptics,
    ImageSource,
    prepare_block,
)
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.reconstruction import SpectrumSums
from thon.algorithms.likelihood.search import (
    Candidates,
    PoseSearch,
    Posterior,
    References,
    SearchBlock,
    SearchPlan,
    in_plane,
)
from thon.data.particles import Particles
from thon.ops.processes import in_parts, process_count, sum_over_processes
from thon.ops.threads import map_in_threads

_SUMS = 100_000_000  # bytes of slices that are summed before they are inserted


@dataclass(frozen=True)
class NoiseModel:
    """What is not the reference.

    Args:
        noise: Expected power of noise, by optics group and shell.
        scale: Factor of the CTFs of each micrograph.
        norm: Factor that each particle's grey values are divided by.
        offset_sigma: Standard deviation of the particles' shifts, Å.
    """

    noise: Float[np.ndarray, "groups shells"]
    scale: Float[np.ndarray, "micrographs"]
    norm: Float[np.ndarray, "n"]
    offset_sigma: float


@dataclass(frozen=True)
class Poses:
    """Where particles are.

    Args:
        rotation: Reference (z, y, x) into the image.
        shift: (y, x) of the particle's centre from the image's, Å.
        classes: Class of each, from 0.
        probability: Largest share of one pose in the posterior.
        likelihood: Logarithm of the sum of all weights.
        significant: Poses that hold most of the posterior.
    """

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    classes: Int[np.ndarray, "n"]
    probability: Float[np.ndarray, "n"]
    likelihood: Float[np.ndarray, "n"]
    significant: Int[np.ndarray, "n"]

    @classmethod
    def start(cls, particles: Particles) -> Poses:
        """What is known of the poses before; the identity where nothing is."""
        n = len(particles)
        return cls(
            rotation=np.tile(np.eye(3), (n, 1, 1)) if particles.rotation is None else particles.rotation.copy(),
            shift=np.zeros((n, 2)) if particles.shift is None else particles.shift.copy(),
            classes=np.zeros(n, np.int64),
            probability=np.zeros(n),
            likelihood=np.zeros(n),
            significant=np.zeros(n, np.int64),
        )


@dataclass(frozen=True)
class Block:
    """Particles of one optics group that are compared with one set of references."""

    indices: Int[np.ndarray, "n"]
    group: int
    half: int


@dataclass(frozen=True)
class BlockStatistics:
    """What a block tells besides its sums over spectra.

    Args:
        block: Which.
        residual: Power that the references do not explain, by particle and shell.
        agreement: Σ C X conj(P) of the posterior, by particle and shell.
        explained: Σ C² |P|² of the posterior, by particle and shell.
        offset: Mean square of the shifts, Å², by particle.
        class_weights: Posterior of the classes, by particle.
    """

    block: Block
    residual: Float[np.ndarray, "n shells"]
    agreement: Float[np.ndarray, "n used_shells"]
    explained: Float[np.ndarray, "n used_shells"]
    offset: Float[np.ndarray, "n"]
    class_weights: Float[np.ndarray, "n classes"]


@dataclass(frozen=True)
class Expected:
    """Result of an expectation step.

    Args:
        poses: New ones; those of particles that took no part are as before.
        sums: Sums over spectra, one for each set of references.
        statistics: Of the blocks, in order.
    """

    poses: Poses
    sums: tuple[SpectrumSums, ...]
    statistics: tuple[BlockStatistics, ...]


def make_blocks(particles: Particles, halves: Int[np.ndarray, "n"], size: int) -> list[Block]:
    """Blocks of particles of one half set and one optics group; `halves` counts sets of references, −1 for no part."""
    blocks: list[Block] = []
    for half in range(int(halves.max(initial=-1)) + 1):
        for group in range(len(particles.optics)):
            chosen = np.flatnonzero((halves == half) & (particles.group == group))
            blocks += [Block(chosen[k : k + size], group, half) for k in range(0, len(chosen), size)]
    return blocks


def read_block(
    particles: Particles,
    source: ImageSource,
    model: NoiseModel,
    block: Block,
    moves: Int[np.ndarray, "n 2"],
    pixels: FourierPixels,
    diameter: float,
    *,
    correct: bool = True,
) -> BlockImages:
    """Spectra of a block of particles.

    Args:
        particles: All particles.
        source: Their images.
        model: Noise, scales and norms.
        block: Which.
        moves: Whole pixels (y, x) that each particle lies off its image's centre.
        pixels: Pixels that take part.
        diameter: Of the mask around particles, Å.
        correct: Whether the CTF is taken into account.
    """
    optics = particles.optics[block.group]
    ctf = particles.ctf.select(block.indices) if correct and particles.ctf is not None else None
    scale = np.append(model.scale, 1.0)[particles.micrograph[block.indices]]
    raw = torch.from_numpy(np.ascontiguousarray(source.read(block.indices), np.float32))
    return prepare_block(
        raw / torch.from_numpy(model.norm[block.indices]).float()[:, None, None],
        moves,
        BlockOptics.of(ctf, scale, optics, pixels),
        torch.from_numpy(model.noise[block.group]).float(),
        pixels,
        diameter / 2 / optics.pixel_size,
    )


@dataclass(frozen=True)
class Expectation:
    """One expectation step over particles.

    Args:
        particles: The particles.
        source: Their images.
        references: Sets of references, each for the blocks of one half set.
        plan: How poses are searched.
        model: Noise, scales and norms.
        extent: Side of the references' box, Å.
        shells: Shells of the spectra that are summed.
        diameter: Of the mask around particles, Å.
    """

    particles: Particles
    source: ImageSource
    references: Sequence[References]
    plan: SearchPlan
    model: NoiseModel
    extent: float
    shells: int
    diameter: float

    def run(self, poses: Poses, blocks: Sequence[Block], done: Callable[[int], None] = lambda count: None) -> Expected:
        """Do all blocks.

        Args:
            poses: Before.
            blocks: Which particles.
            done: Told the number of particles after each block.
        """
        classes = len(self.references[0].spectra)
        dimensions = self.plan.grid.dimensions
        sums = tuple(SpectrumSums.empty(classes, dimensions, self.shells) for _ in self.references)
        locks = [threading.Lock() for _ in sums]
        searches = self._searches(blocks)

        def work(block: Block) -> tuple[BlockStatistics, Poses]:
            found = self._block(block, poses, searches[block.group, block.half], sums[block.half], locks[block.half])
            done(len(block.indices) * process_count())
            return found

        results = in_parts(blocks, lambda part: map_in_threads(work, part))
        for one in sums:
            sum_over_processes(one.values)
        arrays = {name: np.array(getattr(poses, name)) for name in Poses.__dataclass_fields__}
        for statistics, new in results:
            for name, values in arrays.items():
                values[statistics.block.indices] = getattr(new, name)
        return Expected(Poses(**arrays), sums, tuple(statistics for statistics, _ in results))

    def _searches(self, blocks: Sequence[Block]) -> dict[tuple[int, int], PoseSearch]:
        """Searches by optics group and half; groups whose images have the same pixels share them."""
        made: dict[tuple[FourierPixels, int], PoseSearch] = {}
        searches: dict[tuple[int, int], PoseSearch] = {}
        for group, half in sorted({(block.group, block.half) for block in blocks}):
            pixels = FourierPixels.of(self.particles.optics[group], self.extent, self.model.noise.shape[1])
            if (pixels, half) not in made:
                made[pixels, half] = self._search(pixels, half)
            searches[group, half] = made[pixels, half]
        return searches

    def _search(self, pixels: FourierPixels, half: int) -> PoseSearch:
        search = PoseSearch(self.plan, self.references[half], pixels, None)
        if self.plan.sigma is not None:
            return search
        places = search.places[:, : pixels.count(self.plan.shells[0])].contiguous()
        return replace(search, dense=search.references.slices(self.plan, places))

    def _block(
        self, block: Block, poses: Poses, search: PoseSearch, sums: SpectrumSums, lock: threading.Lock
    ) -> tuple[BlockStatistics, Poses]:
        optics = self.particles.optics[block.group]
        moves = np.round(poses.shift[block.indices] / optics.pixel_size).astype(np.int64)
        images = read_block(self.particles, self.source, self.model, block, moves, search.pixels, self.diameter)
        found = search.run(self._search_block(block, images, moves, poses))
        statistics = self._sum(block, images, moves, found, search, sums, lock)
        shifts = (search.plan.shifts.fine if found.poses.fine else search.plan.shifts.coarse)[found.poses.shifts]
        best = found.poses.best(len(block.indices))
        new = Poses(
            rotation=self.plan.grid.matrices(found.level, found.poses.rotations[best]),
            shift=(moves + shifts[best]) * optics.pixel_size,
            classes=found.poses.classes[best],
            probability=found.largest.double().numpy(),
            likelihood=found.likelihood.double().numpy(),
            significant=found.significant.numpy(),
        )
        return statistics, new

    def _search_block(
        self, block: Block, images: BlockImages, moves: Int[np.ndarray, "n 2"], poses: Poses
    ) -> SearchBlock:
        pixel_size = self.particles.optics[block.group].pixel_size

        def prior(shifts: Float[np.ndarray, "shifts 2"]) -> Float[np.ndarray, "n shifts"]:
            square = np.square((moves[:, None] + shifts) * pixel_size).sum(-1)
            return -square / (2 * self.model.offset_sigma**2)

        return SearchBlock(
            images,
            prior(self.plan.shifts.coarse),
            prior(self.plan.shifts.fine),
            None if self.plan.sigma is None else poses.rotation[block.indices][:, None] @ self.plan.mates,
        )

    def _sum(
        self,
        block: Block,
        images: BlockImages,
        moves: Int[np.ndarray, "n 2"],
        found: Posterior,
        search: PoseSearch,
        sums: SpectrumSums,
        lock: threading.Lock,
    ) -> BlockStatistics:
        """Add the block's images to the sums, each at its poses."""
        plan, n = self.plan, len(block.indices)
        shifts = plan.shifts.fine if found.poses.fine else plan.shifts.coarse
        poses, starts = found.poses.sorted(plan.grid.count(found.level))
        matrices = in_plane(plan.grid.matrices(found.level, poses.rotations[starts[:-1]]))
        classes = torch.from_numpy(poses.classes[starts[:-1]])
        places = search.places[:, : search.pixels.count(self.shells)].contiguous()
        shell_starts = torch.from_numpy(search.pixels.starts[: self.shells + 1])
        ramps = search.fine_ramps if found.poses.fine else search.coarse_ramps
        agreement, explained = (torch.zeros((n, self.shells)) for _ in range(2))
        step = max(1, _SUMS // (12 * places.shape[1]))
        for first in range(0, len(classes), step):
            chosen = slice(first, first + step)
            begin = starts[first : first + step + 1]
            rows = slice(begin[0], begin[-1])
            values, weights, cross, power = kernels.sum_poses(
                search.references.spectra,
                classes[chosen],
                matrices[chosen][:, None],
                torch.from_numpy(begin - begin[0]),
                torch.from_numpy(poses.particles[rows]),
                torch.from_numpy(poses.shifts[rows]),
                torch.from_numpy(poses.weights[rows])[:, None],
                images.summed,
                images.compared,
                images.weights,
                ramps,
                places,
                shell_starts,
            )
            agreement, explained = agreement + cross, explained + power
            with lock:
                kernels.insert_slices(sums.values, classes[chosen], matrices[chosen], values, weights, places)
        noise = torch.from_numpy(self.model.noise[block.group])
        cross = (agreement.double() * noise[: self.shells] / 2).numpy()
        power = (explained.double() * noise[: self.shells]).numpy()
        residual = images.residual(cross, power)
        return BlockStatistics(block, residual, cross, power, *self._moments(block, moves, poses, shifts))

    def _moments(
        self, block: Block, moves: Int[np.ndarray, "n 2"], poses: Candidates, shifts: Float[np.ndarray, "shifts 2"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n classes"]]:
        """Mean square shift, and posterior of the classes, of each particle."""
        n, classes = len(block.indices), len(self.references[0].spectra)
        pixel_size = self.particles.optics[block.group].pixel_size
        square = np.square((moves[poses.particles] + shifts[poses.shifts]) * pixel_size).sum(1)
        offset = np.bincount(poses.particles, poses.weights * square, n)
        place = poses.particles * classes + poses.classes
        return offset, np.bincount(place, poses.weights, n * classes).reshape(n, classes)
