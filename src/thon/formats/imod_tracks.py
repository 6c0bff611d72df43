"""What IMOD's tiltalign leaves behind: `.resid`, `*fid.xyz`, `.zfac` and `*local.xf`, as typed records.

tiltalign's own coordinates: x, y in px from the lower left edge of the image (the first pixel's centre is 0.5); z in px
from the middle, with the house's sign. A fiducial at (x, y, z) from the centre falls at (x cos θ + z sin θ, y) in the
aligned image, θ from `.tlt`, and `.tltxf` leads there from the stack that the fiducials were tracked in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError
from thon.formats.text import PathLike, filled_lines, numeric_row, numeric_table, read_text, to_integer, to_number
from thon.formats.xf import Transforms


@dataclass(frozen=True)
class Residuals:
    """Where each fiducial was seen, and how far the solution puts it from there.

    Args:
        position: (measurements, 2), (x, y) in the tracked stack, px from the image's edge.
        view: Image index, from 0.
        point: Index of the fiducial; a new one begins where the views stop rising.
        residual: (measurements, 2), (x, y) predicted minus measured, px.
    """

    position: Float[np.ndarray, "measurements 2"]
    view: Int[np.ndarray, "measurements"]
    point: Int[np.ndarray, "measurements"]
    residual: Float[np.ndarray, "measurements 2"]


@dataclass(frozen=True)
class FiducialPoints:
    """Solved 3D positions of fiducials.

    Args:
        position: (points, 3), (x, y, z); x, y from the image's edge, px.
        contour: (points, 2), object and contour in the fiducial model, from 1.
        pixel_size: Å, if the file says.
        image_shape: (rows, columns) of the tracked stack, px, if the file says.
    """

    position: Float[np.ndarray, "points 3"]
    contour: Int[np.ndarray, "points 2"]
    pixel_size: float | None
    image_shape: tuple[int, int] | None


@dataclass(frozen=True)
class LocalAlignments:
    """Local solutions on a grid of patches.

    Args:
        centre: (rows, columns, 2), (x, y) of each patch in the aligned image, px from its edge.
        tilt: (rows, columns, tilts), added to the tilt angle, degrees.
        x_tilt: The same for the tilt about x, degrees; None where the file holds none.
        z_factor: (rows, columns, tilts, 2), shift in (x, y) per unit of z; None where the file holds none.
        transforms: By patch, row by row: from the globally to the locally aligned image.
        pixel_size: Å; 0 where the file does not say.
    """

    centre: Float[np.ndarray, "rows columns 2"]
    tilt: Float[np.ndarray, "rows columns tilts"]
    x_tilt: Float[np.ndarray, "rows columns tilts"] | None
    z_factor: Float[np.ndarray, "rows columns tilts 2"] | None
    transforms: tuple[Transforms, ...]
    pixel_size: float


def read_residuals(path: PathLike) -> Residuals:
    """Read a `.resid` file.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no such file, or its announced count does not agree.
    """
    lines = list(filled_lines(read_text(path)))
    number, head = lines[0]
    words = head.split()
    if words[1:] != ["residuals"]:
        raise FormatError(f"line {number} does not begin a list of residuals", path=path, got=head)
    count = to_integer(words[0], path, number)
    rows = [numeric_row(line, path, at, 5) for at, line in lines[1:]]
    if len(rows) != count:
        raise FormatError("holds another number of residuals than it says", path=path, got=len(rows), expected=count)
    table = np.array(rows, np.float64).reshape(-1, 5)
    view = table[:, 2].astype(np.int64)
    if (table[:, 2] != view).any() or (view < 0).any():
        raise FormatError("has an image index that is none", path=path, got=table[:, 2].min())
    point = np.cumsum(np.diff(view, prepend=view[:1] - 1) <= 0) if len(view) else view
    return Residuals(table[:, :2], view, point, table[:, 3:])


def read_fiducials(path: PathLike) -> FiducialPoints:
    """Read a `*fid.xyz` file.

    Raises:
        InputError: If there is no such file.
        FormatError: If a line is no fiducial.
    """
    positions: list[list[float]] = []
    contours: list[list[int]] = []
    pixel_size, shape = None, None
    for number, line in filled_lines(read_text(path)):
        words = line.split()
        if len(words) < 6:
            raise FormatError(f"line {number} has too few values", path=path, got=len(words), expected=6)
        positions.append([to_number(word, path, number) for word in words[1:4]])
        contours.append([to_integer(word, path, number) for word in words[4:6]])
        if "Pix:" in words[:-1]:
            pixel_size = to_number(words[words.index("Pix:") + 1], path, number)
        if "Dim:" in words[:-2]:
            at = words.index("Dim:")
            shape = to_integer(words[at + 2], path, number), to_integer(words[at + 1], path, number)
    return FiducialPoints(np.array(positions), np.array(contours, np.int64), pixel_size, shape)


def read_z_factors(path: PathLike) -> Float[np.ndarray, "tilts 2"]:
    """Shift in (x, y) of the aligned image per unit of z, from a `.zfac` file.

    Raises:
        InputError: If there is no such file.
        FormatError: If a line does not hold two numbers.
    """
    return numeric_table(path, 2)


def read_local_alignments(path: PathLike, tilts: int) -> LocalAlignments:
    """Read a `*local.xf` file.

    Args:
        path: File to read.
        tilts: Number of images of the series.

    Raises:
        InputError: If there is no such file.
        FormatError: If it does not hold local solutions for that many images.
    """
    lines = list(filled_lines(read_text(path)))
    head = numeric_row(lines[0][1], path, lines[0][0])
    if len(head) < 6 or min(head[:2]) < 1:
        raise FormatError(f"line {lines[0][0]} does not describe a grid of patches", path=path, got=lines[0][1])
    columns, rows = int(head[0]), int(head[1])
    has_x_tilt, pixel_size, has_z_factor = ([*head[6:9], 0.0, 0.0, 0.0])[:3]
    values = [value for number, line in lines[1:] for value in numeric_row(line, path, number)]
    per_tilt = 1 + bool(has_x_tilt) + 2 * bool(has_z_factor) + 6
    if len(values) != rows * columns * tilts * per_tilt:
        raise FormatError(
            f"does not hold local solutions for {tilts} images",
            path=path,
            got=f"{len(values)} numbers",
            expected=f"{columns} × {rows} patches × {tilts} images × {per_tilt} = {rows * columns * tilts * per_tilt}",
        )
    blocks = np.array(values, np.float64).reshape(rows, columns, tilts * per_tilt)
    ends = np.cumsum([tilts, tilts * bool(has_x_tilt), 2 * tilts * bool(has_z_factor)])
    tilt, x_tilt, z_factor, xf = np.split(blocks, ends, axis=-1)
    xf = xf.reshape(-1, tilts, 6)
    grid = np.meshgrid(head[2] + head[4] * np.arange(columns), head[3] + head[5] * np.arange(rows))
    return LocalAlignments(
        centre=np.stack(grid, -1),
        tilt=tilt,
        x_tilt=x_tilt if has_x_tilt else None,
        z_factor=z_factor.reshape(rows, columns, tilts, 2) if has_z_factor else None,
        transforms=tuple(Transforms(block[:, :4].reshape(-1, 2, 2), block[:, 4:]) for block in xf),
        pixel_size=pixel_size,
    )
