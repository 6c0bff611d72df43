"""Least squares with total variation, sparsity and positivity by ADMM, on blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from thon.algorithms.reconstruction.blocks import Blocks, BlockSystem, ratio
from thon.algorithms.reconstruction.iterative import Monitor, confine, sum_squares
from thon.algorithms.reconstruction.options import AdmmOptions
from thon.ops import total_variation


@dataclass(frozen=True)
class Penalties:
    """Strengths in the units of the volume.

    Args:
        variation: Weight of the total variation.
        sparsity: Weight of the sum of absolute values.
        positive: Whether voxels stay at zero or above.
        stiffness: Penalty on the difference between volume and split variables.
    """

    variation: float
    sparsity: float
    positive: bool
    stiffness: float

    @classmethod
    def of(cls, options: AdmmOptions, positive: bool, deviation: float, tilts: int) -> Penalties:
        """Penalties for images of a standard deviation: a mean over the tilts has that deviation over √tilts."""
        unit = deviation / tilts**0.5
        return cls(options.total_variation * unit, options.sparsity * unit, positive, options.penalty)

    @property
    def voxelwise(self) -> bool:
        """Whether anything acts on single voxels."""
        return self.sparsity > 0 or self.positive

    def settle(self, values: torch.Tensor) -> torch.Tensor:
        """Proximal map of sparsity and positivity."""
        threshold = self.sparsity / self.stiffness
        low = torch.zeros_like(values) if self.positive else (values + threshold).clamp_(max=0)
        return (values - threshold).clamp_(min=0) + low

    def shorten(self, field: torch.Tensor) -> torch.Tensor:
        """Proximal map of the total variation."""
        return total_variation.shrink(field, self.variation / self.stiffness)


class Admm:
    """ADMM on the problem

        min ½/n ‖A x − b‖² + λ TV(x) + μ ‖x‖₁   with x ≥ 0 where asked,

    n being the number of tilts. With u the copy of the gradient and d its scaled multiplier, only t = gradient(x) + d
    is kept: u = shorten(t) and the next d is t − u. The copy v of the volume itself and its multiplier e are kept
    likewise, as s = x + e.

    Args:
        system: Projector pair with the gain `Rays.plain`.
        images: What is measured.
        volume: Start; overwritten with the result.
        penalties: Strengths.
        mask: Blocks of zeros and ones; the voxels at zero are no variables.

    Source: Boyd et al. 2011, section 6; Goldstein & Osher 2009.
    """

    def __init__(
        self, system: BlockSystem, images: Blocks, volume: Blocks, penalties: Penalties, mask: Blocks | None = None
    ):
        self.system, self.images, self.volume, self.penalties, self.mask = system, images, volume, penalties, mask
        self.projected = system.new_images()
        self.slope, self.direction, self.curved = (system.new_volume() for _ in range(3))
        shape = (3, system.projector.depth, system.projector.width)
        self.fields = [system.allocate((*shape, n)) for n in system.rows] if penalties.variation > 0 else None
        self.copies = system.new_volume() if penalties.voxelwise else None
        for block, part in enumerate(volume):
            if self.fields is not None:
                self.fields[block].copy_(gradient_of(volume, block))
            if self.copies is not None:
                self.copies[block].copy_(part)

    def solve(self, outer: int, inner: int, monitor: Monitor) -> Blocks:
        """Iterate: a few conjugate-gradient steps on the volume, then the split variables.

        Args:
            outer: Iterations.
            inner: Conjugate-gradient steps in each.
            monitor: Told the residual before each iteration.
        """
        reference = self.system.power(self.images)
        for iteration in range(1, outer + 1):
            if monitor(iteration, self._set_slope(), reference):
                break
            self._improve(inner)
            self._split()
        for block, part in enumerate(self.volume):
            confine(part, self.penalties.positive, None if self.mask is None else self.mask[block])
        return self.volume

    def _set_slope(self) -> float:
        """Set the slope to minus the gradient in x, from scratch; returns the residual's squared norm.

        It is Aᵀ(b − A x)/n + ρ Dᵀ(u − d − D x) + ρ (v − e − x): nothing is carried over from the iteration before.
        """
        residual = self.system.residual(self.images, self.volume, self.projected)
        square = sum_squares(residual)
        for block, part in enumerate(self.slope):
            torch.div(self.system.adjoint(block, residual), self.system.tilts, out=part)
            if self.fields is not None:
                part.add_(self._pull(block), alpha=self.penalties.stiffness)
            if self.copies is not None:
                copy = self.copies[block]
                part.add_(2 * self.penalties.settle(copy) - copy - self.volume[block], alpha=self.penalties.stiffness)
            if self.mask is not None:
                part.mul_(self.mask[block])
        return square

    def _pull(self, block: int) -> torch.Tensor:
        """Dᵀ(u − d − D x) of one block."""
        before = int(block > 0)
        seen = with_edges(self.fields or [], block, after=False)
        field = 2 * self.penalties.shorten(seen) - seen
        field -= total_variation.gradient(with_edges(self.volume, block))[..., : field.shape[-1]]
        return total_variation.gradient_adjoint(field, last=block == len(self.volume) - 1)[..., before:]

    def _improve(self, steps: int) -> None:
        """Conjugate gradients on the quadratic in x, from the slope."""
        for part, slope in zip(self.direction, self.slope, strict=True):
            part.copy_(slope)
        power = self.system.dot(self.slope, self.slope)
        for _ in range(steps):
            self._set_curved()
            bend = self.system.dot(self.direction, self.curved)
            for block, part in enumerate(self.volume):
                step = ratio(power[block], bend[block], part)
                part.addcmul_(self.direction[block], step)
                self.slope[block].addcmul_(self.curved[block], -step)
            before, power = power, self.system.dot(self.slope, self.slope)
            for block, part in enumerate(self.direction):
                part.mul_(ratio(power[block], before[block], part)).add_(self.slope[block])

    def _set_curved(self) -> None:
        """Set `curved` to the Hessian times the direction: (AᵀA/n + ρ DᵀD + ρ) p."""
        projected = self.system.forward(self.direction, self.projected)
        for block, part in enumerate(self.curved):
            torch.div(self.system.adjoint(block, projected), self.system.tilts, out=part)
            if self.fields is not None:
                inner = slice(int(block > 0), int(block > 0) + part.shape[-1])
                field = total_variation.gradient(with_edges(self.direction, block))
                part.add_(total_variation.gradient_adjoint(field)[..., inner], alpha=self.penalties.stiffness)
            if self.copies is not None:
                part.add_(self.direction[block], alpha=self.penalties.stiffness)
            if self.mask is not None:
                part.mul_(self.mask[block])

    def _split(self) -> None:
        """t ← D x + t − shorten(t) and s ← x + s − settle(s)."""
        for block, part in enumerate(self.volume):
            if self.fields is not None:
                field = self.fields[block]
                field.sub_(self.penalties.shorten(field)).add_(gradient_of(self.volume, block))
            if self.copies is not None:
                copy = self.copies[block]
                copy.sub_(self.penalties.settle(copy)).add_(part)


def gradient_of(volume: Blocks, block: int) -> torch.Tensor:
    """Gradient of one block of a volume, its last row with the next block's first."""
    after = volume[block + 1][..., :1] if block + 1 < len(volume) else None
    return total_variation.gradient(volume[block], after)


def with_edges(blocks: Blocks, block: int, *, after: bool = True) -> torch.Tensor:
    """A block with the last row of the one before it and, unless told not to, the first of the one after it."""
    parts = [blocks[block]]
    if block > 0:
        parts.insert(0, blocks[block - 1][..., -1:])
    if after and block + 1 < len(blocks):
        parts.append(blocks[block + 1][..., :1])
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
