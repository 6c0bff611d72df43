"""Lists and maps of a detector's defects: MotionCor's rectangles, SerialEM's text, an image.

All give one map of the frames as the house has them, bottom row first. MotionCor's ``x y w h`` count columns from the
left and rows from the bottom, from 0, as 3dmod and RELION show a frame. SerialEM's text counts rows from the top, as
cameras do, and says by `CameraSizeX` and `CameraSizeY` which grid it means, so that it can be brought to
super-resolution frames and back.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from thon.base.errors import FormatError, InputError
from thon.formats.images import open_images
from thon.formats.text import filled_lines, numeric_row, read_text, to_integer

PathLike = str | os.PathLike[str]

_WHOLE_LINES = {"badcolumns": 1, "badrows": 0}
_PARTS = {"partialbadcolumn": 1, "partialbadrow": 0}
_SETTINGS = {
    "camerasizex", "camerasizey", "rotationandflip", "wasscaled", "k2type", "falcontype", "numtoavgsuperres",
    "usablearea",
}  # fmt: skip
_KEYS = {"badpixels", *_WHOLE_LINES, *_PARTS, *_SETTINGS}


def read_defects(path: PathLike, shape: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Map of a detector's defects, true where a pixel is bad.

    Args:
        path: MotionCor text (rows of ``x y w h``), SerialEM text (``BadColumns`` ...), or an image in which every
            value but 0 is a defect. Which it is, is seen from its content.
        shape: (rows, columns) of the frames as they are stored. SerialEM's lists and images may be of a grid that is
            finer or coarser by a whole number; MotionCor's are in pixels of the frames, for EER of the sensor.

    Raises:
        InputError: If the file is missing, or does not fit the frames: a rectangle outside, another camera's size.
        FormatError: If it is none of these formats, or a line of it is wrong.
    """
    path = Path(path)
    if _is_text(path):
        text = read_text(path)
        first = next(line for _, line in filled_lines(text))
        if first.split()[0].lower() in _KEYS:
            return _serialem(text, shape, path)
        return _rectangles(text, shape, path)
    with open_images(path) as stack:
        if len(stack) != 1:
            raise InputError("a map of defects is one image", path=path, got=f"{len(stack)} images")
        return _fit(np.not_equal(stack.image(0), 0), shape, path)


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise InputError("cannot be read", path=path, got=error.strerror, expected="a list or map of defects") from None
    return b"\0" not in start


def _rectangles(text: str, shape: tuple[int, int], path: Path) -> Bool[np.ndarray, "rows columns"]:
    """MotionCor's rows of ``x y w h``; lines that begin with # are passed over."""
    bad = np.zeros(shape, bool)
    for number, line in filled_lines(text):
        if line.startswith("#"):
            continue
        row = numeric_row(line, path, number, 4)
        if any(value != int(value) for value in row):
            raise FormatError(f"line {number} has fractions of a pixel", path=path, got=line, expected="x y w h")
        x, y, width, height = (int(value) for value in row)
        if width < 1 or height < 1:
            raise FormatError(f"line {number} has a rectangle without pixels", path=path, got=line, expected="x y w h")
        if x < 0 or y < 0 or x + width > shape[1] or y + height > shape[0]:
            raise InputError(
                f"line {number} has a rectangle outside the frame",
                path=path,
                got=f"columns {x} to {x + width - 1}, rows {y} to {y + height - 1}",
                expected=f"within {shape[1]} columns and {shape[0]} rows",
                mend="give it in pixels of the frames as stored (super-resolution: twice the detector's)",
            )
        bad[y : y + height, x : x + width] = True
    return bad


def _serialem(text: str, shape: tuple[int, int], path: Path) -> Bool[np.ndarray, "rows columns"]:
    """SerialEM's list. `RotationAndFlip` says how the frames beside it were turned; the list is turned already."""
    entries: list[tuple[int, str, list[int]]] = []
    for number, line in filled_lines(text):
        key, *words = line.replace(",", " ").split()
        if key.lower() not in _KEYS:
            raise FormatError(f"line {number} has no key of a defect list", path=path, got=key, expected="BadColumns …")
        entries.append((number, key.lower(), [to_integer(word, path, number) for word in words]))
    grid = _camera_size(entries, shape, path)
    bad = np.zeros(grid, bool)
    for number, key, values in entries:
        for part in _slices(key, values, grid, path, number):
            _mark(bad, part, path, number)
    # The list counts from the top.
    return _fit(bad[::-1], shape, path)


