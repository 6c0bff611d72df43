"""The main header of an MRC file: 1024 bytes, MRC2014 with the habits of IMOD, SerialEM, RELION and older programs.

Source: Cheng et al. 2015 (MRC2014), CCP-EM's page of the format, and IMOD's description of its own flags.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from thon.base.errors import FormatError

HEADER_SIZE = 1024
# A disk block: what some programs pad files to.
_PADDING = 4096
_IMOD_STAMP = 1146047817
_FOUR_BIT = 101

# Type of the stored numbers by mode, without byte order. A 4-bit image has two pixels in a byte.
STORED_TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2", _FOUR_BIT: "u1"}


class MrcStatistics(NamedTuple):
    """Statistics that the header claims for its numbers; minimum above maximum: nobody computed them."""

    minimum: float
    maximum: float
    mean: float
    rms: float
    """Deviation from the mean; negative where it was not computed."""


@dataclass(frozen=True)
class MrcHeader:
    """What a header says, in the house's order: z, y, x.

    Args:
        raw: The 1024 bytes.
        byte_order: "<" or ">".
        stored_shape: (sections, rows, columns) as they follow each other in the file.
        mode: Type of the numbers, as in the MRC format.
        axes: Which of the stored axes are z, y and x; (0, 1, 2) but for some crystallographic maps.
        extended_size: Bytes of the extended header.
    """

    raw: bytes
    byte_order: str
    stored_shape: tuple[int, int, int]
    mode: int
    axes: tuple[int, int, int]
    extended_size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x), or (images, rows, columns)."""
        z, y, x = self.axes
        return self.stored_shape[z], self.stored_shape[y], self.stored_shape[x]

    @cached_property
    def stored_dtype(self) -> np.dtype:
        """Type of the numbers in the file, with their byte order."""
        if self.mode == 0 and self._bytes_are_unsigned():
            return np.dtype(np.uint8)
        return np.dtype(self.byte_order + STORED_TYPES[self.mode])

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers that a reader gives, in the machine's byte order."""
        return self.stored_dtype.newbyteorder("=")

    @property
    def packed(self) -> bool:
        """Whether a byte holds two 4-bit pixels."""
        return self.mode == _FOUR_BIT

    @cached_property
    def row_items(self) -> int:
        """Stored numbers in a row: its pixels, or bytes of two pixels each."""
        columns = self.stored_shape[2]
        return (columns + 1) // 2 if self.packed else columns

    @cached_property
    def section_size(self) -> int:
        """Bytes of a section."""
        return self.stored_shape[1] * self.row_items * self.stored_dtype.itemsize

    @property
    def offset(self) -> int:
        """Where the images begin, bytes."""
        return HEADER_SIZE + self.extended_size

    @property
    def file_size(self) -> int:
        """Size that the file should have, bytes."""
        return self.offset + self.stored_shape[0] * self.section_size

    @property
    def voxel_size(self) -> tuple[float, float, float] | None:
        """(z, y, x), Å; None unless the header has a positive one for each axis."""
        z, y, x = (self._spacing(k) for k in (2, 1, 0))
        return None if z is None or y is None or x is None else (z, y, x)

    @property
    def pixel_size(self) -> float | None:
        """Along x, Å; None where the header has none. 1.0 is often written by programs that do not know it."""
        return self._spacing(0)

    @property
    def start(self) -> tuple[int, int, int]:
        """Grid position (z, y, x) of the first voxel, voxels."""
        stored = self._read("3i", 16)[::-1]
        z, y, x = self.axes
        return stored[z], stored[y], stored[x]

    @property
    def origin(self) -> tuple[float, float, float]:
        """The header's origin field (z, y, x), Å, with the sign of MRC2014: where the first voxel is."""
        flags = self.imod_flags
        # IMOD's own convention is the opposite; bit 4 says that the file follows MRC2014 nevertheless.
        sign = -1.0 if flags is not None and not flags & 4 else 1.0
        x, y, z = (sign * value + 0.0 if math.isfinite(value) else 0.0 for value in self._read("3f", 196))
        return z, y, x

    @property
    def first_voxel(self) -> tuple[float, float, float]:
        """Position (z, y, x) of the first voxel, Å: the origin field, or where that is zero the start in the grid."""
        origin, voxel = self.origin, self.voxel_size
        if any(origin) or voxel is None:
            return origin
        z, y, x = (start * size for start, size in zip(self.start, voxel, strict=True))
        return z, y, x

    @property
    def statistics(self) -> MrcStatistics:
        """Minimum, maximum, mean and deviation, as written."""
        return MrcStatistics(*self._read("3f", 76), *self._read("f", 216))

    @property
    def space_group(self) -> int:
        """0 for images, 1 and up for a volume, 401 and up for a stack of volumes."""
        return self._read("i", 88)[0]

    @property
    def is_volume(self) -> bool:
        """Whether the header says volume, not stack of images. Many programs write either for both."""
        return self.space_group > 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Lines of text."""
        count = min(max(self._read("i", 220)[0], 0), 10)
        lines = (self.raw[224 + 80 * k : 304 + 80 * k] for k in range(count))
        return tuple(line.split(b"\0")[0].decode("latin-1").rstrip() for line in lines)

    @property
    def extended_kind(self) -> str:
        """Four letters that name the layout of the extended header, or empty."""
        return self.raw[104:108].decode("latin-1").strip("\0 ")

    @property
    def extended_layout(self) -> tuple[int, int]:
        """Two numbers that describe an extended header further; see `MrcExtended`."""
        first, second = self._read("2h", 128)
        return first, second

    @property
    def imod_flags(self) -> int | None:
        """IMOD's flags, or None where the file is not stamped as IMOD's."""
        stamp, flags = self._read("2i", 152)
        return flags if stamp == _IMOD_STAMP else None

    def with_sections(self, count: int) -> MrcHeader:
        """The same header for another number of sections."""
        return replace(self, stored_shape=(count, *self.stored_shape[1:]))

    def _spacing(self, axis: int) -> float | None:
        cell, intervals = self._read("f", 40 + 4 * axis)[0], self._read("i", 28 + 4 * axis)[0]
        return cell / intervals if intervals > 0 and math.isfinite(cell) and cell > 0 else None

    def _bytes_are_unsigned(self) -> bool:
        flags = self.imod_flags
        if flags is not None:
            return not flags & 1
        # MRC2014 says signed. Older files of unsigned bytes betray themselves by a maximum that no signed byte has.
        minimum, maximum = self._read("2f", 76)
        return minimum >= 0 and 127 < maximum <= 255

    def _read(self, kind: str, at: int) -> tuple:
        return struct.unpack_from(self.byte_order + kind, self.raw, at)


def read_header(raw: bytes, file_size: int | None, path: object) -> MrcHeader:
    """Parse a header in whichever byte order makes sense of it.

    Args:
        raw: The first bytes of the file.
        file_size: Bytes of the file, where known: it decides when both byte orders could be right.
        path: File, for messages.

    Raises:
        FormatError: If these cannot be the first bytes of an MRC file.
    """
    if len(raw) < HEADER_SIZE:
        raise FormatError(
            "too short for an MRC file", path=path, got=f"{len(raw)} bytes", expected=f"at least {HEADER_SIZE} bytes"
        )
    # The machine stamp is often wrong or missing, so it only says which order to try first.
    orders = "><" if raw[212:214] == b"\x11\x11" else "<>"
    plausible = [order for order in orders if _is_plausible(raw, order)]
    if not plausible:
        raise _nonsense(raw, orders[0], path)
    if len(plausible) == 2:
        plausible = [order for order in plausible if _has_axes(raw, order)] or plausible
    headers = [_parse(raw, order, path) for order in plausible]
    fitting = (header for header in headers if file_size is not None and header.file_size <= file_size)
    header = next(fitting, headers[0])
    if header.extended_size < 0 or (file_size is not None and header.offset > file_size):
        raise FormatError(
            "the extended header does not fit into the file",
            path=path,
            got=f"an extended header of {header.extended_size:,} bytes",
            expected=f"0 to {max((file_size or 0) - HEADER_SIZE, 0):,} bytes",
        )
    return header


def check_size(header: MrcHeader, file_size: int, path: object) -> None:
    """Refuse a file that has not the bytes its header promises.

    Raises:
        FormatError: If bytes are missing, or more follow than padding explains.
    """
    surplus = file_size - header.file_size
    if 0 <= surplus < max(1, min(_PADDING, header.section_size)):
        return
    sections, rows, columns = header.stored_shape
    whole = (file_size - header.offset) // header.section_size
    mend = "copy the file again"
    if whole > 0:
        mend += f"; if the header counts images wrongly, open_mrc_by_size takes the {whole:,} that are there"
    raise FormatError(
        "the file is truncated, or its header lies" if surplus < 0 else "the file goes on after its last image",
        path=path,
        got=f"{file_size:,} bytes",
        expected=f"{header.file_size:,} bytes for {sections} × {rows} × {columns} of mode {header.mode}",
        mend=mend,
    )


def _is_plausible(raw: bytes, order: str) -> bool:
    nx, ny, nz, mode = struct.unpack_from(order + "4i", raw)
    return min(nx, ny, nz) > 0 and mode in STORED_TYPES


def _has_axes(raw: bytes, order: str) -> bool:
    axes = struct.unpack_from(order + "3i", raw, 64)
    return sorted(axes) == [1, 2, 3] or axes == (0, 0, 0)


def _parse(raw: bytes, order: str, path: object) -> MrcHeader:
    nx, ny, nz, mode = struct.unpack_from(order + "4i", raw)
    header = MrcHeader(
        raw=raw[:HEADER_SIZE],
        byte_order=order,
        stored_shape=(nz, ny, nx),
        mode=mode,
        axes=_axes(struct.unpack_from(order + "3i", raw, 64), path),
        extended_size=struct.unpack_from(order + "i", raw, 92)[0],
    )
    if mode == 0 and (header.imod_flags or 0) & 16:
        raise FormatError(
            "4-bit pixels packed into mode 0",
            path=path,
            expected="mode 101",
            mend="convert it with the program it is from",
        )
    return header


def _axes(column_row_section: tuple[int, ...], path: object) -> tuple[int, int, int]:
    """Stored axes (0 sections, 1 rows, 2 columns) of z, y and x from the header's 1, 2, 3 for x, y, z."""
    if column_row_section in ((1, 2, 3), (0, 0, 0)):
        return 0, 1, 2
    if sorted(column_row_section) != [1, 2, 3]:
        raise FormatError(
            "the header's order of axes makes no sense",
            path=path,
            got=column_row_section,
            expected="1, 2, 3 in any order",
        )
    z, y, x = (2 - column_row_section.index(axis) for axis in (3, 2, 1))
    return z, y, x


def _nonsense(raw: bytes, order: str, path: object) -> FormatError:
    nx, ny, nz, mode = struct.unpack_from(order + "4i", raw)
    if mode not in STORED_TYPES:
        known = ", ".join(map(str, STORED_TYPES))
        return FormatError(
            "not an MRC file, or an unknown mode", path=path, got=f"mode {mode}", expected=f"one of {known}"
        )
    return FormatError("the header's size is not positive", path=path, got=f"{nx} × {ny} × {nz}", expected="at least 1")
