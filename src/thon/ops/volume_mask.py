"""Soft masks of volumes: what is 1 inside, 0 outside, and a raised cosine between; and the solvent's noise."""

from __future__ import annotations

import math

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float


def soft_mask(
    inside: Bool[torch.Tensor, "z y x"], *, extend: float = 0, edge: float = 0
) -> Float[torch.Tensor, "z y x"]:
    """A binary mask made larger, with a soft edge beyond.

    Args:
        inside: The binary mask.
        extend: What is nearer to it than this belongs to it, voxels.
        edge: Width of the raised cosine outside of what was extended, voxels.
    """
    binary = inside.cpu().numpy()
    if extend > 0:
        binary = _distance(binary) < extend
    if edge <= 0:
        return torch.from_numpy(binary.astype(np.float32)).to(inside.device)
    return raised_cosine(torch.from_numpy(_distance(binary)).to(inside.device), edge)


def raised_cosine(distance: Float[torch.Tensor, "*any"], edge: float) -> Float[torch.Tensor, "*any"]:
    """1 where the distance is not positive, falling to 0 at the edge's width."""
    if edge <= 0:
        return (distance <= 0).float()
    return 0.5 + 0.5 * torch.cos(math.pi * (distance / edge).clamp(0, 1).float())


def sphere_mask(
    shape: tuple[int, int, int], radius: float, *, edge: float = 0, centre: tuple[float, float, float] | None = None
) -> Float[torch.Tensor, "z y x"]:
    """A soft sphere.

    Args:
        shape: Of the box.
        radius: Up to which it is 1, voxels.
        edge: Width of the raised cosine beyond, voxels.
        centre: (z, y, x), voxels; the box's (n // 2) unless given.
    """
    return raised_cosine(centre_distance(shape, centre) - radius, edge)


def cylinder_mask(
    shape: tuple[int, int, int], radius: float, length: float, *, edge: float = 0
) -> Float[torch.Tensor, "z y x"]:
    """A soft cylinder along z through the box's centre.

    Args:
        shape: Of the box.
        radius: Up to which it is 1, voxels.
        length: Along z, voxels.
        edge: Width of the raised cosine beyond, voxels.
    """
    z, y, x = _offsets(shape, None)
    beyond = torch.stack([(z.abs() - length / 2).expand(shape), (torch.hypot(y, x) - radius).expand(shape)])
    return raised_cosine(torch.linalg.vector_norm(beyond.clamp(min=0), dim=0), edge)


def centre_distance(
    shape: tuple[int, int, int], centre: tuple[float, float, float] | None = None
) -> Float[torch.Tensor, "z y x"]:
    """Distance of each voxel from a centre (n // 2 unless given), voxels."""
    z, y, x = _offsets(shape, centre)
    return torch.sqrt(z**2 + y**2 + x**2)


def solvent_noise(volume: Float[torch.Tensor, "z y x"]) -> tuple[float, float]:
    """Mean and standard deviation of what lies outside the largest sphere in the box: solvent, unless it is too tight.

    By median and median absolute deviation, so that a particle's tips do not count. A map with nothing out there
    (solvent flattened) has a deviation of zero.
    """
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    outside = volume[centre_distance(shape) > min(shape) // 2].double()
    centre = outside.median()
    return float(centre), 1.4826 * float((outside - centre).abs().median())


def centre_of_mass(volume: Float[torch.Tensor, "z y x"]) -> Float[np.ndarray, "3"]:
    """(z, y, x) of the density above a tenth of the peak, voxels; NaN where there is none."""
    mass = (volume - 0.1 * volume.max()).clamp(min=0).double()
    sums = [mass.sum(tuple(k for k in range(3) if k != axis)) for axis in range(3)]
    return np.array([float((one * torch.arange(len(one))).sum() / one.sum()) for one in sums])


def _distance(binary: Bool[np.ndarray, "z y x"]) -> Float[np.ndarray, "z y x"]:
    """Distance of each voxel to the nearest one inside, voxels; infinite where there is none."""
    if not binary.any():
        return np.full(binary.shape, np.inf)
    return scipy.ndimage.distance_transform_edt(~binary)


def _offsets(
    shape: tuple[int, int, int], centre: tuple[float, float, float] | None
) -> tuple[Float[torch.Tensor, "z 1 1"], Float[torch.Tensor, "y 1"], Float[torch.Tensor, "x"]]:
    place = tuple(n // 2 for n in shape) if centre is None else centre
    z, y, x = (torch.arange(n, dtype=torch.float32) - c for n, c in zip(shape, place, strict=True))
    return z[:, None, None], y[:, None], x
