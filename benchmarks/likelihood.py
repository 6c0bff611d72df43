#!/usr/bin/env python3
"""Speed of the expectation and maximisation steps' kernels, beside the machine's limits and plain PyTorch.

    python benchmarks/likelihood.py                 as in a refinement of 96 px to 43 shells, on one thread
    python benchmarks/likelihood.py --shells 120    as in one of 256 px

Times are CPU seconds; other jobs on the machine raise them. The limit of each step is that of its arithmetic alone at
the rate of a matrix product, or of what it moves at the rate of a copy, whichever takes longer; both are measured in
one run. Reading and adding single voxels of a volume counts as moving those bytes, although a copy moves neighbours
together and memory gives 64 bytes at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from thon import kernels
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.references import PADDING, spectrum_shape
from thon.algorithms.likelihood.search import in_plane, turn_all
from thon.kernels.pose_products import (
    cut_slices_reference,
    insert_slices_reference,
    score_poses_reference,
    sum_poses_reference,
)
from thon.ops.limits import Limits, cpu_seconds, measure_limits

CHILDREN, PARTICLES = 8, 64


@dataclass(frozen=True)
class Step:
    """A step of the work.

    Args:
        name: For people.
        run: Does it.
        moved: Bytes read or written.
        multiply_adds: Number.
        peer: The same in plain PyTorch on a part of the work.
        part: Share of the work that the peer does.
    """

    name: str
    run: Callable[[], object]
    moved: float
    multiply_adds: float
    peer: Callable[[], object] | None = None
    part: float = 1.0


class Case:
    """Spectra, poses and images of random values, of the sizes that refinement has."""

    def __init__(self, shells: int, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        axis = torch.arange(-shells + 1, shells)
        y, x = torch.meshgrid(axis, axis[shells - 1 :], indexing="ij")
        radius = torch.hypot(y.float(), x.float()).round()
        order = radius[radius < shells].argsort(stable=True)
        places = torch.stack([y[radius < shells], x[radius < shells]])[:, order].float() * PADDING
        self.places = places.contiguous()
        self.pixels = places.shape[1]
        self.starts = torch.searchsorted(radius[radius < shells][order].contiguous(), torch.arange(shells + 1.0))
        self.volume = torch.randn(1, *spectrum_shape(3, shells), 2, generator=generator)
        self.sums = torch.from_numpy(np.zeros((1, *spectrum_shape(3, shells), 3), np.int64))
        grid = RotationGrid(3, np.eye(3)[None], np.eye(3))
        parents = torch.randperm(grid.count(4), generator=generator)[:150].sort().values.numpy()
        self.rotations = in_plane(grid.matrices(5, grid.children(4, parents).ravel()))
        self.ramps = torch.randn(len(ShiftGrid(0.5, 2.0).fine), 2, self.pixels, generator=generator)
        self.images = torch.randn(PARTICLES, 2, self.pixels, generator=generator)
        self.weights = torch.rand(PARTICLES, self.pixels, generator=generator)
        rows = 10  # particles and shifts that are tried with each rotation
        groups = len(parents)
        self.begin = torch.arange(groups + 1) * rows
        self.particles = torch.randint(PARTICLES, (groups, rows), generator=generator).sort(1).values.flatten()
        self.shifts = torch.randint(len(self.ramps), (groups * rows,), generator=generator)
        self.posterior = torch.rand(groups * rows, CHILDREN, generator=generator)

    def steps(self) -> list[Step]:
        """Dense search, slices, ragged scores, ragged sums, insertion."""
        slices, pixels, rows = len(self.rotations), self.pixels, len(self.particles)
        which, grouped = torch.zeros(slices, dtype=torch.int64), self.rotations.unflatten(0, (-1, CHILDREN))
        one = torch.zeros(len(grouped), dtype=torch.int64)
        cut = kernels.cut_slices(self.volume, which, self.rotations, self.places)
        share = cut.square().sum(1)
        turned = turn_all(self.images, self.ramps).flatten(0, 1)
        poses = (self.volume, one, grouped, self.begin, self.particles, self.shifts)
        spectra = (self.images, self.weights, self.ramps, self.places)
        added = (self.posterior, self.images, *spectra, self.starts)
        few = slice(0, slices // 10)
        # A slice reads four pairs of neighbouring voxels of a pixel; each is 8 bytes, 24 where sums are kept.
        sliced, inserted = slices * pixels * (8 * 8 + 8), slices * pixels * (8 * 24 * 2 + 12)
        return [
            Step(
                "first level: matrix product", lambda: turned @ cut.flatten(1).T, 0.0,
                2.0 * len(turned) * slices * pixels,
            ),
            Step(
                "slices", lambda: kernels.cut_slices(self.volume, which, self.rotations, self.places), sliced,
                20.0 * slices * pixels,
                lambda: cut_slices_reference(self.volume, which[few], self.rotations[few], self.places), 0.1,
            ),
            Step(
                "finer levels: slices and scores", lambda: kernels.score_poses(*poses, *spectra), sliced,
                (20.0 * slices + (2 * CHILDREN + 4) * rows) * pixels,
                lambda: score_poses_reference(*poses, *spectra),
            ),
            Step(
                "sums over poses", lambda: kernels.sum_poses(*poses, *added), sliced,
                (20.0 * slices + (2 * 4 + 8) * CHILDREN * rows) * pixels,
                lambda: sum_poses_reference(*poses, *added),
            ),
            Step(
                "insertion", lambda: kernels.insert_slices(self.sums, which, self.rotations, cut, share, self.places),
                inserted, 24.0 * slices * pixels,
                lambda: insert_slices_reference(
                    self.sums, which[few], self.rotations[few], cut[few], share[few], self.places
                ), 0.1,
            ),
        ]  # fmt: skip


def report(step: Step, limits: Limits) -> None:
    """A step in one line."""
    seconds, _ = cpu_seconds(step.run)
    floor, why = limits.floor(moved=step.moved, multiply_adds=step.multiply_adds)
    peer = ""
    if step.peer is not None:
        peer = f", plain PyTorch {cpu_seconds(step.peer, 1)[0] / step.part / seconds:.1f} times as long"
    print(
        f"{step.name:34s}{1e3 * seconds:9.1f} ms, {100 * floor / seconds:3.0f} % of the limit ({why}){peer}", flush=True
    )


def main() -> None:
    """Print the limits and each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shells", type=int, default=43)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    limits = measure_limits()
    print(f"copy {limits.bandwidth / 1e9:.1f} GB/s, matrix product {limits.multiply_adds / 1e9:.0f} G multiply-adds/s")
    case = Case(arguments.shells)
    print(f"{case.pixels} pixels, {len(case.rotations)} rotations, {len(case.particles)} rows of particles and shifts")
    for step in case.steps():
        report(step, limits)


if __name__ == "__main__":
    main()
