"""One door to stacks of images and volumes, whatever their format.

`open_images` looks at the first bytes of a file, `write_images` at the suffix of its name. Every reader gives the same
house convention: axes (z, y, x) or (image, y, x), the first row is the bottom of the picture, pixel sizes in Å.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.formats.image_stack import ImageStack

__all__ = ["ImageStack", "open_images", "write_images"]

MRC_SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".preali", ".rec", ".map", ".ccp4")
HDF5_SUFFIXES = (".hdf", ".h5", ".hdf5")
TIFF_SUFFIXES = (".tif", ".tiff")


def open_images(path: str | os.PathLike[str]) -> ImageStack:
    """Open MRC (also gzip and bzip2), EMAN2 HDF5 or TIFF, told apart by their first bytes.

    Raises:
        InputError: If the file is missing, is not a file, or is none of these formats.
        FormatError: If its bytes are not what its format says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(216)
    except OSError as error:
        raise InputError("cannot be read", path=path, got=error.strerror, expected="an image file") from error
    module, opener = _reader(path, start)
    return cast(ImageStack, getattr(importlib.import_module(module), opener)(path))


def _reader(path: Path, start: bytes) -> tuple[str, str]:
    # Readers are imported when they are needed: h5py and tifffile take a noticeable part of a second.
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "thon.formats.hdf5", "open_hdf5"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "thon.formats.tiff", "open_tiff"
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    if start[208:211] == b"MAP" or suffixes & set(MRC_SUFFIXES):
        return "thon.formats.mrc", "open_mrc"
    if suffixes & {*HDF5_SUFFIXES, *TIFF_SUFFIXES}:
        raise FormatError("the file is not of the format that its name says", path=path, got=start[:8])
    raise InputError("not an image format that thon reads", path=path, expected=", ".join(_known_suffixes()))


def write_images(
    path: str | os.PathLike[str],
    images: np.ndarray | ImageStack,
    pixel_size: float,
    *,
    dtype: np.dtype | type | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Write a stack or a volume in the format that the suffix of ``path`` names; whole or not at all.

    ``.mrcs`` and ``.st`` are marked as stacks of images and other MRC names as a volume; HDF5 holds a volume as one
    dataset; TIFF has a page per section.

    Args:
        path: File to write; replaced if it exists.
        images: (z, y, x), or (y, x) for one image.
        pixel_size: Å.
        dtype: Type of the stored numbers; that of the images unless said.
        labels: Lines of text for formats that keep them (MRC).

    Raises:
        InputError: If the suffix is unknown, or the values do not fit the type.
        StoreError: If the folder or the disk refuses.
    """
    suffix = Path(path).suffix.lower()
    if suffix in MRC_SUFFIXES:
        module = importlib.import_module("thon.formats.mrc")
        module.write_mrc(path, images, pixel_size, dtype=dtype, labels=labels)
    elif suffix in HDF5_SUFFIXES:
        importlib.import_module("thon.formats.hdf5").write_hdf5(path, images, pixel_size, dtype=dtype)
    elif suffix in TIFF_SUFFIXES:
        importlib.import_module("thon.formats.tiff").write_tiff(path, images, pixel_size, dtype=dtype)
    else:
        raise InputError("not an image format that thon writes", path=path, expected=", ".join(_known_suffixes()))


def _known_suffixes() -> tuple[str, ...]:
    return (*MRC_SUFFIXES, *HDF5_SUFFIXES, *TIFF_SUFFIXES)
