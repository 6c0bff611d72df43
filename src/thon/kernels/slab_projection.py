"""Back-projection of laid-out images into a slab, and its exact transpose, the forward projection.

Layouts are `[tilts, columns, rows]` for images and `[z, x, y]` for volumes, both with y contiguous. Tilt k sees the
whole voxel line (z, x, :) at one fractional column u and with one fractional offset dy along y,

    u = paths[k, 0] · (z, x, 1)        dy = paths[k, 1] · (z, x, 1)

all in indices from 0: voxel (z, x, y) reads column u and row y + dy, linearly interpolated in both. What lies outside
an image is zero. Weights are the same along a line, so the inner loop is a fused multiply-add over contiguous y.

`thon::backproject` and `thon::project` have a plain-torch reference, which is also the default for devices without a
kernel, a Numba kernel for CPUs and a Triton kernel for CUDA.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thon.kernels import slab_projection_cpu
from thon.kernels.operator import Operator


def backproject(
    images: Float[Tensor, "tilts columns image_rows"],
    paths: Float[Tensor, "tilts 2 3"],
    shape: tuple[int, int],
    *,
    rows: int | None = None,
) -> Float[Tensor, "depth width rows"]:
    """Sum of the images along their rays into each voxel.

    Args:
        images: Laid-out images.
        paths: Affine map of (z, x, 1) to (u, dy) per tilt, px; not differentiable.
        shape: (depth, width) of the volume, voxels.
        rows: Extent of the volume along y; that of the images if not given.

    Returns:
        Volume, on the device and with the dtype of the images.

    Raises:
        ValueError: Shapes or dtypes do not fit.
    """
    rows = images.shape[-1] if rows is None else rows
    _check(images, paths, (*shape, rows))
    return torch.ops.thon.backproject(images, paths, shape[0], shape[1], rows)


def project(
    volume: Float[Tensor, "depth width rows"],
    paths: Float[Tensor, "tilts 2 3"],
    columns: int,
    *,
    rows: int | None = None,
) -> Float[Tensor, "tilts columns image_rows"]:
    """Line integrals of a volume in each image: the exact transpose of `backproject`.

    Args:
        volume: Slab `[z, x, y]`.
        paths: Affine map of (z, x, 1) to (u, dy) per tilt, px; not differentiable.
        columns: Columns of the images.
        rows: Rows of the images; the volume's extent along y if not given.

    Returns:
        Images `[tilts, columns, rows]`, on the device and with the dtype of the volume.

    Raises:
        ValueError: Shapes or dtypes do not fit.
    """
    rows = volume.shape[-1] if rows is None else rows
    _check(volume, paths, (columns, rows))
    return torch.ops.thon.project(volume, paths, columns, rows)


def _check(source: Tensor, paths: Tensor, extents: tuple[int, ...]) -> None:
    if source.ndim != 3 or source.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"need a float32 or float64 tensor of rank 3, got {source.dtype} {tuple(source.shape)}")
    if paths.ndim != 3 or paths.shape[1:] != (2, 3) or not paths.is_floating_point():
        raise ValueError(f"paths must be floating-point (tilts, 2, 3), got {paths.dtype} {tuple(paths.shape)}")
    if paths.requires_grad:
        raise ValueError("the projectors are not differentiable in the paths: detach them")
    if min(extents) < 1:
        raise ValueError(f"extents must be positive, got {extents}")


def _check_tilts(images: Tensor, paths: Tensor) -> None:
    if len(images) != len(paths):
        raise ValueError(f"{len(images)} images but paths for {len(paths)} tilts")


Taps = tuple[Tensor, Tensor, Tensor]


def line_taps(path: Tensor, z: int, width: int, columns: int, image_rows: int, rows: int) -> list[Taps]:
    """The four (flat pixel, weight, inside) taps of the voxels (z, :, :) in one image; the reference's geometry."""
    x = torch.arange(width, dtype=torch.float64, device=path.device)
    u, dy = (a * z + b * x + c for a, b, c in path.to(torch.float64))
    y = torch.arange(rows, device=path.device)
    column, offset = u.floor(), dy.floor()
    taps: list[Taps] = []
    for i in (0, 1):
        for j in (0, 1):
            weight = ((u - column) if i else (1 - (u - column))) * ((dy - offset) if j else (1 - (dy - offset)))
            c = (column.long() + i)[:, None]
            r = offset.long()[:, None] + j + y
            inside = (c >= 0) & (c < columns) & (r >= 0) & (r < image_rows)
            taps.append((torch.where(inside, c * image_rows + r, 0), weight[:, None], inside))
    return taps


