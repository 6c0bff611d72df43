"""Find the poses that matter for a block of particles, level by level.

The first level tries all rotations with all coarse shifts, as one product of matrices, or those near each particle's
last pose. Of each level the smallest set of poses that holds most of the probability goes on: its children are tried
on the next level, with more Fourier pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from thon import kernels
from thon.algorithms.likelihood.images import BlockImages
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.references import PADDING
from thon.ops.rotation import quaternion_from_rotation

_DENSE = 24_000_000  # scores at once
_COLUMNS = ("particles", "shifts", "rotations", "classes", "weights")


@dataclass(frozen=True)
class SearchPlan:
    """How the poses of an iteration are searched.

    Args:
        grid: Rotations.
        shifts: Shifts.
        first: First level.
        shells: How many shells take part on the first level and on each one after.
        sigma: Standard deviation of a pose about the particle's last one, degrees; None to search all rotations.
        mates: Rotations of the reference that the last pose may be mistaken by; the first is none.
        share: Of the probability that the poses kept must hold.
        most: Number of poses of a particle on the last level after which no more are kept.
        correlate: Take the one pose of the greatest normalised correlation, on the first level alone.
    """

    grid: RotationGrid
    shifts: ShiftGrid
    first: int
    shells: tuple[int, ...]
    sigma: float | None = None
    mates: Float[np.ndarray, "mates 3 3"] = field(default_factory=lambda: np.eye(3)[None])
    share: float = 0.999
    most: int = 100_000
    correlate: bool = False

    @property
    def last(self) -> int:
        """Last level."""
        return self.first + len(self.shells) - 1

    def margin(self, level: int) -> float:
        """How far from a rotation of a level most of its children on the last one lie, degrees."""
        return 0.5 * self.grid.step(level) if level < self.last else 0.0

    def most_on(self, level: int) -> int:
        """Number of poses of a particle on a level after which no more are kept."""
        return self.most if level == self.last else 1_000_000_000


@dataclass(frozen=True)
class References:
    """References of an iteration: spectra, and their slices on the first level, which all blocks share.

    Args:
        spectra: Oversampled half spectra.
        log_prior: Logarithm of each one's share of the particles.
    """

    spectra: Float[torch.Tensor, "classes z y x 2"]
    log_prior: Float[torch.Tensor, "classes"]

    def slices(self, plan: SearchPlan, places: Float[torch.Tensor, "2 pixels"]) -> DenseSlices:
        """Slices at all rotations of the first level."""
        rotations = plan.grid.unique(plan.first)
        matrices = in_plane(plan.grid.matrices(plan.first, rotations))
        count = len(self.spectra)
        which = torch.arange(count).repeat_interleave(len(rotations))
        cut = kernels.cut_slices(self.spectra, which, matrices.repeat(count, 1, 1), places)
        return DenseSlices(cut, torch.from_numpy(rotations).repeat(count), which)


@dataclass(frozen=True)
class DenseSlices:
    """Slices at many rotations: their pixels, the rotations' numbers, and their classes."""

    values: Float[torch.Tensor, "slices 2 pixels"]
    rotations: Int[torch.Tensor, "slices"]
    classes: Int[torch.Tensor, "slices"]

    @cached_property
    def power(self) -> Float[torch.Tensor, "slices pixels"]:
        """Squared amplitudes."""
        return self.values.square().sum(1)


