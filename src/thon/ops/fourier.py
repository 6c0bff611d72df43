"""Fourier transforms of real images: grids, cropping, shifting and filtering, with the centre of n pixels at n // 2."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float


def half_spectrum(values: Float[torch.Tensor, "*shape"], dimensions: int) -> Complex[torch.Tensor, "*half"]:
    """Half spectrum over the last dimensions: `torch.fft.rfftn`, whose last bits depend on the number of threads."""
    return torch.fft.fftn(torch.fft.rfft(values), dim=tuple(range(-dimensions, -1)))


def frequency_grid(
    shape: tuple[int, int], device: torch.device | None = None, dtype: torch.dtype | None = None
) -> tuple[Float[torch.Tensor, "rows 1"], Float[torch.Tensor, "1 half"]]:
    """Frequencies along rows and columns of the half spectrum of an image, cycles per pixel, origin in the corner."""
    rows = torch.fft.fftfreq(shape[0], device=device, dtype=dtype)[:, None]
    columns = torch.fft.rfftfreq(shape[1], device=device, dtype=dtype)[None]
    return rows, columns


def radius_grid(
    shape: tuple[int, int], device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[torch.Tensor, "rows half"]:
    """Length of the frequency at each pixel of a half spectrum, cycles per pixel."""
    rows, columns = frequency_grid(shape, device, dtype)
    return torch.sqrt(rows**2 + columns**2)


def phase_ramp(
    shape: tuple[int, int], shift: Float[torch.Tensor, "*batch 2"]
) -> Complex[torch.Tensor, "*batch rows half"]:
    """Factors on a half spectrum that move its image by `shift` (y, x) pixels towards larger indices."""
    rows, columns = frequency_grid(shape, shift.device, shift.dtype)
    phase = rows * shift[..., 0, None, None] + columns * shift[..., 1, None, None]
    return torch.polar(torch.ones_like(phase), -2 * math.pi * phase)


def fourier_shift(
    images: Float[torch.Tensor, "*batch rows columns"], shift: Float[torch.Tensor, "*#batch 2"]
) -> Float[torch.Tensor, "*batch rows columns"]:
    """Move images by `shift` (y, x) pixels towards larger indices; they wrap around their edges."""
    shape = (images.shape[-2], images.shape[-1])
    return torch.fft.irfft2(torch.fft.rfft2(images) * phase_ramp(shape, shift.to(images.dtype)), s=shape)


def crop_spectrum(
    spectrum: Complex[torch.Tensor, "*batch rows half"], columns: int, shape: tuple[int, int]
) -> Complex[torch.Tensor, "*batch new_rows new_half"]:
    """Half spectrum of the same image on another grid, its values and its centre pixel (n // 2) kept.

    Args:
        spectrum: Half spectrum of an image with `columns` columns.
        columns: Columns of that image, which its half spectrum does not tell.
        shape: (rows, columns) of the new image. Frequencies beyond either grid are dropped or zero, and so is the
            row or column at the smaller grid's Nyquist frequency where its length is even: one sample cannot hold its
            phase.
    """
    old, new = (spectrum.shape[-2], columns), shape
    keep = tuple((min(a, b) + 1) // 2 for a, b in zip(old, new, strict=True))
    result = spectrum.new_zeros((*spectrum.shape[:-2], new[0], new[1] // 2 + 1))
    result[..., : keep[0], : keep[1]] = spectrum[..., : keep[0], : keep[1]]
    if keep[0] > 1:
        result[..., 1 - keep[0] :, : keep[1]] = spectrum[..., 1 - keep[0] :, : keep[1]]
    drift = [n // 2 - (o // 2) * n / o for o, n in zip(old, new, strict=True)]
    scale = new[0] * new[1] / (old[0] * old[1])
    return result * (scale * phase_ramp(new, torch.tensor(drift, device=spectrum.device, dtype=spectrum.real.dtype)))


def fourier_crop(
    images: Float[torch.Tensor, "*batch rows columns"], shape: tuple[int, int]
) -> Float[torch.Tensor, "*batch new_rows new_columns"]:
    """Resample images on a coarser or finer grid over the same field, in Fourier space, without aliasing.

    Grey values are kept, and so is the position of the centre pixel n // 2, also between odd and even sizes.
    """
    if (images.shape[-2], images.shape[-1]) == shape:
        return images
    return torch.fft.irfft2(crop_spectrum(torch.fft.rfft2(images), images.shape[-1], shape), s=shape)


def band_pass(
    radius: Float[torch.Tensor, "*grid"], low: float, high: float, *, rolloff: float = 0.3
) -> Float[torch.Tensor, "*grid"]:
    """Smooth band between two frequencies (cycles per pixel): Gaussian flanks whose sigma is `rolloff` of the edge."""
    below = (
        torch.exp(-0.5 * ((low - radius).clamp(min=0) / (rolloff * low)) ** 2) if low > 0 else torch.ones_like(radius)
    )
    above = torch.exp(-0.5 * ((radius - high).clamp(min=0) / (rolloff * high)) ** 2)
    return below * above * (radius > 0)


def soft_edge(
    shape: tuple[int, int], width: float, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[torch.Tensor, "rows columns"]:
    """Window that is 1 inside and falls to 0 at the border as a raised cosine over `width` of each side's length."""

    def ramp(n: int) -> torch.Tensor:
        edge = max(1, round(width * n))
        distance = torch.minimum(torch.arange(n), torch.arange(n).flip(0)).to(device=device, dtype=dtype) + 0.5
        return 0.5 - 0.5 * torch.cos(math.pi * (distance / edge).clamp(max=1))

    return ramp(shape[0])[:, None] * ramp(shape[1])[None]
