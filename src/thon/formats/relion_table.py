"""What RELION's star files share: numbers that keep their text, file names counted from the project folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.ctf import TiltCtf
from thon.formats.ctf_values import has_phase_shift, order_defocus, tilt_ctf
from thon.formats.star import StarBlock
from thon.formats.text import LARGEST, PathLike

OPTICS_LABELS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


def number_text(value: float, old: str | None = None) -> str:
    """A number as RELION writes it; one that was read and not changed keeps the text it had."""
    if old is not None and _is_close(old, value):
        return old
    return f"{round(value, 6) + 0.0:.6f}"


def row_number(path: Path, row: Mapping[str, str], *labels: str) -> float | None:
    """The first of the columns that the row has, as a number.

    Raises:
        FormatError: If it is none.
    """
    for label in labels:
        if label in row:
            try:
                value = float(row[label])
            except ValueError:
                value = math.nan
            if not abs(value) < LARGEST:
                raise FormatError(f"{label} is no number", path=path, got=row[label])
            return value
    return None


def find_named(path: Path, named: str) -> Path:
    """A file named in a star file: absolute, beside it, or from any folder above (RELION's project folder).

    Raises:
        InputError: If it is not there.
    """
    for folder in path.absolute().parents:
        if (folder / named).is_file():
            return folder / named
    raise InputError("names a file that is not there", path=path, got=named, mend="run from a complete RELION project")


def relative_name(file: str | Path, project: PathLike) -> str:
    """A file's name as counted from the project folder; a name that is relative already stays as it is."""
    given = Path(file)
    if not given.is_absolute():
        return str(file)
    try:
        return given.relative_to(Path(project).absolute()).as_posix()
    except ValueError:
        return given.as_posix()


def file_column(names: Iterable[str | None], project: PathLike) -> list[str] | None:
    """A column of file names, `None` where one is missing; no column where all are."""
    found = [None if name is None else relative_name(name, project) for name in names]
    return None if not any(found) else [name or "None" for name in found]


def file_value(text: str | None) -> str | None:
    """A file name of a row; nothing where the column is missing or says `None`."""
    return None if text is None or text == "None" or not text else text


def ctf_of_block(block: StarBlock) -> TiltCtf | None:
    """The CTF columns of a table, in its row order; nothing where it has none.

    Raises:
        FormatError: If a column holds what is no number.
    """
    if "rlnDefocusU" not in block.columns:
        return None
    nothing = np.full(len(block), np.nan)

    def numbers(*labels: str) -> Float[np.ndarray, "rows"]:
        return next((block.numbers(label) for label in labels if label in block.columns), nothing)

    second = block.numbers("rlnDefocusV") if "rlnDefocusV" in block.columns else block.numbers("rlnDefocusU")
    return tilt_ctf(
        np.stack([block.numbers("rlnDefocusU"), second], -1),
        np.nan_to_num(numbers("rlnDefocusAngle")),
        phase_shift=np.nan_to_num(numbers("rlnPhaseShift")),
        score=numbers("rlnCtfFigureOfMerit"),
        # Gctf calls it rlnFinalResolution.
        resolution=numbers("rlnCtfMaxResolution", "rlnFinalResolution"),
    )


def ctf_columns(ctf: TiltCtf, old: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The CTF's columns to write.

    Args:
        ctf: In the order of the rows, defocus known in all.
        old: The table's columns as they were read, in the same order, for texts of values that did not change.
    """
    count = len(ctf)
    columns = _defocus_columns(ctf, old)
    if "rlnPhaseShift" in old or has_phase_shift(ctf):
        columns["rlnPhaseShift"] = numbers_column("rlnPhaseShift", ctf.phase_shift, old)
    for label, values in (("rlnCtfFigureOfMerit", ctf.score), ("rlnCtfMaxResolution", ctf.resolution)):
        if np.isfinite(values).all() and count:
            columns[label] = numbers_column(label, values, old)
    return columns


def numbers_column(label: str, values: Float[np.ndarray, "rows"], old: Mapping[str, Sequence[str]]) -> list[str]:
    """Texts of a column, those that were read where the number is the same."""
    texts = old.get(label)
    return [number_text(float(value), None if texts is None else texts[k]) for k, value in enumerate(values)]


def _defocus_columns(ctf: TiltCtf, old: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """U, V, angle and astigmatism; a row that means what was read keeps its texts, also where V was the larger."""
    labels = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfAstigmatism")
    values = np.stack([ctf.defocus_u, ctf.defocus_v, ctf.angle, ctf.defocus_u - ctf.defocus_v], -1)
    texts = [[number_text(value) for value in row] for row in values.tolist()]
    if all(label in old for label in labels[:3]):
        before = np.array([[float(text) for text in old[label]] for label in labels[:3]])
        same = np.isclose(np.stack(order_defocus(*before), -1), values[:, :3], rtol=1e-12, atol=1e-9).all(1)
        for k in np.flatnonzero(same).tolist():
            texts[k] = [old[label][k] if label in old else text for label, text in zip(labels, texts[k], strict=True)]
    return {label: [row[i] for row in texts] for i, label in enumerate(labels)}


def _is_close(text: str, value: float) -> bool:
    try:
        return abs(float(text) - value) <= 1e-9 * max(1.0, abs(value))
    except ValueError:
        return False
