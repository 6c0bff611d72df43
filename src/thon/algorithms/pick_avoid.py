"""Where not to pick: carbon or gold foil and its edge, and what stands out as ice crystals and dirt do."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float

from thon.algorithms.pick_image import PickImage

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution per median absolute deviation."""

LONG = 4.0
"""Diameters over which the edge of a foil extends at least: what is shorter is a thing and no edge."""

DARKER = 3.0
"""How much darker than the ice a foil is, in the standard deviations of the ice's low-pass."""

STANDS_OUT = 4.0
"""Robust standard deviations over the median of all maxima from which one is no particle."""


def find_foil(image: PickImage, diameter: float, *, edge: float) -> Bool[np.ndarray, "rows columns"]:
    """Foil and its edge.

    The edge of a foil is a long line of strong contrast at the particles' scale. It cuts the micrograph into pieces;
    the brightest of the large ones, in the micrograph as recorded, is ice, and pieces plainly darker are foil.

    Args:
        image: What is searched.
        diameter: Of the particle, Å.
        edge: Robust standard deviations by which the contrast of an edge stands out.
    """
    size = diameter / np.array(image.pixel_size)
    result = np.zeros(image.values.shape, bool)
    values = image.values.cpu().numpy()[image.measured]
    line = _edge_lines(values, size, edge)
    result[image.measured] = line | _darker_pieces(line, _blur(values, size)) if line.any() else line
    return result


def _darker_pieces(
    line: Bool[np.ndarray, "rows columns"], thick: Float[np.ndarray, "rows columns"]
) -> Bool[np.ndarray, "rows columns"]:
    """Pieces between lines that are thicker than the thinnest of those that take a tenth of the image or more."""
    pieces, count = scipy.ndimage.label(~line)
    number = np.arange(1, count + 1)
    area = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    level = np.array(scipy.ndimage.median(thick, pieces, number))
    spread = np.array(scipy.ndimage.standard_deviation(thick, pieces, number))
    large = np.flatnonzero(area >= min(0.1 * line.size, area.max()))
    ice = large[np.argmin(level[large])]
    return np.isin(pieces, number[level > level[ice] + DARKER * spread[ice]])


def stands_out(values: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Which of the values lie far above the others."""
    if not len(values):
        return np.zeros(0, bool)
    middle = np.median(values)
    spread = MAD_TO_SIGMA * np.median(np.abs(values - middle))
    return values > middle + STANDS_OUT * max(spread, 1e-12)


def local_sd(image: PickImage, diameter: float) -> Float[torch.Tensor, "rows columns"]:
    """Standard deviation of the image within a circle around each pixel."""
    rows, columns = image.values.shape
    circle = (image.distance() <= diameter / 2).to(image.values.dtype)
    spectrum = torch.fft.rfft2(circle / circle.sum())
    mean, square = (
        torch.fft.irfft2(torch.fft.rfft2(values) * spectrum, s=(rows, columns))
        for values in (image.values, image.values.square())
    )
    return (square - mean.square()).clamp(min=1e-6).sqrt()


def _edge_lines(
    values: Float[np.ndarray, "rows columns"], size: Float[np.ndarray, "2"], edge: float
) -> Bool[np.ndarray, "rows columns"]:
    """Long stretches where the contrast at the particles' scale is far above the usual."""
    band = _blur(values, size / 6) - _blur(values, size)
    contrast = np.sqrt(_blur(band**2, size))
    middle = np.median(contrast)
    spread = MAD_TO_SIGMA * np.median(np.abs(contrast - middle))
    found, count = scipy.ndimage.label(contrast > middle + edge * spread)
    boxes = scipy.ndimage.find_objects(found)
    long = [k + 1 for k, box in enumerate(boxes) if _extent(box) >= LONG * size.mean()] if count else []
    return np.isin(found, long)


def _extent(box: tuple[slice, slice]) -> float:
    return float(np.hypot(*(part.stop - part.start for part in box)))


def _blur(values: Float[np.ndarray, "rows columns"], sigma: Float[np.ndarray, "2"]) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(values, tuple(sigma), mode="reflect")
