"""Coordinates of picked particles: RELION's star files of one micrograph, EMAN's .box files, and tables with x and y.

Coordinates are (y, x) in pixels of the micrograph, y counting the rows of its file as RELION does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import read_text

SUFFIXES = (".star", ".box", ".csv", ".txt", ".coord")

_UNKNOWN = -999
"""What RELION writes where a picker does not know."""


def write_coordinates(path: Path, picks: Picks) -> None:
    """Write a coordinate file as RELION's autopicking does."""
    y, x = picks.coordinates.T
    columns = {
        "rlnCoordinateX": [f"{value:.3f}" for value in x],
        "rlnCoordinateY": [f"{value:.3f}" for value in y],
        "rlnAutopickFigureOfMerit": [f"{value:.6f}" for value in picks.score],
        "rlnClassNumber": [str(value) for value in picks.class_number],
        "rlnAnglePsi": [f"{value:.3f}" for value in picks.psi],
    }
    write_star(path, {"": StarBlock(columns=columns)})


def read_coordinates(path: Path, micrograph: CtfMicrograph, diameter: float) -> Picks:
    """Read a coordinate file of one micrograph.

    Args:
        path: .star as RELION writes; .box as EMAN does (lower corner and size of each box); any other ending is a table
            whose first two columns, or those headed X and Y, are x and y.
        micrograph: That it belongs to.
        diameter: Of the particles, Å, which such files do not tell.

    Raises:
        InputError: There is no such file.
        FormatError: It holds no coordinates, or some that are no numbers.
    """
    if path.suffix.lower() == ".star":
        return _read_star(path, micrograph, diameter)
    table = _read_table(path)
    place = table[:, :2] + (table[:, 2:4] / 2 if path.suffix.lower() == ".box" else 0)
    none = np.zeros(len(place))
    return Picks(micrograph, place[:, ::-1].copy(), none, none + diameter, none.astype(np.int64), none)


def find_coordinates(folder: Path, name: str) -> Path:
    """The coordinate file of a micrograph of that name in a folder: NAME, with or without _something, and a suffix.

    Raises:
        InputError: There is none, or more than one.
    """
    found = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and (file.stem == name or file.stem.startswith(f"{name}_"))
    ]
    if len(found) != 1:
        raise InputError(
            f"no one coordinate file of {name}",
            path=folder,
            got=", ".join(file.name for file in found) or "none",
            expected=f"{name}.star, {name}_picks.star or {name}.box",
        )
    return found[0]


def _read_star(path: Path, micrograph: CtfMicrograph, diameter: float) -> Picks:
    blocks = [block for block in read_star(path).values() if "rlnCoordinateX" in block.columns]
    if not blocks:
        raise FormatError("there are no coordinates in it", path=path, expected="a column rlnCoordinateX")
    block = blocks[0]

    def column(label: str) -> Float[np.ndarray, "n"]:
        values = block.numbers(label) if label in block.columns else np.zeros(len(block))
        return np.where(values == _UNKNOWN, 0.0, values)

    place = np.stack([block.numbers("rlnCoordinateY"), block.numbers("rlnCoordinateX")], -1)
    score, number, psi = (column(label) for label in ("rlnAutopickFigureOfMerit", "rlnClassNumber", "rlnAnglePsi"))
    return Picks(micrograph, place, score, np.full(len(block), diameter), number.astype(np.int64), psi)


def _read_table(path: Path) -> Float[np.ndarray, "n columns"]:
    lines = [line.replace(",", " ").replace(";", " ").split() for line in read_text(path).splitlines()]
    lines = [words for words in lines if words and not words[0].startswith("#")]
    head = lines[0] if lines and not _is_number(lines[0][0]) else []
    try:
        table = np.array(lines[1:] if head else lines, float).reshape(-1, len(lines[-1]) if lines else 2)
    except ValueError as error:
        raise FormatError("not a table of numbers", path=path, got=str(error)) from error
    if table.shape[1] < (4 if path.suffix.lower() == ".box" else 2):
        raise FormatError("there are too few columns", path=path, got=table.shape[1])
    first = [word.lower()[:1] for word in head]
    if "x" in first and "y" in first:
        order: Sequence[int] = (first.index("x"), first.index("y"))
        return table[:, order]
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
