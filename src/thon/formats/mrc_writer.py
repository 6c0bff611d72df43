"""Write MRC files whole or not at all: at once, or in slabs of any order for what does not fit into memory."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from thon.base.errors import InputError
from thon.formats.atomic import atomic_path, check_space
from thon.formats.image_stack import (
    ImageStack,
    Index,
    convert_values,
    expand_index,
    require_pixel_size,
    require_sections,
)
from thon.formats.mrc_extended import MrcExtended
from thon.formats.mrc_header import HEADER_SIZE, MrcStatistics
from thon.formats.mrc_statistics import Box, SlabStatistics, combine, measure, overlaps

Kind = Literal["images", "volume"]

_MODES = {np.dtype(t): mode for t, mode in (("i1", 0), ("<i2", 1), ("<f4", 2), ("<u2", 6), ("<f2", 12))}
# Types that MRC2014 lacks go into the narrowest one that holds every value. Unsigned bytes exist only as a habit of
# IMOD's, which others read as signed, so they take two bytes.
_STORED_AS = {"uint8": "uint16", "bool": "int8", "float64": "float32"}
_BLOCK = 1 << 23
_IMAGE_SUFFIXES = (".mrcs", ".st", ".ali", ".preali")


@dataclass(frozen=True)
class ByteScale:
    """How real values were squeezed into bytes: value = slope · byte + offset. Written as a label of the file."""

    slope: float
    offset: float

    @classmethod
    def of(cls, values: np.ndarray | ImageStack) -> ByteScale:
        """The scale that covers the values, or six deviations around their mean where some (gold) lie further out."""
        found = combine([measure(np.asarray(section)) for section in values])
        spread = 6 * found.rms
        low, high = max(found.minimum, found.mean - spread), min(found.maximum, found.mean + spread)
        if not math.isfinite(high - low):
            raise InputError("values with NaN or infinity cannot be scaled to bytes", got=f"{low} to {high}")
        slope = (high - low) / 255 or 1.0
        return cls(slope, low + 128 * slope)

    @classmethod
    def from_label(cls, label: str) -> ByteScale | None:
        """The scale that a label of a file states, if it does."""
        words = label.split()
        if words[:4] != ["thon", "scale:", "value", "="] or len(words) != 9:
            return None
        return cls(float(words[4]), float(words[8]))

    @property
    def label(self) -> str:
        """The line that states the scale."""
        return f"thon scale: value = {self.slope:.9g} * stored + {self.offset:.9g}"

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Values as signed bytes; those out of range take the nearest one."""
        return np.clip(np.rint((values - self.offset) / self.slope), -128, 127).astype(np.int8)


