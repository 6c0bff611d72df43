"""TIFF stacks, page by page.

A TIFF begins with the top row of the picture unless its orientation tag says otherwise; the house, like MRC, begins
with the bottom row. So rows are turned over on reading and on writing, as IMOD and RELION do, and a series keeps its
hand and the sign of its tilt axis whether it comes as TIFF or MRC.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path, check_space
from thon.formats.image_stack import (
    ImageStack,
    convert_values,
    no_such_file,
    require_pixel_size,
    require_sections,
)

Compression = Literal["lzw", "deflate", "zstd"]

_WRITABLE = ("uint8", "uint16", "int16", "float32", "float16")
# Where the stored first row and first column are in the picture, by orientation tag, as what brings the bottom row to
# the front: transpose, turn rows over, turn columns over.
_ORIENTATIONS = {
    1: (False, True, False),
    2: (False, True, True),
    3: (False, False, True),
    4: (False, False, False),
    5: (True, True, False),
    6: (True, True, True),
    7: (True, False, True),
    8: (True, False, False),
}
# Å in a unit, by the names that ImageJ, OME and others write.
_UNITS = {
    "pm": 0.01,
    "a": 1.0,
    "å": 1.0,
    "\u212b": 1.0,
    "angstrom": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "um": 1e4,
    "µm": 1e4,
    "\u03bcm": 1e4,
    "micron": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "inch": 2.54e8,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
# No pixel of an electron micrograph is larger than 1 µm: beyond that the tag is a printer's 72 dots per inch.
_LARGEST_PIXEL = 1e4
# Beyond what any lossless TIFF compression reaches: a claim above it is a damaged header, not a large image.
_MAX_COMPRESSION = 1100
_BIG_TIFF = 1 << 32


class TiffStack(ImageStack):
    """An open TIFF file; use `open_tiff`.

    `orientation` is the file's tag (1: top row first); images are given bottom row first whatever it is.
    """

    def __init__(self, path: Path, file: tifffile.TiffFile) -> None:
        self.path, self._file = path, file
        self._series: Any = file.series[0]
        page: Any = file.pages[0]
        axes, shape = str(self._series.axes), tuple(self._series.shape)
        if len(shape) not in (2, 3) or not axes.endswith("YX") or min(shape) < 1:
            raise FormatError(
                "not a stack of grey images", path=path, got=f"{axes} {shape}", expected="pages of rows and columns"
            )
        if self._series.dtype is None or self._series.dtype.kind not in "iuf":
            raise FormatError("no type that images have", path=path, got=self._series.dtype)
        self.dtype = np.dtype(self._series.dtype).newbyteorder("=")
        self._refuse_bombs(math.prod(shape) * self.dtype.itemsize)
        tag = page.tags.get("Orientation")
        self.orientation = int(tag.value) if tag is not None and tag.value in _ORIENTATIONS else 1
        transposed = _ORIENTATIONS[self.orientation][0]
        rows, columns = (shape[-1], shape[-2]) if transposed else shape[-2:]
        self.shape = (1 if len(shape) == 2 else shape[0], rows, columns)
        self.pixel_size = _pixel_size(file, page)

    def image(self, k: int) -> np.ndarray:
        self.require(k)
        with _decoding(self.path):
            stored = self._page(k)
        transpose, turn_rows, turn_columns = _ORIENTATIONS[self.orientation]
        picture = stored.T if transpose else stored
        return picture[:: -1 if turn_rows else 1, :: -1 if turn_columns else 1].astype(self.dtype, order="C")

    def close(self) -> None:
        self._file.close()

    def _page(self, k: int) -> np.ndarray:
        pages = self._series.pages
        if len(pages) == len(self):
            stored = np.asarray(pages[k].asarray())
        elif self._series.dataoffset is not None:
            # ImageJ writes a stack of more than 4 GB as one page followed by the other images' bare numbers.
            shape = self._series.shape[-2:]
            size = math.prod(shape) * self.dtype.itemsize
            order = self._file.byteorder
            stored = np.fromfile(
                self.path, self.dtype.newbyteorder(order), math.prod(shape), offset=self._series.dataoffset + k * size
            ).reshape(shape)
        else:
            raise FormatError("pages are missing", path=self.path, got=len(pages), expected=len(self))
        if stored.shape != self._series.shape[-2:]:
            raise FormatError(f"page {k} has another size than the first", path=self.path, got=stored.shape)
        return stored

    def _refuse_bombs(self, size: int) -> None:
        found = self.path.stat().st_size
        compressed = self._series.dataoffset is None
        if size > found * (_MAX_COMPRESSION if compressed else 1):
            raise FormatError(
                "truncated, or its size is wrong",
                path=self.path,
                got=f"{found:,} bytes",
                expected=f"{size:,} bytes for {self._series.shape} of {self.dtype}",
                mend="copy the file again",
            )


def open_tiff(path: str | os.PathLike[str]) -> TiffStack:
    """Open a TIFF file of one or more grey images of one size.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it is not such a TIFF, or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise no_such_file(path, error) from error
    with _decoding(path):
        file = tifffile.TiffFile(path)
        try:
            return TiffStack(path, file)
        except BaseException:
            file.close()
            raise


