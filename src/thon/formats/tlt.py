"""Lists of angles, one per image: IMOD's `.tlt`, `.rawtlt` and `.xtilt`, in degrees."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, format_rows, numeric_table


def read_angles(path: PathLike, count: int | None = None) -> Float[np.ndarray, "tilts"]:
    """Angles in the order of the stack.

    Args:
        path: File with one angle per line.
        count: Number of images that they must match.

    Returns:
        Angles, degrees.

    Raises:
        FormatError: If a line is no angle.
        InputError: If there are not `count` of them, or no file.
    """
    angles = numeric_table(path, 1)[:, 0]
    wrong = np.flatnonzero(np.abs(angles) > 360)
    if len(wrong):
        raise FormatError("has a number that is no angle", path=path, got=angles[wrong[0]], expected="−360 to 360°")
    if count is not None and len(angles) != count:
        raise InputError(
            "angles and images do not match in number",
            path=path,
            got=f"{len(angles)} angles",
            expected=f"{count} images",
            mend="give the angle file that belongs to this stack, with excluded images in both or in neither",
        )
    return angles


def write_angles(path: PathLike, angles: Float[np.ndarray, "tilts"], *, decimals: int = 2) -> None:
    """Write one angle per line; IMOD itself writes two decimals and reads any number of them."""
    with atomic_path(path) as temporary:
        temporary.write_text(format_rows(np.asarray(angles, np.float64)[:, None], [f"{decimals + 6}.{decimals}f"]))


def describe_angles(angles: Float[np.ndarray, "tilts"]) -> list[str]:
    """What is unusual about a list of tilt angles, as sentences: duplicates, order, all equal, steep."""
    notes: list[str] = []
    values, counts = np.unique(np.round(angles, 2), return_counts=True)
    if len(angles) > 1 and len(values) == 1:
        return [f"All {len(angles)} tilt angles are {values[0]:g}°."]
    if (counts > 1).any():
        notes.append("Tilt angles that occur more than once: " + ", ".join(f"{v:g}°" for v in values[counts > 1]) + ".")
    steps = np.diff(angles)
    if (steps < 0).all() and len(steps):
        notes.append("Tilt angles run from high to low.")
    elif (steps < 0).any():
        notes.append("Tilt angles are not sorted.")
    if np.abs(angles).max() > 80:
        notes.append(f"A tilt angle of {angles[np.abs(angles).argmax()]:g}° is unusually steep.")
    return notes
