"""Images sampled once, by cubic B-splines, on another grid: an affine map and a smooth displacement per image.

Pixel (row, column) of output k is read in image k at

    maps[k] · (row, column, 1) + Σ displacement[k, i, j] β³(q₀ − i) β³(q₁ − j),    q = knots[k] · (row, column, 1)

where q is held within [1, n − 2]. The spline interpolates the pixels and mirrors them at the edge; where the place lies
more than half a pixel outside the image, the sample is the image's mean. Outputs are laid out `[images, columns,
rows]`.

`thon::sample_images` and its transpose `thon::spread_samples` have a plain-torch reference, a Numba kernel for CPUs
and, for the sampling, a Triton kernel for CUDA, where the reference does the rest.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from thon.kernels import resampling_cpu
from thon.kernels.operator import Operator


def sample_images(
    images: Float[Tensor, "images rows columns"],
    maps: Float[Tensor, "images 2 3"],
    shape: tuple[int, int],
    *,
    displacement: Float[Tensor, "images i j 2"] | None = None,
    knots: Float[Tensor, "images 2 3"] | None = None,
) -> Float[Tensor, "images out_columns out_rows"]:
    """Sample each image on its own grid; the module's docstring has the formula.

    Args:
        images: Pixels; differentiable.
        maps: Affine map of output (row, column, 1) to image (row, column), px.
        shape: (columns, rows) of the output.
        displacement: Cubic B-spline coefficients (row, column) of a displacement, px.
        knots: Affine map of output (row, column, 1) to fractional knot indices of the displacement.

    Raises:
        ValueError: Shapes or dtypes do not fit, or an image has fewer than 3 × 3 pixels.
    """
    _check(images, maps, displacement, knots)
    return torch.ops.thon.sample_images(images, maps, displacement, knots, *shape)


def sample_coverage(
    maps: Float[Tensor, "images 2 3"],
    image_shape: tuple[int, int],
    shape: tuple[int, int],
    *,
    displacement: Float[Tensor, "images i j 2"] | None = None,
    knots: Float[Tensor, "images 2 3"] | None = None,
) -> Float[Tensor, "images out_columns out_rows"]:
    """One where `sample_images` would read an image of `image_shape`, zero where it would take the mean."""
    covered = torch.empty(len(maps), *shape, device=maps.device)
    for k in range(len(maps)):
        row, column = positions(maps, displacement, knots, k, shape)
        covered[k] = inside(row, column, image_shape)
    return covered


def _check(images: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None) -> None:
    if images.ndim != 3 or images.dtype not in (torch.float32, torch.float64) or min(images.shape[1:]) < 3:
        raise ValueError(f"need float32 or float64 images of 3 × 3 or more, got {images.dtype} {tuple(images.shape)}")
    if tuple(maps.shape) != (len(images), 2, 3):
        raise ValueError(f"maps are {tuple(maps.shape)}, expected {(len(images), 2, 3)}")
    if (displacement is None) != (knots is None):
        raise ValueError("displacement and knots come together")
    if displacement is not None and knots is not None:
        if displacement.ndim != 4 or len(displacement) != len(images) or min(displacement.shape[1:3]) < 4:
            raise ValueError(f"displacement is {tuple(displacement.shape)}, expected (images, ≥4, ≥4, 2)")
        if tuple(knots.shape) != (len(images), 2, 3):
            raise ValueError(f"knots are {tuple(knots.shape)}, expected {(len(images), 2, 3)}")
    if any(t is not None and t.requires_grad for t in (maps, displacement, knots)):
        raise ValueError("sampling is differentiable in the images only: detach maps, displacement and knots")


def cubic_weights(fraction: Tensor) -> list[Tensor]:
    """Weights of the four cubic B-splines around a point, `fraction` beyond the second."""
    rest = 1 - fraction
    return [
        rest**3 / 6,
        2 / 3 - fraction**2 * (2 - fraction) / 2,
        2 / 3 - rest**2 * (2 - rest) / 2,
        fraction**3 / 6,
    ]


def positions(
    maps: Tensor, displacement: Tensor | None, knots: Tensor | None, k: int, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where the output pixels `[columns, rows]` of image k lie in it, (row, column), px."""
    row = torch.arange(shape[1], dtype=torch.float64, device=maps.device)[None, :]
    column = torch.arange(shape[0], dtype=torch.float64, device=maps.device)[:, None]
    place = [a * row + b * column + c for a, b, c in maps[k].to(torch.float64)]
    if displacement is not None and knots is not None:
        field = displacement[k].to(torch.float64)
        taps: list[tuple[Tensor, list[Tensor]]] = []
        for (a, b, c), n in zip(knots[k].to(torch.float64), field.shape, strict=False):
            q = (a * row + b * column + c).clamp(1, n - 2)
            first = q.floor().clamp(max=n - 3)
            taps.append((first.long() - 1, cubic_weights(q - first)))
        (i, low), (j, high) = taps
        for m in range(4):
            for n in range(4):
                for axis in (0, 1):
                    place[axis] = place[axis] + low[m] * high[n] * field[i + m, j + n, axis]
    return place[0], place[1]


def inside(row: Tensor, column: Tensor, image_shape: tuple[int, int] | torch.Size) -> Tensor:
    """Whether places lie in the area of an image's pixels."""
    return (row >= -0.5) & (row < image_shape[0] - 0.5) & (column >= -0.5) & (column < image_shape[1] - 0.5)


