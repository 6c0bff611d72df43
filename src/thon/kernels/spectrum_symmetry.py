"""Sum a half spectrum over the rotations of a point group."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from thon.kernels import spectrum_symmetry_cpu as cpu
from thon.kernels.operator import Operator


def symmetrise_spectrum(
    spectrum: Float[Tensor, "z y x 3"], rotations: Float[Tensor, "operators 3 3"]
) -> Float[Tensor, "z y x 3"]:
    """Sum over rotations S of a spectrum at S k, by linear interpolation.

    Args:
        spectrum: Half spectrum (re, im, weight) of a cube, origin at (z // 2, y // 2, 0).
        rotations: Of (z, y, x).
    """
    return torch.ops.thon.symmetrise_spectrum(spectrum, rotations)


def symmetrise_spectrum_reference(spectrum: Tensor, rotations: Tensor) -> Tensor:
    """`symmetrise_spectrum` in plain torch."""
    shape = spectrum.shape[:3]
    middle = (shape[0] // 2, shape[1] // 2, 0)
    axes = [torch.arange(n, dtype=torch.float32) - m for n, m in zip(shape, middle, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    total = torch.zeros_like(spectrum).reshape(-1, 3)
    flat = spectrum.reshape(-1, 3)
    for rotation in rotations.float():
        z, y, x = rotation @ grid
        sign = torch.where(x < 0, -1.0, 1.0)
        place = torch.stack([sign * z + shape[0] // 2, sign * y + shape[1] // 2, sign * x])
        place = torch.where((place - place.round()).abs() < cpu.NEAR, place.round(), place)
        low = place.floor()
        for corner in range(8):
            index, weight = torch.zeros_like(z, dtype=torch.long), torch.ones_like(z)
            for axis, n in enumerate(shape):
                bit = (corner >> axis) & 1
                cell = low[axis].long() + bit
                part = place[axis] - low[axis]
                weight = weight * (part if bit else 1 - part) * ((cell >= 0) & (cell < n))
                index = index * n + cell.clamp(0, n - 1)
            value = flat[index] * weight[:, None]
            value[:, 1] *= sign
            total += value
    return total.reshape(spectrum.shape)


_symmetrise = Operator(
    "symmetrise_spectrum", "(Tensor spectrum, Tensor rotations) -> Tensor", symmetrise_spectrum_reference
)


@_symmetrise.register_fake
def _(spectrum: Tensor, rotations: Tensor) -> Tensor:
    return torch.empty_like(spectrum)


@_symmetrise.register_kernel("cpu")
def _(spectrum: Tensor, rotations: Tensor) -> Tensor:
    result = torch.zeros_like(spectrum)
    cpu.symmetrise(spectrum.contiguous().numpy(), rotations.double().numpy(), result.numpy())
    return result
