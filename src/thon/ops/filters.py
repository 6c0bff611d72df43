"""Filters that turn a plain back-projection into a density: ramps, exact view weights, windows, SIRT-like damping.

Frequencies run across the tilt axis, in cycles per voxel. Images are sums of the voxels along the beam, and
back-projection is the plain sum over the tilts; with the weights below its result is the density per voxel.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float

Window = Literal["none", "shepp-logan", "cosine", "hamming", "hann"]
_EDGE = 8  # columns whose mean stands for an image's edge: one alone would carry its noise into the padding
_BLOCK = 64  # rows filtered at a time, so that the transforms stay in the cache


def padded_length(columns: int) -> int:
    """Even length with small prime factors, at least twice `columns`: what a filter's tail needs not to wrap around."""
    length = 2 * columns
    while _largest_factor(length) > 5:
        length += 2
    return length


def _largest_factor(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number


def tilt_spacing(tilt: Float[torch.Tensor, "tilts"]) -> Float[torch.Tensor, "tilts"]:
    """Angle that each tilt stands for, radians: half the way to both neighbours, at the ends the one spacing twice.

    Tilts need not be sorted; images at the same tilt (within 0.001°) share its angle. One tilt alone stands for π.

    Args:
        tilt: Degrees.
    """
    angle, owner, count = torch.unique((tilt.double() * 1000).round(), return_inverse=True, return_counts=True)
    if len(angle) == 1:
        return torch.full_like(tilt, math.pi / len(tilt))
    step = torch.deg2rad(angle.diff() / 1000)
    spacing = (torch.cat([step[:1], step]) + torch.cat([step, step[-1:]])) / 2
    return (spacing / count)[owner].to(tilt.dtype)


def ramp(
    length: int, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[torch.Tensor, "half"]:
    """|frequency| on the half spectrum of `length` samples, as the transform of the band-limited kernel in real space.

    Sampling the kernel and not |frequency| keeps the mean right: a ramp that is zero at zero frequency would shift
    every row by a constant.

    Source: Kak & Slaney 1988, eq. 3.61.
    """
    offset = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64, device=device).round()
    odd = torch.where(offset % 2 == 0, 0.0, -1 / (math.pi * offset.where(offset != 0, torch.ones_like(offset))) ** 2)
    kernel = torch.where(offset == 0, 0.25, odd)
    return torch.fft.rfft(kernel).real.to(dtype or torch.get_default_dtype())


def ramp_weights(tilt: Float[torch.Tensor, "tilts"], length: int) -> Float[torch.Tensor, "tilts half"]:
    """Analytic weights of filtered back-projection: the ramp times the angle that each tilt stands for.

    Args:
        tilt: Degrees.
        length: Padded number of columns.
    """
    return tilt_spacing(tilt)[:, None] * ramp(length, tilt.device, tilt.dtype)


def exact_weights(
    tilt: Float[torch.Tensor, "tilts"], length: int, thickness: float
) -> Float[torch.Tensor, "tilts half"]:
    """Exact weights for any set of tilts: one over the number of views that see the same structure at a frequency.

    A view of a slab of thickness T fills a band of width 1/T along kz around its central section. At the point of
    section k with frequency f, section j passes at a distance f cos θk |tan θj − tan θk| along kz, and the bands
    overlap as a triangle. Where all overlap the weight is that of a mean over the views; where they are dense it is the
    ramp times the spacing; where they do not overlap it stays at one view, and noise is not amplified further.

    Args:
        tilt: Degrees.
        length: Padded number of columns.
        thickness: Of the specimen, voxels.

    Source: Harauz & van Heel 1986; Radermacher 1992, with the overlap taken along z, for a slab instead of a sphere.
    """
    theta = torch.deg2rad(tilt.double())
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64, device=tilt.device)
    views = torch.zeros(len(tilt), len(frequency), dtype=torch.float64, device=tilt.device)
    for other in theta:
        distance = theta.cos() * (other.tan() - theta.tan()).abs()
        views += (1 - thickness * distance[:, None] * frequency).clamp(min=0)
    return (theta.cos()[:, None] / (thickness * views)).to(tilt.dtype)