@dataclass(frozen=True)
class Candidates:
    """Poses that go on: a particle, a shift, a rotation, a class and a weight each.

    `fine` says whether shifts count those of the finer level.
    """

    particles: Int[np.ndarray, "n"]
    shifts: Int[np.ndarray, "n"]
    rotations: Int[np.ndarray, "n"]
    classes: Int[np.ndarray, "n"]
    weights: Float[np.ndarray, "n"]
    fine: bool = False

    def sorted(self, rotations: int) -> tuple[Candidates, Int[np.ndarray, "groups_and_one"]]:
        """The same by class, rotation, particle and shift, and where each rotation begins; of so many rotations."""
        pose = self.classes * rotations + self.rotations
        particles, shifts = self.particles.max(initial=0) + 1, self.shifts.max(initial=0) + 1
        order = np.argsort((pose * particles + self.particles) * shifts + self.shifts)
        pose = pose[order]
        starts = np.flatnonzero(np.diff(pose, prepend=-1))
        return self.take(order), np.append(starts, len(pose))

    def take(self, index: Int[np.ndarray, "k"]) -> Candidates:
        """Some of them."""
        return replace(self, **{name: getattr(self, name)[index] for name in _COLUMNS})

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """All of several, which count shifts of the same level."""
        return replace(parts[0], **{name: np.concatenate([getattr(one, name) for one in parts]) for name in _COLUMNS})

    def best(self, count: int) -> Int[np.ndarray, "n"]:
        """Index of the pose of the greatest weight of each of so many particles; the first of equal ones."""
        largest = np.zeros(count, self.weights.dtype)
        np.maximum.at(largest, self.particles, self.weights)
        top = np.flatnonzero(self.weights == largest[self.particles])
        owners, first = np.unique(self.particles[top], return_index=True)
        if len(owners) < count:
            raise ValueError(f"{count - len(owners)} particles have no pose")
        return top[first]


@dataclass(frozen=True)
class Posterior:
    """What a search found of a block.

    Args:
        poses: The poses that matter, with their weights, which sum to 1 over each particle.
        level: Level of their rotations.
        largest: Largest share of one pose among all, by particle.
        likelihood: Logarithm of the sum of all weights, by particle.
        significant: Number of poses kept, by particle.
    """

    poses: Candidates
    level: int
    largest: Float[torch.Tensor, "n"]
    likelihood: Float[torch.Tensor, "n"]
    significant: Int[torch.Tensor, "n"]

    @classmethod
    def joined(cls, parts: list[Posterior]) -> Posterior:
        """Those of particles that were searched a part at a time, in order."""
        largest, likelihood, significant = (
            torch.cat([getattr(one, name) for one in parts]) for name in ("largest", "likelihood", "significant")
        )
        poses = Candidates.joined([one.poses for one in parts])
        return cls(poses, parts[0].level, largest, likelihood, significant)


def in_plane(rotations: Float[np.ndarray, "*n 3 3"]) -> Float[torch.Tensor, "*n 3 2"]:
    """Places in a reference's spectrum of an image's rows and columns, for rotations of references into images."""
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(rotations, -1, -2)[..., 1:], np.float32))


@dataclass(frozen=True)
class SearchBlock:
    """Particles whose poses are searched together.

    Args:
        images: Their spectra.
        prior: Logarithm of the prior of each coarse shift.
        fine_prior: The same of each fine shift.
        last: Rotations that the search of each stays near; None to search all.
    """

    images: BlockImages
    prior: Float[np.ndarray, "n coarse_shifts"]
    fine_prior: Float[np.ndarray, "n fine_shifts"]
    last: Float[np.ndarray, "n mates 3 3"] | None = None

    def __len__(self) -> int:
        return len(self.prior)


