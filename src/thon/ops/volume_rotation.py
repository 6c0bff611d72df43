"""Turn and move volumes in real space, and average them over a point group, about the centre voxel n // 2."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float


def sample_volume(
    volume: Float[torch.Tensor, "z y x"], places: Float[torch.Tensor, "*batch points 3"]
) -> Float[torch.Tensor, "*batch points"]:
    """Values at places (z, y, x) in voxels, by trilinear interpolation; zero outside."""
    extent = torch.tensor([n - 1 for n in volume.shape], dtype=places.dtype, device=places.device)
    grid = (2 * places / extent - 1).flip(-1).reshape(1, 1, -1, places.shape[-2], 3).to(volume.dtype)
    sampled = torch.nn.functional.grid_sample(volume[None, None], grid, align_corners=True)
    return sampled.reshape(places.shape[:-1])


def move_volume(
    volume: Float[torch.Tensor, "z y x"],
    rotation: Float[np.ndarray, "3 3"],
    shift: tuple[float, float, float] | Float[np.ndarray, "3"] = (0.0, 0.0, 0.0),
) -> Float[torch.Tensor, "z y x"]:
    """Rotate a volume actively about its centre voxel, then move it by `shift` (z, y, x) voxels; by cubic splines.

    What comes from outside the box is zero.
    """
    return _transform(_coefficients(volume), rotation, np.asarray(shift, np.float64), volume)


def symmetrise_volume(
    volume: Float[torch.Tensor, "z y x"], rotations: Float[np.ndarray, "n 3 3"]
) -> Float[torch.Tensor, "z y x"]:
    """Mean of a volume turned by each rotation of its point group."""
    coefficients = _coefficients(volume)
    total = torch.zeros_like(volume)
    for rotation in rotations:
        still = np.array_equal(rotation, np.eye(3))
        total += volume if still else _transform(coefficients, rotation, np.zeros(3), volume)
    return total / len(rotations)


def flip_hand(volume: Float[torch.Tensor, "z y x"]) -> Float[torch.Tensor, "z y x"]:
    """Mirror image along x about the centre voxel; in a box of even length the first plane stays, as it has no twin."""
    flipped = volume.flip(-1)
    return flipped.roll(1, -1) if volume.shape[-1] % 2 == 0 else flipped


def correlation(
    turned: Float[torch.Tensor, "rotations points"], still: Float[torch.Tensor, "points"]
) -> Float[torch.Tensor, "rotations"]:
    """Correlation of each row with one, means taken off."""
    first, second = turned - turned.mean(-1, keepdim=True), still - still.mean()
    norm = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second)
    return first @ second / norm.clamp(min=1e-30)


def _coefficients(volume: torch.Tensor) -> Float[np.ndarray, "z y x"]:
    # Single precision would leave rounding errors of the recursive filter that grow with the box.
    return scipy.ndimage.spline_filter(volume.cpu().numpy().astype(np.float64), order=3)


def _transform(
    coefficients: Float[np.ndarray, "z y x"],
    rotation: Float[np.ndarray, "3 3"],
    shift: Float[np.ndarray, "3"],
    like: torch.Tensor,
) -> Float[torch.Tensor, "z y x"]:
    centre = np.array([n // 2 for n in coefficients.shape])
    offset = centre - rotation.T @ (centre + shift)
    moved = scipy.ndimage.affine_transform(coefficients, rotation.T, offset, order=3, prefilter=False)
    return torch.from_numpy(moved).to(like)