def _camera_size(entries: list[tuple[int, str, list[int]]], shape: tuple[int, int], path: Path) -> tuple[int, int]:
    """Grid that the list's numbers belong to; that of the frames where it does not say."""
    said = {key: values for _, key, values in entries if key in _SETTINGS}
    for number, key, values in entries:
        if key in _SETTINGS and len(values) != (4 if key == "usablearea" else 1):
            raise FormatError(f"line {number} has the wrong number of values", path=path, got=len(values))
    rows, columns = (said.get(key, [size])[0] for key, size in zip(("camerasizey", "camerasizex"), shape, strict=True))
    if min(rows, columns) < 1:
        raise FormatError("has no camera size that can be", path=path, got=(rows, columns))
    # A list that was scaled up for super-resolution may still have the size of the physical sensor.
    reach = [v for _, key, values in entries if key not in _SETTINGS for v in values]
    scaled = said.get("wasscaled", [0])[0] > 0 and max(reach, default=0) >= max(rows, columns)
    return (2 * rows, 2 * columns) if scaled else (rows, columns)


def _slices(key: str, values: list[int], grid: tuple[int, int], path: Path, number: int) -> list[tuple[range, range]]:
    """Rows (from the top) and columns of each defect of a line."""
    every = range(grid[0]), range(grid[1])
    if key in _WHOLE_LINES:
        lines = [range(v, v + 1) for v in values]
        return [(every[0], line) if _WHOLE_LINES[key] else (line, every[1]) for line in lines]
    if key in _PARTS:
        if len(values) != 4:
            raise FormatError(
                f"line {number} has the wrong number of values",
                path=path,
                got=len(values),
                expected="first, width, start, end",
            )
        first, width, start, end = values
        across, along = range(first, first + width), range(start, end + 1)
        return [(along, across) if _PARTS[key] else (across, along)]
    if key == "badpixels":
        if len(values) % 2:
            raise FormatError(f"line {number} has an odd number of coordinates", path=path, got=len(values))
        return [(range(y, y + 1), range(x, x + 1)) for x, y in zip(values[::2], values[1::2], strict=True)]
    if key == "usablearea" and any(values):
        top, left, bottom, right = values
        _mark(np.zeros(grid, bool), (range(top, bottom + 1), range(left, right + 1)), path, number)
        return [
            part
            for part in (
                (range(top), every[1]),
                (range(bottom + 1, grid[0]), every[1]),
                (every[0], range(left)),
                (every[0], range(right + 1, grid[1])),
            )
            if len(part[0]) and len(part[1])
        ]
    return []


def _mark(bad: np.ndarray, part: tuple[range, range], path: Path, number: int) -> None:
    rows, columns = part
    if not len(rows) or not len(columns):
        raise FormatError(f"line {number} has a defect without pixels", path=path)
    if rows[0] < 0 or columns[0] < 0 or rows[-1] >= bad.shape[0] or columns[-1] >= bad.shape[1]:
        raise InputError(
            f"line {number} has a defect outside the camera",
            path=path,
            got=f"columns {columns[0]} to {columns[-1]}, rows {rows[0]} to {rows[-1]}",
            expected=f"within {bad.shape[1]} columns and {bad.shape[0]} rows",
            mend="take the list that was saved with these frames",
        )
    bad[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True


def _fit(bad: np.ndarray, shape: tuple[int, int], path: Path) -> Bool[np.ndarray, "rows columns"]:
    """The map on the frames' grid: repeated for finer frames, bad where any part is for coarser ones."""
    rows, columns = bad.shape
    if rows % shape[0] == 0 and columns % shape[1] == 0 and rows // shape[0] == columns // shape[1]:
        factor = rows // shape[0]
        return np.any(bad.reshape(shape[0], factor, shape[1], factor), (1, 3))
    if shape[0] % rows == 0 and shape[1] % columns == 0 and shape[0] // rows == shape[1] // columns:
        return np.repeat(np.repeat(bad, shape[0] // rows, 0), shape[1] // columns, 1)
    turned = (columns, rows) == shape
    raise InputError(
        "the defects are of another detector than the frames",
        path=path,
        got=f"{rows} rows, {columns} columns",
        expected=f"{shape[0]} rows, {shape[1]} columns, or a whole multiple or part of both",
        mend="turn it by 90° as the frames are" if turned else "take the one that was saved with these frames",
    )
