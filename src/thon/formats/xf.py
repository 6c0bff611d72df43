"""IMOD's image transforms (`.xf`, `.tltxf`, `.prexf`, `.prexg`, `.xg`) and what they say about a tilt geometry.

A line holds A11 A12 A21 A22 DX DY: a point (x, y) of the raw image, in px from its centre, falls at A (x, y) + (DX, DY)
from the centre of the aligned image, whose y axis is the tilt axis. IMOD's centre is half the size in px counted from
the edge of the image, index n / 2 − 0.5, whereas the house's is index n // 2: the conversion carries that half pixel.
With the tilt axis φ and the magnification m of `TiltGeometry`, A = R(−φ) / m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, filled_lines, format_rows, numeric_row, read_text


@dataclass(frozen=True)
class Transforms:
    """Linear transforms of images, one per image.

    Args:
        matrix: (images, 2, 2), acts on (x, y).
        shift: (images, 2), (DX, DY), px.
        rounding: Largest rounding error of the matrices' elements, as far as the file they are from tells.
    """

    matrix: Float[np.ndarray, "images 2 2"]
    shift: Float[np.ndarray, "images 2"]
    rounding: float = 0.0

    def __len__(self) -> int:
        return len(self.matrix)

    def __call__(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "images points 2"]:
        """Points (x, y) from the raw image's centre to points from the aligned image's centre, px."""
        return np.einsum("kij,pj->kpi", self.matrix, points) + self.shift[:, None]

    def inverse(self) -> Transforms:
        """The transforms that undo these."""
        matrix = np.linalg.inv(self.matrix)
        return Transforms(matrix, -np.einsum("kij,kj->ki", matrix, self.shift))


def read_xf(path: PathLike, count: int | None = None) -> Transforms:
    """Transforms in the order of the stack.

    Args:
        path: File with six numbers per line.
        count: Number of images that they must match.

    Raises:
        FormatError: If a line is no invertible transform.
        InputError: If there are not `count` of them, or no file.
    """
    rows: list[list[float]] = []
    decimals = 0
    for number, line in filled_lines(read_text(path)):
        row = numeric_row(line, path, number, 6)
        decimals = max(decimals, *(len(word.partition(".")[2]) for word in line.replace(",", " ").split()[:4]))
        if row[0] * row[3] - row[1] * row[2] <= 1e-6:
            raise FormatError(
                f"line {number} is no transform of an image",
                path=path,
                got=f"determinant {row[0] * row[3] - row[1] * row[2]:g}",
                expected="a positive determinant (no mirror, no zero matrix)",
            )
        rows.append(row)
    if count is not None and len(rows) != count:
        raise InputError(
            "transforms and images do not match in number",
            path=path,
            got=f"{len(rows)} transforms",
            expected=f"{count} images",
            mend="give the transforms of all images of this stack",
        )
    table = np.array(rows, np.float64)
    return Transforms(table[:, :4].reshape(-1, 2, 2), table[:, 4:], rounding=0.5 * 10.0**-decimals)


def write_xf(path: PathLike, transforms: Transforms, *, precise: bool = False) -> None:
    """Write transforms as IMOD does, or with more decimals, which IMOD's free-format reading takes as well.

    Args:
        path: File to write.
        transforms: What to write.
        precise: 12 decimals in the matrix and 8 in the shift in place of IMOD's 7 and 3.
    """
    formats = ["18.12f"] * 4 + ["18.8f"] * 2 if precise else ["12.7f"] * 4 + ["12.3f"] * 2
    rows = np.concatenate([transforms.matrix.reshape(-1, 4), transforms.shift], axis=1)
    with atomic_path(path) as temporary:
        temporary.write_text(format_rows(rows, formats))


def edge_centre(image_shape: tuple[int, int]) -> Float[np.ndarray, "2"]:
    """IMOD's image centre (x, y) from the house's centre, px: −0.5 for even sizes, 0 for odd ones."""
    rows, columns = image_shape
    return np.array([(columns - 1) / 2 - columns // 2, (rows - 1) / 2 - rows // 2])


def transforms_to_geometry(
    transforms: Transforms,
    tilt: Float[np.ndarray, "tilts"],
    image_shape: tuple[int, int],
    pixel_size: float,
    *,
    x_tilt: Float[np.ndarray, "tilts"] | float = 0.0,
    axis: tuple[float, float] = (0.0, 0.0),
) -> tuple[TiltGeometry, Float[np.ndarray, "tilts"]]:
    """The tilt geometry that image transforms and angles describe.

    Args:
        transforms: Raw to aligned images.
        tilt: Tilt angles, degrees.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        x_tilt: Tilt about x in the house's sense, degrees.
        axis: Where the specimen's centre falls in the aligned images, (x, y) from their centre, px.

    Returns:
        The geometry, with the rotation and magnification closest to each matrix; and per image how far (px) a corner
        of the raw image lies from where the transform puts it, because of stretch or shear that a geometry leaves out.

    Raises:
        InputError: If angles and transforms differ in number.
    """
    if len(tilt) != len(transforms):
        raise InputError("angles and transforms do not match in number", got=len(tilt), expected=len(transforms))
    back = transforms.inverse()
    cosine = (back.matrix[:, 0, 0] + back.matrix[:, 1, 1]) / 2
    sine = (back.matrix[:, 1, 0] - back.matrix[:, 0, 1]) / 2
    # Matrices of three decimals (AreTomo's export) cannot tell a magnification from 1 that is this close to it.
    length = np.hypot(cosine, sine)
    unit = np.where(np.abs(length - 1) <= np.sqrt(2) * transforms.rounding, length, 1)
    cosine, sine = cosine / unit, sine / unit
    similarity = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    shift = edge_centre(image_shape) + np.einsum("kij,kj->ki", back.matrix, np.array(axis) - transforms.shift)
    corners = np.array([[x, y] for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * [image_shape[1], image_shape[0]]
    left_out = np.einsum("kij,pj->kpi", back.matrix - similarity, corners)
    geometry = TiltGeometry(
        tilt=np.asarray(tilt, np.float64),
        shift=shift[:, ::-1] * pixel_size,
        rotation=np.rad2deg(np.arctan2(sine, cosine)),
        x_tilt=np.asarray(x_tilt, np.float64),
        magnification=np.hypot(cosine, sine),
    )
    return geometry, np.hypot(left_out[..., 0], left_out[..., 1]).max(1)


def geometry_to_transforms(geometry: TiltGeometry, image_shape: tuple[int, int], pixel_size: float) -> Transforms:
    """The image transforms of a geometry; its angles and its local displacement are not part of them."""
    phi = np.deg2rad(geometry.rotation)
    rows = [[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]]
    matrix = np.moveaxis(np.array(rows), -1, 0) / geometry.magnification[:, None, None]
    origin = geometry.shift[:, ::-1] / pixel_size - edge_centre(image_shape)
    return Transforms(matrix, -np.einsum("kij,kj->ki", matrix, origin))
