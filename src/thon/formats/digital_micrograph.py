"""Images in DigitalMicrograph 4 files (.dm4), such as Gatan's gain references; the tags are read by the library dm4.

A DM4 file begins with the top row of the picture; the house begins with the bottom row, so rows are turned over.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import dm4
import numpy as np
from jaxtyping import Num

from thon.base.errors import FormatError, InputError
from thon.formats.image_stack import no_such_file

VERSIONS = {b"\0\0\0\x03": 3, b"\0\0\0\x04": 4}
"""First four bytes of a DigitalMicrograph file, and which version they mean."""

_HEADER = ">IQI"
# Type of the numbers of an array, by the code that DM4 gives it.
_TYPES = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 9: "i1", 10: "u1", 11: "i8", 12: "u8"}
_ARRAY = 20
_MARK = 4  # bytes "%%%%" before what a tag says of its data


def read_dm4(path: str | os.PathLike[str]) -> Num[np.ndarray, "rows columns"]:
    """The largest image of a DM4 file (the others are its thumbnails), bottom row first.

    Raises:
        InputError: If the file cannot be opened, or is of version 3.
        FormatError: If it is not DM4, truncated, damaged, or holds no single grey image.
    """
    path = Path(path)
    try:
        with _Counted(io.FileIO(path)) as file:
            _check_header(file, path)
            try:
                found = _largest_image(file)
            except Exception as error:
                # What the library raises on damaged tags is of any kind.
                raise FormatError("damaged DM4 file", path=path, got=error, mend="copy the file again") from error
    except OSError as error:
        raise no_such_file(path, error) from error
    if found is None:
        raise FormatError("no image of rows and columns in it", path=path, expected="a DM4 file of one grey image")
    return np.ascontiguousarray(found[::-1])


class _Counted(io.BufferedReader):
    """A file no count of which exceeds its size: dm4 makes room for whatever a damaged one says, be it terabytes.

    All that it reads eight bytes at a time, for us, are counts and lengths.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size == 8 and int.from_bytes(data, "big") > os.fstat(self.fileno()).st_size:
            raise EOFError(f"a count of {int.from_bytes(data, 'big')} in it")
        return data


def _check_header(file: BinaryIO, path: Path) -> None:
    size = os.fstat(file.fileno()).st_size
    head = file.read(struct.calcsize(_HEADER))
    if VERSIONS.get(head[:4]) == 3:
        raise InputError("DM3 is not read", path=path, mend="save it as DM4, MRC or TIFF in DigitalMicrograph")
    if VERSIONS.get(head[:4]) != 4 or len(head) < struct.calcsize(_HEADER):
        raise FormatError("not a DM4 file", path=path, got=head[:4])
    _, length, little = struct.unpack(_HEADER, head)
    if little not in (0, 1):
        raise FormatError("not a DM4 file, or damaged", path=path, got=f"byte order {little}", expected="0 or 1")
    # The length leaves out the header, and in some writers' files a few bytes at the end.
    if length > size:
        raise FormatError("truncated", path=path, got=f"{size:,} bytes", expected=f"{length:,}", mend="copy it again")


def _largest_image(file: BinaryIO) -> np.ndarray | None:
    reader = dm4.DM4File(file)
    listed: Any = reader.read_directory().named_subdirs.get("ImageList")
    images = [_read_image(reader, entry.named_subdirs["ImageData"]) for entry in listed.unnamed_subdirs]
    grey = [image for image in images if image is not None]
    return max(grey, key=np.size) if grey else None


def _read_image(reader: Any, data: Any) -> np.ndarray | None:
    """One image; None where it has other than two dimensions or its pixels are no plain numbers."""
    sides = [int(reader.read_tag_data(tag)) for tag in data.named_subdirs["Dimensions"].unnamed_tags]
    shape = [side for side in sides[::-1] if side != 1]
    tag, file = data.named_tags["Data"], reader.hfile
    file.seek(tag.data_offset + _MARK)
    count = struct.unpack(">Q", file.read(8))[0]
    if len(shape) != 2 or count != 3:
        return None
    kind, code, number = struct.unpack(">3Q", file.read(24))
    if kind != _ARRAY or code not in _TYPES or number != shape[0] * shape[1]:
        return None
    dtype = np.dtype(_TYPES[code]).newbyteorder("<" if reader.header.little_endian else ">")
    if file.seek(0, os.SEEK_CUR) + number * dtype.itemsize > os.fstat(file.fileno()).st_size:
        raise EOFError(f"the file ends within an image of {shape[0]} × {shape[1]} pixels")
    return np.fromfile(file, dtype, number).reshape(shape).astype(dtype.newbyteorder("="))
