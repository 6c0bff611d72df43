"""Micrographs of known particles, for tests of picking and extraction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy


@dataclass(frozen=True)
class Scene:
    """A micrograph and where its particles are.

    Args:
        image: As recorded, matter dark.
        place: (y, x) of the particles, px.
    """

    image: np.ndarray
    place: np.ndarray


def make_scene(
    *,
    shape: tuple[int, int] = (486, 612),
    pixel_size: float = 5.0,
    diameter: float = 180.0,
    number: int = 60,
    contrast: float = 1.0,
    seed: int = 0,
) -> Scene:
    """Ellipsoids of any direction, half to once as wide as long, no two touching, in noise of unit variance."""
    random = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(random.normal(size=shape), 0.8)
    image = noise / noise.std()
    radius = diameter / 2 / pixel_size
    place: list[np.ndarray] = []
    while len(place) < number:
        at = random.uniform(1.2 * radius, np.array(shape) - 1.2 * radius)
        if all(np.hypot(*(at - other)) > 2 * radius for other in place):
            place.append(at)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for at in place:
        angle, width = random.uniform(0, np.pi), random.uniform(0.5, 1)
        along = (x - at[1]) * np.cos(angle) + (y - at[0]) * np.sin(angle)
        across = ((y - at[0]) * np.cos(angle) - (x - at[1]) * np.sin(angle)) / width
        image -= contrast * np.sqrt(np.clip(1 - (along**2 + across**2) / radius**2, 0, None))
    return Scene((100 + 10 * image).astype(np.float32), np.array(place).reshape(-1, 2))


def with_foil(scene: Scene, *, darkness: float = 30.0) -> tuple[Scene, np.ndarray]:
    """The scene with carbon over its lower right corner, dark, grainy and with a fringe; and where it lies."""
    rows, columns = scene.image.shape
    y, x = np.mgrid[:rows, :columns]
    beyond = (y / rows + x / columns - 1.45) * min(rows, columns) / np.sqrt(2)
    foil = beyond > 0
    fringe = 25 * np.exp(-((beyond + 6) ** 2) / 30) - 35 * np.exp(-((beyond - 5) ** 2) / 40)
    grain = np.random.default_rng(9).normal(0, 8, scene.image.shape)
    image = np.where(foil, scene.image - darkness + grain, scene.image) + fringe
    free = ~foil[tuple(np.rint(scene.place).astype(int).T)]
    return Scene(image.astype(np.float32), scene.place[free]), foil


def matched(found: np.ndarray, true: np.ndarray, distance: float) -> int:
    """Number of pairs of found and true places, each used once, that are no further apart."""
    if not len(found) or not len(true):
        return 0
    apart = scipy.spatial.distance.cdist(found, true)
    rows, columns = scipy.optimize.linear_sum_assignment(np.where(apart <= distance, apart - 1e6, 0))
    return int((apart[rows, columns] <= distance).sum())