def write_tiff(
    path: str | os.PathLike[str],
    images: np.ndarray | ImageStack,
    pixel_size: float,
    *,
    dtype: np.dtype | type | str | None = None,
    compression: Compression | None = None,
) -> None:
    """Write a stack as TIFF, a page per section, top row first (orientation 1); whole or not at all.

    Args:
        path: File to write; replaced if it exists. Files of 4 GB and more become BigTIFF.
        images: (z, y, x), or (y, x) for one image; bottom row first, as everywhere in the house.
        pixel_size: Å; stored as pixels per centimetre.
        dtype: uint8, uint16, int16, float32 or float16; unless said, that of the images, or float32 for float64.
        compression: None writes plain numbers, which every program reads.

    Raises:
        InputError: If the images cannot be written as this.
        StoreError: If the folder or the disk refuses.
    """
    sections = require_sections(images, path)
    per_centimetre = 1e8 / require_pixel_size(pixel_size, path)
    stored = np.dtype(dtype or ("float32" if sections.dtype == np.float64 else sections.dtype)).newbyteorder("=")
    if stored.name not in _WRITABLE:
        raise InputError(f"TIFF has no {stored}", path=path, expected=", ".join(_WRITABLE), mend="say which (dtype)")
    size = math.prod(sections.shape) * stored.itemsize
    if compression is None:
        check_space(Path(path).parent, size)

    def pages() -> Iterator[np.ndarray]:
        for section in sections:
            yield np.ascontiguousarray(convert_values(np.asarray(section), stored, path)[::-1])

    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=size + _BIG_TIFF // 64 > _BIG_TIFF) as file,
    ):
        file.write(
            pages(),
            shape=sections.shape,
            dtype=stored,
            photometric="minisblack",
            # tifffile's "deflate" is an old code for it that fewer programs know.
            compression="zlib" if compression == "deflate" else compression,
            resolution=(per_centimetre, per_centimetre),
            resolutionunit="CENTIMETER",
            metadata={"axes": "ZYX"},
            software="thon",
            extratags=[(274, 3, 1, 1, True)],
        )


def _pixel_size(file: tifffile.TiffFile, page: Any) -> float | None:
    """Å: from OME's description, else from the resolution tag in ImageJ's unit or in its own."""
    if file.is_ome and file.ome_metadata:
        size, unit = _ome_size(file.ome_metadata)
    else:
        ratio = page.tags.get("XResolution")
        per_unit = ratio.value[0] / ratio.value[1] if ratio is not None and ratio.value[1] else 0.0
        size = 1 / per_unit if per_unit > 0 else math.inf
        unit_tag = page.tags.get("ResolutionUnit")
        unit = _RESOLUTION_UNITS.get(int(unit_tag.value) if unit_tag is not None else 2, "")
        if file.imagej_metadata and file.imagej_metadata.get("unit"):
            unit = str(file.imagej_metadata["unit"])
    size *= _UNITS.get(_plain(unit), math.nan)
    return size if 0 < size <= _LARGEST_PIXEL else None


def _ome_size(description: str) -> tuple[float, str]:
    size = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', description)
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', description)
    return float(size.group(1)) if size else math.inf, unit.group(1) if unit else "µm"


def _plain(unit: str) -> str:
    """A unit's name without the escapes that ImageJ writes for letters beyond ASCII."""
    escaped = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code.group(1), 16)), unit)
    return escaped.strip().lower()


@contextmanager
def _decoding(path: Path) -> Generator[None]:
    """TIFF's decoders have an exception of any kind for damaged bytes: all of them mean that the file is not right."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise FormatError("not a TIFF file, or damaged", path=path, got=error, mend="copy the file again") from error
