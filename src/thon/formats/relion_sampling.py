"""RELION's sampling star: how finely, how far and under which symmetry poses were searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thon.formats.relion_model import needed_number
from thon.formats.relion_table import number_text, row_number
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike


@dataclass(frozen=True, kw_only=True)
class RelionSampling:
    """How poses were searched.

    Args:
        order: Of HEALPix; a step is about 60 / 2^order degrees.
        psi_step: In-plane, degrees.
        offset_range: Å.
        offset_step: Å.
        symmetry: Name of the point group.
        dimensions: 2 or 3.
    """

    order: int
    psi_step: float
    offset_range: float
    offset_step: float
    symmetry: str = "C1"
    dimensions: int = 3

    @property
    def directions(self) -> int | None:
        """How many directions RELION samples; None for symmetries, of which it takes its own choice."""
        return 12 * 4**self.order if self.symmetry == "C1" and self.dimensions == 3 else None


def read_sampling(path: PathLike) -> RelionSampling:
    """Read a sampling star.

    Raises:
        InputError: There is no such file.
        FormatError: It is none, or a number in it is none.
    """
    path = Path(path)
    pairs = read_star(path).get("sampling_general", StarBlock()).pairs
    return RelionSampling(
        # Searches of class averages have none.
        order=round(row_number(path, pairs, "rlnHealpixOrder") or 0),
        psi_step=needed_number(path, pairs, "rlnPsiStep"),
        offset_range=needed_number(path, pairs, "rlnOffsetRange"),
        offset_step=needed_number(path, pairs, "rlnOffsetStep"),
        symmetry=pairs.get("rlnSymmetryGroup", "C1"),
        dimensions=3 if round(row_number(path, pairs, "rlnIs3DSampling") or 0) else 2,
    )


def write_sampling(path: PathLike, sampling: RelionSampling) -> None:
    """Write a sampling star; RELION finds the directions themselves."""
    numbers = {
        "rlnPsiStep": sampling.psi_step,
        "rlnOffsetRange": sampling.offset_range,
        "rlnOffsetStep": sampling.offset_step,
    }
    texts = {label: number_text(value) for label, value in numbers.items()}
    pairs = {
        "rlnIs3DSampling": str(int(sampling.dimensions == 3)),
        "rlnIs3DTranslationalSampling": "0",
        "rlnHealpixOrder": str(sampling.order),
        "rlnSymmetryGroup": sampling.symmetry,
        "rlnTiltAngleLimit": "-91.000000",
        **texts,
        "rlnHelicalOffsetStep": "-1.000000",
        "rlnSamplingPerturbInstance": "0.000000",
        "rlnSamplingPerturbFactor": "0.500000",
        "rlnHealpixOrderOriginal": str(sampling.order),
        **{f"{label}Original": text for label, text in texts.items()},
    }
    write_star(path, {"sampling_general": StarBlock(pairs)})