def backproject_reference(images: Tensor, paths: Tensor, depth: int, width: int, rows: int) -> Tensor:
    """`backproject` in plain torch, plane by plane."""
    _check_tilts(images, paths)
    volume = images.new_zeros(depth, width, rows)
    for k in range(len(images)):
        flat = images[k].reshape(-1)
        for z in range(depth):
            for pixel, weight, inside in line_taps(paths[k], z, width, images.shape[1], images.shape[2], rows):
                volume[z] += flat[pixel] * (weight * inside).to(images.dtype)
    return volume


def project_reference(volume: Tensor, paths: Tensor, columns: int, rows: int) -> Tensor:
    """`project` in plain torch, plane by plane."""
    images = volume.new_zeros(len(paths), columns, rows)
    depth, width, extent = volume.shape
    for k in range(len(paths)):
        flat = images[k].reshape(-1)
        for z in range(depth):
            for pixel, weight, inside in line_taps(paths[k], z, width, columns, rows, extent):
                part = volume[z] * (weight * inside).to(volume.dtype)
                flat.index_add_(0, pixel.reshape(-1), part.reshape(-1))
    return images


_backproject = Operator(
    "backproject",
    "(Tensor images, Tensor paths, SymInt depth, SymInt width, SymInt rows) -> Tensor",
    backproject_reference,
)
_project = Operator(
    "project",
    "(Tensor volume, Tensor paths, SymInt columns, SymInt rows) -> Tensor",
    project_reference,
)


@_backproject.register_fake
def _(images: Tensor, paths: Tensor, depth: int, width: int, rows: int) -> Tensor:
    return images.new_empty(depth, width, rows)


@_project.register_fake
def _(volume: Tensor, paths: Tensor, columns: int, rows: int) -> Tensor:
    return volume.new_empty(len(paths), columns, rows)


@_backproject.register_kernel("cpu")
def _(images: Tensor, paths: Tensor, depth: int, width: int, rows: int) -> Tensor:
    _check_tilts(images, paths)
    source = images.detach().contiguous().numpy()
    # NumPy asks the system for huge pages, PyTorch does not: small ones cost a fifth of the time.
    volume = torch.from_numpy(np.empty((depth, width, rows), source.dtype))
    slab_projection_cpu.backproject(source, _doubles(paths), volume.numpy(), torch.get_num_threads())
    return volume


@_project.register_kernel("cpu")
def _(volume: Tensor, paths: Tensor, columns: int, rows: int) -> Tensor:
    images = volume.new_empty(len(paths), columns, rows)
    slab_projection_cpu.project(
        volume.detach().contiguous().numpy(), _doubles(paths), images.numpy(), torch.get_num_threads()
    )
    return images


def _doubles(paths: Tensor) -> Any:
    return paths.detach().to(torch.float64).contiguous().numpy()


@_backproject.register_kernel("cuda")
def _(images: Tensor, paths: Tensor, depth: int, width: int, rows: int) -> Tensor:
    # Triton is not everywhere that PyTorch is: it loads with the first CUDA tensor.
    from thon.kernels import slab_projection_cuda  # noqa: PLC0415

    _check_tilts(images, paths)
    return slab_projection_cuda.backproject(images, paths, depth, width, rows)


@_project.register_kernel("cuda")
def _(volume: Tensor, paths: Tensor, columns: int, rows: int) -> Tensor:
    from thon.kernels import slab_projection_cuda  # noqa: PLC0415

    return slab_projection_cuda.project(volume, paths, columns, rows)


def _remember_backproject(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    images, paths = inputs[:2]
    ctx.save_for_backward(paths)
    ctx.extent = images.shape[1:]


def _remember_project(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    volume, paths = inputs[:2]
    ctx.save_for_backward(paths)
    ctx.extent = volume.shape


def _backproject_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
    return torch.ops.thon.project(gradient, ctx.saved_tensors[0], *ctx.extent), None, None, None, None


def _project_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return torch.ops.thon.backproject(gradient, ctx.saved_tensors[0], *ctx.extent), None, None, None


_backproject.register_autograd(_backproject_gradient, setup_context=_remember_backproject)
_project.register_autograd(_project_gradient, setup_context=_remember_project)
