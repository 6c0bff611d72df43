"""Erase gold beads from images, so that they do not streak through the tomogram.

Each bead's disc is replaced by a slope fitted to the ring around it plus random noise with the spectrum of the image
and the scatter of the ring.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import scipy
import torch
from annotated_types import Ge
from jaxtyping import Bool, Float

from thon.algorithms.alignment_images import bin_images
from thon.algorithms.bead_tracking import BeadTrackingOptions, track_beads
from thon.algorithms.bundle import initial_points
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.geometry import TiltGeometry


class BeadErasureOptions(Options):
    """How much is erased around each bead."""

    size: Annotated[float, Unit("1"), Ge(1)] = 1.4
    """Diameter of what is replaced over the bead's diameter; above one to take the Fresnel fringe along."""

    ring: Annotated[float, Unit("1"), Ge(1)] = 2.5
    """Outer diameter of the ring that the background is taken from, over the bead's diameter."""

    seed: Annotated[int, Unit("1"), Ge(0)] = 0
    """Seed of the noise."""


def erase_beads(
    images: Float[np.ndarray, "tilts rows columns"],
    position: Float[np.ndarray, "points images 2"],
    diameter: float,
    pixel_size: float,
    options: BeadErasureOptions | None = None,
) -> Float[np.ndarray, "tilts rows columns"]:
    """Images with the beads replaced by background.

    Args:
        images: Raw images; not modified.
        position: (y, x) of each bead from each image's centre, Å, as in `Tracks`; NaN where there is none.
        diameter: Of the beads, Å.
        pixel_size: Å.
        options: Sizes and seed.

    Raises:
        InputError: The numbers of images disagree, or the diameter is not positive.
    """
    options = options or BeadErasureOptions()
    if position.shape[1] != len(images):
        raise InputError("bead positions and images differ in number", got=position.shape[1], expected=len(images))
    if not (diameter > 0 and pixel_size > 0):
        raise InputError("bead diameter and pixel size must be positive", got=(diameter, pixel_size))
    centre = np.array([images.shape[1] // 2, images.shape[2] // 2])
    radius = diameter / pixel_size / 2
    erased = np.array(images)
    for k in range(len(images)):
        beads = position[:, k] / pixel_size + centre
        random = np.random.default_rng([options.seed, k])
        erased[k] = _erase(erased[k], beads[np.isfinite(beads).all(1)], radius, options, random)
    return erased


def _erase(
    image: Float[np.ndarray, "rows columns"],
    beads: Float[np.ndarray, "beads 2"],
    radius: float,
    options: BeadErasureOptions,
    random: np.random.Generator,
) -> Float[np.ndarray, "rows columns"]:
    """One image without its beads; pixels outside the discs stay exactly as they were."""
    gone = _discs(image.shape, beads, radius * options.size)
    if not gone.any():
        return image
    texture = _texture(image, gone, radius, random)
    filled = image.copy()
    for bead in beads:
        reach = radius * options.ring
        while True:
            window = _window(image.shape, bead, reach)
            grid = np.moveaxis(np.mgrid[window], 0, -1) - bead
            distance = np.linalg.norm(grid, axis=-1)
            ring = (distance <= reach) & ~gone[window] & np.isfinite(image[window])
            if ring.sum() >= 24 or reach > max(image.shape):
                break
            reach *= 1.5
        disc = distance <= radius * options.size
        if not disc.any() or not ring.any():
            continue
        design = np.concatenate([np.ones((*grid.shape[:2], 1)), grid], -1)
        slope = np.linalg.lstsq(design[ring], image[window][ring], rcond=None)[0]
        scatter = float(np.std(image[window][ring] - design[ring] @ slope))
        filled[window][disc] = design[disc] @ slope + scatter * texture[window][disc]
    return filled


def _window(shape: tuple[int, ...], bead: np.ndarray, reach: float) -> tuple[slice, slice]:
    low = np.clip(np.floor(bead - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(bead + reach) + 1, 0, shape).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _discs(shape: tuple[int, ...], beads: np.ndarray, radius: float) -> Bool[np.ndarray, "rows columns"]:
    inside = np.zeros(shape, bool)
    for bead in beads:
        window = _window(shape, bead, radius)
        inside[window] |= np.linalg.norm(np.moveaxis(np.mgrid[window], 0, -1) - bead, axis=-1) <= radius
    return inside


def _texture(
    image: np.ndarray, gone: np.ndarray, radius: float, random: np.random.Generator
) -> Float[np.ndarray, "rows columns"]:
    """Random noise of unit scatter with the image's own spectrum, finer than the slopes that are fitted."""
    usable = ~gone & np.isfinite(image)
    values = np.where(usable, np.nan_to_num(image), 0).astype(np.float64)
    width = 2 * radius
    smooth = scipy.ndimage.gaussian_filter(values, width) / np.maximum(
        scipy.ndimage.gaussian_filter(usable.astype(np.float64), width), 1e-3
    )
    power = np.square(np.abs(np.fft.rfft2(np.where(usable, values - smooth, 0))))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None])
    shell = np.round(frequency * min(image.shape)).astype(int)
    mean = np.bincount(shell.ravel(), power.ravel()) / np.maximum(np.bincount(shell.ravel()), 1)
    noise = np.fft.rfft2(random.standard_normal(image.shape)) * np.sqrt(mean[shell])
    texture = np.fft.irfft2(noise, image.shape)
    return texture / max(float(texture.std()), 1e-30)


def find_bead_positions(
    images: Any, geometry: TiltGeometry, pixel_size: float, options: BeadTrackingOptions | None = None
) -> tuple[Float[np.ndarray, "points images 2"], float]:
    """Where beads lie in aligned images, also in those where they were not seen, and their diameter.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index; read once, binned to about 1000 px.
        geometry: Of the images.
        pixel_size: Å.
        options: How beads are found and followed.

    Returns:
        (y, x) of each bead from each image's centre, Å, and the diameter, Å.
    """
    factor = max(1, round(max(images.shape[1:]) / 1000))
    read = (torch.from_numpy(np.array(images[k], np.float32)) for k in range(len(images)))
    small = torch.stack([bin_images(image[None], factor)[0] for image in read]).numpy()
    found = track_beads(small, pixel_size * factor, geometry, options)
    points = initial_points(found.tracks, geometry)
    return np.swapaxes(geometry.project(points[np.isfinite(points).all(1)]), 0, 1), found.diameter


class ErasedImages:
    """Images whose beads are erased as each is read.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index.
        position: (points, tilts, 2) from each image's centre, Å.
        diameter: Of the beads, Å.
        pixel_size: Å.
        options: Sizes and seed.
    """

    def __init__(
        self,
        images: Any,
        position: Float[np.ndarray, "points images 2"],
        diameter: float,
        pixel_size: float,
        options: BeadErasureOptions | None = None,
    ) -> None:
        self.images, self.position, self.diameter, self.pixel_size = images, position, diameter, pixel_size
        self.options = options or BeadErasureOptions()
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> np.ndarray:
        options = self.options.model_copy(update={"seed": self.options.seed + k})
        image = np.asarray(self.images[k], np.float32)[None]
        return erase_beads(image, self.position[:, k : k + 1], self.diameter, self.pixel_size, options)[0]
