"""Add smoothly warped images to weighted sums: cubic B-splines where the displacement changes slowly.

    totals[r, i, j] += Σ_g weights[g, r] Σ_mn (images[g][m, n] − levels[g]) β(y_g − m) β(x_g − n)
    (y_g, x_g) = (i, j) + fields[g] at (i / step, j / step)

A field is bilinear between its nodes, which lie `step` pixels apart on the totals' grid. Images repeat beyond their
edges; a place beyond an image's pixels adds nothing. β smooths: interpolation divides by its response, either the
images' spectra before, or that of the totals after (`spline_response`), as convolution and a slow warp commute.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from thon.kernels import frame_warp_cpu
from thon.kernels.operator import Operator
from thon.kernels.resampling import cubic_weights

_FAINTEST = 0.02


def add_warped(
    totals: Float[Tensor, "sums rows columns"],
    images: Sequence[Float[Tensor, "image_rows image_columns"]],
    levels: Float[Tensor, "images"],
    fields: Float[Tensor, "images nodes_y nodes_x 2"],
    weights: Float[Tensor, "images sums"],
    step: int,
) -> None:
    """Add warped images to sums; the module's docstring has the formula.

    Args:
        totals: Changed in place.
        images: All of one size.
        levels: Subtracted from each image.
        fields: Displacements (y, x) at every `step`-th pixel of the totals, from the first pixel to the last or on, px.
        weights: Of each image in each sum.
        step: Distance of the nodes, px.

    Raises:
        ValueError: Shapes or dtypes do not fit, or the nodes do not reach the last pixel.
    """
    reach = [(n - 1) * step for n in fields.shape[1:3]]
    if any(far < n - 1 for far, n in zip(reach, totals.shape[1:], strict=True)) or min(fields.shape[1:3]) < 2:
        raise ValueError(f"nodes {tuple(fields.shape)} every {step} px do not span {tuple(totals.shape)} pixels")
    shapes, dtypes = {tuple(image.shape) for image in images}, {totals.dtype, *(image.dtype for image in images)}
    if len(shapes) != 1 or min(map(min, shapes)) < 4 or dtypes != {torch.float32}:
        raise ValueError(f"need float32 images of one size, 4 × 4 or more, got {dtypes} {shapes}")
    if not (len(images) == len(levels) == len(fields) == len(weights)) or weights.shape[1] != len(totals):
        raise ValueError(f"{len(images)} images and {len(totals)} sums do not fit {tuple(weights.shape)} weights")
    torch.ops.thon.add_warped(totals, list(images), levels, fields, weights, step)


def spline_response(fractions: Float[Tensor, "places"], frequency: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Power that white noise keeps when cubic B-splines sample it, mean over places between pixels.

    No less than 0.02: half a pixel beside all pixels nothing is left at the Nyquist frequency, and dividing brings
    nothing back.

    Args:
        fractions: Places, px; only what is beyond the whole pixel counts.
        frequency: Cycles per pixel.
    """
    taps = torch.stack(cubic_weights((fractions - fractions.floor()).double()), -1)
    lags = torch.stack([(taps[:, : 4 - lag] * taps[:, lag:]).sum(1).mean() for lag in range(4)])
    lags[1:] *= 2
    angles = 2 * torch.pi * frequency.double()[:, None] * torch.arange(4, device=frequency.device)
    return (lags * torch.cos(angles)).sum(1).clamp(min=_FAINTEST)


def _interpolation(n: int, nodes: int, step: int, field: Tensor) -> Tensor:
    """Matrix [n, nodes] of linear interpolation between nodes."""
    place = torch.arange(n, dtype=torch.float64, device=field.device)[:, None] / step
    return (1 - (place - torch.arange(nodes, device=field.device)).abs()).clamp(min=0)


def _warped(image: Tensor, field: Tensor, shape: tuple[int, int], step: int) -> Tensor:
    rows, columns = (_interpolation(shape[axis], field.shape[axis], step, field) for axis in (0, 1))
    moved = torch.einsum("ym,xn,mnd->dyx", rows, columns, field.to(torch.float64))
    moved[0] += torch.arange(shape[0], device=image.device)[:, None]
    moved[1] += torch.arange(shape[1], device=image.device)
    inside = torch.ones(shape, dtype=torch.bool, device=image.device)
    taps: list[list[tuple[Tensor, Tensor]]] = []
    for place, n in zip(moved, image.shape, strict=True):
        inside &= (place >= -0.5) & (place < n - 0.5)
        first = place.floor()
        weights = cubic_weights(place - first)
        taps.append([((first.long() - 1 + m) % n, weights[m].to(image.dtype)) for m in range(4)])
    return inside * sum(image[i, j] * low * high for i, low in taps[0] for j, high in taps[1])


def add_warped_reference(
    totals: Tensor, images: list[Tensor], levels: Tensor, fields: Tensor, weights: Tensor, step: int
) -> None:
    """`add_warped` in plain torch."""
    shape = (totals.shape[1], totals.shape[2])
    for image, level, field, weight in zip(images, levels, fields, weights, strict=True):
        warped = _warped(image - level.to(image.dtype), field, shape, step)
        totals += weight.to(totals.dtype)[:, None, None] * warped


_add = Operator(
    "add_warped",
    "(Tensor(a!) totals, Tensor[] images, Tensor levels, Tensor fields, Tensor weights, SymInt step) -> ()",
    add_warped_reference,
)


@_add.register_fake
def _(totals: Tensor, images: list[Tensor], levels: Tensor, fields: Tensor, weights: Tensor, step: int) -> None:
    return None


@_add.register_kernel("cpu")
def _(totals: Tensor, images: list[Tensor], levels: Tensor, fields: Tensor, weights: Tensor, step: int) -> None:
    if not totals.is_contiguous():
        raise ValueError("the totals must be contiguous")
    frame_warp_cpu.add_warped(
        totals.numpy(),
        [image.contiguous().numpy() for image in images],
        levels.to(torch.float32).numpy(),
        fields.to(torch.float64).numpy(),
        weights.to(torch.float32).contiguous().numpy(),
        step,
        threads=torch.get_num_threads(),
    )
