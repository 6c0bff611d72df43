"""Point groups: their rotations of (z, y, x), with the axes where RELION has them.

Cn has its n-fold on z and Dn a 2-fold on x as well; T has a 3-fold on z; O its 4-folds on the axes. The icosahedral
settings have 2-folds on the axes with the front 5-folds in the yz plane (I1) or the xz plane (I2, also called I), or a
5-fold on z with the next one in the xz plane at negative (I3) or positive x (I4).
"""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator

from thon.base.errors import InputError
from thon.ops.rotation import rotation_about

VALID_NAMES = "C1, C2 … C99, D1, D2 … D99, T, O, I1, I2, I3, I4"
"""The names of point groups, for people."""

_GOLDEN = (1 + math.sqrt(5)) / 2
# Generators as (order, axis in z, y, x).
_GENERATORS: dict[str, tuple[tuple[int, tuple[float, float, float]], ...]] = {
    "T": ((3, (1, 0, 0)), (2, (1, math.sqrt(2), 0))),
    "O": ((4, (1, 0, 0)), (3, (1, 1, 1))),
    "I1": ((2, (1, 0, 0)), (5, (_GOLDEN, 1, 0))),
    "I2": ((2, (1, 0, 0)), (5, (_GOLDEN, 0, 1))),
    "I3": ((5, (1, 0, 0)), (5, (1, 0, -2))),
    "I4": ((5, (1, 0, 0)), (5, (1, 0, 2))),
}


def symmetry_name(name: str) -> str:
    """The name of a point group as thon and RELION write it; letters of either case are understood, I means I2.

    Raises:
        InputError: There is no such point group.
    """
    plain = name.strip().upper()
    plain = "I2" if plain == "I" else plain
    if plain in _GENERATORS or re.fullmatch("[CD][1-9][0-9]?", plain):
        return plain
    raise InputError("there is no such point group", got=repr(name), expected=VALID_NAMES)


def symmetry_rotations(name: str) -> Float[np.ndarray, "n 3 3"]:
    """All rotations of a point group, active on (z, y, x), identity first.

    Raises:
        InputError: There is no such point group.
    """
    return _closure(symmetry_name(name)).copy()


def angular_distance(
    first: Float[np.ndarray, "*#n 3 3"], second: Float[np.ndarray, "*#n 3 3"], symmetry: str = "C1"
) -> Float[np.ndarray, "*n"]:
    """Angle between poses, degrees, 0 to 180: the smallest of all that the reference's symmetry makes alike.

    Args:
        first: Rotations that take the reference into the frame of the image.
        second: The same.
        symmetry: Point group of the reference.
    """
    between = np.swapaxes(second, -1, -2) @ first
    trace = np.einsum("sij,...ji->...s", symmetry_rotations(symmetry), between).max(-1)
    return np.asarray(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


PointGroup = Annotated[str, AfterValidator(symmetry_name)]
"""The name of a point group, as an option."""


@functools.cache
def _closure(name: str) -> Float[np.ndarray, "n 3 3"]:
    """Products of the generators until nothing new appears."""
    generators = [_exact(rotation_about(axis, 360 / order)) for order, axis in _generators_of(name)]
    found = np.eye(3)[None]
    k = 0
    while k < len(found):
        for generator in generators:
            product = _exact(generator @ found[k])
            if np.abs(found - product).max((1, 2)).min() > 1e-6:
                found = np.concatenate([found, product[None]])
        k += 1
    return found


def _generators_of(name: str) -> tuple[tuple[int, tuple[float, float, float]], ...]:
    if name in _GENERATORS:
        return _GENERATORS[name]
    about_z = ((int(name[1:]), (1.0, 0.0, 0.0)),)
    return about_z if name[0] == "C" else (*about_z, (2, (0.0, 0.0, 1.0)))


def _exact(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Entries that are 0, ±½ or ±1 but for rounding, as such: what only swaps axes then moves voxels onto voxels."""
    halves = np.round(2 * matrix) / 2
    return np.where(np.abs(matrix - halves) < 1e-12, halves, matrix)
