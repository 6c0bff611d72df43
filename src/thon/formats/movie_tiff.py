"""TIFF movies read strip by strip or tile by tile, one frame in memory: as cameras, SerialEM, EPU and IMOD write them.

Uncompressed, LZW, deflate and zstd, 8, 16 and 32 bits, and 4 bits packed. TIFF says that of two packed pixels the first
is in the high half of the byte. SerialEM also writes bytes of two pixels each as if they were pixels, the first in the
low half, and nothing in the file tells; such frames are known by their sizes, which are those of a K2 or a K3 in
super-resolution with half the width. Rows are turned over as `thon.formats.tiff` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
from jaxtyping import Float32, Int64

from thon.base.errors import FormatError
from thon.formats.movie_file import MovieFile, holds_counts
from thon.formats.tiff_directory import TiffBytes, TiffDirectory, read_directories

HALF_WIDTH = frozenset({(7420, 3838), (7676, 3710), (8184, 5760), (11520, 4092)})
"""(rows, columns) of bytes that hold two pixels each: K2 and K3 in super-resolution, as they stand or turned by 90°."""

_COLUMNS, _ROWS, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 274, 277
_ROWS_PER_STRIP, _X_RESOLUTION, _RESOLUTION_UNIT, _PREDICTOR, _FILL_ORDER, _FORMAT = 278, 282, 296, 317, 266, 339
_TILE_COLUMNS, _TILE_ROWS = 322, 323
_NONE, _LZW, _ZSTD = 1, 5, 50000
# Most that a compression can shrink anything, and so the largest frame that a number of bytes can hold.
_MOST_SHRUNK = {_NONE: 1, _LZW: 4096, 8: 1040, 32946: 1040, _ZSTD: 1 << 16}
_MOST_PIXELS = 1 << 29
_TYPES = {
    (4, 1): "u1",
    (8, 1): "u1",
    (8, 2): "i1",
    (16, 1): "u2",
    (16, 2): "i2",
    (16, 3): "f2",
    (32, 1): "u4",
    (32, 2): "i4",
    (32, 3): "f4",
}
_PER_CENTIMETRE, _LARGEST_PIXEL = 3, 1e4


@dataclass(frozen=True)
class _Coding:
    """How the pixels of a page are stored.

    Args:
        shape: (rows, columns) as stored.
        bits: Of a pixel.
        kind: 1 unsigned, 2 signed, 3 floating.
        compression: TIFF's number.
        tile: (rows, columns) of a tile or a strip.
        orientation: TIFF's number.
        low_first: Whether the first of two packed pixels is in the low half of a byte.
    """

    shape: tuple[int, int]
    bits: int
    kind: int
    compression: int
    tile: tuple[int, int]
    orientation: int
    low_first: bool = False

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(_TYPES[self.bits, self.kind])

    @property
    def row_bytes(self) -> int:
        """Of a tile."""
        return (self.tile[1] * self.bits + 7) // 8

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across."""
        return -(-self.shape[0] // self.tile[0]), -(-self.shape[1] // self.tile[1])

    @property
    def plain_bytes(self) -> int:
        """Of a page when decompressed: strips end with the picture, tiles go on beyond it."""
        down, across = self.grid
        return (self.shape[0] if across == 1 else down * self.tile[0]) * across * self.row_bytes


class TiffMovie(MovieFile):
    """An open TIFF movie; use `thon.formats.movie_file.open_movie`."""

    def __init__(self, file: TiffBytes, pages: list[TiffDirectory], coding: _Coding) -> None:
        self._file, self._coding = file, coding
        self.path, self.frames = file.path, len(pages)
        self._segments = [self._checked(page) for page in pages]
        self.dtype = coding.dtype
        self.image_shape = _bottom_first(np.broadcast_to(np.uint8(0), coding.shape), coding.orientation).shape
        self.physical_shape = self.image_shape
        self.pixel_size = _pixel_size(pages[0])
        self.is_counting = holds_counts(self.dtype)

    def read_frame(self, k: int) -> np.ndarray:
        self.require(k, k + 1)
        frame = np.empty(self._coding.shape, self.dtype)
        self._fill(frame, k)
        return np.ascontiguousarray(_bottom_first(frame, self._coding.orientation))

    def add_frames(self, start: int, stop: int, out: Float32[np.ndarray, "rows columns"]) -> None:
        self.require(start, stop, out)
        frame = np.empty(self._coding.shape, self.dtype)
        for k in range(start, stop):
            self._fill(frame, k)
            np.add(out, _bottom_first(frame, self._coding.orientation), out=out, casting="unsafe")

    def close(self) -> None:
        self._file.close()

    def _checked(self, page: TiffDirectory) -> Int64[np.ndarray, "segments 2"]:
        """Where a page's tiles are, if it is coded like the first and its bytes can hold its pixels."""
        coding, segments = self._coding, page.segments()
        if _coding(page) != coding:
            raise FormatError(f"page {page.page} is stored in another way than the first", path=self.path)
        if len(segments) != math.prod(coding.grid):
            raise FormatError(
                f"page {page.page} has not the strips or tiles that its size needs",
                path=self.path,
                got=len(segments),
                expected=math.prod(coding.grid),
                mend="copy the file again",
            )
        stored = int(segments[:, 1].sum())
        if coding.plain_bytes > stored * _MOST_SHRUNK[coding.compression]:
            raise FormatError(
                f"page {page.page} has too few bytes for its size",
                path=self.path,
                got=f"{stored:,} bytes",
                expected=f"{coding.plain_bytes:,} bytes when decompressed",
                mend="copy the file again",
            )
        return segments

    def _fill(self, frame: np.ndarray, k: int) -> None:
        """Put a frame into an array as it is stored, first row first."""
        coding = self._coding
        rows, columns = coding.tile
        for number, data in enumerate(self._segment_bytes(k)):
            down, across = divmod(number, coding.grid[1])
            part = frame[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
            what = f"page {k}, strip or tile {number}"
            if part.shape == coding.tile and part.flags.c_contiguous and coding.bits > 4:
                self._decode(data, part.reshape(-1).view(np.uint8), part.nbytes, what)
                if not coding.dtype.newbyteorder(self._file.order).isnative:
                    part.byteswap(inplace=True)
            else:
                part[...] = self._tile(data, what, part.shape)

    def _tile(self, data: memoryview, what: str, shape: tuple[int, int]) -> np.ndarray:
        """One strip or tile, cut to what of it is in the picture."""
        coding = self._coding
        # A strip ends with the picture; a tile goes on beyond it.
        rows = coding.tile[0] if coding.grid[1] > 1 else shape[0]
        plain = np.empty((coding.tile[0], coding.row_bytes), np.uint8)
        self._decode(data, plain.reshape(-1), rows * coding.row_bytes, what)
        if coding.bits == 4:
            return _unpack(plain, coding.low_first)[: shape[0], : shape[1]]
        return plain.view(coding.dtype.newbyteorder(self._file.order))[: shape[0], : shape[1]]

    def _decode(self, data: memoryview, target: np.ndarray, needed: int, what: str) -> None:
        """Decompress a strip or tile into an array of bytes, at least those that are needed."""
        try:
            found = _decompress(data, self._coding.compression, target)
        except Exception as error:
            raise FormatError(
                f"{what} cannot be decompressed", path=self.path, got=error, mend="copy the file again"
            ) from error
        if found < needed:
            raise FormatError(
                f"{what} is too short",
                path=self.path,
                got=f"{found:,} bytes",
                expected=f"{needed:,} bytes",
                mend="copy the file again",
            )

    def _segment_bytes(self, k: int) -> Iterator[memoryview]:
        """Bytes of each strip or tile of a frame; those that lie together are read at once."""
        segments = self._segments[k]
        begin, end = int(segments[:, 0].min()), int(segments.sum(axis=1).max())
        together = end - begin <= 2 * int(segments[:, 1].sum())
        data = memoryview(self._file.read(begin, end - begin, f"page {k}")) if together else memoryview(b"")
        for number, (at, count) in enumerate(segments.tolist()):
            if together:
                yield data[at - begin : at - begin + count]
            else:
                yield memoryview(self._file.read(at, count, f"page {k}, strip or tile {number}"))


def open_plain_tiff(path: Path) -> TiffMovie | None:
    """Open a TIFF movie whose coding is one of the usual ones; None where it is another, which tifffile may know.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it is truncated or damaged.
    """
    file = TiffBytes(path)
    try:
        pages = read_directories(file)
        coding = _coding(pages[0])
        if coding is None or _goes_on(pages, coding):
            for page in pages:
                page.segments()  # Whatever the coding, a file that is cut is refused here.
            file.close()
            return None
        return TiffMovie(file, pages, coding)
    except BaseException:
        file.close()
        raise


def _coding(page: TiffDirectory) -> _Coding | None:
    """How a page is stored; None where it is not one grey image coded in a usual way."""
    rows, columns = page.number(_ROWS, 0), page.number(_COLUMNS, 0)
    bits, kind = page.number(_BITS, 1), page.number(_FORMAT, 1)
    compression = page.number(_COMPRESSION, _NONE)
    orientation = page.number(_ORIENTATION, 1)
    usual = page.number(_SAMPLES, 1) == 1 and page.number(_PREDICTOR, 1) == 1 and page.number(_FILL_ORDER, 1) == 1
    if not usual or (bits, kind) not in _TYPES or compression not in _MOST_SHRUNK:
        return None
    if rows < 1 or columns < 1 or rows * columns > _MOST_PIXELS:
        raise FormatError(f"page {page.page} has no size that a camera has", path=page.file.path, got=(rows, columns))
    tile = (page.number(_TILE_ROWS, 0), page.number(_TILE_COLUMNS, 0))
    if _TILE_ROWS not in page.entries:
        tile = (min(page.number(_ROWS_PER_STRIP, rows), rows), columns)
    if min(tile) < 1 or math.prod(tile) > _MOST_PIXELS:
        raise FormatError(f"page {page.page} has no size of tiles", path=page.file.path, got=tile)
    coding = _Coding((rows, columns), bits, kind, compression, tile, orientation if 1 <= orientation <= 8 else 1)
    return (
        _halved(coding) if (bits, kind) == (8, 1) and (rows, columns) in HALF_WIDTH and tile[1] == columns else coding
    )


def _halved(coding: _Coding) -> _Coding:
    """Bytes as SerialEM packs them, read as two pixels each."""
    (rows, columns), (tile_rows, _) = coding.shape, coding.tile
    return _Coding((rows, columns * 2), 4, 1, coding.compression, (tile_rows, columns * 2), coding.orientation, True)


def _goes_on(pages: list[TiffDirectory], coding: _Coding) -> bool:
    """Whether one page is followed by the bare numbers of other images, as ImageJ writes what exceeds 4 GB."""
    if len(pages) > 1 or coding.compression != _NONE:
        return False
    description = pages[0].content(270)
    return description.startswith(b"ImageJ=") and b"images=" in description


def _bottom_first(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A view of a picture with its bottom row first, by the tag that says where the stored first row and column are."""
    picture = stored.T if orientation > 4 else stored
    quarter = (orientation - 1) % 4
    return picture[:: -1 if quarter < 2 else 1, :: -1 if quarter in (1, 2) else 1]


def _decompress(data: memoryview, compression: int, target: np.ndarray) -> int:
    """Fill an array of bytes from a strip or tile; gives how many it held."""
    if compression == _NONE:
        found = min(len(data), len(target))
        target[:found] = np.frombuffer(data, np.uint8, found)
        return found
    decode = {_LZW: imagecodecs.lzw_decode, _ZSTD: imagecodecs.zstd_decode}.get(compression, imagecodecs.deflate_decode)
    # Their type stubs know neither views of bytes nor arrays.
    source, out = cast(Any, data), cast(Any, target)
    return len(decode(source, out=out))


def _unpack(plain: np.ndarray, low_first: bool) -> np.ndarray:
    """Two pixels from each byte."""
    pixels = np.empty((plain.shape[0], plain.shape[1] * 2), np.uint8)
    low, high = (0, 1) if low_first else (1, 0)
    np.bitwise_and(plain, 15, out=pixels[:, low::2])
    np.right_shift(plain, 4, out=pixels[:, high::2])
    return pixels


def _pixel_size(page: TiffDirectory) -> float | None:
    """Å, from the resolution tag; in inches it is a printer's unless it is far finer than any printer."""
    ratio = page.values(_X_RESOLUTION)
    if len(ratio) < 2 or not ratio[1] or not ratio[0]:
        return None
    unit = 1e8 if page.number(_RESOLUTION_UNIT, 2) == _PER_CENTIMETRE else 2.54e8
    size = unit * float(ratio[1]) / float(ratio[0])
    return size if size <= _LARGEST_PIXEL else None
