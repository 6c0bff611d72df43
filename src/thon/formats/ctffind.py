"""CTFFIND 4's and 5's text output: the table of fits, and the radial curves (`_avrot.txt`).

A row holds the micrograph's number, the two defoci (Å), the angle of the first from +x, the phase shift in radians,
the score and the spacing up to which rings were fitted; CTFFIND 5 adds the axis and the angle of the specimen's tilt
and its thickness (Å). Its axis is measured from +x and the defocus grows to the left of it; the house's `SpecimenTilt`
counts from +y and has it grow to the right, so that the house's axis is CTFFIND's plus 90°.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.ctf import CtfCurves, CtfFit, SpecimenTilt
from thon.data.optics import Optics
from thon.formats.atomic import atomic_path
from thon.formats.ctf_values import UNKNOWN, make_ctf
from thon.formats.text import PathLike, filled_lines, read_text, to_number

_COLUMNS = (
    "# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; "
    "#5 - additional phase shift [radians]; #6 - cross correlation; "
    "#7 - spacing (in Angstroms) up to which CTF rings were fit successfully"
)
_TILT_COLUMNS = (
    "; #8 - Estimated tilt axis angle; #9 - Estimated tilt angle ; #10 Estimated sample thickness (in Angstroms)"
)
_CURVES = (
    "# 6 lines per micrograph: #1 - spatial frequency (1/Angstroms); "
    "#2 - 1D rotational average of spectrum (assuming no astigmatism); #3 - 1D rotational average of spectrum; "
    "#4 - CTF fit; #5 - cross-correlation between spectrum and CTF fit; "
    "#6 - 2sigma of expected cross correlation of noise"
)
_NO_NUMBER = re.compile(r"[+-]?(inf|nan)", re.IGNORECASE)
_HEADER = {
    "version": r"CTFFind version (\S+?),",
    "source": r"Input file: (.*?) ;",
    "pixel_size": r"Pixel size: (\S+)",
    "voltage": r"acceleration voltage: (\S+)",
    "cs": r"spherical aberration: (\S+)",
    "amplitude_contrast": r"amplitude contrast: ([^\s;]+)",
    "box": r"Box size: (\d+)",
    "coarsest": r"min\. res\.: (\S+)",
    "finest": r"max\. res\.: (\S+)",
}


@dataclass(frozen=True)
class CtffindTable:
    """Content of a CTFFIND output file.

    Args:
        fits: One per micrograph or section, in the file's order; without uncertainties, which CTFFIND has none of.
        source: Input file, as text.
        pixel_size: Å; None where not given.
        box: Side of the spectrum, px; None where not given.
        optics: Microscope.
        version: CTFFIND's.
    """

    fits: tuple[CtfFit, ...]
    source: str = ""
    pixel_size: float | None = None
    box: int | None = None
    optics: Optics = field(default_factory=Optics)
    version: str = ""


@dataclass(frozen=True)
class CtffindCurves:
    """Radial curves of one micrograph in an `_avrot.txt`.

    Args:
        frequency: 1/Å.
        average: Rotational average of the spectrum.
        along: The same with astigmatism followed.
        model: The CTF's magnitude, 0 to 1.
        correlation: Between spectrum and model.
        noise: What two standard deviations of noise would reach in `correlation`.
    """

    frequency: Float[np.ndarray, "rings"]
    average: Float[np.ndarray, "rings"]
    along: Float[np.ndarray, "rings"]
    model: Float[np.ndarray, "rings"]
    correlation: Float[np.ndarray, "rings"]
    noise: Float[np.ndarray, "rings"]


def read_ctffind(path: PathLike) -> CtffindTable:
    """Read the table of fits, with or without its header lines.

    Raises:
        InputError: If there is no such file.
        FormatError: If a row is not of 7, 9 or 10 numbers, or there is none.
    """
    rows: list[list[float]] = []
    comments: list[str] = []
    for number, line in filled_lines(read_text(path)):
        if line.startswith("#"):
            comments.append(line)
            continue
        row = _row(line, path, number, len(rows[0]) if rows else None)
        if len(row) not in (7, 9, 10):
            expected = "7 values, 9 with the tilt, 10 with the thickness"
            raise FormatError(
                f"line {number} is no CTFFIND fit", path=path, got=f"{len(row)} values", expected=expected
            )
        rows.append(row)
    if not rows:
        raise FormatError("holds no CTF fits", path=path, mend="it may not have been written completely")
    said = _said(comments)
    numbers = {key: _number(said.get(key)) for key in ("pixel_size", "voltage", "cs", "amplitude_contrast")}
    fit_range = (_number(said.get("coarsest")) or math.nan, _number(said.get("finest")) or math.nan)
    return CtffindTable(
        fits=tuple(_fit(row, fit_range) for row in rows),
        source=said.get("source", ""),
        pixel_size=numbers.pop("pixel_size"),
        box=int(said["box"]) if "box" in said else None,
        optics=Optics(**numbers),
        version=said.get("version", ""),
    )


def write_ctffind(path: PathLike, table: CtffindTable) -> None:
    """Write fits as CTFFIND does, the columns of the tilt and the thickness where any fit has them.

    Raises:
        InputError: If there are no fits.
    """
    if not table.fits:
        raise InputError("there are no fits to write", path=path)
    more = any(fit.tilt is not None or fit.thickness is not None for fit in table.fits)
    lines = [*_header_lines(table, len(table.fits)), _COLUMNS + (_TILT_COLUMNS if more else "")]
    for number, fit in enumerate(table.fits, 1):
        ctf = fit.ctf
        values = [number, ctf.defocus_u, ctf.defocus_v, ctf.angle, math.radians(ctf.phase_shift), fit.score]
        values.append(fit.resolution)
        if more:
            tilt = fit.tilt or SpecimenTilt(0.0, 90.0)
            values += [(tilt.axis - 90) % 360, tilt.tilt, fit.thickness or 0.0]
        lines.append(" ".join(f"{value + 0.0:.6f}" for value in values))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def read_ctffind_curves(path: PathLike) -> tuple[CtffindCurves, ...]:
    """Read an `_avrot.txt`: six lines of equally many numbers per micrograph.

    Raises:
        InputError: If there is no such file.
        FormatError: If lines are missing or differ in length.
    """
    rows: list[list[float]] = []
    number = 0
    for number, line in filled_lines(read_text(path)):
        if not line.startswith("#"):
            within = len(rows) % 6
            rows.append(_row(line, path, number, len(rows[-1]) if within else None))
    if not rows or len(rows) % 6:
        raise FormatError(
            f"ends at line {number} within a micrograph",
            path=path,
            got=f"{len(rows)} lines",
            expected="6 per micrograph",
        )
    return tuple(CtffindCurves(*(np.array(row) for row in rows[k : k + 6])) for k in range(0, len(rows), 6))


def write_ctffind_curves(path: PathLike, curves: Sequence[CtffindCurves], table: CtffindTable) -> None:
    """Write radial curves as CTFFIND does, so that its plotting script takes them.

    Args:
        path: File, by CTFFIND's custom named `…_avrot.txt`.
        curves: One per micrograph.
        table: What the header says.

    Raises:
        InputError: If there are no curves.
    """
    if not curves:
        raise InputError("there are no curves to write", path=path)
    lines = [*_header_lines(table, len(curves)), _CURVES]
    for one in curves:
        values = (one.frequency, one.average, one.along, one.model, one.correlation, one.noise)
        lines += [" ".join(f"{value + 0.0:.6f}" for value in row) for row in values]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def curves_to_ctffind(curves: CtfCurves) -> CtffindCurves:
    """The house's curves in CTFFIND's terms; what the house does not measure is repeated or zero."""
    model = np.sqrt(np.clip(curves.model, 0, None))
    zero = np.zeros_like(model)
    return CtffindCurves(curves.frequency, curves.measured, curves.measured, model, curves.correlation, zero)


def _row(line: str, path: PathLike, number: int, columns: int | None) -> list[float]:
    """Numbers of a line; CTFFIND writes inf where no ring was fitted, and nan where a tile was empty."""
    words = line.split()
    if columns is not None and len(words) != columns:
        raise FormatError(f"line {number} has the wrong number of values", path=path, got=len(words), expected=columns)
    return [float(word) if _NO_NUMBER.fullmatch(word) else to_number(word, path, number) for word in words]


def _said(comments: Sequence[str]) -> dict[str, str]:
    text = "\n".join(comments)
    found = {key: re.search(pattern, text) for key, pattern in _HEADER.items()}
    return {key: match[1] for key, match in found.items() if match}


def _number(text: str | None) -> float | None:
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        value = math.nan
    return value if math.isfinite(value) else None


def _fit(row: Sequence[float], fit_range: tuple[float, float]) -> CtfFit:
    ctf = make_ctf(row[1], row[2], row[3], math.degrees(row[4]))
    fit = CtfFit(ctf, UNKNOWN, score=row[5], resolution=row[6], fit_range=fit_range)
    if len(row) > 7 and row[8]:
        # A tilt below zero is the same as one above with the axis turned round.
        axis = row[7] + (90 if row[8] > 0 else -90)
        fit = replace(fit, tilt=SpecimenTilt(abs(row[8]), (axis + 180) % 360 - 180))
    return replace(fit, thickness=row[9]) if len(row) > 9 and row[9] else fit


def _header_lines(table: CtffindTable, count: int) -> list[str]:
    optics, fit_range = table.optics, table.fits[0].fit_range if table.fits else (0.0, 0.0)
    return [
        f"# Output from CTFFind version {table.version or '4.1.14'}, the format; written by thon",
        f"# Input file: {table.source} ; Number of micrographs: {count}",
        f"# Pixel size: {table.pixel_size or 0:.3f} Angstroms ; acceleration voltage: {optics.voltage or 0:.1f} keV ; "
        f"spherical aberration: {optics.cs or 0:.2f} mm ; amplitude contrast: {optics.amplitude_contrast or 0:.2f}",
        f"# Box size: {table.box or 0} pixels ; min. res.: {fit_range[0]:.1f} Angstroms ; "
        f"max. res.: {fit_range[1]:.1f} Angstroms ; min. def.: 0.0 um; max. def. 0.0 um",
    ]
