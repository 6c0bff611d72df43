"""Particles whose poses are known and stay: their sums over spectra, and how well each agrees with several references.

No grid is searched, so a pose is exactly what it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from thon import kernels
from thon.algorithms.likelihood.ewald import separate_waves
from thon.algorithms.likelihood.expectation import (
    Block,
    BlockStatistics,
    Expected,
    NoiseModel,
    Poses,
    make_blocks,
    read_block,
)
from thon.algorithms.likelihood.images import BlockImages, ImageSource, times
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.reconstruction import SpectrumSums
from thon.algorithms.likelihood.references import PADDING
from thon.algorithms.likelihood.search import References, in_plane
from thon.base.errors import InputError
from thon.data.particles import Particles
from thon.ops.processes import in_parts, process_count, sum_over_processes
from thon.ops.threads import map_in_threads

_FAINT = 1e-3  # share of a particle below which it is not added to a class


@dataclass(frozen=True)
class KnownPoses:
    """Particles with poses.

    Args:
        particles: The particles.
        source: Their images.
        poses: Where they are.
        model: Noise, scales and norms.
        extent: Side of the references' box, Å.
        shells: Shells of the spectra.
        diameter: Of the mask around particles, Å.
        correct: Whether the CTF is taken into account.
        curvature: Of Ewald's sphere in sums, 1 or −1 (see `separate_waves`); 0 to take it for flat.
        block: Particles that are done at once.
    """

    particles: Particles
    source: ImageSource
    poses: Poses
    model: NoiseModel
    extent: float
    shells: int
    diameter: float
    correct: bool = True
    curvature: int = 0
    block: int = 256

    def sum(
        self, sets: Int[np.ndarray, "n"], done: Callable[[int], None] = lambda count: None
    ) -> tuple[SpectrumSums, ...]:
        """Sums of several sets of particles, of one class each.

        Args:
            sets: Set of each particle, from 0; −1 for none.
            done: Told the number of particles after each block.
        """
        sums = tuple(SpectrumSums.empty(1, 3, self.shells) for _ in range(int(sets.max(initial=-1)) + 1))
        locks = [threading.Lock() for _ in sums]

        def work(block: Block) -> None:
            pixels = self._pixels(block)
            if self.curvature:
                self._add_curved(block, pixels, sums[block.half], locks[block.half])
            else:
                images = self._images(block, pixels)
                one = torch.zeros(len(block.indices), dtype=torch.int64)
                with locks[block.half]:
                    self._insert(sums[block.half], one, block, (images.summed, images.weights), pixels)
            done(len(block.indices) * process_count())

        in_parts(make_blocks(self.particles, sets, self.block), lambda part: map_in_threads(work, part))
        for one in sums:
            sum_over_processes(one.values)
        return sums

    def classify(
        self,
        references: References,
        owners: Int[np.ndarray, "n"] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> Expected:
        """Posterior of the classes of each particle, and the sums weighted by it; poses stay as they are.

        Args:
            references: Of the classes.
            owners: Class of each particle where it is not to be found.
            done: Told the number of particles after each block.
        """
        sums = SpectrumSums.empty(len(references.spectra), 3, self.shells)
        lock = threading.Lock()

        def work(block: Block) -> tuple[BlockStatistics, Int[np.ndarray, "n"], Float[np.ndarray, "n 2"]]:
            pixels = self._pixels(block)
            images = self._images(block, pixels)
            score, cross, power = self._compare(block, images, pixels, references)
            if owners is not None:
                theirs = torch.from_numpy(owners[block.indices])[:, None]
                score = score.masked_fill(theirs != torch.arange(score.shape[1]), -torch.inf)
            likelihood = score.logsumexp(1)
            weights = (score - likelihood[:, None]).exp()
            for k, share in enumerate(weights.T):
                kept = torch.nonzero(share > _FAINT)[:, 0]
                with lock:
                    classes = torch.full_like(kept, k)
                    self._insert(sums, classes, _part(block, kept), _weighted(images, kept, share), pixels)
            done(len(block.indices) * process_count())
            statistics = self._statistics(block, images, weights, cross, power)
            return statistics, weights.argmax(1).numpy(), torch.stack([weights.amax(1), likelihood], 1).numpy()

        everyone = np.zeros(len(self.particles), np.int64)
        blocks = make_blocks(self.particles, everyone, self.block)
        results = in_parts(blocks, lambda part: map_in_threads(work, part))
        sum_over_processes(sums.values)
        return self._expected(sums, results)

    def _pixels(self, block: Block) -> FourierPixels:
        return FourierPixels.of(self.particles.optics[block.group], self.extent, self.model.noise.shape[1])

    def _images(self, block: Block, pixels: FourierPixels, *, correct: bool = True) -> BlockImages:
        """Spectra of a block, each moved to its exact centre."""
        shift = self.poses.shift[block.indices] / self.particles.optics[block.group].pixel_size
        moves = np.round(shift).astype(np.int64)
        images = read_block(
            self.particles, self.source, self.model, block, moves, pixels, self.diameter,
            correct=correct and self.correct,
        )  # fmt: skip
        ramps = pixels.ramps(shift - moves)
        return replace(images, compared=times(images.compared, ramps), summed=times(images.summed, ramps))

    def _add_curved(self, block: Block, pixels: FourierPixels, sums: SpectrumSums, lock: threading.Lock) -> None:
        """Add both waves of a block's images, each where it belongs."""
        group, ctf = self.particles.optics[block.group], self.particles.ctf
        if ctf is None or group.premultiplied:
            raise InputError(
                f"Ewald's sphere cannot be told from the images of optics group '{group.name}'",
                got="images multiplied by their CTFs" if group.premultiplied else "no CTFs",
                expected="images as they were taken, with CTFs",
            )
        images = self._images(block, pixels, correct=False)
        waves = separate_waves(
            images, ctf.select(block.indices), group, pixels, diameter=self.diameter, curvature=self.curvature
        )
        turns = torch.from_numpy(self.poses.rotation[block.indices]).mT.float().contiguous()
        one, count = torch.zeros(len(turns), dtype=torch.int64), pixels.count(self.shells)
        for wave in waves:
            values, weights = (part[..., :count].contiguous() for part in (wave.values, wave.weights))
            places = (wave.places[:, :count] * PADDING).float()
            with lock:
                kernels.insert_surfaces(sums.values, one, turns, values, weights, places)

    def _places(self, pixels: FourierPixels) -> Float[torch.Tensor, "2 pixels"]:
        return torch.from_numpy(
            np.ascontiguousarray(pixels.places[: pixels.count(self.shells)].T * PADDING, np.float32)
        )

    def _insert(
        self,
        sums: SpectrumSums,
        classes: Int[torch.Tensor, "n"],
        block: Block,
        spectra: tuple[Float[torch.Tensor, "n 2 pixels"], Float[torch.Tensor, "n pixels"]],
        pixels: FourierPixels,
    ) -> None:
        """Add slices, values and weights, to the sums of their classes."""
        values, weights = (one[..., : pixels.count(self.shells)].contiguous() for one in spectra)
        matrices = in_plane(self.poses.rotation[block.indices])
        kernels.insert_slices(sums.values, classes, matrices, values, weights, self._places(pixels))

    def _compare(
        self, block: Block, images: BlockImages, pixels: FourierPixels, references: References
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Scores by class, and Σ Y conj(P) and Σ D |P|² of each class by particle and shell."""
        count, places = pixels.count(self.shells), self._places(pixels)
        shell = torch.from_numpy(pixels.shell[:count])
        matrices = in_plane(self.poses.rotation[block.indices])
        cross, power = [], []
        for k in range(len(references.spectra)):
            which = torch.full((len(matrices),), k)
            slices = kernels.cut_slices(references.spectra, which, matrices, places)
            empty = torch.zeros((len(matrices), self.shells), dtype=torch.float64)
            product = (images.compared[..., :count] * slices).sum(1).double()
            cross.append(empty.index_add(1, shell, product))
            power.append(empty.index_add(1, shell, (images.weights[:, :count] * slices.square().sum(1)).double()))
        score = torch.stack([(a - b).sum(1) for a, b in zip(cross, power, strict=True)], 1)
        return score + references.log_prior.double(), cross, power

    def _statistics(
        self, block: Block, images: BlockImages, weights: torch.Tensor, cross: list[torch.Tensor],
        power: list[torch.Tensor],
    ) -> BlockStatistics:  # fmt: skip
        noise = self.model.noise[block.group][: self.shells]
        agreement, explained = (
            sum(weights[:, k, None] * one for k, one in enumerate(values)).numpy()  # pyright: ignore[reportAttributeAccessIssue]
            for values in (cross, power)
        )
        agreement, explained = agreement * noise / 2, explained * noise
        residual = images.residual(agreement, explained)
        offset = np.square(self.poses.shift[block.indices]).sum(1)
        return BlockStatistics(block, residual, agreement, explained, offset, weights.numpy())

    def _expected(
        self, sums: SpectrumSums, results: Sequence[tuple[BlockStatistics, np.ndarray, np.ndarray]]
    ) -> Expected:
        classes, known = self.poses.classes.copy(), np.zeros((2, len(self.particles)))
        for statistics, best, values in results:
            classes[statistics.block.indices] = best
            known[:, statistics.block.indices] = values.T
        significant = np.ones(len(self.particles), np.int64)
        for statistics, _, _ in results:
            significant[statistics.block.indices] = (statistics.class_weights > _FAINT).sum(1)
        poses = replace(self.poses, classes=classes, probability=known[0], likelihood=known[1], significant=significant)
        return Expected(poses, (sums,), tuple(statistics for statistics, _, _ in results))


def _part(block: Block, kept: Int[torch.Tensor, "k"]) -> Block:
    return replace(block, indices=block.indices[kept.numpy()])


def _weighted(
    images: BlockImages, kept: Int[torch.Tensor, "k"], share: Float[torch.Tensor, "n"]
) -> tuple[Float[torch.Tensor, "k 2 pixels"], Float[torch.Tensor, "k pixels"]]:
    """Values and weights of some images, as far as they belong to a class."""
    factor = share[kept].float()
    return images.summed[kept] * factor[:, None, None], images.weights[kept] * factor[:, None]
