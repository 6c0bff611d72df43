"""Cubic B-spline sampling of an image for CUDA, in Triton; positions in double, sums in the image's precision.

Checked against the reference under Triton's interpreter; it has not run on a GPU yet.
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

_BLOCK = 128


def sample(
    coefficients: Tensor, mean: Tensor, affine: Tensor, field: Tensor | None, knots: Tensor | None, sampled: Tensor
) -> None:
    """Fill `sampled` `[columns, rows]` from the spline coefficients of one image; `mean` where it lies outside."""
    affine = affine.to(torch.float64).contiguous()
    warped = field is not None and knots is not None
    field = field.to(torch.float64).contiguous() if field is not None else affine
    knots = knots.to(torch.float64).contiguous() if knots is not None else affine
    launch: Any = _sample[(triton.cdiv(sampled.shape[1], _BLOCK), sampled.shape[0])]
    launch(
        coefficients.contiguous(),
        mean,
        affine,
        field,
        knots,
        sampled,
        *coefficients.shape,
        sampled.shape[1],
        field.shape[0],
        field.shape[1],
        warped,
        _BLOCK,
    )


@triton.jit
def _spline(distance):
    """The cubic B-spline at a distance below two."""
    near = 2.0 / 3.0 - distance * distance * (1.0 - 0.5 * distance)
    rest = 2.0 - distance
    return tl.where(distance < 1.0, near, rest * rest * rest / 6.0)


@triton.jit
def _mirror(index, n):
    index = tl.where(index < 0, -index, index)
    return tl.where(index >= n, 2 * (n - 1) - index, index)


@triton.jit
def _sample(
    coefficients,
    mean,
    affine,
    field,
    knots,
    sampled,
    image_rows,
    image_columns,
    rows,
    nodes_i,
    nodes_j,
    WARPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    column = tl.program_id(1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = coefficients.dtype.element_ty
    r = tl.load(affine) * row + tl.load(affine + 1) * column + tl.load(affine + 2)
    c = tl.load(affine + 3) * row + tl.load(affine + 4) * column + tl.load(affine + 5)
    if WARPED:
        p = tl.load(knots) * row + tl.load(knots + 1) * column + tl.load(knots + 2)
        q = tl.load(knots + 3) * row + tl.load(knots + 4) * column + tl.load(knots + 5)
        p = tl.minimum(tl.maximum(p, 1.0), nodes_i - 2.0)
        q = tl.minimum(tl.maximum(q, 1.0), nodes_j - 2.0)
        i = tl.minimum(tl.floor(p), nodes_i - 3.0)
        j = tl.minimum(tl.floor(q), nodes_j - 3.0)
        for m in tl.static_range(-1, 3):
            for n in tl.static_range(-1, 3):
                weight = _spline(tl.abs(p - i - m)) * _spline(tl.abs(q - j - n))
                node = field + 2 * ((i.to(tl.int32) + m) * nodes_j + j.to(tl.int32) + n)
                r += weight * tl.load(node)
                c += weight * tl.load(node + 1)
    inside = (r >= -0.5) & (r < image_rows - 0.5) & (c >= -0.5) & (c < image_columns - 0.5) & (row < rows)
    r, c = tl.where(inside, r, 0.0), tl.where(inside, c, 0.0)
    i, j = tl.floor(r), tl.floor(c)
    low, high = (r - i).to(real), (c - j).to(real)
    value = tl.zeros((BLOCK,), real)
    for m in tl.static_range(-1, 3):
        line = _mirror(i.to(tl.int64) + m, image_rows) * image_columns
        for n in tl.static_range(-1, 3):
            weight = _spline(tl.abs(low - m)) * _spline(tl.abs(high - n))
            place = line + _mirror(j.to(tl.int64) + n, image_columns)
            value += weight * tl.load(coefficients + place, mask=inside, other=0.0)
    value = tl.where(inside, value, tl.load(mean))
    tl.store(sampled + column.to(tl.int64) * rows + row, value, mask=row < rows)
