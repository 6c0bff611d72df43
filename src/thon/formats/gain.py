"""Gain and dark references of detectors: MRC, TIFF, `.gain` (which is one of the two) and DM4.

Rows come bottom first, as those of every image in the house: MRC as it is stored, TIFF and DM4 turned over
(docs/decisions/0005-tiff-rows.md), but `.gain` as it is stored, like the EER movies beside which EPU writes it
(0006-eer.md). RELION does the same with all of them, so what fits there fits here unturned. A gain in MRC that was made
from DM4 without turning it over needs `flip_gain` up-down; the test of orientation says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from thon.base.errors import FormatError, InputError
from thon.formats.digital_micrograph import VERSIONS, read_dm4
from thon.formats.image_stack import no_such_file
from thon.formats.images import open_images
from thon.formats.tiff_directory import MAGIC


def read_gain(path: str | os.PathLike[str]) -> Float32[np.ndarray, "rows columns"]:
    """A gain reference; zero where the detector's maker says that a pixel is dead.

    Raises:
        InputError: If the file is missing, is of no format that thon reads, holds several images, or holds what cannot
            be a gain: NaN, infinite or negative values, or one value everywhere.
        FormatError: If its bytes are not what its format says.
    """
    gain = _read_reference(path, "a gain reference")
    if gain.min() < 0:
        raise InputError("a gain reference has no negative values", path=path, got=float(gain.min()))
    if gain.min() == gain.max():
        raise InputError(
            "the same value everywhere: this is no gain reference",
            path=path,
            got=float(gain.flat[0]),
            expected="values that differ from pixel to pixel",
            mend="give the detector's own reference, or none if the movies are corrected already",
        )
    return gain


def gain_divides(gain: str | os.PathLike[str], movie: str | os.PathLike[str]) -> bool:
    """Whether frames are divided by a gain reference: those of EER are, unless it is EPU's `.gain`."""
    return Path(movie).suffix.lower() == ".eer" and not _is_epu_gain(Path(gain))


def read_dark(path: str | os.PathLike[str]) -> Float32[np.ndarray, "rows columns"]:
    """A dark reference: what one raw frame shows without a beam.

    Raises:
        InputError: If the file is missing, is of no format that thon reads, holds several images, NaN or infinities.
        FormatError: If its bytes are not what its format says.
    """
    return _read_reference(path, "a dark reference")


def _is_epu_gain(path: Path) -> bool:
    return path.suffix.lower() == ".gain"


def _read_reference(path: str | os.PathLike[str], what: str) -> Float32[np.ndarray, "rows columns"]:
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise no_such_file(path, error) from error
    if not start:
        raise FormatError("is empty", path=path, expected=what, mend="copy the file again")
    if start in VERSIONS:
        image = read_dm4(path)
    else:
        with open_images(path) as stack:
            if len(stack) != 1:
                raise InputError(f"{what} is one image", path=path, got=f"{len(stack)} images")
            image = stack.image(0)
        if start in MAGIC and _is_epu_gain(path):
            image = image[::-1]
    values = np.ascontiguousarray(image, np.float32)
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{what} has finite values only", path=path, got=f"{bad} NaN or infinite pixels")
    return values
