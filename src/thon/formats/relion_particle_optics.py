"""The table of optics groups of RELION's particles, and what RELION 3.0 said in every particle's row instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.optics import Optics
from thon.data.particles import ParticleOptics
from thon.formats.relion_table import OPTICS_LABELS, file_value, number_text, relative_name, row_number
from thon.formats.star import StarBlock
from thon.formats.text import PathLike

MAGNIFICATION_LABELS = ("rlnMagnification", "rlnDetectorPixelSize")
"""How RELION 3.0 told the pixel size of the images: the detector's in µm, over the magnification."""

ROW_LABELS = (*OPTICS_LABELS, *MAGNIFICATION_LABELS, "rlnBeamTiltX", "rlnBeamTiltY", "rlnImagePixelSize")
"""What belongs to an optics group and stands in the particles' rows where there is no table of groups."""

_MATRIX = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
_TILT = ("rlnBeamTiltX", "rlnBeamTiltY")
_ZERNIKE = ("rlnOddZernike", "rlnEvenZernike")
_MICROGRAPH = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
_TOLERANCE = 0.01
_LEAST_DETERMINANT = 0.1


def optics_rows(
    path: Path, optics: StarBlock | None, block: StarBlock
) -> tuple[list[dict[str, str]], Int[np.ndarray, "n"]]:
    """The row of each optics group, and the group of each particle as an index of them.

    Args:
        path: File, for messages.
        optics: The table of groups; None or empty where there is none, and the particles' own rows tell.
        block: The table of particles.

    Raises:
        FormatError: A particle names a group that is not there.
    """
    if optics is None or not len(optics):
        return _rows_of_particles(block)
    rows = list(optics.rows())
    numbers = {_plain(row.get("rlnOpticsGroup", str(k))): k - 1 for k, row in enumerate(rows, 1)}
    if "rlnOpticsGroup" not in block.columns and len(rows) == 1:
        return rows, np.zeros(len(block), np.int64)
    named = [_plain(text) for text in block.columns.get("rlnOpticsGroup", ["none"] * len(block))]
    for missing in set(named) - set(numbers):
        image = block.columns["rlnImageName"][named.index(missing)]
        raise FormatError(
            f"{image} is of an optics group that is not there", path=path, got=missing, expected=", ".join(numbers)
        )
    return rows, np.array([numbers[text] for text in named], np.int64)


def read_group(path: Path, row: Mapping[str, str], number: int, pixel_size: float | None, box: int) -> ParticleOptics:
    """One optics group.

    Args:
        path: File, for messages.
        row: Its row.
        number: Of the group, from 1, for one without a name.
        pixel_size: Of its images as their files say, Å, for a row that does not.
        box: Side of its images as their files have it, px.

    Raises:
        FormatError: A value is no number, or the pixel size is nowhere.
    """
    stated = row_number(path, row, "rlnImagePixelSize") or magnified_pixel_size(path, row) or pixel_size
    if stated is None or stated <= 0:
        raise FormatError(
            f"the pixel size of optics group {number} is missing", path=path, expected="rlnImagePixelSize"
        )
    size = row_number(path, row, "rlnImageSize")
    tilt_x, tilt_y = (row_number(path, row, label) or 0.0 for label in _TILT)
    odd, even = (_vector(path, row, label) for label in _ZERNIKE)
    return ParticleOptics(
        name=row.get("rlnOpticsGroupName", f"opticsGroup{number}"),
        optics=Optics(*(row_number(path, row, label) for label in OPTICS_LABELS)),
        pixel_size=stated,
        box=box if size is None else round(size),
        micrograph_pixel_size=row_number(path, row, *_MICROGRAPH),
        beam_tilt=(tilt_y, tilt_x),
        odd_zernike=odd,
        even_zernike=even,
        magnification=_matrix(path, row),
        mtf=file_value(row.get("rlnMtfFileName")),
        premultiplied=bool(row_number(path, row, "rlnCtfDataAreCtfPremultiplied") or 0),
        columns={label: text for label, text in row.items() if label not in MAGNIFICATION_LABELS},
    )


def magnified_pixel_size(path: Path, row: Mapping[str, str]) -> float | None:
    """Pixel size from RELION 3.0's magnification, Å, to the digits that stars have; None where the row has none."""
    magnification, detector = (row_number(path, row, label) for label in MAGNIFICATION_LABELS)
    return None if not magnification or not detector else round(detector * 1e4 / magnification, 6)


def check_magnification(path: Path, block: StarBlock, pixel_size: Float[np.ndarray, "n"]) -> None:
    """Refuse particles whose magnification contradicts the pixel size of their optics group.

    Raises:
        FormatError: It does for the particle named.
    """
    if any(label not in block.columns for label in MAGNIFICATION_LABELS):
        return
    magnification, detector = (block.numbers(label) for label in MAGNIFICATION_LABELS)
    with np.errstate(divide="ignore", invalid="ignore"):
        stated = np.where(magnification > 0, detector * 1e4 / magnification, pixel_size)
    for k in np.flatnonzero(np.abs(stated / pixel_size - 1) > _TOLERANCE)[:1].tolist():
        raise FormatError(
            f"the pixel size of {block.columns['rlnImageName'][k]} contradicts its optics group",
            path=path,
            got=f"{stated[k]:.4f} Å from rlnDetectorPixelSize and rlnMagnification",
            expected=f"{pixel_size[k]:.4f} Å",
            mend="remove the two columns, which RELION no longer reads",
        )


