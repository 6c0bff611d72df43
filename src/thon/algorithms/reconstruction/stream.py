"""Raw images, one by one, into blocks of laid-out rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from thon.algorithms.ctf_correction import ImageRestoration
from thon.algorithms.reconstruction.blocks import Blocks, image_edges
from thon.algorithms.reconstruction.grid import ReconstructionGrid
from thon.algorithms.reconstruction.storage import Storage
from thon.base.errors import InputError
from thon.ops import fourier
from thon.ops.projection import coverage, lay_out


class ImageSource(Protocol):
    """Images that can be had one at a time: a tensor, an array, a memory map, or a reader."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(tilts, rows, columns)."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """One image."""
        ...


@dataclass(frozen=True)
class LaidOut:
    """Images as a projector sees them.

    Args:
        blocks: Of rows, halo included.
        deviation: Standard deviation over all of them.
        covered: (tilts, columns, 1), share of each column that is image and not filled in; None where nobody asked.
    """

    blocks: Blocks
    deviation: float
    covered: torch.Tensor | None


def lay_out_blocks(
    images: ImageSource,
    grid: ReconstructionGrid,
    rows: tuple[int, ...],
    storage: Storage,
    *,
    subtract_mean: bool,
    invert: bool,
    with_coverage: bool,
    restore: ImageRestoration | None = None,
    progress: Callable[[float], None] | None = None,
) -> LaidOut:
    """Crop each image in Fourier space, resample it once, and cut it in blocks.

    Args:
        images: Raw images.
        grid: Of the reconstruction.
        rows: Rows of the volume in each block.
        storage: Takes the blocks.
        subtract_mean: Take each image's mean off.
        invert: Change the sign.
        with_coverage: Find out which columns are image.
        restore: Corrects each image, once it is cropped.
        progress: Told the share that is done.

    Raises:
        InputError: An image has pixels that are no numbers.
    """
    projector = grid.projector()
    edges = image_edges(rows, projector.rows_halo)
    tilts, columns = len(projector), projector.columns
    blocks = [storage.allocate((tilts, columns, b - a)) for a, b in itertools.pairwise(edges)]
    covered = torch.ones(tilts, columns, 1) if with_coverage else None
    total = square = 0.0
    placed = {"row_start": projector.image_row_start, "voxel_size": grid.voxel_size}
    for k in range(tilts):
        image = load_image(images, k, storage.like)
        if subtract_mean:
            image = image - image.mean()
        if restore is not None:
            restore.observe(k, image, grid.pixel_size)
        cropped = crop_image(-image if invert else image, grid)
        if restore is not None:
            cropped = restore(k, cropped, grid.cropped_pixel)
        one = grid.geometry.select([k])
        laid = lay_out(cropped[None], one, grid.cropped_pixel, projector.image_rows, columns, **placed)[0]
        if covered is not None:
            seen = coverage(grid.cropped, one, grid.cropped_pixel, projector.image_rows, columns, **placed)
            covered[k] = seen[0].mean(1, keepdim=True)
        for block, (a, b) in zip(blocks, itertools.pairwise(edges), strict=True):
            block[k].copy_(laid[:, a:b])
        total += float(laid.sum())
        square += float(torch.linalg.vector_norm(laid)) ** 2
        if progress is not None:
            progress((k + 1) / tilts)
    number = tilts * columns * projector.image_rows
    return LaidOut(blocks, math.sqrt(max(square / number - (total / number) ** 2, 0)), covered)


def load_image(images: ImageSource, index: int, like: torch.Tensor) -> torch.Tensor:
    """One raw image on the device and with the dtype of `like`."""
    raw = images[index]
    image = raw if isinstance(raw, torch.Tensor) else torch.from_numpy(np.array(raw, dtype=np.float32))
    image = image.to(like)
    if not bool(torch.isfinite(image).all()):
        raise InputError(
            f"image {index} has pixels that are not numbers",
            got=f"{int((~torch.isfinite(image)).sum())} of {image.numel()} pixels",
            mend="leave the image out, or repair those pixels",
        )
    return image


def crop_image(image: torch.Tensor, grid: ReconstructionGrid) -> torch.Tensor:
    """Pad an image to a size that crops without remainder, its centre kept, and crop it in Fourier space."""
    before = [p // 2 - n // 2 for p, n in zip(grid.padded, image.shape, strict=True)]
    after = [p - n - b for p, n, b in zip(grid.padded, image.shape, before, strict=True)]
    sides = (before[1], after[1], before[0], after[0])
    if any(sides):
        image = torch.nn.functional.pad(image[None, None], sides, mode="replicate")[0, 0]
    return fourier.fourier_crop(image, grid.cropped)
