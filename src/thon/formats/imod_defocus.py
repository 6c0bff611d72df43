"""IMOD's defocus files (`.defocus`), versions 1 to 3.

A line says first and last view (from 1), their tilt angles, and the defocus in nm. In version 3 the first line holds
flags and five fixed numbers, and lines go on by the flags: 1, a second defocus and the angle of the first (2: in
radians); 4, a phase shift (8: in radians); 32, the frequency below which the phase plate acts, 1/nm. 16 says that the
tilt angles are inverted. Version 2 ends its first line with the number 2; version 1 has no number, and its views may
count from 0. Flags after IMOD's manual page of ctfphaseflip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.ctf import TiltCtf
from thon.formats.atomic import atomic_path
from thon.formats.ctf_values import has_phase_shift, tilt_ctf
from thon.formats.text import PathLike, filled_lines, numeric_row, read_text, to_number

_ASTIGMATISM, _ANGLE_RADIANS, _PHASE, _PHASE_RADIANS, _INVERTED, _CUT_ON = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True)
class ImodDefocus:
    """Content of a defocus file: a row per range of views.

    Args:
        views: (ranges, 2), first and last image of each, counted from 0, both included.
        tilt: (ranges, 2), tilt angles of those two, degrees, as they stand in the file.
        defocus: (ranges, 2), Å; the two are equal where the file has no astigmatism.
        angle: Of the first defocus, degrees; zeros where the file has no astigmatism.
        phase_shift: Degrees; None where the file has none.
        cut_on: Frequency below which the phase plate acts, 1/Å; None where the file has none.
        inverted: Whether the tilt angles are of the other sign than in IMOD's own tilt file.
        version: Of the format, 1 to 3.
    """

    views: Int[np.ndarray, "ranges 2"]
    tilt: Float[np.ndarray, "ranges 2"]
    defocus: Float[np.ndarray, "ranges 2"]
    angle: Float[np.ndarray, "ranges"]
    phase_shift: Float[np.ndarray, "ranges"] | None = None
    cut_on: Float[np.ndarray, "ranges"] | None = None
    inverted: bool = False
    version: int = 3

    def __len__(self) -> int:
        return len(self.views)

    @property
    def astigmatic(self) -> bool:
        """Whether the two defoci differ anywhere."""
        return bool((self.defocus[:, 0] != self.defocus[:, 1]).any())


@dataclass
class _Layout:
    """What the columns after the tilt angles are."""

    version: int = 1
    flags: int = 0
    rows: list[list[float]] = field(default_factory=list[list[float]])

    @property
    def columns(self) -> int:
        more = 2 * bool(self.flags & _ASTIGMATISM) + bool(self.flags & _PHASE) + bool(self.flags & _CUT_ON)
        return 5 + more


def read_imod_defocus(path: PathLike) -> ImodDefocus:
    """Read a defocus file.

    Raises:
        InputError: If there is no such file.
        FormatError: If a line has not the numbers that the flags call for, or views run backwards.
    """
    lines = list(filled_lines(read_text(path)))
    layout = _layout(path, *lines[0])
    for number, line in lines[1:] if layout.version == 3 else lines:
        words = line.split()
        words = words[:-1] if number == lines[0][0] and layout.version == 2 else words
        layout.rows.append(numeric_row(" ".join(words), path, number, layout.columns))
        _check_views(path, number, layout.rows[-1])
    if not layout.rows:
        raise FormatError("holds no defocus", path=path, mend="it may not have been written completely")
    return _assemble(layout)


def write_imod_defocus(path: PathLike, defocus: ImodDefocus) -> None:
    """Write a defocus file in degrees and of the version that it says; version 3 where its content needs it.

    Raises:
        InputError: If there are no rows.
    """
    if not len(defocus):
        raise InputError("there is no defocus to write", path=path)
    flags = _ASTIGMATISM * defocus.astigmatic + _PHASE * (defocus.phase_shift is not None)
    flags += _INVERTED * defocus.inverted + _CUT_ON * (defocus.cut_on is not None)
    version = 3 if flags or defocus.version == 3 else defocus.version
    lines = [f"{flags}\t0\t0.0\t0.0\t0.0\t3"] if version == 3 else list[str]()
    for k in range(len(defocus)):
        first, last = defocus.views[k] + 1
        values = [f"{value / 10:7.1f}" for value in defocus.defocus[k, : 2 if defocus.astigmatic else 1]]
        values += [f"{defocus.angle[k]:7.2f}"] if defocus.astigmatic else []
        values += [] if defocus.phase_shift is None else [f"{defocus.phase_shift[k]:8.2f}"]
        values += [] if defocus.cut_on is None else [f"{10 * defocus.cut_on[k]:8.4f}"]
        values += ["2"] if version == 2 and k == 0 else []
        start, end = defocus.tilt[k] + 0.0
        lines.append("\t".join([str(first), str(last), f"{start:.2f}", f"{end:.2f}", *values]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def defocus_to_ctf(defocus: ImodDefocus, count: int) -> TiltCtf:
    """CTF of each of `count` images.

    An image in several ranges has their mean; one in none the linear interpolation between the ranges' middles, as
    ctfphaseflip does. Angles are interpolated with the astigmatism, as a vector.

    Raises:
        InputError: If the file names images beyond `count`.
    """
    if defocus.views.max() >= count:
        raise InputError("the defocus file names images beyond the series", got=defocus.views.max() + 1, expected=count)
    mean = defocus.defocus.mean(1)
    half = (defocus.defocus[:, 0] - defocus.defocus[:, 1]) / 2
    double = np.deg2rad(2 * defocus.angle)
    phase = np.zeros(len(defocus)) if defocus.phase_shift is None else defocus.phase_shift
    table = np.stack([mean, half * np.cos(double), half * np.sin(double), phase], -1)
    mean, c, s, phase = _of_images(defocus.views, table, count).T
    half = np.hypot(c, s)
    return tilt_ctf(
        np.stack([mean + half, mean - half], -1), np.rad2deg(np.arctan2(s, c)) / 2, phase_shift=phase.copy()
    )


def ctf_to_defocus(
    ctf: TiltCtf, tilt: Float[np.ndarray, "tilts"], index: Sequence[int] | Int[np.ndarray, "kept"] | None = None
) -> ImodDefocus:
    """A defocus file with one line per image that has a fit.

    Args:
        ctf: Of the whole series.
        tilt: Tilt angles of the whole series, degrees.
        index: Images of the series that are in the stack the file belongs to, in its order; all where not given.
    """
    chosen = np.arange(len(ctf)) if index is None else np.asarray(index, np.int64)
    place = np.flatnonzero(np.isfinite(ctf.defocus[chosen]))
    at = chosen[place]
    return ImodDefocus(
        views=np.stack([place, place], -1),
        tilt=np.stack([tilt[at], tilt[at]], -1).astype(np.float64),
        defocus=np.stack([ctf.defocus_u[at], ctf.defocus_v[at]], -1),
        angle=ctf.angle[at],
        phase_shift=ctf.phase_shift[at] if has_phase_shift(ctf, at) else None,
    )


def _layout(path: PathLike, number: int, line: str) -> _Layout:
    """Version and flags, from the first line that is filled."""
    words = line.split()
    values = [to_number(word, path, number) for word in words]
    # A first line of a file without flags begins with a view, its end and two angles; 0 is no last view.
    if len(values) == 6 and values[-1] == 3 and not any(values[1:5]):
        if values[0] != int(values[0]) or not 0 <= values[0] < 64:
            expected = "a sum of 1, 2, 4, 8, 16 and 32"
            raise FormatError(f"line {number} has flags that are not known", path=path, got=words[0], expected=expected)
        return _Layout(3, int(values[0]))
    if len(values) == 6 and values[-1] == 2:
        return _Layout(2)
    if len(values) == 5:
        return _Layout(1)
    raise FormatError(
        f"line {number} does not begin an IMOD defocus file",
        path=path,
        got=line[:60],
        expected="flags 0 0.0 0.0 0.0 3, or two views, two angles and a defocus",
    )


def _check_views(path: PathLike, number: int, row: Sequence[float]) -> None:
    first, last = row[:2]
    if first != int(first) or last != int(last) or not 0 <= first <= last < 100_000:
        got = f"{first:g} to {last:g}"
        raise FormatError(
            f"line {number} is for no range of views", path=path, got=got, expected="first and last, from 1"
        )


def _assemble(layout: _Layout) -> ImodDefocus:
    table = np.array(layout.rows, np.float64)
    views = table[:, :2].astype(np.int64)
    if layout.version > 1 or views.min() > 0:
        views = np.maximum(views - 1, 0)
    columns = list(table[:, 4:].T)
    first = 10 * columns.pop(0)
    second, angle = (10 * columns.pop(0), columns.pop(0)) if layout.flags & _ASTIGMATISM else (first, 0 * first)
    phase = columns.pop(0) if layout.flags & _PHASE else None
    return ImodDefocus(
        views=views,
        tilt=table[:, 2:4],
        defocus=np.stack([first, second], -1),
        angle=np.rad2deg(angle) if layout.flags & _ANGLE_RADIANS else angle,
        phase_shift=np.rad2deg(phase) if phase is not None and layout.flags & _PHASE_RADIANS else phase,
        cut_on=columns.pop(0) / 10 if layout.flags & _CUT_ON else None,
        inverted=bool(layout.flags & _INVERTED),
        version=layout.version,
    )


def _of_images(
    views: Int[np.ndarray, "ranges 2"], table: Float[np.ndarray, "ranges values"], count: int
) -> Float[np.ndarray, "images values"]:
    images = np.arange(count)[:, None]
    inside = ((images >= views[:, 0]) & (images <= views[:, 1])).astype(np.float64)
    covered = inside.sum(1)
    middle = views.mean(1)
    order = np.argsort(middle, kind="stable")
    between = np.stack([np.interp(images[:, 0], middle[order], column[order]) for column in table.T], -1)
    return np.where(covered[:, None] > 0, inside @ table / np.maximum(covered, 1)[:, None], between)
