"""Add a smoothly warped image to a sum: cubic B-spline interpolation where the displacement changes slowly.

    total[i, j] += Σ c[m, n] β(y − m) β(x − n),   (y, x) = (i, j) + field at (i / step, j / step)

The field is bilinear between its nodes, which lie `step` pixels apart on the total's grid. `c` are B-spline
coefficients that repeat beyond the edges, as Fourier space gives them; a place beyond the image's pixels adds nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from thon.kernels import frame_warp_cpu


def add_warped(
    total: Float[Tensor, "rows columns"],
    coefficients: Float[Tensor, "image_rows image_columns"],
    field: Float[Tensor, "nodes_y nodes_x 2"],
    step: int,
) -> None:
    """Add the warped image to `total`; the module's docstring has the formula.

    Args:
        total: Changed in place.
        coefficients: Of the image, periodic.
        field: Displacement (y, x) at every `step`-th pixel of the total, from its first pixel to its last or on, px.
        step: Distance of the nodes, px.

    Raises:
        ValueError: Shapes or dtypes do not fit, or the nodes do not reach the last pixel.
    """
    reach = [(n - 1) * step for n in field.shape[:2]]
    if any(far < n - 1 for far, n in zip(reach, total.shape, strict=True)) or min(field.shape[:2]) < 2:
        raise ValueError(f"nodes {tuple(field.shape)} every {step} px do not span {tuple(total.shape)} pixels")
    if min(coefficients.shape) < 4 or {total.dtype, coefficients.dtype} != {torch.float32}:
        raise ValueError(f"need float32 images of 4 × 4 or more, got {coefficients.dtype} {tuple(coefficients.shape)}")
    torch.ops.thon.add_warped(total, coefficients, field, step)


def _cubic(fraction: Tensor) -> list[Tensor]:
    rest = 1 - fraction
    near, far = 2 / 3 - fraction**2 * (2 - fraction) / 2, 2 / 3 - rest**2 * (2 - rest) / 2
    return [rest**3 / 6, near, far, fraction**3 / 6]


def _interpolation(n: int, nodes: int, step: int, field: Tensor) -> Tensor:
    """Matrix [n, nodes] of linear interpolation between nodes."""
    place = torch.arange(n, dtype=torch.float64, device=field.device)[:, None] / step
    return (1 - (place - torch.arange(nodes, device=field.device)).abs()).clamp(min=0)


def add_warped_reference(total: Tensor, coefficients: Tensor, field: Tensor, step: int) -> None:
    """`add_warped` in plain torch."""
    rows, columns = (
        _interpolation(total.shape[0], field.shape[0], step, field),
        _interpolation(total.shape[1], field.shape[1], step, field),
    )
    moved = torch.einsum("ym,xn,mnd->dyx", rows, columns, field.to(torch.float64))
    moved[0] += torch.arange(total.shape[0], device=total.device)[:, None]
    moved[1] += torch.arange(total.shape[1], device=total.device)
    inside = torch.ones_like(total, dtype=torch.bool)
    taps: list[list[tuple[Tensor, Tensor]]] = []
    for place, n in zip(moved, coefficients.shape, strict=True):
        inside &= (place >= -0.5) & (place < n - 0.5)
        first = place.floor()
        weights = _cubic(place - first)
        taps.append([((first.long() - 1 + m) % n, weights[m].to(total.dtype)) for m in range(4)])
    for i, low in taps[0]:
        for j, high in taps[1]:
            total += coefficients[i, j] * low * high * inside


_add = torch.library.custom_op(
    "thon::add_warped",
    add_warped_reference,
    mutates_args=("total",),
    schema="(Tensor(a!) total, Tensor coefficients, Tensor field, SymInt step) -> ()",
)


@_add.register_fake
def _(total: Tensor, coefficients: Tensor, field: Tensor, step: int) -> None:
    return None


@_add.register_kernel("cpu")
def _(total: Tensor, coefficients: Tensor, field: Tensor, step: int) -> None:
    if not total.is_contiguous():
        raise ValueError("the total must be contiguous")
    nodes = field.to(torch.float64).contiguous().numpy()
    frame_warp_cpu.add_warped(total.numpy(), coefficients.contiguous().numpy(), nodes, step)
