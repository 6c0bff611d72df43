"""Class averages of two dimensions: the first ones, and what keeps them useful: in the centre, and none left empty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from thon import kernels
from thon.algorithms.likelihood.classes import ClassState, filter_shells
from thon.algorithms.likelihood.expectation import NoiseModel, make_blocks
from thon.algorithms.likelihood.images import BlockOptics, ImageSource, prepare_block
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.reconstruction import SpectrumSums
from thon.algorithms.likelihood.references import PADDING, particle_mask
from thon.algorithms.likelihood.search import in_plane
from thon.data.particles import Particles

_FIRST_PRIOR = 0.1  # of the mean weight of a shell, so that zeros of the CTFs do not blow up noise
_DIFFERENCE = 0.25  # of a revived class from the one it came from, in deviations of that
_COARSE = 6  # shells in which they differ


@dataclass(frozen=True)
class FirstAverages:
    """Averages of random particles as they lie, from which a classification begins.

    Args:
        particles: The particles.
        source: Their images.
        model: Noise.
        box: Side of the averages, px.
        pixel_size: Of the averages, Å.
        diameter: Of the soft mask, Å.
        shells: That the averages hold.
    """

    particles: Particles
    source: ImageSource
    model: NoiseModel
    box: int
    pixel_size: float
    diameter: float
    shells: int

    def make(self, classes: int, seed: int) -> Float[np.ndarray, "classes box box"]:
        """Averages of at least 1 000 particles, or all, CTFs corrected, each of its own ones."""
        order = np.random.default_rng(seed).permutation(len(self.particles))[: max(1000, 50 * classes)]
        owner = np.full(len(self.particles), -1)
        owner[order] = np.arange(len(order)) % classes
        sums = SpectrumSums.empty(classes, 2, self.shells)
        for block in make_blocks(self.particles, np.where(owner < 0, -1, 0), 256):
            self._add(sums, owner[block.indices], block.indices, block.group)
        return np.stack([self._average(sums, k) for k in range(classes)])

    def _add(self, sums: SpectrumSums, owner: Int[np.ndarray, "n"], indices: Int[np.ndarray, "n"], group: int) -> None:
        optics, n = self.particles.optics[group], len(indices)
        pixels = FourierPixels.of(optics, self.box * self.pixel_size, self.shells)
        ctf = None if self.particles.ctf is None else self.particles.ctf.select(indices)
        images = prepare_block(
            torch.from_numpy(np.ascontiguousarray(self.source.read(indices), np.float32)),
            np.zeros((n, 2), np.int64),
            BlockOptics.of(ctf, np.ones(n), optics, pixels),
            torch.from_numpy(self.model.noise[group]).float(),
            pixels,
            None,
        )
        places = torch.from_numpy(np.ascontiguousarray(pixels.places.T * PADDING, np.float32))
        still = in_plane(np.tile(np.eye(3), (n, 1, 1)))
        kernels.insert_slices(sums.values, torch.from_numpy(owner), still, images.summed, images.weights, places)

    def _average(self, sums: SpectrumSums, k: int) -> Float[np.ndarray, "box box"]:
        one = sums.of_class(k, np.eye(3)[None])
        average = one.reconstruct(self.box, one.mean_weight() * _FIRST_PRIOR)
        return (average * particle_mask(self.box, self.diameter / self.pixel_size, 2)).numpy()


def revive(state: ClassState, inactive: float, generator: np.random.Generator) -> ClassState:
    """Replace classes that hardly any particle belongs to, each by a variant of the then largest class.

    Args:
        state: After an iteration.
        inactive: Fraction of an even share below which a class is replaced.
        generator: Of the differences.
    """
    dead = np.flatnonzero(state.shares < inactive / len(state.shares))
    if not len(dead) or len(state.shares) == 1:
        return state
    source, shares = np.arange(len(state.shares)), state.shares.copy()
    references = state.references.copy()
    for k in dead:
        source[k] = largest = int(shares.argmax())
        shares[k] = shares[largest] = shares[largest] / 2
        noise = torch.from_numpy(generator.normal(size=references[k].shape).astype(np.float32))
        smooth = filter_shells(noise, np.ones(_COARSE)).numpy()
        inside = references[largest] != 0
        change = inside * smooth * (_DIFFERENCE * references[largest].std() / smooth.std())
        references[k] = references[largest] + change
    return replace(
        state,
        references=references,
        shares=shares,
        power=state.power[source],
        momentum=None if state.momentum is None else state.momentum[source],
        disagreement=None if state.disagreement is None else state.disagreement[source],
    )


def centred(state: ClassState, diameter: float, pixel_size: float) -> ClassState:
    """Averages moved by whole pixels so that their bright matter lies in the centre.

    What remembers past steps moves along, and so do the shifts of each class's particles, so that nothing but the
    place of the origin changes.

    Args:
        state: After an iteration.
        diameter: Of the soft mask, Å.
        pixel_size: Of the averages, Å.
    """
    move = np.round(centres(state.references)).astype(np.int64)
    if not move.any():
        return state
    box = state.references.shape[-1]
    mask = particle_mask(box, diameter / pixel_size, 2).numpy()
    poses = state.poses
    off = np.concatenate([np.zeros((len(move), 1)), move * pixel_size], 1)[poses.classes]
    shift = poses.shift + np.einsum("nij,nj->ni", poses.rotation, off)[:, 1:]
    return replace(
        state,
        references=_rolled(state.references, -move) * mask,
        momentum=None if state.momentum is None else _rolled(state.momentum, -move),
        poses=replace(poses, shift=shift),
    )


def centres(averages: Float[np.ndarray, "classes box box"]) -> Float[np.ndarray, "classes 2"]:
    """Centre (y, x) of what is bright in each average, from the image's centre, px; zero where nothing is."""
    axis = np.arange(averages.shape[-1]) - averages.shape[-1] // 2
    bright = np.maximum(averages, 0).astype(np.float64)
    mass = bright.sum((1, 2))
    mass[mass == 0] = 1
    return np.stack([bright.sum(2) @ axis, bright.sum(1) @ axis], -1) / mass[:, None]


def _rolled(
    images: Float[np.ndarray, "classes box box"], moves: Int[np.ndarray, "classes 2"]
) -> Float[np.ndarray, "classes box box"]:
    return np.stack([np.roll(image, (y, x), (0, 1)) for image, (y, x) in zip(images, moves.tolist(), strict=True)])
