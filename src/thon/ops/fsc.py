"""Fourier shell correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from thon.ops.fourier import half_spectrum


@dataclass(frozen=True)
class ShellCorrelation:
    """Correlation of two volumes, or images, shell by shell.

    Args:
        frequency: Radius of each shell, Å⁻¹ (or cycles per pixel where the pixel size is 1).
        correlation: −1 to 1; NaN on a shell where one of the two is empty.
        count: Fourier samples of each shell, both halves of the spectrum counted.
    """

    frequency: Float[torch.Tensor, "shells"]
    correlation: Float[torch.Tensor, "*batch shells"]
    count: Int[torch.Tensor, "shells"]

    def crossing(self, threshold: float = 0.143) -> Float[torch.Tensor, "*batch"]:
        """Frequency where the correlation first falls below `threshold`, between shells by a line.

        The last shell's frequency where it never does; zero where it is below from the first shell beyond zero on.
        """
        below = self.correlation[..., 1:] < threshold
        first = torch.where(below.any(-1), below.int().argmax(-1), below.shape[-1] - 1) + 1
        high = self.correlation.gather(-1, (first - 1)[..., None])[..., 0]
        low = self.correlation.gather(-1, first[..., None])[..., 0]
        fraction = ((high - threshold) / (high - low)).nan_to_num(0, 0, 0).clamp(0, 1)
        fraction = torch.where(below.any(-1), torch.where(first == 1, 0, fraction), 1)
        step = self.frequency[1] - self.frequency[0]
        return self.frequency[first - 1] + fraction * step


def shells(
    shape: tuple[int, ...], voxel_size: float | tuple[float, ...] = 1.0, device: torch.device | None = None
) -> tuple[Int[torch.Tensor, "*half"], Float[torch.Tensor, "shells"]]:
    """Shell number of each sample of a half spectrum, and the shells' frequencies.

    A shell is as thick as one sample along the longest side, its number the rounded frequency; in a cube that is the
    usual integer radius. Samples beyond the smallest Nyquist frequency of the axes carry the number of shells.

    Args:
        shape: Of the volume or image.
        voxel_size: Å; one, or one per axis.
    """
    size = (voxel_size,) * len(shape) if isinstance(voxel_size, (int, float)) else voxel_size
    axes = [torch.fft.fftfreq(n, s, device=device, dtype=torch.float64) for n, s in zip(shape, size, strict=True)]
    axes[-1] = torch.fft.rfftfreq(shape[-1], size[-1], device=device, dtype=torch.float64)
    square = sum(f.square().reshape([-1 if i == k else 1 for i in range(len(shape))]) for k, f in enumerate(axes))
    step = 1 / max(n * s for n, s in zip(shape, size, strict=True))
    number = math.floor(0.5 / max(size) / step + 1e-6) + 1
    index = (torch.as_tensor(square).sqrt() / step).round().long().clamp(max=number)
    return index, torch.arange(number, device=device, dtype=torch.float64) * step


def fourier_shell_correlation(
    first: Float[torch.Tensor, "*batch_and_shape"],
    second: Float[torch.Tensor, "*batch_and_shape"],
    voxel_size: float | tuple[float, ...] = 1.0,
    *,
    mask: Float[torch.Tensor, "*shape"] | None = None,
    dimensions: int = 3,
) -> ShellCorrelation:
    """Correlate two volumes (or images, `dimensions` = 2) on shells of equal frequency; leading axes are a batch.

    Args:
        first: Volumes; boxes may have any shape.
        second: The same number and shape.
        voxel_size: Å; one, or one per axis.
        mask: Multiplied onto both first.
        dimensions: Trailing axes that make one volume.

    Raises:
        ValueError: The shapes differ, or have too few axes.
    """
    if first.shape != second.shape or first.ndim < dimensions:
        raise ValueError(f"shapes {tuple(first.shape)} and {tuple(second.shape)} with {dimensions} dimensions")
    shape = tuple(first.shape[-dimensions:])
    if mask is not None:
        first, second = first * mask, second * mask
    index, frequency = shells(shape, voxel_size, first.device)
    a, b = (half_spectrum(one, dimensions).flatten(-dimensions) for one in (first, second))
    # Columns that are their own mirror image stand once in the half spectrum, all others for two samples.
    weight = torch.full(index.shape, 2.0, dtype=torch.float64, device=first.device)
    weight[..., 0] = 1
    if shape[-1] % 2 == 0:
        weight[..., -1] = 1

    def total(values: torch.Tensor) -> torch.Tensor:
        sums = values.new_zeros((*values.shape[:-1], len(frequency) + 1))
        return sums.index_add(-1, index.flatten(), values)[..., :-1]

    weight = weight.flatten()
    cross = total((a.real * b.real + a.imag * b.imag).double() * weight)
    power = total((a.real**2 + a.imag**2).double() * weight) * total((b.real**2 + b.imag**2).double() * weight)
    return ShellCorrelation(frequency, cross / power.sqrt(), total(weight).round().long())
