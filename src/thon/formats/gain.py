"""Gain and dark references of detectors: MRC, TIFF, `.gain` (which is one of the two) and DM4.

Rows come bottom first, as those of every image in the house: MRC as it is stored, TIFF and DM4 turned over
(docs/decisions/0005-tiff-rows.md). RELION and IMOD turn TIFF over as well, so what fits there fits here unturned; for
TIFF movies with an MRC gain other programs (MotionCor2, cisTEM) may need a flip that is not needed here. A gain in MRC
that was made from DM4 without turning it over needs `flip_gain` up-down; the test of orientation says so.

Whether values multiply (K2, K3) or divide (EER's `.gain`) is not in the file: see `thon.algorithms.detector`.
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


def read_dark(path: str | os.PathLike[str]) -> Float32[np.ndarray, "rows columns"]:
    """A dark reference: what one raw frame shows without a beam.

    Raises:
        InputError: If the file is missing, is of no format that thon reads, holds several images, NaN or infinities.
        FormatError: If its bytes are not what its format says.
    """
    return _read_reference(path, "a dark reference")


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
    values = np.ascontiguousarray(image, np.float32)
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{what} has finite values only", path=path, got=f"{bad} NaN or infinite pixels")
    return values
