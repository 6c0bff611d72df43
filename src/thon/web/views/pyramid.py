"""A large image at factors of two, as a viewer zooms.

Level 0 is the image itself, level k the means of blocks of 2ᵏ pixels. The finest two are read from the file when they
are asked for; the coarser ones are made once and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from thon.formats.image_stack import ImageStack
from thon.web.faults import AbsentError
from thon.web.views.cache import Cache
from thon.web.views.open_files import opened, stamp_of
from thon.web.views.pictures import Tone, mean_blocks

TILE = 512
"""Side of a tile, px."""

FROM_FILE = 2
"""Levels that are read from the file."""

STRIP = 512
"""Rows that are read at once to make the coarser levels."""

PYRAMID_BYTES = 64 << 20

Read = Callable[[slice, slice], Shaped[np.ndarray, "rows columns"]]


@dataclass(frozen=True)
class Pyramid:
    """An image at all levels; rows from the top down.

    Args:
        shape: (rows, columns) of level 0.
        read: Gives a part of level 0.
        coarse: Levels from `first` on.
        first: Level of the first of `coarse`.
        tones: Grey values by level.
    """

    shape: tuple[int, int]
    read: Read
    coarse: tuple[Float[np.ndarray, "rows columns"], ...]
    first: int
    tones: dict[int, Tone] = field(default_factory=dict[int, Tone])

    @property
    def levels(self) -> int:
        """Number of levels; the last one fits into a tile."""
        return self.first + len(self.coarse)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return sum(level.nbytes for level in self.coarse)

    def region(self, level: int, rows: slice, columns: slice) -> Shaped[np.ndarray, "rows columns"]:
        """A part of a level, by its own pixels."""
        if level >= self.first:
            return self.coarse[level - self.first][rows, columns]
        factor = 2**level
        height, width = self.shape
        part = self.read(
            slice(rows.start * factor, min(rows.stop * factor, height)),
            slice(columns.start * factor, min(columns.stop * factor, width)),
        )
        return mean_blocks(part, factor)

    def tile(self, level: int, row: int, column: int) -> Shaped[np.ndarray, "rows columns"]:
        """One tile.

        Raises:
            AbsentError: There is no such tile.
        """
        if not 0 <= level < self.levels:
            raise AbsentError("there is no such level", got=level, expected=f"0 to {self.levels - 1}")
        height, width = (-(-n // 2**level) for n in self.shape)
        if not (0 <= row * TILE < height and 0 <= column * TILE < width):
            raise AbsentError("there is no such tile", got=f"row {row}, column {column}")
        return self.region(
            level,
            slice(row * TILE, min((row + 1) * TILE, height)),
            slice(column * TILE, min((column + 1) * TILE, width)),
        )

    def tone(self, level: int) -> Tone:
        """Grey values of a level, by its middle: each level has its own noise."""
        if level not in self.tones:
            height, width = (-(-n // 2**level) for n in self.shape)
            rows, columns = (slice(max(0, n // 2 - TILE), n // 2 + TILE) for n in (height, width))
            whole = level >= self.first
            self.tones[level] = Tone.of(self.coarse[level - self.first] if whole else self.region(level, rows, columns))
        return self.tones[level]


def image_pyramid(path: Path, section: int) -> Pyramid:
    """The pyramid of an image in a file.

    Raises:
        AbsentError: The file has no such section.
    """
    return _pyramids.get((stamp_of(path), section), lambda: _build(opened(path), section))


def smoothed_pyramid(path: Path, section: int, pixel_size: float, resolution: float) -> tuple[Pyramid, int]:
    """The same with everything finer than a resolution taken off, and the factor by which its pixels are larger.

    Args:
        path: File.
        section: In it.
        pixel_size: Å.
        resolution: Where a Gaussian falls to one half, Å.
    """
    whole = image_pyramid(path, section)
    wanted = resolution / 3 / pixel_size
    level = min(max(1, int(np.log2(max(wanted, 1)))), whole.levels - 1)
    key = (stamp_of(path), section, level, round(resolution, 3))
    return _pyramids.get(key, lambda: _smooth(whole, level, pixel_size * 2**level, resolution)), 2**level


_pyramids: Cache[Pyramid] = Cache(PYRAMID_BYTES, lambda pyramid: pyramid.bytes)


def _build(file: ImageStack, section: int) -> Pyramid:
    if not 0 <= section < len(file):
        raise AbsentError("there is no such section", path=file.path, got=section, expected=f"0 to {len(file) - 1}")
    height, width = file.shape[1:]

    def read(rows: slice, columns: slice) -> Any:
        return file[section, height - rows.stop : height - rows.start, columns][::-1]

    first = FROM_FILE if max(height, width) > TILE * 2 ** (FROM_FILE - 1) else 0
    factor = 2**first
    step = STRIP // factor * factor
    strips = [
        mean_blocks(read(slice(top, min(top + step, height)), slice(0, width)), factor)
        for top in range(0, height, step)
    ]
    return Pyramid((height, width), read, tuple(_halvings(np.concatenate(strips))), first)


def _smooth(whole: Pyramid, level: int, pixel_size: float, resolution: float) -> Pyramid:
    height, width = (-(-n // 2**level) for n in whole.shape)
    image = whole.region(level, slice(0, height), slice(0, width))
    image = low_pass(np.nan_to_num(np.asarray(image, np.float32)), pixel_size, resolution)
    return Pyramid((height, width), lambda rows, columns: image[rows, columns], tuple(_halvings(image)), 0)


def low_pass(
    image: Float[np.ndarray, "*stack rows columns"], pixel_size: float, resolution: float
) -> Float[np.ndarray, "*stack rows columns"]:
    """An image, or several, times a Gaussian in Fourier space that falls to one half at a resolution, Å."""
    rows, columns = image.shape[-2:]
    y, x = np.fft.fftfreq(rows, pixel_size), np.fft.rfftfreq(columns, pixel_size)
    weight = np.exp2(-(resolution**2) * (y[:, None] ** 2 + x**2)).astype(np.float32)
    spectrum = np.fft.rfft2(image) * weight
    return np.fft.irfft2(spectrum, (rows, columns)).astype(np.float32)


def _halvings(image: Float[np.ndarray, "rows columns"]) -> list[Float[np.ndarray, "rows columns"]]:
    levels = [image]
    while max(levels[-1].shape) > TILE:
        levels.append(mean_blocks(levels[-1], 2))
    return levels
