"""Isotropic total variation of a volume, whole or in blocks along its last axis that know each other's edge."""

from __future__ import annotations

import torch
from jaxtyping import Float


def gradient(
    volume: Float[torch.Tensor, "a b c"], after: Float[torch.Tensor, "a b 1"] | None = None
) -> Float[torch.Tensor, "3 a b c"]:
    """Differences to the next voxel along each axis, zero at the far faces.

    Args:
        volume: A volume, or a block of one along its last axis.
        after: First plane of the next block; None where the volume ends.
    """
    result = volume.new_zeros((3, *volume.shape))
    result[0, :-1] = volume[1:] - volume[:-1]
    result[1, :, :-1] = volume[:, 1:] - volume[:, :-1]
    result[2, :, :, :-1] = volume[:, :, 1:] - volume[:, :, :-1]
    if after is not None:
        result[2, :, :, -1:] = after - volume[:, :, -1:]
    return result


def gradient_adjoint(field: Float[torch.Tensor, "3 a b c"], *, last: bool = True) -> Float[torch.Tensor, "a b c"]:
    """Transpose of `gradient` (minus the divergence).

    A block that follows another needs that one's last plane before its own, and its result's first plane dropped.

    Args:
        field: A vector per voxel.
        last: Whether the volume ends with this block; its last plane's third component then has no effect.
    """
    result = torch.zeros_like(field[0])
    result[:-1] -= field[0, :-1]
    result[1:] += field[0, :-1]
    result[:, :-1] -= field[1, :, :-1]
    result[:, 1:] += field[1, :, :-1]
    stop = -1 if last else None
    result[:, :, :stop] -= field[2, :, :, :stop]
    result[:, :, 1:] += field[2, :, :, :-1]
    return result


def shrink(field: Float[torch.Tensor, "3 *shape"], threshold: float) -> Float[torch.Tensor, "3 *shape"]:
    """Shorten each vector by `threshold`, to zero where it was shorter: the proximal map of isotropic TV."""
    length = field.square().sum(0).sqrt_()
    scale = (1 - threshold / length.clamp_(min=torch.finfo(field.dtype).tiny)).clamp_(min=0)
    return field * scale


def total_variation(volume: Float[torch.Tensor, "a b c"]) -> Float[torch.Tensor, ""]:
    """Sum over the voxels of the length of the gradient."""
    return gradient(volume).square().sum(0).sqrt().sum()
