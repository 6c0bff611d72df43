"""Small maps with a known answer: blobs in a box, with symmetry or without, and noisy halves of them."""

from __future__ import annotations

import numpy as np
import torch

from thon.ops.symmetry import symmetry_rotations


def blobs(
    shape: tuple[int, int, int] = (40, 40, 40),
    *,
    symmetry: str = "C1",
    count: int = 40,
    radius: float = 11.0,
    width: float = 1.3,
    seed: int = 3,
) -> torch.Tensor:
    """Gaussians of that many voxels' width at random places in a sphere, copied by a point group about n // 2."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = direction * radius * random.uniform(0.2, 1, (count, 1)) ** (1 / 3)
    copies = (symmetry_rotations(symmetry)[:, None] @ points[None, :, :, None])[..., 0].reshape(-1, 3)
    volume = np.zeros(shape)
    for point in copies:
        parts = [
            np.exp(-((np.arange(n) - n // 2 - place) ** 2) / (2 * width**2))
            for n, place in zip(shape, point, strict=True)
        ]
        volume += parts[0][:, None, None] * parts[1][:, None] * parts[2]
    return torch.from_numpy(volume.astype(np.float32))


def noise(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """White noise of deviation 1."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def noisy_halves(volume: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two copies with independent noise of `level` deviations of the map."""
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    first, second = (volume + level * volume.std() * noise(shape, seed) for seed in (11, 12))
    return first, second
