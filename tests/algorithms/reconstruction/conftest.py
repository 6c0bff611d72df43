"""A phantom of Gaussian blobs, with projections by formula: the truth does not come from thon's projector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch

from thon.data.geometry import TiltGeometry


@dataclass(frozen=True)
class Phantom:
    """Images, the volume that they show, and how they see it; voxels of 10 Å."""

    images: np.ndarray
    volume: np.ndarray
    geometry: TiltGeometry
    pixel_size: float = 10.0

    @property
    def thickness(self) -> float:
        """Å."""
        return self.volume.shape[0] * self.pixel_size

    def correlation(self, volume: torch.Tensor) -> float:
        """Pearson correlation with the truth."""
        return float(np.corrcoef(volume.numpy().ravel(), self.volume.ravel())[0, 1])

    def error(self, volume: torch.Tensor) -> float:
        """Relative error."""
        return float(np.linalg.norm(volume.numpy() - self.volume) / np.linalg.norm(self.volume))


@lru_cache
def make_phantom(
    shape: tuple[int, int, int] = (24, 40, 64),
    step: float = 3.0,
    noise: float = 0.0,
    reach: float = 60.0,
    x_tilt: float = 0.0,
    rotation: float = 0.0,
    image_shape: tuple[int, int] | None = None,
    magnify: float = 1.0,
) -> Phantom:
    """Blobs in a slab of `shape` (z, y, x).

    Args:
        shape: Of the volume, voxels.
        step: Degrees between tilts.
        noise: Standard deviation over that of the images.
        reach: Largest tilt, degrees.
        x_tilt: Degrees.
        rotation: Of the tilt axis, degrees.
        image_shape: (rows, columns) if not as the volume.
        magnify: Pixels per voxel; the pixel is as much finer than 10 Å.
    """
    rng = np.random.default_rng(7)
    number = 40
    sigma = rng.uniform(1.3, 2.6, number)
    inside = np.array([max(shape[0] / 2 - 7, 0.5), 0.42 * shape[1], 0.42 * shape[2]])
    place = rng.uniform(-1, 1, (number, 3)) * inside
    height = rng.uniform(0.5, 1.5, number)
    tilt = np.arange(-reach, reach + step / 2, step)
    shift = rng.uniform(-2, 2, (len(tilt), 2)) * 10.0 if rotation or magnify != 1 else np.zeros((len(tilt), 2))
    geometry = TiltGeometry(tilt=tilt, shift=shift, rotation=np.full(len(tilt), rotation), x_tilt=x_tilt)
    pixel = 10.0 / magnify
    rows, columns = (round(n * magnify) for n in (image_shape or shape[1:]))
    images = np.zeros((len(tilt), rows, columns))
    for k, points in enumerate(geometry.project(place * 10.0) / pixel):
        y = np.arange(rows)[:, None] - rows // 2 - points[:, 0]
        x = np.arange(columns)[:, None] - columns // 2 - points[:, 1]
        wide = sigma * magnify
        across = np.exp(-(x**2) / (2 * wide**2)) * height * np.sqrt(2 * np.pi) * sigma
        images[k] = np.exp(-(y**2) / (2 * wide**2)) @ across.T
    images += noise * images.std() * rng.normal(size=images.shape)
    grids = [np.arange(n)[:, None] - n // 2 - place[:, axis] for axis, n in enumerate(shape)]
    z, y, x = (np.exp(-(g**2) / (2 * sigma**2)) for g in grids)
    volume = np.einsum("zb,yb,xb,b->zyx", z, y, x, height)
    return Phantom(images.astype(np.float32), volume, geometry, pixel)


@pytest.fixture
def phantom() -> Phantom:
    """Without noise, aligned."""
    return make_phantom()


@pytest.fixture
def noisy() -> Phantom:
    """As much noise as signal."""
    return make_phantom(noise=1.0)


@pytest.fixture
def make():
    """Phantoms of other kinds."""
    return make_phantom


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