def particle_optics_table(groups: Sequence[ParticleOptics], project: PathLike) -> StarBlock:
    """The table of optics groups; what was read of them and is not known to the house is written again.

    Raises:
        InputError: Some groups have a voltage, aberration or amplitude contrast and others not.
    """
    wanted = _wanted(groups)
    rows = [_row(number, group, wanted, project) for number, group in enumerate(groups, 1)]
    labels = list(dict.fromkeys(label for row in rows for label in row))
    for label in labels:
        if label in OPTICS_LABELS and any(label not in row for row in rows):
            raise InputError(f"{label} is known for some optics groups only", expected="for all, or for none")
    return StarBlock({}, {label: [row.get(label, "None") for row in rows] for label in labels})


def _rows_of_particles(block: StarBlock) -> tuple[list[dict[str, str]], Int[np.ndarray, "n"]]:
    """A group for each combination of values that stands in the particles' rows."""
    labels = [label for label in ("rlnOpticsGroup", *ROW_LABELS) if label in block.columns]
    if not labels:
        return [{}], np.zeros(len(block), np.int64)
    combined = list(zip(*(block.columns[label] for label in labels), strict=True))
    place = {values: k for k, values in enumerate(dict.fromkeys(combined))}
    rows = [dict(zip(labels, values, strict=True)) for values in place]
    return rows, np.array([place[values] for values in combined], np.int64)


def _plain(number: str) -> str:
    """A group's number without leading zeros or decimals."""
    try:
        return str(int(float(number)))
    except (ValueError, OverflowError):
        return number


def _vector(path: Path, row: Mapping[str, str], label: str) -> tuple[float, ...]:
    """Numbers in brackets."""
    text = row.get(label, "[]").strip()
    inside = text.removeprefix("[").removesuffix("]").replace(",", " ").split()
    try:
        return () if text == "None" else tuple(float(word) for word in inside)
    except ValueError:
        raise FormatError(f"{label} is no list of numbers", path=path, got=text, expected="[1.0,2.0,…]") from None


def _matrix(path: Path, row: Mapping[str, str]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Magnification (y, x): the inverse of RELION's (x, y), which takes recorded to true frequencies; None for none."""
    known = [value for label in _MATRIX if (value := row_number(path, row, label)) is not None]
    if len(known) < len(_MATRIX) or known == [1, 0, 0, 1]:
        return None
    matrix = np.reshape(known, (2, 2))
    if abs(np.linalg.det(matrix)) < _LEAST_DETERMINANT:
        raise FormatError("the matrix of anisotropic magnification cannot be right", path=path, got=known)
    (xx, xy), (yx, yy) = np.linalg.inv(matrix).tolist()
    return (yy, yx), (xy, xx)


def _matrix_values(group: ParticleOptics) -> list[float]:
    """The same, back."""
    if group.magnification is None:
        return [1.0, 0.0, 0.0, 1.0]
    (yy, yx), (xy, xx) = group.magnification
    return np.linalg.inv([[xx, xy], [yx, yy]]).reshape(-1).tolist()


def _wanted(groups: Sequence[ParticleOptics]) -> frozenset[str]:
    """Labels of aberrations that some group has, so that all must."""
    has = {
        _TILT: any(group.beam_tilt != (0, 0) for group in groups),
        _ZERNIKE[:1]: any(group.odd_zernike for group in groups),
        _ZERNIKE[1:]: any(group.even_zernike for group in groups),
        _MATRIX: any(group.magnification is not None for group in groups),
        ("rlnMtfFileName",): any(group.mtf is not None for group in groups),
    }
    found = {label for labels, there in has.items() if there for label in labels}
    return frozenset(found | {label for group in groups for label in group.columns})


def _row(number: int, group: ParticleOptics, wanted: frozenset[str], project: PathLike) -> dict[str, str]:
    old = group.columns
    row = {"rlnOpticsGroupName": group.name, "rlnOpticsGroup": str(number)}
    row = {label: row.get(label, text) for label, text in old.items()} | row
    numbers: dict[str, float | None] = dict(zip(OPTICS_LABELS, _constants(group), strict=True))
    numbers["rlnImagePixelSize"] = group.pixel_size
    if group.micrograph_pixel_size != _number(old, _MICROGRAPH):
        numbers["rlnMicrographPixelSize"] = group.micrograph_pixel_size
    numbers |= dict(zip(_TILT, group.beam_tilt[::-1], strict=True))
    numbers |= dict(zip(_MATRIX, _matrix_values(group), strict=True))
    optional = {*_TILT, *_MATRIX} - wanted
    for label, value in numbers.items():
        if value is not None and label not in optional:
            row[label] = number_text(value, old.get(label))
    row |= {"rlnImageSize": str(group.box), "rlnImageDimensionality": "2"}
    row["rlnCtfDataAreCtfPremultiplied"] = str(int(group.premultiplied))
    for label, values in zip(_ZERNIKE, (group.odd_zernike, group.even_zernike), strict=True):
        if label in wanted and (label not in old or _vector(Path(), old, label) != values):
            row[label] = f"[{','.join(f'{value:.12g}' for value in values)}]"
    if "rlnMtfFileName" in wanted:
        row["rlnMtfFileName"] = "None" if group.mtf is None else relative_name(group.mtf, project)
    return row


def _constants(group: ParticleOptics) -> tuple[float | None, float | None, float | None]:
    return group.optics.voltage, group.optics.cs, group.optics.amplitude_contrast


def _number(row: Mapping[str, str], labels: tuple[str, ...]) -> float | None:
    return row_number(Path(), row, *labels)
