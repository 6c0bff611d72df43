"""The projector pair for CUDA, in Triton.

Both kernels gather, so there are no atomic sums and every run gives the same bits. The sums run in the images'
precision, the positions in double. Checked against the reference under Triton's interpreter; it has not run on a GPU
yet.
"""

# Triton compiles these functions itself: their arguments have no Python types.
# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false
# ruff: noqa: PLR0917

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_X = 4
_BLOCK_Y = 128


def backproject(images: Tensor, paths: Tensor, depth: int, width: int, rows: int) -> Tensor:
    """The volume `[z, x, y]` of images `[tilts, columns, rows]`."""
    images, paths = images.contiguous(), paths.to(torch.float64).contiguous()
    volume = images.new_empty(depth, width, rows)
    launch: Any = _backproject[(triton.cdiv(rows, _BLOCK_Y), triton.cdiv(width, _BLOCK_X), depth)]
    launch(images, paths, volume, len(images), *images.shape[1:], width, rows, _BLOCK_X, _BLOCK_Y)
    return volume


def project(volume: Tensor, paths: Tensor, columns: int, rows: int) -> Tensor:
    """The images `[tilts, columns, rows]` of a volume `[z, x, y]`."""
    volume, paths = volume.contiguous(), paths.to(torch.float64).contiguous()
    images = volume.new_empty(len(paths), columns, rows)
    launch: Any = _project[(triton.cdiv(rows, _BLOCK_Y), columns, len(paths))]
    launch(volume, paths, images, *volume.shape, columns, rows, _BLOCK_Y)
    return images


@triton.jit
def _backproject(
    images, paths, volume, tilts, columns, image_rows, width, rows, BLOCK_X: tl.constexpr, BLOCK_Y: tl.constexpr
):
    z = tl.program_id(2)
    x = tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    y = tl.program_id(0) * BLOCK_Y + tl.arange(0, BLOCK_Y)
    real = images.dtype.element_ty
    total = tl.zeros((BLOCK_X, BLOCK_Y), real)
    image = images
    for k in range(tilts):
        path = paths + 6 * k
        u = tl.load(path) * z + tl.load(path + 1) * x + tl.load(path + 2)
        dy = tl.load(path + 3) * z + tl.load(path + 4) * x + tl.load(path + 5)
        # What is far outside needs no precision, only to fit an integer.
        u = tl.minimum(tl.maximum(u, -2.0), columns + 1.0)
        dy = tl.minimum(tl.maximum(dy, -rows - 2.0), image_rows + 1.0)
        column, row = tl.floor(u), tl.floor(dy)
        far, high = (u - column).to(real), (dy - row).to(real)
        for i in tl.static_range(2):
            c = column.to(tl.int64) + i
            side = far if i == 1 else 1 - far
            seen = (c >= 0) & (c < columns)
            for j in tl.static_range(2):
                r = row.to(tl.int64)[:, None] + j + y[None, :]
                weight = side * high if j == 1 else side * (1 - high)
                # On untilted rows the upper taps have no weight and cost no read.
                use = seen & (weight != 0)
                place = c[:, None] * image_rows + r
                inside = use[:, None] & (r >= 0) & (r < image_rows)
                total += weight[:, None] * tl.load(image + place, mask=inside, other=0.0)
        image += columns * image_rows
    place = (z.to(tl.int64) * width + x)[:, None] * rows + y[None, :]
    tl.store(volume + place, total, mask=(x < width)[:, None] & (y < rows)[None, :])


@triton.jit
def _project(volume, paths, images, depth, width, rows, columns, image_rows, BLOCK_Y: tl.constexpr):
    k = tl.program_id(2)
    c = tl.program_id(1)
    y = tl.program_id(0) * BLOCK_Y + tl.arange(0, BLOCK_Y)
    real = volume.dtype.element_ty
    path = paths + 6 * k
    a_z, a_x, a_0 = tl.load(path), tl.load(path + 1), tl.load(path + 2)
    b_z, b_x, b_0 = tl.load(path + 3), tl.load(path + 4), tl.load(path + 5)
    # The voxels of a plane that reach this column lie within one column: |a_z z + a_x x + a_0 − c| < 1. A vanishing a_x
    # lets all or none of them; their weights tell.
    step = tl.where(tl.abs(a_x) < 1e-9, 1e-9, a_x)
    half = 1 / tl.abs(step)
    total = tl.zeros((BLOCK_Y,), real)
    plane = volume
    for z in range(depth):
        centre = (c - a_0 - a_z * z) / step
        first = tl.ceil(tl.minimum(tl.maximum(centre - half, 0.0), width + 0.0)).to(tl.int32)
        last = tl.floor(tl.minimum(tl.maximum(centre + half, -1.0), width - 1.0)).to(tl.int32)
        for x in range(first, last + 1):
            side = tl.maximum(1 - tl.abs(a_z * z + a_x * x + a_0 - c), 0.0).to(real)
            dy = b_z * z + b_x * x + b_0
            dy = tl.minimum(tl.maximum(dy, -rows - 2.0), image_rows + 1.0)
            row = tl.floor(dy)
            high = (dy - row).to(real)
            r = y - row.to(tl.int64)
            line = plane + tl.cast(x, tl.int64) * rows
            total += side * (1 - high) * tl.load(line + r, mask=(r >= 0) & (r < rows), other=0.0)
            # On untilted rows the upper tap has no weight and costs no read.
            r = tl.where(high > 0, r - 1, -1)
            total += side * high * tl.load(line + r, mask=(r >= 0) & (r < rows), other=0.0)
        plane += width * rows
    place = (k.to(tl.int64) * columns + c) * image_rows + y
    tl.store(images + place, total, mask=y < image_rows)
