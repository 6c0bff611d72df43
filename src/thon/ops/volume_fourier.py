"""Filters of volumes in Fourier space, cropping and resampling, with the centre of n voxels at n // 2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float

from thon.ops.fourier import half_spectrum
from thon.ops.fsc import shells


def frequency_radius(
    shape: tuple[int, int, int], voxel_size: float = 1.0, device: torch.device | None = None
) -> Float[torch.Tensor, "z y half"]:
    """Length of the frequency at each sample of a half spectrum, Å⁻¹ (cycles per voxel where the voxel size is 1)."""
    z, y = (torch.fft.fftfreq(n, voxel_size, device=device) for n in shape[:2])
    x = torch.fft.rfftfreq(shape[2], voxel_size, device=device)
    return torch.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)


def fourier_filter(
    volume: Float[torch.Tensor, "*batch z y x"], transfer: Float[torch.Tensor, "z y half"]
) -> Float[torch.Tensor, "*batch z y x"]:
    """The volume with its spectrum multiplied."""
    axes = (-3, -2, -1)
    return torch.fft.irfftn(half_spectrum(volume, 3) * transfer.to(volume.dtype), s=volume.shape[-3:], dim=axes)


def low_pass_transfer(
    shape: tuple[int, int, int],
    voxel_size: float,
    resolution: float,
    *,
    edge: float = 2,
    device: torch.device | None = None,
) -> Float[torch.Tensor, "z y half"]:
    """One below a frequency and zero above, with a raised cosine between.

    Args:
        shape: Of the volume.
        voxel_size: Å.
        resolution: Where the transfer is one half, Å.
        edge: Width of the raised cosine, shells.
    """
    step = 1 / (max(shape) * voxel_size)
    beyond = (frequency_radius(shape, voxel_size, device) - 1 / resolution) / (edge * step) + 0.5
    return 0.5 + 0.5 * torch.cos(math.pi * beyond.clamp(0, 1))


def low_pass(
    volume: Float[torch.Tensor, "*batch z y x"], voxel_size: float, resolution: float, *, edge: float = 2
) -> Float[torch.Tensor, "*batch z y x"]:
    """The volume without what is finer than a resolution; see `low_pass_transfer`."""
    shape = volume_shape(volume)
    return fourier_filter(volume, low_pass_transfer(shape, voxel_size, resolution, edge=edge, device=volume.device))


def b_factor_transfer(
    shape: tuple[int, int, int], voxel_size: float, b_factor: float
) -> Float[torch.Tensor, "z y half"]:
    """exp(−B s² / 4) at each sample; a negative B-factor (Å²) sharpens."""
    return torch.exp(-b_factor / 4 * frequency_radius(shape, voxel_size).square())


def radial_transfer(
    shape: tuple[int, int, int], values: Float[torch.Tensor, "shells"]
) -> Float[torch.Tensor, "z y half"]:
    """A value for each shell as a transfer; the last shell's beyond it. Shells are those of `thon.ops.fsc`."""
    index, _ = shells(shape, device=values.device)
    return values[index.clamp(max=len(values) - 1)]


def flatten_spectrum(
    volume: Float[torch.Tensor, "z y x"], voxel_size: float, resolution: float
) -> Float[torch.Tensor, "z y x"]:
    """The map with equal power in all shells up to a resolution, and none beyond."""
    axes, shape = (0, 1, 2), volume_shape(volume)
    spectrum = half_spectrum(volume, 3)
    radius = frequency_radius(shape, 1 / max(shape))
    index = radius.round().long().flatten()
    power = torch.bincount(index, spectrum.abs().square().flatten()) / torch.bincount(index).clamp(min=1)
    gain = radial_transfer(shape, power.clamp(min=1e-30).rsqrt())
    edge = max(shape) * voxel_size / resolution
    gain = gain * (edge + 1 - radius).clamp(0, 1) * (radius > 0.5)
    return torch.fft.irfftn(spectrum * gain, s=shape, dim=axes)


def fourier_resize(
    volume: Float[torch.Tensor, "*batch z y x"], shape: tuple[int, int, int]
) -> Float[torch.Tensor, "*batch z2 y2 x2"]:
    """Resample on a coarser or finer grid over the same field without aliasing; values and centre voxel are kept.

    Frequencies beyond either grid are dropped or zero, as is the smaller grid's Nyquist frequency where its length is
    even.
    """
    axes, old = (-3, -2, -1), volume_shape(volume)
    if old == shape:
        return volume
    spectrum = half_spectrum(volume, 3)
    result = spectrum.new_zeros((*spectrum.shape[:-3], shape[0], shape[1], shape[2] // 2 + 1))
    keep = [(min(a, b) + 1) // 2 for a, b in zip(old, shape, strict=True)]
    x = slice(0, keep[2])
    for z in (slice(0, keep[0]), slice(1 - keep[0], None)):
        for y in (slice(0, keep[1]), slice(1 - keep[1], None)):
            # A side of one sample has no negative frequencies.
            if z != slice(0, None) and y != slice(0, None):
                result[..., z, y, x] = spectrum[..., z, y, x]
    drift = [n // 2 - (o // 2) * n / o for o, n in zip(old, shape, strict=True)]
    scale = math.prod(shape) / math.prod(old)
    return torch.fft.irfftn(result * (scale * shift_phases(shape, drift, volume)), s=shape, dim=axes)


def fourier_shift_volume(
    volume: Float[torch.Tensor, "*batch z y x"], shift: Sequence[float]
) -> Float[torch.Tensor, "*batch z y x"]:
    """Move a volume by (z, y, x) voxels towards larger indices; it wraps around its edges."""
    axes, shape = (-3, -2, -1), volume_shape(volume)
    moved = half_spectrum(volume, 3) * shift_phases(shape, shift, volume)
    return torch.fft.irfftn(moved, s=shape, dim=axes)


def shift_phases(
    shape: tuple[int, int, int], shift: Sequence[float], like: Float[torch.Tensor, "*any"]
) -> Complex[torch.Tensor, "z y half"]:
    """Factors on a half spectrum that move its volume by `shift` (z, y, x) voxels, of the type of `like`."""
    z, y = (torch.fft.fftfreq(n, device=like.device, dtype=like.dtype) for n in shape[:2])
    x = torch.fft.rfftfreq(shape[2], device=like.device, dtype=like.dtype)
    phase = (z * shift[0])[:, None, None] + (y * shift[1])[:, None] + x * shift[2]
    return torch.polar(torch.ones_like(phase), -2 * math.pi * phase)


def volume_shape(volume: torch.Tensor) -> tuple[int, int, int]:
    """(z, y, x) of a volume or a batch of them."""
    z, y, x = volume.shape[-3:]
    return z, y, x
