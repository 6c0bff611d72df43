"""The chain of directories of a TIFF or BigTIFF file, read page by page and checked against the file's size.

For movies: thousands of pages whose bytes are read where they are needed, by position, so that a file that is cut or
replaced meanwhile gives an error and never a crash, as a memory map would.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from thon.base.errors import FormatError
from thon.formats.image_stack import no_such_file

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF, little- and big-endian."""

# NumPy's name of a TIFF field type; rationals are pairs.
_TYPES = {
    1: "u1",
    2: "S1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_SIZES = {kind: np.dtype(name).itemsize * (2 if kind in (5, 10) else 1) for kind, name in _TYPES.items()}
_MOST_ENTRIES = 4096
_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES = 273, 279, 324, 325


class TiffBytes:
    """An open TIFF file as bytes by position, and its byte order; a context manager.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it does not begin as TIFF or BigTIFF.
    """

    _descriptor = -1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._descriptor).st_size
            start = os.pread(self._descriptor, 16, 0)
        except OSError as error:
            self.close()
            raise no_such_file(self.path, error) from error
        if start[:4] not in MAGIC or len(start) < 8:
            self.close()
            raise FormatError(
                "not a TIFF file, or cut in its first bytes",
                path=path,
                got=start[:8] or "an empty file",
                expected="II* or MM* and a place",
                mend="copy the file again, or wait until it is written",
            )
        self.order: Literal["<", ">"] = "<" if start[:2] == b"II" else ">"
        self.big = start[2:4] in (b"+\0", b"\0+")
        self.first = self._integer(start[8:16] if self.big else start[4:8])

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, at: int, count: int, what: str) -> bytes:
        """Bytes of a place in the file.

        Args:
            at: First byte.
            count: How many.
            what: What they are, for the message.

        Raises:
            FormatError: If the file ends before them.
        """
        if at < 0 or count < 0 or at + count > self.size:
            raise self.cut(what, at, count)
        data = os.pread(self._descriptor, count, at)
        if len(data) != count:
            raise self.cut(what, at, count)
        return data

    def read_into(self, target: np.ndarray, at: int, what: str) -> None:
        """Fill an array of bytes from a place in the file.

        Raises:
            FormatError: If the file ends before that.
        """
        view, place = target.data, at
        while view:
            count = os.preadv(self._descriptor, [view], place)
            if count == 0:
                raise self.cut(what, at, len(target))
            view, place = view[count:], place + count

    def cut(self, what: str, at: int, count: int) -> FormatError:
        """What to raise where the file ends too early."""
        size = os.fstat(self._descriptor).st_size
        return FormatError(
            f"truncated in {what}",
            path=self.path,
            got=f"{size:,} bytes",
            expected=f"at least {at + count:,} bytes",
            mend="copy the file again, or wait until it is written",
        )

    def _integer(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


@dataclass(frozen=True)
class TiffDirectory:
    """One page's directory.

    Args:
        file: Where it is from.
        page: Its number in the chain, from 0.
        entries: By tag: type of the field, number of values, and their bytes or where in the file they are.
    """

    file: TiffBytes
    page: int
    entries: dict[int, tuple[int, int, bytes | int]]

    def values(self, tag: int) -> np.ndarray:
        """A field's values; empty where the page has no such field.

        Raises:
            FormatError: If they do not fit into the file or are of no type that TIFF has.
        """
        kind, count, place = self.entries.get(tag, (1, 0, b""))
        if kind not in _TYPES:
            raise FormatError(f"tag {tag} of page {self.page} is damaged", path=self.file.path, got=f"type {kind}")
        if isinstance(place, int):
            place = self.file.read(place, _size(kind, count), f"tag {tag} of page {self.page}")
        return np.frombuffer(place, np.dtype(_TYPES[kind]).newbyteorder(self.file.order))

    def number(self, tag: int, default: int) -> int:
        """A field's first value, or the default where there is none."""
        found = self.values(tag)
        if not len(found):
            return default
        if found.dtype.kind not in "iu":
            raise FormatError(f"tag {tag} of page {self.page} is no whole number", path=self.file.path)
        return int(found[0])

    def content(self, tag: int) -> bytes:
        """A field's bytes."""
        return self.values(tag).tobytes()

    def segments(self) -> Int64[np.ndarray, "segments 2"]:
        """(first byte, number of bytes) of each strip or tile, all of them inside the file.

        Raises:
            FormatError: If there are none, or the file ends before them.
        """
        tiled = _TILE_OFFSETS in self.entries
        offsets = self.values(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
        sizes = self.values(_TILE_SIZES if tiled else _STRIP_SIZES)
        if not len(offsets) or len(offsets) != len(sizes) or offsets.dtype.kind != "u" or sizes.dtype.kind != "u":
            raise FormatError(
                f"page {self.page} does not say where its pixels are",
                path=self.file.path,
                got=f"{len(offsets)} offsets and {len(sizes)} sizes",
                mend="copy the file again, or wait until it is written",
            )
        # Clipped, so that no sum of two overflows.
        ends = np.minimum(offsets, np.uint64(1 << 62)) + np.minimum(sizes, np.uint64(1 << 62))
        last = int(np.argmax(ends))
        if int(ends[last]) > self.file.size:
            raise self.file.cut(f"page {self.page}", int(offsets[last]), int(sizes[last]))
        return np.stack([offsets, sizes], axis=1).astype(np.int64)


def read_directories(file: TiffBytes, *, at_most: int | None = None) -> list[TiffDirectory]:
    """All pages of the chain, or the first few.

    Args:
        file: TIFF or BigTIFF.
        at_most: Stop after so many pages.

    Raises:
        FormatError: If there is none, the file ends within the chain, or the chain runs in a circle.
    """
    found: list[TiffDirectory] = []
    seen: set[int] = set()
    at = file.first
    while at and len(found) != at_most:
        if at in seen:
            raise FormatError(f"the directory of page {len(found)} leads back to an earlier one", path=file.path)
        seen.add(at)
        directory, at = _read_directory(file, len(found), at)
        found.append(directory)
    if not found:
        raise FormatError(
            "has no pages", path=file.path, expected="at least one", mend="wait until it is written, or copy it again"
        )
    return found


def _read_directory(file: TiffBytes, page: int, at: int) -> tuple[TiffDirectory, int]:
    """A page's directory, and where the next one is."""
    what = f"the directory of page {page}"
    head, entry, inline = (8, 20, 8) if file.big else (2, 12, 4)
    count = int.from_bytes(file.read(at, head, what), "little" if file.order == "<" else "big")
    if not 0 < count <= _MOST_ENTRIES:
        raise FormatError(
            f"{what} is damaged", path=file.path, got=f"{count} entries", expected=f"1 to {_MOST_ENTRIES}"
        )
    layout = np.dtype([("tag", "u2"), ("type", "u2"), ("count", f"u{inline}"), ("value", f"u{inline}")])
    data = file.read(at + head, count * entry + inline, what)
    entries: dict[int, tuple[int, int, bytes | int]] = {}
    table = np.frombuffer(data, layout.newbyteorder(file.order), count)
    for k, (tag, kind, number, value) in enumerate(table.tolist()):
        size, end = _size(kind, number), (k + 1) * entry
        entries[tag] = (kind, number, data[end - inline : end - inline + size] if size <= inline else value)
    following = int.from_bytes(data[-inline:], "little" if file.order == "<" else "big")
    return TiffDirectory(file, page, entries), following


def _size(kind: int, count: int) -> int:
    """Bytes of a field."""
    return count * _SIZES.get(kind, 1)
