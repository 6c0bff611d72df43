"""A small input for each job type, for the conformance tests; made from nothing, so the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from thon.data.geometry import TiltGeometry
from thon.formats.images import write_images

PIXEL_SIZE = 12.5


def geometry(tilts: int = 13) -> TiltGeometry:
    """A geometry with shifts and an axis that is not along the columns."""
    random = np.random.default_rng(3)
    shift = random.normal(size=(tilts, 2)) * 1.5 * PIXEL_SIZE
    return TiltGeometry(np.linspace(-54, 54, tilts), shift, rotation=np.full(tilts, -4.0))


def write_series(folder: Path, shape: tuple[int, int] = (90, 100), tilts: int = 13) -> Path:
    """A tilt series of blobs in a slab, seen through `geometry`, with its angles beside it."""
    random = np.random.default_rng(4)
    rows, columns = shape
    extent = np.array([8, rows / 2, columns / 2]) * PIXEL_SIZE
    points = random.uniform(-1, 1, (60, 3)) * extent
    seen = geometry(tilts).project(points) / PIXEL_SIZE + np.array([rows // 2, columns // 2])
    y, x = np.mgrid[:rows, :columns]
    images = np.zeros((tilts, rows, columns), np.float32)
    for k, places in enumerate(seen):
        for row, column in places:
            images[k] -= np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4).astype(np.float32)
    images += random.normal(0, 0.2, images.shape).astype(np.float32)
    path = folder / "series.st"
    write_images(path, images, PIXEL_SIZE)
    np.savetxt(folder / "series.tlt", geometry(tilts).tilt, fmt="%.2f")
    return path


def _series(folder: Path) -> list[str]:
    return [str(write_series(folder)), "--angles", str(folder / "series.tlt"), "--tilt-axis", "-4"]


EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    "import-tilts": _series,
    "align-tilts": _series,
    "reconstruct": lambda folder: [*_series(folder), "--thickness", "200"],
    "convert": lambda folder: [str(write_series(folder)), str(folder / "small.mrc"), "--bin", "2"],
    "tomo": _series,
}
"""What is typed after `thon JOB`, without the output folder."""
