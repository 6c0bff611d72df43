"""Volume and images in blocks of rows along the tilt axis, and the weighted projector pair over all of them.

A block array is a list of tensors whose last axis, the rows, is cut in consecutive pieces; some may lie in scratch
files. Without x-tilt a block of the volume meets the same block of the images. With it a voxel reads a few rows beyond:
the halo. Images then have `halo` more rows than the volume at both ends, kept by the first and the last block;
projections are summed across blocks and back-projections read across them, so that blocks give what the whole gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch

from thon.ops.projection import SlabProjector

# As text, so that PyTorch does not load with this module.
Blocks: TypeAlias = "list[torch.Tensor]"
Allocate: TypeAlias = "Callable[[tuple[int, ...]], torch.Tensor]"


@dataclass(frozen=True)
class RayGain:
    """Factor on each image pixel, as a product of one across and one along the tilt axis.

    Args:
        across: (tilts, columns, 1).
        along: (tilts, 1, rows), halo included; one row where all are alike.
    """

    across: torch.Tensor
    along: torch.Tensor

    def select(self, index: torch.Tensor) -> RayGain:
        """The factors of some of the tilts."""
        return RayGain(self.across[index], self.along[index])

    def rows(self, start: int, stop: int) -> RayGain:
        """The factors of some rows."""
        return self if self.along.shape[-1] == 1 else RayGain(self.across, self.along[..., start:stop])

    def __getitem__(self, tilt: int) -> torch.Tensor:
        """The factors of one image, (columns, rows or 1)."""
        return self.across[tilt] * self.along[tilt]

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Images times the factors."""
        return (images * self.across).mul_(self.along)


@dataclass(frozen=True)
class BlockSystem:
    """Projector pair, weighted by ray, over consecutive blocks of rows.

    Args:
        projector: For one block; its `rows` and halo follow the block that is asked for.
        rows: Rows of the volume in each block.
        halo: Rows that a voxel may read to either side.
        gain: Factor on each ray; forward projections carry it, back-projections apply it first.
        allocate: Makes room for what the solvers keep; in scratch files where memory is short.
        coupled: Whether all rows share step lengths. Without, each row is a problem of its own, and any way of cutting
            the volume gives the same result.
    """

    projector: SlabProjector
    rows: tuple[int, ...]
    halo: int
    gain: RayGain
    allocate: Allocate
    coupled: bool = False
    edges: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", image_edges(self.rows, self.halo))

    @property
    def tilts(self) -> int:
        """Number of images."""
        return len(self.projector)

    def select(self, index: torch.Tensor) -> BlockSystem:
        """The pair for some of the tilts."""
        return replace(self, projector=self.projector.select(index.cpu().numpy()), gain=self.gain.select(index))

    def new_volume(self) -> Blocks:
        """A volume of zeros."""
        return [self.allocate((self.projector.depth, self.projector.width, n)).zero_() for n in self.rows]

    def new_images(self) -> Blocks:
        """Room for images."""
        sizes = [b - a for a, b in itertools.pairwise(self.edges)]
        return [self.allocate((self.tilts, self.projector.columns, n)) for n in sizes]

    def adjoint(self, block: int, images: Blocks) -> torch.Tensor:
        """Back-projection of the images, times the gain, into one block."""
        start = sum(self.rows[:block])
        gain = self.gain.rows(start, start + self.rows[block] + 2 * self.halo)
        return self._pair(block).adjoint(gain.apply(rows_with_halo(images, self.rows, self.halo, block)))

    def forward(self, volume: Blocks, out: Blocks) -> Blocks:
        """Projection of the whole volume, times the gain, into `out`, which is overwritten."""
        for part in out if self.halo else ():
            part.zero_()
        for block, part in enumerate(volume):
            projected = self._pair(block).forward(part)
            for i, own, piece in overlaps(self.rows, self.halo, block):
                if self.halo:
                    out[i][..., own] += projected[..., piece]
                else:
                    out[i].copy_(projected)
        for block, part in enumerate(out):
            gain = self._gain_of(block)
            part.mul_(gain.across).mul_(gain.along)
        return out

    def residual(self, images: Blocks, volume: Blocks, out: Blocks) -> Blocks:
        """Images minus projections, times the gain, into `out`, which is overwritten."""
        self.forward(volume, out)
        for block, (part, image) in enumerate(zip(out, images, strict=True)):
            gain = self._gain_of(block)
            for k in range(self.tilts):  # image by image: no copy of the whole block
                torch.sub(image[k] * gain[k], part[k], out=part[k])
        return out

    def power(self, images: Blocks) -> float:
        """Sum of the squares of the images times the gain."""
        total = 0.0
        for block, image in enumerate(images):
            gain = self._gain_of(block)
            total += sum(float((image[k] * gain[k]).double().square().sum()) for k in range(self.tilts))
        return total

    def dot(self, first: Blocks, second: Blocks) -> Blocks:
        """Scalar products, in float64: one per row, or where rows are coupled one for all, repeated for each block."""
        parts = [row_products(a, b) for a, b in zip(first, second, strict=True)]
        if not self.coupled:
            return parts
        return [torch.stack([p.sum() for p in parts]).sum()] * len(parts)

    def _gain_of(self, block: int) -> RayGain:
        return self.gain.rows(self.edges[block], self.edges[block + 1])

    def _pair(self, block: int) -> SlabProjector:
        return replace(self.projector, rows=self.rows[block])


def image_edges(rows: tuple[int, ...], halo: int) -> tuple[int, ...]:
    """Where the images are cut: as the volume, but the first and the last block keep the halo too."""
    cuts = list(itertools.accumulate(rows))
    return (0, *(c + halo for c in cuts[:-1]), cuts[-1] + 2 * halo)


def overlaps(rows: tuple[int, ...], halo: int, block: int) -> Iterator[tuple[int, slice, slice]]:
    """Image blocks that a block of the volume meets: their index, the rows in it, the same rows in the piece met."""
    start = sum(rows[:block])
    stop = start + rows[block] + 2 * halo
    for i, (a, b) in enumerate(itertools.pairwise(image_edges(rows, halo))):
        low, high = max(a, start), min(b, stop)
        if low < high:
            yield i, slice(low - a, high - a), slice(low - start, high - start)


def rows_with_halo(images: Blocks, rows: tuple[int, ...], halo: int, block: int) -> torch.Tensor:
    """The image rows that a block of the volume meets."""
    if halo == 0:
        return images[block]
    return torch.cat([images[i][..., own] for i, own, _ in overlaps(rows, halo, block)], -1)


def row_products(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Scalar product of each row's pixels: (planes, columns, rows) to (rows), in float64."""
    total = torch.zeros(first.shape[-1], dtype=torch.float64, device=first.device)
    for a, b in zip(first, second, strict=True):  # plane by plane: no copy of the whole block
        total += (a * b).sum(0, dtype=torch.float64)
    return total


def ratio(numerator: torch.Tensor, denominator: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Quotient with the dtype of `like`, zero where the denominator is not positive."""
    safe = torch.where(denominator > 0, denominator, 1)
    return torch.where(denominator > 0, numerator / safe, 0).to(like.dtype)
