"""The columns of RELION's stars of particles, to the fields of the house's records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError
from thon.data.particles import ParticleCtf
from thon.formats.ctf_values import order_defocus
from thon.formats.relion_euler import rotation_from_euler
from thon.formats.relion_particle_rows import MANUAL_SCORE
from thon.formats.star import StarBlock

EULER = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_PLAIN = {
    "rlnClassNumber": "class_number",
    "rlnRandomSubset": "half",
    "rlnAutopickFigureOfMerit": "score",
    "rlnMaxValueProbDistribution": "probability",
    "rlnLogLikeliContribution": "likelihood",
    "rlnNrOfSignificantSamples": "significant",
    "rlnNormCorrection": "norm",
}
_CTF_DEFAULTS = (("rlnPhaseShift", 0.0), ("rlnCtfBfactor", 0.0), ("rlnCtfScalefactor", 1.0))
_COUNTS = ("class_number", "half", "significant")


@dataclass(frozen=True)
class ParticleColumns:
    """Columns as numbers; complaints name the particle.

    Args:
        path: File, for messages.
        block: The table of particles.
    """

    path: Path
    block: StarBlock

    def numbers(self, label: str, default: float | None = None) -> Float[np.ndarray, "n"] | None:
        """A column; where it is missing the default, or None.

        Raises:
            FormatError: A value is no finite number.
        """
        if label not in self.block.columns:
            return None if default is None else np.full(len(self.block), default)
        values = self.block.numbers(label)
        for k in np.flatnonzero(~np.isfinite(values))[:1].tolist():
            image = self.block.columns["rlnImageName"][k]
            raise FormatError(f"{label} of {image} is no number", path=self.path, got=self.block.columns[label][k])
        return values

    def pairs(self, first: str, second: str) -> Float[np.ndarray, "n 2"] | None:
        """Two columns side by side; None where one is missing."""
        one, two = self.numbers(first), self.numbers(second)
        return None if one is None or two is None else np.stack([one, two], -1)

    def plain(self) -> dict[str, Any]:
        """The fields that are one column each."""
        found: dict[str, Any] = {}
        for label, name in _PLAIN.items():
            values = self.numbers(label)
            if values is not None:
                found[name] = values.astype(np.int64) if name in _COUNTS else values
        if "class_number" in found:
            # What a person picked has a class of −999.
            found["class_number"] = np.maximum(found["class_number"], 0)
        if "score" in found:
            found["score"] = np.where(found["score"] == MANUAL_SCORE, np.nan, found["score"])
        if "half" in found and not np.isin(found["half"], (0, 1, 2)).all():
            raise FormatError("rlnRandomSubset names other halves than 1 and 2", path=self.path)
        return found


def read_ctf(columns: ParticleColumns) -> ParticleCtf | None:
    """CTFs, the larger defocus first; None where there are none."""
    first = columns.numbers("rlnDefocusU")
    if first is None:
        return None
    second = columns.numbers("rlnDefocusV")
    angle = columns.numbers("rlnDefocusAngle", 0.0)
    if second is None or angle is None:
        second, angle = first, np.zeros(len(first))
    rest = [columns.numbers(*entry) for entry in _CTF_DEFAULTS]
    return ParticleCtf(*order_defocus(first, second, angle), *(values for values in rest if values is not None))


def read_rotation(columns: ParticleColumns) -> Float[np.ndarray, "n 3 3"] | None:
    """Poses; an angle psi alone is a picker's guess and stays among the other columns."""
    angles = [columns.numbers(label) for label in EULER]
    known = [values for values in angles if values is not None]
    return rotation_from_euler(np.stack(known, -1)) if len(known) == len(EULER) else None


def read_shift(columns: ParticleColumns, pixel_size: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"] | None:
    """Where the particle's centre lies: minus RELION's origin, in Å or, as RELION 3.0 has it, in pixels."""
    origin = columns.pairs("rlnOriginYAngst", "rlnOriginXAngst")
    if origin is None:
        pixels = columns.pairs("rlnOriginY", "rlnOriginX")
        origin = None if pixels is None else pixels * pixel_size[:, None]
    return None if origin is None else -origin
