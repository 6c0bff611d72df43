"""AreTomo's tables beside the alignment: `_TLT.txt` (angles, order, dose) and `_CTF.txt`, as they stand in the files.

`thon.formats.aretomo_ctf` has what the second means for the house.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, filled_lines, numeric_row, read_text

_CTF_HEADER = (
    "# Columns: #1 micrograph number; #2 - defocus 1 [A]; #3 - defocus 2; #4 - azimuth of astigmatism; "
    "#5 - additional phase shift [radian]; #6 - cross correlation; "
    "#7 - spacing (in Angstroms) up to which CTF rings were fit successfully"
)
_HAND_HEADER = "; #8 - dfHand"


@dataclass(frozen=True)
class AreTomoTilts:
    """Content of a `_TLT.txt`, in the stack's order.

    Args:
        tilt: degrees.
        order: Acquisition order, from 0; as in the stack where the file does not say.
        exposure: e/Å² of each image; NaN where the file does not say.
    """

    tilt: Float[np.ndarray, "tilts"]
    order: Int[np.ndarray, "tilts"]
    exposure: Float[np.ndarray, "tilts"]


@dataclass(frozen=True)
class AreTomoCtf:
    """Content of a `_CTF.txt`, one entry per image of the stack, dark ones included.

    Args:
        image: Index in the stack, from 0.
        defocus: (images, 2), largest and smallest, Å.
        azimuth: Of the largest defocus, degrees.
        phase: Extra phase shift, rad.
        correlation: Agreement of the fit, 1.
        resolution: To which the fit is good, Å.
        hand: AreTomo's sign of the defocus handedness; 0 where the file does not say.
    """

    image: Int[np.ndarray, "images"]
    defocus: Float[np.ndarray, "images 2"]
    azimuth: Float[np.ndarray, "images"]
    phase: Float[np.ndarray, "images"]
    correlation: Float[np.ndarray, "images"]
    resolution: Float[np.ndarray, "images"]
    hand: Int[np.ndarray, "images"]


def read_tilt_table(path: PathLike) -> AreTomoTilts:
    """Read a `_TLT.txt` with one to three columns: tilt, acquisition number from 1, dose.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no such table.
    """
    table = _table(path, (1, 2, 3))
    count, columns = table.shape
    order = np.arange(count)
    if columns > 1:
        order = table[:, 1].astype(np.int64)
        order = order - order.min()
        if len(np.unique(order)) != count:
            raise FormatError("acquisition numbers occur twice", path=path)
    return AreTomoTilts(table[:, 0], order, table[:, 2] if columns > 2 else np.full(count, np.nan))


def write_tilt_table(path: PathLike, tilts: AreTomoTilts) -> None:
    """Write a `_TLT.txt`; unknown exposures become 0."""
    lines = [
        f"{tilt:8.2f} {order + 1:4d} {exposure:8.3f}"
        for tilt, order, exposure in zip(tilts.tilt, tilts.order, np.nan_to_num(tilts.exposure), strict=True)
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def read_ctf_table(path: PathLike) -> AreTomoCtf:
    """Read a `_CTF.txt` with seven columns, or eight with the hand.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no such table, or an image occurs twice.
    """
    table = _table(path, (7, 8))
    image = table[:, 0]
    if len(np.unique(image)) != len(image) or (image != np.round(image)).any() or image.min() < 1:
        raise FormatError("image numbers are not whole, or occur twice", path=path, expected="numbers from 1")
    hand = table[:, 7] if table.shape[1] > 7 else np.zeros(len(table))
    return AreTomoCtf(
        image=image.astype(np.int64) - 1,
        defocus=np.sort(table[:, 1:3], axis=1)[:, ::-1],
        azimuth=table[:, 3],
        phase=table[:, 4],
        correlation=table[:, 5],
        resolution=table[:, 6],
        hand=np.sign(hand).astype(np.int64),
    )


def write_ctf_table(path: PathLike, table: AreTomoCtf) -> None:
    """Write a `_CTF.txt` as AreTomo 3 does, the hand only where it is known."""
    columns = _CTF_HEADER + (_HAND_HEADER if table.hand.any() else "")
    lines = [columns]
    for k in range(len(table.image)):
        u, v = np.nan_to_num(table.defocus[k])
        fitted = np.nan_to_num([table.azimuth[k], table.phase[k], table.correlation[k], table.resolution[k]])
        values = fitted.round(4) + 0.0
        hand = f" {table.hand[k]:3d}" if table.hand.any() else ""
        fit = f"{values[0]:8.2f} {values[1]:8.4f} {values[2]:8.4f} {values[3]:9.4f}"
        lines.append(f"{table.image[k] + 1:4d}  {u:9.2f} {v:9.2f} {fit}{hand}")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _table(path: PathLike, allowed: tuple[int, ...]) -> Float[np.ndarray, "rows columns"]:
    """Rows of equally many numbers; lines that start with # are passed over."""
    rows: list[list[float]] = []
    for number, line in filled_lines(read_text(path)):
        if not line.startswith("#"):
            rows.append(numeric_row(line, path, number, len(rows[0]) if rows else None))
            if len(rows[0]) not in allowed:
                raise FormatError(
                    f"line {number} has the wrong number of values", path=path, got=len(rows[0]), expected=allowed
                )
    if not rows:
        raise FormatError("holds no numbers", path=path)
    return np.array(rows, np.float64)