@dataclass(frozen=True)
class PoseSearch:
    """Searches poses of blocks against references.

    Args:
        plan: How.
        references: Against what.
        pixels: Pixels of the images.
        dense: Slices on the first level; None for a search near the last poses.
    """

    plan: SearchPlan
    references: References
    pixels: FourierPixels
    dense: DenseSlices | None

    @cached_property
    def places(self) -> Float[torch.Tensor, "2 pixels"]:
        """Places of the pixels in the oversampled spectra."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels.places.T * PADDING, np.float32))

    @cached_property
    def coarse_ramps(self) -> Float[torch.Tensor, "shifts 2 pixels"]:
        """Phases of the coarse shifts."""
        return self.pixels.ramps(self.plan.shifts.coarse)

    @cached_property
    def fine_ramps(self) -> Float[torch.Tensor, "shifts 2 pixels"]:
        """Phases of the fine shifts."""
        return self.pixels.ramps(self.plan.shifts.fine)

    def run(self, block: SearchBlock) -> Posterior:
        """Posterior of a block on the last level."""
        plan = self.plan
        found = self._search_near(block) if self.dense is None else self._search_all(block, self.dense)
        while found.level < plan.last:
            found = self._refine(block, found.poses, found.level)
        return found

    def _search_all(self, block: SearchBlock, dense: DenseSlices) -> Posterior:
        """Poses kept of all rotations and coarse shifts, a part of the particles at once."""
        shifts, rotations = len(self.plan.shifts.coarse), len(dense.rotations)
        size = max(1, _DENSE // (shifts * rotations))
        parts = [
            self._search_part(block, dense, np.arange(first, min(first + size, len(block))))
            for first in range(0, len(block), size)
        ]
        return Posterior.joined(parts)

    def _search_part(self, block: SearchBlock, dense: DenseSlices, chosen: Int[np.ndarray, "n"]) -> Posterior:
        """Poses kept of some particles, whose own numbers in the block they have."""
        count, shifts = dense.values.shape[-1], len(self.plan.shifts.coarse)
        images, weights = block.images.compared[chosen, :, :count], block.images.weights[chosen, :count]
        turned = turn_all(images, self.coarse_ramps[..., :count])
        cross = (turned.flatten(0, 1) @ dense.values.flatten(1).T).unflatten(0, (len(chosen), shifts))
        norm = (weights @ dense.power.T)[:, None]
        if self.plan.correlate:
            scores = cross / norm.clamp(min=1e-30).sqrt()
            posterior, largest, likelihood, significant = _only_best(scores)
        else:
            scores = cross.sub_(norm).add_(torch.from_numpy(block.prior[chosen]).float()[:, :, None])
            scores += self.references.log_prior[dense.classes]
            owner = torch.arange(len(chosen)).repeat_interleave(shifts)
            posterior, largest, likelihood, significant = kernels.pose_posterior(
                scores.flatten(0, 1), owner, len(chosen), self.plan.share, self.plan.most_on(self.plan.first)
            )
            posterior = posterior.unflatten(0, (len(chosen), shifts))
        particle, shift, place = (found.numpy() for found in posterior.nonzero(as_tuple=True))
        kept = Candidates(
            chosen[particle],
            shift,
            dense.rotations.numpy()[place],
            dense.classes.numpy()[place],
            posterior[particle, shift, place].numpy(),
        )
        return Posterior(kept, self.plan.first, largest, likelihood, significant)

    def _search_near(self, block: SearchBlock) -> Posterior:
        """Poses kept of the rotations near each particle's last one and all coarse shifts."""
        particles, rotations = self._near(block)
        # Groups of eight rotations of one particle; the last group of each repeats its last rotation.
        count = np.bincount(particles, minlength=len(block))
        groups = -(-count // 8)
        begin = np.concatenate([[0], np.cumsum(count)])
        owner = np.repeat(np.arange(len(block)), groups)
        first = np.arange(len(owner)) - np.repeat(np.cumsum(groups) - groups, groups)
        place = begin[owner][:, None] + first[:, None] * 8 + np.arange(8)
        empty = place >= begin[owner + 1][:, None]
        numbers = rotations[np.where(empty, begin[owner + 1][:, None] - 1, place)]
        classes = np.arange(len(self.references.spectra))
        which = np.tile(classes, len(owner))
        owner, numbers, empty = (np.repeat(values, len(classes), 0) for values in (owner, numbers, empty))
        shifts = len(self.plan.shifts.coarse)
        rows = np.repeat(owner, shifts)
        tried = _Tried(which, numbers, np.arange(len(owner) + 1) * shifts, rows, np.tile(np.arange(shifts), len(owner)))
        return self._weigh(block, tried, self.plan.first, fine=False, empty=empty)

    def _near(self, block: SearchBlock) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Particles, and numbers of rotations of the first level within three sigma of their last ones.

        Each has the nearest one of each level at least.
        """
        plan, grid = self.plan, self.plan.grid
        assert plan.sigma is not None
        assert block.last is not None
        level = min(3, plan.first)
        last = quaternion_from_rotation(block.last).astype(np.float32)
        # The farthest child of a rotation lies about one step from it.
        reach = np.deg2rad(3 * plan.sigma + plan.margin(plan.first) + (plan.first - level) * grid.step(level))
        alike = np.abs(last @ quaternions(grid, level).T).max(1)
        particles, rotations = np.nonzero((alike > np.cos(reach / 2)) | (alike == alike.max(1, keepdims=True)))
        while level < plan.first:
            numbers = grid.children(level, rotations)
            particles, rotations, level = np.repeat(particles, numbers.shape[1]), numbers.ravel(), level + 1
            trace = np.einsum("nij,nmij->nm", grid.matrices(level, rotations), block.last[particles]).max(1)
            reach = np.deg2rad(3 * plan.sigma + plan.margin(plan.first) + (plan.first - level) * grid.step(level))
            nearest = np.maximum.reduceat(trace, np.searchsorted(particles, np.arange(len(block))))
            near = (trace > 1 + 2 * np.cos(reach)) | (trace == nearest[particles])
            particles, rotations = particles[near], rotations[near]
        return particles, rotations

    def _refine(self, block: SearchBlock, found: Candidates, level: int) -> Posterior:
        """Posterior over the children of poses of a level."""
        grid = self.plan.grid
        found, starts = found.sorted(grid.count(level))
        split = 1 if found.fine else 4
        shifts = found.shifts if found.fine else (found.shifts[:, None] * 4 + np.arange(4)).ravel()
        numbers = grid.children(level, found.rotations[starts[:-1]])
        tried = _Tried(found.classes[starts[:-1]], numbers, starts * split, np.repeat(found.particles, split), shifts)
        return self._weigh(block, tried, level + 1, fine=True)

    def _weigh(
        self,
        block: SearchBlock,
        tried: _Tried,
        level: int,
        *,
        fine: bool,
        empty: Bool[np.ndarray, "groups children"] | None = None,
    ) -> Posterior:
        """Posterior over poses of a level; those that are `empty` stand for none."""
        plan, grid, children = self.plan, self.plan.grid, tried.numbers.shape[1]
        rotations = grid.matrices(level, tried.numbers.ravel()).reshape(-1, children, 3, 3)
        classes, begin = torch.from_numpy(tried.classes), torch.from_numpy(tried.starts)
        count = self.pixels.count(plan.shells[level - plan.first])
        owner, length = torch.from_numpy(tried.particles), begin.diff()
        scores = kernels.score_poses(
            self.references.spectra,
            classes,
            in_plane(rotations),
            begin,
            owner,
            torch.from_numpy(tried.shifts),
            block.images.compared,
            block.images.weights,
            self.fine_ramps if fine else self.coarse_ramps,
            self.places[:, :count].contiguous(),
        )
        prior = block.fine_prior if fine else block.prior
        scores += torch.from_numpy(prior[tried.particles, tried.shifts]).float()[:, None]
        scores += self.references.log_prior[classes].repeat_interleave(length)[:, None]
        group = np.repeat(np.arange(len(length)), length.numpy())
        if plan.sigma is not None:
            scores += self._near_prior(block, rotations, group, tried.particles, plan.margin(level))
        if empty is not None:
            scores.masked_fill_(torch.from_numpy(empty)[group], -torch.inf)
        weights, largest, likelihood, significant = kernels.pose_posterior(
            scores, owner, len(block), plan.share, plan.most_on(level)
        )
        row, child = (index.numpy() for index in weights.nonzero(as_tuple=True))
        poses = Candidates(
            tried.particles[row],
            tried.shifts[row],
            tried.numbers[group[row], child],
            tried.classes[group[row]],
            weights.numpy()[row, child],
            fine,
        )
        return Posterior(poses, level, largest, likelihood, significant)

    def _near_prior(
        self,
        block: SearchBlock,
        rotations: Float[np.ndarray, "groups children 3 3"],
        group: Int[np.ndarray, "rows"],
        particles: Int[np.ndarray, "rows"],
        margin: float,
    ) -> Float[torch.Tensor, "rows children"]:
        """Logarithm of a normal distribution of the angle to each particle's last rotation; nothing beyond 3 sigma.

        Of a rotation that stands for its children, the angle is about the least that one of them has.
        """
        assert self.plan.sigma is not None
        assert block.last is not None
        pairs, place = np.unique(group * len(block) + particles, return_inverse=True)
        of_group, of_particle = np.divmod(pairs, len(block))
        trace = np.einsum("pcij,pmij->pcm", rotations[of_group], block.last[of_particle]).max(2)
        angle = np.maximum(np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1))) - margin, 0)
        prior = np.where(angle < 3 * self.plan.sigma + 1e-3, -0.5 * (angle / self.plan.sigma) ** 2, -1e4)
        return torch.from_numpy(prior[place]).float()


@dataclass(frozen=True)
class _Tried:
    """Poses to score: classes and rotations of groups, and rows of particle and shift that each group is tried with."""

    classes: Int[np.ndarray, "groups"]
    numbers: Int[np.ndarray, "groups children"]
    starts: Int[np.ndarray, "groups_and_one"]
    particles: Int[np.ndarray, "rows"]
    shifts: Int[np.ndarray, "rows"]


def turn_all(
    images: Float[torch.Tensor, "n 2 pixels"], ramps: Float[torch.Tensor, "shifts 2 pixels"]
) -> Float[torch.Tensor, "n shifts two_pixels"]:
    """Spectra at all shifts, real parts before imaginary ones."""
    (a, b), (c, d) = images[:, :, None].unbind(1), ramps.unbind(1)
    return torch.cat([a * c - b * d, a * d + b * c], -1)


@functools.lru_cache(maxsize=4)
def _grid_quaternions(dimensions: int, first_angles: int, level: int) -> Float[np.ndarray, "n 4"]:
    still = RotationGrid(dimensions, np.eye(3)[None], np.eye(3), first_angles)
    return quaternion_from_rotation(still.matrices(level, np.arange(still.count(level))))


def quaternions(grid: RotationGrid, level: int) -> Float[np.ndarray, "n 4"]:
    """Quaternions of all rotations of a level."""
    turn = quaternion_from_rotation(grid.turn)
    return _product(turn, _grid_quaternions(grid.dimensions, grid.first_angles, level)).astype(np.float32)


def _product(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Quaternions (w, z, y, x) of first b, then a."""
    w, z, y, x = a
    bw, bz, by, bx = b.T
    return np.stack(
        [
            w * bw - z * bz - y * by - x * bx,
            w * bz + z * bw + x * by - y * bx,
            w * by + y * bw + z * bx - x * bz,
            w * bx + x * bw + y * bz - z * by,
        ],
        -1,
    )


def _only_best(
    scores: Float[torch.Tensor, "n shifts slices"],
) -> tuple[torch.Tensor, Float[torch.Tensor, "n"], Float[torch.Tensor, "n"], Int[torch.Tensor, "n"]]:
    """All weight on each particle's best pose."""
    best, place = scores.flatten(1).max(1)
    weights = torch.zeros_like(scores).flatten(1).scatter_(1, place[:, None], 1.0).view_as(scores)
    one = torch.ones(len(scores))
    return weights, one, best, one.long()