def mean_weights(tilt: Float[torch.Tensor, "tilts"], thickness: float) -> Float[torch.Tensor, "tilts 1"]:
    """Weights of a plain back-projection: the mean over the views of each ray's mean density.

    Args:
        tilt: Degrees.
        thickness: Of the volume, voxels.
    """
    return torch.deg2rad(tilt).cos()[:, None] / (thickness * len(tilt))


def sirt_like(
    weights: Float[torch.Tensor, "tilts half"], mean: Float[torch.Tensor, "tilts 1"], iterations: int
) -> Float[torch.Tensor, "tilts half"]:
    """Damp weights as stopping SIRT after some iterations would.

    SIRT gains at each frequency the fraction mean / weights of what is still missing, hence after n iterations it has
    1 − (1 − mean / weights)ⁿ of it; one iteration is the plain back-projection.

    Args:
        weights: Ramp or exact weights, the limit of many iterations.
        mean: Weights of the plain back-projection.
        iterations: Equivalent number of SIRT iterations.
    """
    full = torch.maximum(weights, mean)
    return full * (1 - (1 - mean / full) ** iterations)


def window_response(frequency: Float[torch.Tensor, "half"], window: Window) -> Float[torch.Tensor, "half"]:
    """Apodising factor of a named window at frequencies in cycles per voxel; 1 at zero, smallest at 0.5."""
    match window:
        case "none":
            return torch.ones_like(frequency)
        case "shepp-logan":
            return torch.sinc(frequency)
        case "cosine":
            return torch.cos(math.pi * frequency)
        case "hamming":
            return 0.54 + 0.46 * torch.cos(2 * math.pi * frequency)
        case "hann":
            return 0.5 + 0.5 * torch.cos(2 * math.pi * frequency)


def radial_response(
    frequency: Float[torch.Tensor, "half"], cutoff: float, falloff: float
) -> Float[torch.Tensor, "half"]:
    """1 up to `cutoff`, beyond it a Gaussian whose standard deviation is `falloff` (cycles per voxel; 0 cuts off)."""
    beyond = (frequency - cutoff).clamp(min=0)
    return torch.exp(-0.5 * (beyond / falloff) ** 2) if falloff > 0 else (beyond == 0).to(frequency.dtype)


def filter_columns(
    images: Float[torch.Tensor, "tilts columns rows"], weights: Float[torch.Tensor, "tilts half"]
) -> Float[torch.Tensor, "tilts columns rows"]:
    """Multiply each image's spectrum across the tilt axis with its weights.

    The images are padded at least twofold. Each edge continues into the padding and fades to zero as a raised cosine,
    since the specimen does not end where the image does.

    Args:
        images: Laid out with the rows, along the tilt axis, contiguous.
        weights: For `padded_length(columns)` samples.
    """
    columns, rows = images.shape[1:]
    length = padded_length(columns)
    if weights.shape != (len(images), length // 2 + 1):
        raise ValueError(f"weights have shape {tuple(weights.shape)}, expected {(len(images), length // 2 + 1)}")
    fade = _fade(length - columns, images)
    result = torch.empty_like(images)
    padded = images.new_empty(length, min(rows, _BLOCK))
    for k, weight in enumerate(weights.to(images.dtype)[..., None]):
        for start in range(0, rows, _BLOCK):
            block = images[k, :, start : start + _BLOCK]
            line = padded[:, : block.shape[1]]
            line[:columns] = block
            right, left = block[-_EDGE:].mean(0), block[:_EDGE].mean(0)
            line[columns:] = fade * right + fade.flip(0) * left
            filtered = torch.fft.irfft(torch.fft.rfft(line, dim=0).mul_(weight), n=length, dim=0)
            result[k, :, start : start + _BLOCK] = filtered[:columns]
    return result


def _fade(length: int, like: torch.Tensor) -> Float[torch.Tensor, "padding 1"]:
    """Raised cosine from 1 to 0 over the first half of the padding, zero in the second."""
    position = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / (length / 2)
    return (0.5 + 0.5 * torch.cos(math.pi * position.clamp(max=1)))[:, None]
