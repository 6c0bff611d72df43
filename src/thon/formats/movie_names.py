"""What the names of movies say: those that SerialEM (with PACEtomo), EPU and Tomography 5 give.

| program | name |
|---|---|
| Tomography 5 | `Position_1_003_-12.00_20240102_101112_EER.eer`, `…_fractions.tiff`, `…_Fractions.mrc` |
| Tomography 4 | `Position_1_003[-12.00]_EER.eer`, `Position_1_003[-12.00]-117.mrc`, `Position_1_[-12.00].tiff` |
| SerialEM | `TS_01_003_-12.0_Nov20_12.34.56.tif`, `TS_01_003_-12.0.mrc`, `TS_01_-12.0_Nov20_12.34.56.tif` |
| SerialEM, no tilt | `grid2_0042_Nov20_12.34.56.tif` |
| EPU | `FoilHole_123_Data_456_789_20240101_123456_EER.eer`, `…_fractions.tiff`; the folder `GridSquare_…` above |
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

Program = Literal["SerialEM", "EPU", "Tomography"]

_SUFFIXES = re.compile(r"(\.(eer|tiff?|mrcs?|st|dm4|gz|bz2|zst|xml|mdoc|jpg))+$", re.IGNORECASE)
_KIND = re.compile(r"[_-](EER|fractions|Fractions|frames)$")
_EPU = re.compile(
    r"FoilHole_(?P<hole>\d+)_Data_(?P<area>\d+)(?:_(?P<shot>\d+))?_(?P<date>\d{8})_(?P<clock>\d{4}(?:\d\d)?)"
)
_TILT = r"[+-]?\d{1,3}(?:\.\d+)?"
_TOMOGRAPHY = re.compile(rf"(?P<series>.+)_(?P<order>\d{{1,4}})_(?P<tilt>{_TILT})_(?P<date>\d{{8}})_(?P<clock>\d{{6}})")
_BRACKETS = re.compile(
    rf"(?P<series>.+?)(?:_(?P<order>\d{{1,4}})|_)?\[(?P<tilt>{_TILT})\]"
    r"(?:-\d+)?(?:_(?P<date>\d{8})_(?P<clock>\d{6}))?"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DAY = rf"(?P<month>{'|'.join(_MONTHS)})(?P<day>\d{{1,2}})_(?P<clock>\d\d\.\d\d\.\d\d)"
# A tilt that SerialEM wrote has a decimal point; a bare number would be part of the name.
_SERIALEM_TILT = re.compile(rf"(?P<series>.+?)(?:_(?P<order>\d{{2,5}}))?_(?P<tilt>[+-]?\d{{1,3}}\.\d+)(?:_{_DAY})?")
_SERIALEM = re.compile(rf"(?P<series>.+?)(?:_(?P<order>\d{{2,6}}))?_{_DAY}")


@dataclass(frozen=True)
class MovieName:
    """What the name of a movie says; None where it says nothing.

    Args:
        program: Whose way of naming it is; None for no known one.
        series: Of a tilt series, its name; else what comes before the number, or EPU's data area.
        tilt: Stage tilt, degrees.
        order: Number in the series, as written: programs begin with 0 or 1.
        time: When it was taken, by the microscope's clock. SerialEM writes no year, so for its names there is none
            unless a year is given.
        foil_hole: EPU's number of the hole.
        grid_square: EPU's number of the grid square, from the folder.
        area: EPU's number of the place within the pattern of holes; movies with one area have one beam tilt.
    """

    program: Program | None = None
    series: str | None = None
    tilt: float | None = None
    order: int | None = None
    time: datetime | None = None
    foil_hole: str | None = None
    grid_square: str | None = None
    area: str | None = None


def parse_movie_name(path: str | os.PathLike[str], *, year: int | None = None) -> MovieName:
    """Recognise a movie's name.

    Args:
        path: Name or path, with slashes of either kind.
        year: Of SerialEM's dates, which have none.

    Returns:
        What it says; nothing at all for names of no known kind.
    """
    pure = PurePosixPath(os.fspath(path).replace("\\", "/"))
    stem = _KIND.sub("", _SUFFIXES.sub("", pure.name))
    if match := _EPU.match(stem):
        return _epu(match, pure)
    for pattern in (_TOMOGRAPHY, _BRACKETS):
        if match := pattern.fullmatch(stem):
            return _tilt_series("Tomography", match, year)
    for pattern in (_SERIALEM_TILT, _SERIALEM):
        if match := pattern.fullmatch(stem):
            return _tilt_series("SerialEM", match, year)
    return MovieName()


def _epu(match: re.Match[str], path: PurePosixPath) -> MovieName:
    squares = [re.fullmatch(r"GridSquare_(\d+)", part) for part in path.parts[:-1]]
    return MovieName(
        program="EPU",
        series=match["area"],
        time=_time(match["date"], match["clock"]),
        foil_hole=match["hole"],
        grid_square=next((square[1] for square in reversed(squares) if square), None),
        area=match["area"],
    )


def _tilt_series(program: Program, match: re.Match[str], year: int | None) -> MovieName:
    groups = match.groupdict()
    date = groups.get("date")
    if date is None and groups.get("month") and year is not None:
        date = f"{year:04d}{_MONTHS.index(groups['month']) + 1:02d}{int(groups['day']):02d}"
    tilt, order = groups.get("tilt"), groups.get("order")
    if tilt is not None and abs(float(tilt)) > 90:
        return MovieName()
    return MovieName(
        program=program,
        series=groups["series"],
        tilt=None if tilt is None else float(tilt),
        order=None if order is None else int(order),
        time=_time(date, groups.get("clock")),
    )


def _time(date: str | None, clock: str | None) -> datetime | None:
    if date is None or clock is None:
        return None
    digits = clock.replace(".", "").ljust(6, "0")
    try:
        return datetime.strptime(date + digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