class MrcWriter:
    """Write an MRC file slab by slab; it gets its name, and its statistics, when the block ends well.

    ```python
    with MrcWriter("tomogram.mrc", (256, 1024, 1000), voxel_size=10.0) as writer:
        writer[:, 0:64] = slab
    ```

    Slabs may come in any order and may be written again, but every voxel must be written once.

    Args:
        path: File to write; replaced if it exists.
        shape: (z, y, x), or (images, rows, columns).
        voxel_size: Å, one number or (z, y, x).
        dtype: float32, float16, int8, int16 or uint16; uint8, bool and float64 are stored as uint16, int8, float32.
        scale: With int8, how real values become bytes.
        origin: Position (z, y, x) of the first voxel, Å.
        kind: What the header calls it; unless said, images for .mrcs, .st, .ali and one section, else a volume.
        labels: Lines of text, at most 80 characters each.
        extended: Extended header to copy (its numbers little-endian).

    Raises:
        InputError: If the shape, type, size or values cannot be written.
        StoreError: If the folder or the disk refuses, before anything is written where that can be known.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int],
        voxel_size: float | tuple[float, float, float],
        *,
        dtype: np.dtype | type | str = np.float32,
        scale: ByteScale | None = None,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        kind: Kind | None = None,
        labels: Sequence[str] = (),
        extended: MrcExtended | None = None,
    ) -> None:
        self.path, self.dtype, self.scale = Path(path), stored_type(dtype, path), scale
        self.shape = _check_shape(shape, path)
        sizes = voxel_size if isinstance(voxel_size, tuple) else (voxel_size,) * 3
        z, y, x = (require_pixel_size(size, path) for size in sizes)
        self.voxel_size, self.origin, self.kind = (z, y, x), origin, kind or _guess_kind(self.path, self.shape)
        self.labels = (*labels, *([scale.label] if scale else []))
        self.extended = extended or MrcExtended()
        self._slabs: dict[Box, SlabStatistics] = {}
        self._exit = ExitStack()
        self._descriptor = -1

    def __enter__(self) -> Self:
        size = self._offset + math.prod(self.shape) * self.dtype.itemsize
        check_space(self.path.parent, size)
        with ExitStack() as entered:
            self._temporary = entered.enter_context(atomic_path(self.path))
            self._descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            entered.callback(os.close, self._descriptor)
            os.ftruncate(self._descriptor, size)
            self._exit = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            with self._exit:
                _write_at(self._descriptor, self._header() + self.extended.data, 0)
        else:
            self._exit.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def __setitem__(self, index: Index, values: np.ndarray) -> None:
        box = _box(expand_index(index), self.shape)
        shape = tuple(stop - start for start, stop in box)
        values = np.asarray(values)
        if values.size != math.prod(shape) or values.squeeze().shape != tuple(n for n in shape if n != 1):
            raise InputError(
                "a slab has another shape than its place", path=self.path, got=values.shape, expected=shape
            )
        self._slabs[box] = self._write_slab(values.reshape(shape), box)

    @property
    def _offset(self) -> int:
        return HEADER_SIZE + len(self.extended.data)

    def _write_slab(self, values: np.ndarray, box: Box) -> SlabStatistics:
        """Write a few sections at a time, so that conversion needs little memory."""
        (z0, _), (y0, y1), (x0, x1) = box
        _, ny, nx = self.shape
        step = max(1, _BLOCK // max(1, values[0].nbytes)) if (y0, y1, x0, x1) == (0, ny, 0, nx) else 1
        found: list[SlabStatistics] = []
        for k in range(0, len(values), step):
            block = values[k : k + step]
            stored = self.scale.to_bytes(block) if self.scale else convert_values(block, self.dtype, self.path)
            found.append(measure(stored))
            self._write_block(np.ascontiguousarray(stored, self.dtype.newbyteorder("<")), (z0 + k, y0, x0))
        return combine(found)

    def _write_block(self, block: np.ndarray, corner: tuple[int, int, int]) -> None:
        z, y, x = corner
        _, ny, nx = self.shape
        # Whole rows of one section follow each other in the file; narrower slabs go row by row.
        pieces = [block] if block.shape[2] == nx else block[0]
        for row, piece in enumerate(pieces):
            at = self._offset + (((z * ny) + y + row) * nx + x) * self.dtype.itemsize
            _write_at(self._descriptor, piece.data.cast("B"), at)

    def _header(self) -> bytes:
        nz, ny, nx = self.shape
        volume = self.kind == "volume"
        intervals = (nx, ny, nz if volume else 1)
        cell = (size * n for size, n in zip(self.voxel_size[::-1], intervals, strict=True))
        statistics = self._statistics()
        raw = bytearray(HEADER_SIZE)
        struct.pack_into("<10i", raw, 0, nx, ny, nz, _MODES[self.dtype], 0, 0, 0, *intervals)
        struct.pack_into("<6f3i", raw, 40, *cell, 90, 90, 90, 1, 2, 3)
        struct.pack_into("<3f2i", raw, 76, *statistics[:3], 1 if volume else 0, len(self.extended.data))
        struct.pack_into("<4si", raw, 104, self.extended.kind.encode("latin-1"), 20141)
        struct.pack_into("<2h", raw, 128, *self.extended.layout)
        struct.pack_into("<3f4s4sf", raw, 196, *self.origin[::-1], b"MAP ", b"DD\0\0", statistics.rms)
        lines = [label.encode("ascii", "replace")[:80] for label in ("Written by thon", *self.labels)][:10]
        struct.pack_into("<i", raw, 220, len(lines))
        for k, line in enumerate(lines):
            raw[224 + 80 * k : 304 + 80 * k] = line.ljust(80)
        return bytes(raw)

    def _statistics(self) -> MrcStatistics:
        written, total = sum(map(_volume, self._slabs)), math.prod(self.shape)
        if written < total:
            raise InputError(
                "not every voxel was written", path=self.path, got=f"{written:,} voxels", expected=f"{total:,} voxels"
            )
        if overlaps(list(self._slabs)):
            found = combine([measure(section) for section in self._stored()])
        else:
            found = combine(list(self._slabs.values()))
        if not math.isfinite(found.rms):
            # MRC2014's way to say that there are no statistics.
            return MrcStatistics(0.0, -1.0, -2.0, -1.0)
        return MrcStatistics(found.minimum, found.maximum, found.mean, found.rms)

    def _stored(self) -> np.memmap:
        return np.memmap(self._temporary, self.dtype, "r", self._offset, self.shape)


def write_mrc(
    path: str | os.PathLike[str],
    array: np.ndarray | ImageStack,
    voxel_size: float | tuple[float, float, float],
    *,
    dtype: np.dtype | type | str | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    kind: Kind | None = None,
    labels: Sequence[str] = (),
    extended: MrcExtended | None = None,
) -> None:
    """Write an MRC file, whole or not at all; `MrcWriter` explains the arguments and what is raised.

    Args:
        path: File to write.
        array: (z, y, x), or (y, x) for one image.
        voxel_size: Å.
        dtype: Type of the stored numbers, the array's unless said. Real values become int8 by a `ByteScale`, and other
            integers by rounding, if they fit.
        origin: Position (z, y, x) of the first voxel, Å.
        kind: What the header calls it.
        labels: Lines of text.
        extended: Extended header to copy.
    """
    sections = require_sections(array, path)
    stored = stored_type(sections.dtype if dtype is None else dtype, path)
    scale = ByteScale.of(sections) if stored == np.int8 and sections.dtype.kind == "f" else None
    nz, ny, nx = sections.shape
    writer = MrcWriter(
        path,
        (nz, ny, nx),
        voxel_size,
        dtype=stored,
        scale=scale,
        origin=origin,
        kind=kind,
        labels=labels,
        extended=extended,
    )
    with writer:
        if isinstance(sections, ImageStack):
            for k in range(nz):
                writer[k] = sections.image(k)
        else:
            writer[:] = sections


def stored_type(dtype: np.dtype | type | str, path: object) -> np.dtype:
    """The type in an MRC file that holds every value of another type.

    Raises:
        InputError: If there is none.
    """
    asked = np.dtype(dtype)
    stored = np.dtype(_STORED_AS.get(asked.name, asked.name)).newbyteorder("<")
    if stored not in _MODES:
        raise InputError(
            f"MRC has no {asked.name}",
            path=path,
            expected="float32, float16, int8, int16 or uint16",
            mend="say which of these to store (dtype)",
        )
    return stored


def _check_shape(shape: tuple[int, int, int], path: object) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1 or max(shape) >= 1 << 31:
        raise InputError(
            "not the shape of a stack or a volume", path=path, got=shape, expected="(z, y, x) of at least 1"
        )
    z, y, x = map(int, shape)
    return z, y, x


def _guess_kind(path: Path, shape: tuple[int, int, int]) -> Kind:
    return "images" if path.suffix.lower() in _IMAGE_SUFFIXES or shape[0] == 1 else "volume"


def _box(index: tuple[int | slice, ...], shape: tuple[int, int, int]) -> Box:
    sides: list[tuple[int, int]] = []
    for part, size in zip(index, shape, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step != 1 or start >= stop:
                raise InputError("a slab must be a block of voxels", got=part, expected=f"start:stop within 0:{size}")
            sides.append((start, stop))
        else:
            start = range(size)[part]
            sides.append((start, start + 1))
    z, y, x = sides
    return z, y, x


def _volume(box: Box) -> int:
    return math.prod(stop - start for start, stop in box)


def _write_at(descriptor: int, data: bytes | memoryview, at: int) -> None:
    """All of the data: the system may take less than it is given."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count
