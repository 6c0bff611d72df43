"""SIRT, SART and conjugate gradients: least squares by iteration, on blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from thon.algorithms.reconstruction.blocks import Blocks, BlockSystem, ratio
from thon.algorithms.reconstruction.options import IterationOptions
from thon.algorithms.reconstruction.weights import Rays

_GOLDEN = 2 / (3 + math.sqrt(5))


@dataclass
class Monitor:
    """Gathers the residual of each iteration over slabs, tells it, and says when to stop.

    Args:
        tolerance: Relative residual below which to stop.
        callback: Called with the iteration (from 1) and the residual before it, relative to the images.
    """

    tolerance: float = 0.0
    callback: Callable[[int, float], None] | None = None
    squares: dict[int, tuple[float, float]] = field(default_factory=dict[int, tuple[float, float]])

    def __call__(self, iteration: int, square: float, reference: float) -> bool:
        """Take the squared norms of a residual and of its images; whether to stop."""
        old = self.squares.get(iteration, (0.0, 0.0))
        self.squares[iteration] = (old[0] + square, old[1] + reference)
        relative = math.sqrt(square / reference) if reference > 0 else 0.0
        if self.callback is not None:
            self.callback(iteration, relative)
        return relative < self.tolerance

    @property
    def residuals(self) -> list[float]:
        """Relative residual before each iteration, over all slabs."""
        return [math.sqrt(s / r) if r > 0 else 0.0 for _, (s, r) in sorted(self.squares.items())]


def ordered_subsets(tilt: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Disjoint subsets of tilts, each spread over the range, each far in angle from those before it.

    Args:
        tilt: Degrees.
        size: Tilts per subset; some have one less.
    """
    order = torch.argsort(tilt, stable=True)
    number = math.ceil(len(tilt) / size)
    # Steps by the golden section keep neighbours in time far apart, and fill the range evenly.
    step = max(1, round(number * _GOLDEN))
    while math.gcd(step, number) > 1:
        step += 1
    return [order[k * step % number :: number] for k in range(number)]


def solve_sirt(
    system: BlockSystem,
    rays: Rays,
    images: Blocks,
    volume: Blocks,
    *,
    subsets: list[torch.Tensor],
    options: IterationOptions,
    monitor: Monitor,
    mask: Blocks | None = None,
) -> Blocks:
    """SIRT, or with several subsets of the tilts SART: each subset's residual is spread back along its rays.

    Args:
        system: Projector pair with the gain `Rays.by_length`.
        rays: Of the projector.
        images: What is measured.
        volume: Start; overwritten with the result.
        subsets: Indices of the tilts, in the order of use.
        options: Number of iterations, relaxation, positivity.
        monitor: Told the residual met during each iteration.
        mask: Blocks by which the volume is multiplied.
    """
    alone = len(subsets) == 1
    subsets = [torch.arange(system.tilts, device=subsets[0].device)] if alone else subsets
    step = options.relaxation or (1.0 if alone else 0.3)
    # A voxel that every image sees is seen as often as there are images; exact sums matter only at the sides.
    seen = rays.seen(system.projector).clamp_(min=1) if alone else None
    reference = system.power(images)
    room = {len(index): system.select(index).new_images() for index in subsets}
    for iteration in range(1, options.number + 1):
        square = 0.0
        for index in subsets:
            part = system.select(index)
            own = images if alone else [image[index] for image in images]
            residual = part.residual(own, volume, room[len(index)])
            square += sum_squares(residual)
            for block, values in enumerate(volume):
                change = part.adjoint(block, residual)
                change = change.div_(seen) if seen is not None else change.div_(len(index))
                values.add_(change, alpha=step)
                confine(values, options.positive, None if mask is None else mask[block])
        if monitor(iteration, square, reference):
            break
    return volume


def confine(values: torch.Tensor, positive: bool, mask: torch.Tensor | None) -> None:
    """Set what must be zero to zero, in place."""
    if positive:
        values.clamp_(min=0)
    if mask is not None:
        values.mul_(mask)


def solve_cg(
    system: BlockSystem,
    images: Blocks,
    volume: Blocks,
    *,
    options: IterationOptions,
    monitor: Monitor,
    mask: Blocks | None = None,
) -> Blocks:
    """Least squares by conjugate gradients on the normal equations (CGLS).

    Where rows are not coupled each has its own step length, hence its own, faster, conjugate gradients.

    Args:
        system: Projector pair with the gain `Rays.plain`.
        images: What is measured.
        volume: Start; overwritten with the result.
        options: Number of iterations.
        monitor: Told the residual before each iteration.
        mask: Blocks of zeros and ones; the voxels at zero are no variables.

    Source: Björck 1996, algorithm 7.4.1.
    """
    reference = system.power(images)
    residual = system.residual(images, volume, system.new_images())
    projected = system.new_images()

    def descent(block: int) -> torch.Tensor:
        gradient = system.adjoint(block, residual)
        return gradient if mask is None else gradient.mul_(mask[block])

    slope = system.new_volume()
    for block, part in enumerate(slope):
        part.copy_(descent(block))
    direction = system.new_volume()
    for part, start in zip(direction, slope, strict=True):
        part.copy_(start)
    power = system.dot(slope, slope)
    floor = [p * torch.finfo(images[0].dtype).eps ** 2 for p in power]
    for iteration in range(1, options.number + 1):
        if monitor(iteration, sum_squares(residual), reference):
            break
        system.forward(direction, projected)
        steps = system.dot(projected, projected)
        for block, part in enumerate(volume):
            step = ratio(power[block], steps[block], part)
            part.addcmul_(direction[block], step)
            residual[block].addcmul_(projected[block], -step)
        for block, part in enumerate(slope):
            part.copy_(descent(block))
        # Beyond the precision of the numbers there is only rounding to follow: what has converged rests.
        after = system.dot(slope, slope)
        before, power = power, [p.where(p > least, 0) for p, least in zip(after, floor, strict=True)]
        for block, part in enumerate(direction):
            part.mul_(ratio(power[block], before[block], part)).add_(slope[block])
    return volume


def sum_squares(blocks: Blocks) -> float:
    """Sum of the squares of all elements, in float64."""
    return sum(float(plane.double().square().sum()) for part in blocks for plane in part)
