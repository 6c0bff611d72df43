"""EER movies (electron event representation) of Falcon cameras: TIFF pages, each a frame of compressed events.

Compression 65000 has symbols of 8 + 2 + 2 bits, also where they only skip; 65001 of 7 + 2 + 2, and 65002 those that
tags 65007 to 65009 say, both without bits for a position where there is none.
A first page that is not compressed is the camera's own sum and is passed over, as is any page of another compression.
The first page also holds metadata of the acquisition as XML (tag 65001).

Rows are not turned over, although the file is a TIFF: the stream begins with the bottom row of the picture, as RELION
and MotionCor3 have it (docs/decisions/0006-eer.md). A frame's stream may end as it likes: at the last pixel, with an
event beyond it, with padding, or with its bytes. A file that ends before a frame's bytes is refused when it is opened.

Source: Thermo Fisher's description of the format (EerReaderLib's README), Guo et al. 2020 (IUCrJ 7, 860).
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from thon.base.errors import FormatError, InputError
from thon.formats.movie_file import ExposureHint, MovieFile, Sampling
from thon.formats.tiff_directory import TiffBytes, TiffDirectory, read_directories
from thon.formats.xml_tree import parse_xml

COMPRESSIONS = (65000, 65001, 65002)
METADATA_TAG = 65001
_COLUMNS, _ROWS, _COMPRESSION = 256, 257, 259
_LARGEST_SIDE = 1 << 15
# No pixel at the specimen is larger; beyond it is the pixel of the sensor itself, of micrometres.
_LARGEST_PIXEL = 1e-7
# Compressed frames that are decoded together: more of them save little, and cost memory.
_TOGETHER, _BUFFER = 32, 1 << 25


@dataclass(frozen=True)
class EerLayout:
    """Bits of a symbol.

    Args:
        skip: For the number of pixels without an event.
        horizontal: For the position across the pixel.
        vertical: For the position along the columns.
        padded: Whether symbols that only skip have the bits for a position all the same, as compression 65000 has it.
    """

    skip: int
    horizontal: int = 2
    vertical: int = 2
    padded: bool = False

    @property
    def finest(self) -> int:
        """Samples across a pixel that the bits tell. Files with more than two bits are not known to exist, nor how
        their positions would be signed: they are read as if they told none."""
        return 1 if max(self.horizontal, self.vertical) > 2 else 1 << min(self.horizontal, self.vertical)

    @property
    def bits(self) -> tuple[int, int, int, int]:
        """Widths of an event's three parts (pixels skipped, horizontal and vertical sub-pixel) and of a mere skip."""
        whole = self.skip + self.horizontal + self.vertical
        return self.skip, self.horizontal, self.vertical, whole if self.padded else self.skip


PROTOTYPE, FALCON_4 = EerLayout(8, padded=True), EerLayout(7)
"""Symbols of compression 65000 and of 65001."""


