"""Modulation transfer functions of detectors, as RELION's star files give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError
from thon.formats.star import read_star

LABELS = ("rlnResolutionInversePixel", "rlnMtfValue")


@dataclass(frozen=True)
class Mtf:
    """What a detector keeps of the contrast at each frequency.

    Args:
        frequency: Cycles per pixel of the detector, growing.
        value: 0 to 1.
    """

    frequency: Float[np.ndarray, "n"]
    value: Float[np.ndarray, "n"]

    def at(self, frequency: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Values between the table's by straight lines; beyond its end the last one."""
        return np.interp(frequency, self.frequency, self.value)


def read_mtf(path: str | Path) -> Mtf:
    """Read a star file with the columns rlnResolutionInversePixel and rlnMtfValue.

    Raises:
        InputError: There is no such file.
        FormatError: It has no such table, or frequencies and values that no detector has.
    """
    blocks = read_star(path)
    block = next((block for block in blocks.values() if all(label in block.columns for label in LABELS)), None)
    if block is None:
        raise FormatError("is no MTF", path=path, expected=f"a loop with {' and '.join(LABELS)}")
    frequency, value = (block.numbers(label) for label in LABELS)
    if len(value) < 2 or (np.diff(frequency) <= 0).any() or frequency[0] < 0:
        raise FormatError("the frequencies of an MTF grow from zero", path=path, got=f"{len(value)} of them")
    if not ((value > 0) & (value <= 1.2)).all():
        got = f"{value.min():g} to {value.max():g}"
        raise FormatError("the values of an MTF lie between 0 and 1", path=path, got=got)
    return Mtf(frequency, value)