def spline_coefficients(images: Tensor) -> Tensor:
    """Coefficients of the interpolating cubic B-spline with mirrored edges: an exact division in Fourier space."""
    for axis in (-2, -1):
        n = images.shape[axis]
        mirrored = torch.cat([images, images.narrow(axis, 1, n - 2).flip(axis)], axis)
        period = mirrored.shape[axis]
        spectrum = torch.fft.rfft(mirrored, dim=axis)
        angle = 2 * math.pi / period * torch.arange(spectrum.shape[axis], dtype=images.dtype, device=images.device)
        response = (2 + angle.cos()) / 3
        spectrum = spectrum / (response[:, None] if axis == -2 else response)
        images = torch.fft.irfft(spectrum, period, dim=axis).narrow(axis, 0, n)
    return images


def transposed_coefficients(gradient: Tensor) -> Tensor:
    """Transpose of `spline_coefficients`: mirrored edges count twice before and half after."""
    edges = gradient.new_ones(gradient.shape[-2:])
    edges[[0, -1], :] *= 2
    edges[:, [0, -1]] *= 2
    return spline_coefficients(gradient * edges) / edges


def _mirror(index: Tensor, n: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= n, 2 * (n - 1) - index, index)


def _pixel_taps(row: Tensor, column: Tensor, image_shape: tuple[int, int] | torch.Size) -> list[tuple[Tensor, Tensor]]:
    """The sixteen (flat pixel, weight) taps of places in an image."""
    axes: list[list[tuple[Tensor, Tensor]]] = []
    for position, n in zip((row, column), image_shape, strict=True):
        place = position.clamp(-0.5, n - 0.5)
        first = place.floor()
        weights = cubic_weights(place - first)
        axes.append([(_mirror(first.long() - 1 + m, n), weights[m]) for m in range(4)])
    return [(i * image_shape[1] + j, low * high) for i, low in axes[0] for j, high in axes[1]]


def sample_images_reference(
    images: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, columns: int, rows: int
) -> Tensor:
    """`sample_images` in plain torch, image by image."""
    sampled = images.new_zeros(len(images), columns, rows)
    for k, image in enumerate(images):
        row, column = positions(maps, displacement, knots, k, (columns, rows))
        coefficients = spline_coefficients(image).reshape(-1)
        for pixel, weight in _pixel_taps(row, column, image.shape):
            sampled[k] += weight.to(images.dtype) * coefficients[pixel]
        sampled[k] = torch.where(inside(row, column, image.shape), sampled[k], image.mean())
    return sampled


def spread_samples_reference(
    samples: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, rows: int, columns: int
) -> Tensor:
    """Transpose of `sample_images` for images of rows × columns, in plain torch."""
    images = samples.new_zeros(len(samples), rows, columns)
    for k, part in enumerate(samples):
        row, column = positions(maps, displacement, knots, k, (part.shape[0], part.shape[1]))
        seen = inside(row, column, (rows, columns))
        flat = samples.new_zeros(rows * columns)
        for pixel, weight in _pixel_taps(row, column, (rows, columns)):
            flat.index_add_(0, pixel.reshape(-1), (weight.to(part.dtype) * part * seen).reshape(-1))
        images[k] = transposed_coefficients(flat.reshape(rows, columns)) + (part * ~seen).sum() / (rows * columns)
    return images


_tail = "Tensor maps, Tensor? displacement, Tensor? knots, SymInt {}, SymInt {}) -> Tensor"
_sample = Operator(
    "sample_images",
    "(Tensor images, " + _tail.format("columns", "rows"),
    sample_images_reference,
)
_spread = Operator(
    "spread_samples",
    "(Tensor samples, " + _tail.format("rows", "columns"),
    spread_samples_reference,
)


@_sample.register_fake
def _(
    images: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, columns: int, rows: int
) -> Tensor:
    return images.new_empty(len(images), columns, rows)


@_spread.register_fake
def _(
    samples: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, rows: int, columns: int
) -> Tensor:
    return samples.new_empty(len(samples), rows, columns)


def _doubles(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().to(torch.float64).contiguous().numpy()


@_sample.register_kernel("cpu")
def _(
    images: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, columns: int, rows: int
) -> Tensor:
    sampled = images.new_empty(len(images), columns, rows)
    resampling_cpu.sample(
        images.detach().contiguous().numpy(),
        _doubles(maps),
        _doubles(displacement),
        _doubles(knots),
        sampled.numpy(),
        torch.get_num_threads(),
    )
    return sampled


@_spread.register_kernel("cpu")
def _(
    samples: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, rows: int, columns: int
) -> Tensor:
    images = samples.new_empty(len(samples), rows, columns)
    resampling_cpu.spread(
        samples.detach().contiguous().numpy(),
        _doubles(maps),
        _doubles(displacement),
        _doubles(knots),
        images.numpy(),
        torch.get_num_threads(),
    )
    return images


@_sample.register_kernel("cuda")
def _(
    images: Tensor, maps: Tensor, displacement: Tensor | None, knots: Tensor | None, columns: int, rows: int
) -> Tensor:
    # Triton is not everywhere that PyTorch is: it loads with the first CUDA tensor.
    from thon.kernels import resampling_cuda  # noqa: PLC0415

    sampled = images.new_empty(len(images), columns, rows)
    for k in range(len(images)):
        coefficients = spline_coefficients(images[k])
        field, knot = (None, None) if displacement is None or knots is None else (displacement[k], knots[k])
        resampling_cuda.sample(coefficients, images[k].mean(), maps[k], field, knot, sampled[k])
    return sampled


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    source, maps, displacement, knots = inputs[:4]
    ctx.save_for_backward(maps, displacement, knots)
    ctx.extent = source.shape[1:]


def _sample_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.thon.spread_samples(gradient, *ctx.saved_tensors, *ctx.extent), None, None, None, None, None


def _spread_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.thon.sample_images(gradient, *ctx.saved_tensors, *ctx.extent), None, None, None, None, None


_sample.register_autograd(_sample_gradient, setup_context=_remember)
_spread.register_autograd(_spread_gradient, setup_context=_remember)