class EerMovie(MovieFile):
    """An open EER movie.

    Args:
        path: File.
        sampling: Samples across a pixel of the sensor.

    Raises:
        InputError: If the file cannot be opened, or the file does not tell positions as fine as the sampling.
        FormatError: If it is truncated or damaged.
    """

    is_counting = True
    dtype = np.dtype(np.uint8)

    def __init__(self, path: str | os.PathLike[str], sampling: Sampling = 1) -> None:
        self._file = TiffBytes(path)
        self.path = self._file.path
        pages = read_directories(self._file)
        frames = [page for page in pages if page.number(_COMPRESSION, 1) in COMPRESSIONS]
        if not frames:
            raise FormatError("no page holds electron events", path=path, expected="compression 65000, 65001 or 65002")
        self.frames, self.sampling = len(frames), sampling
        self.physical_shape = _shape(frames[0])
        self.image_shape = (self.physical_shape[0] * sampling, self.physical_shape[1] * sampling)
        self.layout = _layout(frames[0])
        self._segments = [self._checked(page, k) for k, page in enumerate(frames)]
        self._require_plausible()
        if sampling > self.layout.finest:
            raise InputError(
                "the file does not tell so finely where in a pixel electrons hit",
                path=path,
                got=f"sampling {sampling}",
                expected=f"at most {self.layout.finest}, from {self.layout.horizontal} and {self.layout.vertical} bits",
            )
        self.metadata = _metadata(pages[0])
        self.pixel_size = _pixel_size(self.metadata, sampling)
        self.exposure_hint = _exposure_hint(self.metadata)
        self._decode = importlib.import_module("thon.formats.eer_decode").add_events

    def read_frame(self, k: int) -> np.ndarray:
        self.require(k, k + 1)
        frame = np.zeros(self.image_shape, np.uint8)
        self._add(k, k + 1, frame)
        return frame

    def add_frames(self, start: int, stop: int, out: Float32[np.ndarray, "rows columns"]) -> None:
        self.require(start, stop, out)
        for first, last in self._batches(start, stop):
            self._add(first, last, out)

    def close(self) -> None:
        self._file.close()

    def _batches(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Frames that are read and decoded together."""
        first, size = start, 0
        for k in range(start, stop):
            of_frame = int(self._segments[k][:, 1].sum())
            if k > first and (k - first == _TOGETHER or size + of_frame > _BUFFER):
                yield first, k
                first, size = k, 0
            size += of_frame
        yield first, stop

    def _add(self, start: int, stop: int, out: np.ndarray) -> int:
        """Decode some frames together; gives the number of events."""
        sizes = [int(segments[:, 1].sum()) for segments in self._segments[start:stop]]
        ends = np.cumsum([0, *sizes])
        data = np.empty(int(ends[-1]), np.uint8)
        for k, begin in zip(range(start, stop), ends.tolist(), strict=False):
            place = begin
            for at, count in self._segments[k].tolist():
                self._file.read_into(data[place : place + count], at, f"frame {k} of {self.frames}")
                place += count
        return self._decode(data, ends[:-1], ends[1:], self.layout.bits, self.physical_shape, self.sampling, out)

    def _checked(self, page: TiffDirectory, k: int) -> Int64[np.ndarray, "segments 2"]:
        """Where a frame's bytes are, if it is like the first frame and they are all there."""
        if _shape(page) != self.physical_shape or _layout(page) != self.layout:
            raise FormatError(f"frame {k} is coded in another way than the first", path=self.path, got=_layout(page))
        segments = page.segments()
        if not segments[:, 1].any():
            raise FormatError(
                f"frame {k} of {self.frames} has no bytes",
                path=self.path,
                expected="a stream of events",
                mend="copy the file again, or wait until it is written",
            )
        return segments

    def _require_plausible(self) -> None:
        """A frame's skips must be able to reach its last pixel: otherwise its size is damaged, and huge perhaps."""
        longest = max(int(segments[:, 1].sum()) for segments in self._segments)
        reach = (8 * longest // self.layout.skip + 1) << self.layout.skip
        if math.prod(self.physical_shape) > reach:
            raise FormatError(
                "the frames' bytes do not reach their last pixel",
                path=self.path,
                got=f"{longest:,} bytes",
                expected=f"more for {self.physical_shape[0]} × {self.physical_shape[1]} px",
                mend="copy the file again",
            )


def is_eer(path: str | os.PathLike[str]) -> bool:
    """Whether one of the first two pages of a TIFF file is compressed as EER.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it is not TIFF, or ends before its first page.
    """
    file = TiffBytes(path)
    try:
        return any(page.number(_COMPRESSION, 1) in COMPRESSIONS for page in read_directories(file, at_most=2))
    finally:
        file.close()


def _shape(page: TiffDirectory) -> tuple[int, int]:
    rows, columns = page.number(_ROWS, 0), page.number(_COLUMNS, 0)
    if not (0 < rows <= _LARGEST_SIDE and 0 < columns <= _LARGEST_SIDE):
        raise FormatError(
            f"page {page.page} has no size that a camera has",
            path=page.file.path,
            got=f"{rows} × {columns} px",
            expected=f"1 to {_LARGEST_SIDE}",
        )
    return rows, columns


def _layout(page: TiffDirectory) -> EerLayout:
    compression = page.number(_COMPRESSION, 1)
    if compression != 65002:
        return PROTOTYPE if compression == 65000 else FALCON_4
    layout = EerLayout(page.number(65007, 7), page.number(65008, 2), page.number(65009, 2))
    if not (1 <= layout.skip <= 16 and 0 <= layout.horizontal <= 4 and 0 <= layout.vertical <= 4):
        raise FormatError(f"page {page.page} has no symbols that EER has", path=page.file.path, got=layout)
    return layout


def _metadata(page: TiffDirectory) -> dict[str, tuple[str, str]]:
    """Value and unit of each item of the acquisition's metadata, as text."""
    content = page.content(METADATA_TAG).rstrip(b"\0 \r\n")
    if not content:
        return {}
    root = parse_xml(content, page.file.path, "EER's metadata")
    items = ((item.get("name", ""), (item.text or "").strip(), item.get("unit", "")) for item in root.iter("item"))
    return {name: (value, unit) for name, value, unit in items if name}


def _number(metadata: dict[str, tuple[str, str]], name: str) -> float | None:
    try:
        value = float(metadata[name][0])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _pixel_size(metadata: dict[str, tuple[str, str]], sampling: int) -> float | None:
    """Å; what the camera calls its pixel is in metres at the specimen, or at the sensor where nobody told it more."""
    width = _number(metadata, "sensorPixelSize.width")
    return width * 1e10 / sampling if width is not None and width < _LARGEST_PIXEL else None


def _exposure_hint(metadata: dict[str, tuple[str, str]]) -> ExposureHint:
    frames = _number(metadata, "numberOfFrames")
    return ExposureHint(
        dose=_number(metadata, "totalDose"),
        time=_number(metadata, "exposureTime"),
        camera=next((metadata[name][0] for name in ("cameraName", "serialNumber") if name in metadata), None),
        frames=None if frames is None else int(frames),
    )
