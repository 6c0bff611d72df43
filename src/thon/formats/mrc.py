"""MRC files (.mrc, .mrcs, .st, .rec, .map): images and volumes, memory-mapped, also gzip and bzip2.

Opening a stack and taking one image out costs about 0.03 ms. Rows come in the order of the file, which MRC2014 defines
as from the bottom of the picture up. `MrcWriter` and `write_mrc` write.
"""

from __future__ import annotations

import bz2
import gzip
import mmap
import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.formats.image_stack import ImageStack, Index, expand_index, no_such_file
from thon.formats.mrc_extended import MrcExtended, MrcSections, read_sections
from thon.formats.mrc_header import HEADER_SIZE, MrcHeader, MrcStatistics, check_size, read_header
from thon.formats.mrc_writer import ByteScale, MrcWriter, write_mrc

__all__ = [
    "ByteScale",
    "MrcExtended",
    "MrcFile",
    "MrcHeader",
    "MrcSections",
    "MrcStatistics",
    "MrcWriter",
    "open_mrc",
    "open_mrc_by_size",
    "read_mrc",
    "write_mrc",
]

_BLOCK = 1 << 24


class MrcFile(ImageStack):
    """An open MRC file; use `open_mrc`.

    `header` has everything else that the file says; `shape`, `dtype` and `pixel_size` are its short forms. Images are
    read one by one and may be asked for from several threads; slabs come from a memory map.
    """

    def __init__(self, source: _Source, header: MrcHeader) -> None:
        self.path, self.header = source.path, header
        self.shape, self.dtype, self.pixel_size = header.shape, header.dtype, header.pixel_size
        self._source = source
        self._in_order = header.axes == (0, 1, 2)

    def image(self, k: int) -> np.ndarray:
        self.require(k)
        if not self._in_order:
            return self._volume[k].astype(self.dtype)
        header = self.header
        stored = np.empty((header.stored_shape[1], header.row_items), header.stored_dtype)
        self._source.read_into(stored, header.offset + k * header.section_size)
        return self._decode(stored) if header.packed else stored.astype(self.dtype, copy=False)

    def __getitem__(self, index: Index) -> Any:
        sections, rows, columns = expand_index(index)
        if self.header.packed and self._in_order:
            return self._decode(self._volume[sections])[(..., rows, columns)]
        return self._volume[sections, rows, columns].astype(self.dtype)

    @cached_property
    def _volume(self) -> np.ndarray:
        """The stored numbers, mapped and in the order z, y, x; two pixels to a byte where they are packed in order."""
        header = self.header
        sections, rows, _ = header.stored_shape
        count = sections * rows * header.row_items
        stored = np.frombuffer(self._source.content, header.stored_dtype, count, header.offset)
        stored = stored.reshape(sections, rows, header.row_items)
        if self._in_order:
            return stored
        # Packed pixels cannot be transposed in place; such a map is small and rare.
        return (self._decode(stored) if header.packed else stored).transpose(header.axes)

    @property
    def extended(self) -> MrcExtended:
        """The extended header, byte by byte."""
        data = np.empty(self.header.extended_size, np.uint8)
        self._source.read_into(data, HEADER_SIZE)
        return MrcExtended(self.header.extended_kind, data.tobytes(), self.header.extended_layout)

    @property
    def sections(self) -> MrcSections:
        """What the extended header tells about each section: tilt, pixel size, dose."""
        return read_sections(self.extended, self.header.stored_shape[0], self.header.byte_order)

    def close(self) -> None:
        vars(self).pop("_volume", None)
        self._source.close()

    def _decode(self, stored: np.ndarray) -> np.ndarray:
        """4-bit pixels: the first in the low half of a byte, the second in the high half; rows fill whole bytes."""
        pixels = np.empty((*stored.shape[:-1], stored.shape[-1] * 2), np.uint8)
        pixels[..., 0::2], pixels[..., 1::2] = stored & 15, stored >> 4
        return pixels[..., : self.header.stored_shape[2]]


def open_mrc(path: str | os.PathLike[str]) -> MrcFile:
    """Open an MRC file whose header and size agree.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it is truncated, or its header cannot be right: what it says and what was found.
    """
    source = _Source(path)
    header = read_header(source.head, source.size, path)
    check_size(header, source.size, path)
    return MrcFile(source, header)


def open_mrc_by_size(path: str | os.PathLike[str]) -> MrcFile:
    """Open an MRC file whose header counts its images wrongly: as many as the file has bytes for.

    For aborted acquisitions, and for single images whose header was copied from a larger stack.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If there is not one whole image, or the rest of the header cannot be right.
    """
    source = _Source(path)
    header = read_header(source.head, source.size, path)
    if header.axes != (0, 1, 2):
        raise FormatError("images cannot be counted in a volume whose axes are swapped", path=path)
    count = (source.size - header.offset) // header.section_size
    if count < 1:
        check_size(header.with_sections(1), source.size, path)
    return MrcFile(source, header.with_sections(count))


def read_mrc(path: str | os.PathLike[str]) -> np.ndarray:
    """All of an MRC file, (z, y, x), in memory; `open_mrc` says what is raised."""
    with open_mrc(path) as file:
        return file.asarray()


class _Source:
    """Bytes of a file, read where they are needed; those of a compressed one are kept in memory."""

    _descriptor = -1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._decompressed: bytearray | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._descriptor).st_size
            self.head = os.pread(self._descriptor, HEADER_SIZE, 0)
        except OSError as error:
            raise no_such_file(self.path, error) from error
        if self.head[:3] in (b"\x1f\x8b\x08", b"BZh"):
            self._decompressed = _decompress(self.path, self.head)
            self.head, self.size = bytes(self._decompressed[:HEADER_SIZE]), len(self._decompressed)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def content(self) -> mmap.mmap | bytearray:
        """All bytes."""
        if self._decompressed is not None:
            return self._decompressed
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)

    def read_into(self, array: np.ndarray, at: int) -> None:
        """Fill an array with the bytes from a place on."""
        view = array.reshape(-1).view(np.uint8).data
        if self._decompressed is not None:
            view[:] = self._decompressed[at : at + len(view)]
            return
        while view:
            count = os.preadv(self._descriptor, [view], at)
            if count == 0:
                raise FormatError("the file became shorter while it was read", path=self.path)
            view, at = view[count:], at + count


def _decompress(path: Path, magic: bytes) -> bytearray:
    """All that a compressed MRC file should hold, and a little more to see whether it goes on: never a bomb's worth."""
    content = bytearray()
    try:
        with bz2.BZ2File(path) if magic[:3] == b"BZh" else gzip.GzipFile(path) as stream:
            content += stream.read(HEADER_SIZE)
            limit = read_header(bytes(content), None, path).file_size + 2 * _BLOCK
            while len(content) < limit and (block := stream.read(_BLOCK)):
                content += block
    except (EOFError, zlib.error, OSError) as error:
        raise FormatError(
            "the compressed file is damaged or truncated", path=path, got=error, mend="copy the file again"
        ) from error
    except MemoryError as error:
        raise InputError("too large to decompress in memory", path=path, mend="decompress it first") from error
    return content
