"""A micrograph made ready for picking: without hot pixels and filled edges, matter bright, binned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real

from thon.algorithms.pick_options import PickOptions
from thon.base.errors import InputError
from thon.ops.fourier import fourier_crop, frequency_grid
from thon.ops.lengths import smooth_even_length

OUTLIER = 8.0
"""Pixels further from the mean of their surroundings, in standard deviations of the image, are hot or dead."""

EDGE = 0.05
"""Share of an image's side within which its edge may be filled."""

FINEST = 8.0
"""Pixels that a particle's diameter has at least."""


@dataclass(frozen=True)
class PickImage:
    """What is searched.

    Args:
        values: Matter bright, mean 0, standard deviation 1.
        measured: The part that is not filled.
        allowed: Where a particle's centre may lie.
        pixel_size: (y, x), Å.
        shape: Of the micrograph, px.
    """

    values: Float[torch.Tensor, "rows columns"]
    measured: tuple[slice, slice]
    allowed: Bool[torch.Tensor, "rows columns"]
    pixel_size: tuple[float, float]
    shape: tuple[int, int]

    @property
    def spacing(self) -> float:
        """Mean pixel size, Å."""
        return math.sqrt(self.pixel_size[0] * self.pixel_size[1])

    def frequency(self) -> Float[torch.Tensor, "rows half"]:
        """Length of the frequencies of its half spectrum, 1/Å."""
        rows, columns = self.values.shape
        y, x = frequency_grid((rows, columns), self.values.device, self.values.dtype)
        return torch.hypot(y / self.pixel_size[0], x / self.pixel_size[1])

    def distance(self) -> Float[torch.Tensor, "rows columns"]:
        """Distance of each pixel from the first one, around the edges, Å: the grid of a filter's kernel."""
        y, x = (
            torch.fft.fftfreq(n, 1 / (n * size), device=self.values.device, dtype=self.values.dtype)
            for n, size in zip(self.values.shape, self.pixel_size, strict=True)
        )
        return torch.hypot(y[:, None], x[None])

    def to_micrograph(self, place: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Places in pixels of the micrograph: the centre pixels (n // 2) of the two lie on each other."""
        old, new = np.array(self.shape), np.array(self.values.shape)
        return (place - new // 2) * old / new + old // 2

    def from_micrograph(self, place: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """The other way."""
        old, new = np.array(self.shape), np.array(self.values.shape)
        return (place - old // 2) * new / old + new // 2


def prepare_image(image: Real[torch.Tensor, "rows columns"], pixel_size: float, options: PickOptions) -> PickImage:
    """Bin a micrograph to what picking needs.

    Args:
        image: Grey values as recorded.
        pixel_size: Å.
        options: Diameter, resolution, sign and border.

    Raises:
        InputError: It is smaller than the particle, flat, or not of finite numbers.
    """
    rows, columns = image.shape
    if min(rows, columns) * pixel_size < options.diameter + 2 * options.margin:
        raise InputError(
            "the micrograph is smaller than a particle with its border",
            got=f"{columns * pixel_size:.0f} × {rows * pixel_size:.0f} Å",
            expected=f"at least {options.diameter + 2 * options.margin:.0f} Å",
            mend="check the pixel size and the diameter",
        )
    filled = filled_edges(image)
    values = _clean(image.float(), filled)
    size = max(pixel_size, min(options.max_resolution / 2, options.diameter / FINEST))
    small = (smooth_even_length(rows * pixel_size / size), smooth_even_length(columns * pixel_size / size))
    values = fourier_crop(-values if not options.white else values, small)
    values = (values - values.mean()) / values.std()
    spacing = rows * pixel_size / small[0], columns * pixel_size / small[1]
    measured, allowed = _inside(values, (rows, columns), filled, options.margin / pixel_size)
    return PickImage(values, measured, allowed, spacing, (rows, columns))


def filled_edges(image: Real[torch.Tensor, "rows columns"]) -> tuple[int, int, int, int]:
    """Rows and columns at each edge (top, bottom, left, right) that only repeat what is further in.

    Programs that correct motion fill in this way what the shifted frames do not cover. A filter may since have blurred
    the outermost rows.
    """
    depths: list[int] = []
    for lines in (image, image.T):
        same = (lines[1:] == lines[:-1]).float().mean(1)
        filled = same > (1 + same.median()) / 2
        reach = max(1, round(EDGE * len(lines)))
        depths += [_last(filled[:reach]), _last(filled.flip(0)[:reach])]
    return depths[0], depths[1], depths[2], depths[3]


def _last(filled: Bool[torch.Tensor, "lines"]) -> int:
    """Lines up to the last filled one, and one that they repeat."""
    found = torch.nonzero(filled)
    return int(found[-1]) + 2 if len(found) else 0


def _clean(image: Float[torch.Tensor, "rows columns"], filled: tuple[int, int, int, int]) -> torch.Tensor:
    """The image less its mean, with what is around them in place of outliers, and filled edges at the mean."""
    rows, columns = image.shape
    top, bottom, left, right = filled
    part = image[top : rows - bottom, left : columns - right]
    mean, spread = part.mean(), part.std()
    if not torch.isfinite(spread):
        raise InputError(
            "the micrograph has values that are no numbers", got=f"{int((~torch.isfinite(image)).sum())} pixels"
        )
    if spread == 0:
        raise InputError("the micrograph is flat", got=f"{float(mean):g} everywhere", mend="exclude it")
    result = torch.zeros_like(image)
    inner = part - mean
    around = torch.nn.functional.avg_pool2d(inner[None], 5, 1, 2, count_include_pad=False)[0]
    result[top : rows - bottom, left : columns - right] = torch.where(
        (inner - around).abs() < OUTLIER * spread, inner, around
    )
    return result


def _inside(
    values: Float[torch.Tensor, "rows columns"],
    shape: tuple[int, int],
    filled: tuple[int, int, int, int],
    margin: float,
) -> tuple[tuple[slice, slice], Bool[torch.Tensor, "rows columns"]]:
    """The part of a binned image that is not filled, and where centres may lie: `margin` px inside."""
    allowed = torch.ones_like(values, dtype=torch.bool)
    parts: list[slice] = []
    for axis, (old, new) in enumerate(zip(shape, values.shape, strict=True)):
        first, last = filled[2 * axis], old - 1 - filled[2 * axis + 1]
        place = (np.arange(new) - new // 2) * old / new + old // 2
        parts.append(slice(int(np.searchsorted(place, first)), int(np.searchsorted(place, last, side="right"))))
        inner = torch.from_numpy((place >= first + margin) & (place <= last - margin)).to(values.device)
        allowed &= inner[:, None] if axis == 0 else inner[None]
    return (parts[0], parts[1]), allowed
