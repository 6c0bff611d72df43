"""What AreTomo 3 writes about a whole session: metrics and time stamps of the series, what is done, the options.

The tables grow while the session runs. A row is added under a lock, in one piece and flushed to the disk; what a killed
writer left of a row is taken away first, so that several workers and a crash leave a table of whole rows with one
header.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thon.base.errors import FormatError, InputError, StoreError
from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics
from thon.formats.atomic import atomic_path, store_errors
from thon.formats.text import PathLike, filled_lines, read_text

METRICS_FILE = "TiltSeries_Metrics.csv"
TIMES_FILE = "TiltSeries_TimeStamp.csv"
DONE_FILE = "MdocDone.txt"
SESSION_FILE = "AreTomo3_Session.json"

_TIMES_HEADER = "Tilt_Series,GPU,Operation,Time(s)"
_INPUT, _OUTPUT = ("InPrefix", "Gain", "Dark", "DefectFile"), ("TmpDir", "OutDir")

_LOW_TILT = 30.9
"""Tilts up to this angle count for Bad_Patch_Low, degrees."""


@dataclass(frozen=True)
class SeriesMetrics:
    """A row of `TiltSeries_Metrics.csv`; the header calls Cs nm where it means mm.

    Args:
        series: Name of the series.
        thickness: Of the sample, px.
        tilt_axis: degrees.
        global_shift: Largest shift of an image, px.
        bad_low: Fraction of patch positions rejected at tilts up to 30.9°.
        bad_all: The same at all tilts.
        defocus: Mean, of the image nearest to zero tilt, Å.
        phase_shift: Of that image, degrees.
        resolution: To which its rings fit, Å.
        score: Of its fit.
        hand: AreTomo's sign, which is minus RELION's; 0 where undetermined.
        pixel_size: Å.
        cs: mm.
        voltage: kV.
        alpha: Tilt offset of the sample, degrees.
        beta: Its inclination along the tilt axis, degrees.
    """

    series: str
    thickness: float = 0.0
    tilt_axis: float = 0.0
    global_shift: float = 0.0
    bad_low: float = 0.0
    bad_all: float = 0.0
    defocus: float = 0.0
    phase_shift: float = 0.0
    resolution: float = 0.0
    score: float = 0.0
    hand: int = 0
    pixel_size: float = 0.0
    cs: float = 0.0
    voltage: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0


_METRICS = {
    "Tilt_Series": ("series", "s"),
    "Thickness(Pix)": ("thickness", "6.0f"),
    "Tilt_Axis": ("tilt_axis", "6.2f"),
    "Global_Shift(Pix)": ("global_shift", "8.2f"),
    "Bad_Patch_Low": ("bad_low", "5.2f"),
    "Bad_Patch_All": ("bad_all", "5.2f"),
    "Defocus(A)": ("defocus", "8.1f"),
    "ExtPhase(Deg)": ("phase_shift", "5.1f"),
    "CTF_Res(A)": ("resolution", "5.2f"),
    "CTF_Score": ("score", "7.4f"),
    "DF_Hand": ("hand", "2d"),
    "Pix_Size(A)": ("pixel_size", "5.2f"),
    "Cs(nm)": ("cs", ".1f"),
    "Kv": ("voltage", "3.0f"),
    "Alpha0": ("alpha", ".1f"),
    "Beta0": ("beta", ".1f"),
}
"""Field and format of each of the sixteen columns, in their order."""


@dataclass(frozen=True)
class TimeStamp:
    """A row of `TiltSeries_TimeStamp.csv`.

    Args:
        series: Name of the series.
        device: Number of the GPU or worker.
        operation: AreTomo's name of a step, with `:Start` or `:End`, or ProcessStart and ProcessExit.
        seconds: Since the session began.
    """

    series: str
    device: int
    operation: str
    seconds: float


@dataclass(frozen=True)
class AreTomoSession:
    """Content of `AreTomo3_Session.json`: AreTomo's flags without their dash, and their values.

    Args:
        parameters: Every flag that is no file; converters read kV, Cs, AmpContrast, PixSize, McBin, VolZ and AtBin.
        input: InPrefix, Gain, Dark, DefectFile; written as empty texts where they are not given.
        output: TmpDir, OutDir; the same.
        version: Of the program.
        name: Of the program.
        time: When the session began, as text.
    """

    parameters: Mapping[str, Any]
    input: Mapping[str, str] = field(default_factory=dict[str, str])
    output: Mapping[str, str] = field(default_factory=dict[str, str])
    version: str = ""
    name: str = "thon"
    time: str = ""


def measure_series(series: AlignedTiltSeries) -> SeriesMetrics:
    """The metrics that an aligned series, its CTFs and its diagnostics give; zero for what is not known."""
    geometry, kept, diagnostics = series.geometry, series.kept, series.diagnostics
    flattest = int(kept[np.abs(geometry.tilt[kept]).argmin()]) if len(kept) else 0
    profile = None if diagnostics is None else diagnostics.profile
    slope = (0.0, 0.0) if profile is None else profile.inclination
    low, everywhere = (0.0, 0.0) if diagnostics is None else _rejected(diagnostics, geometry.tilt)
    ctf = None if series.ctf is None else series.ctf.of(flattest)
    return SeriesMetrics(
        series=series.name,
        thickness=0.0 if profile is None else profile.thickness / series.pixel_size,
        tilt_axis=float(np.median(geometry.rotation[kept])) if len(kept) else 0.0,
        global_shift=float(np.linalg.norm(geometry.shift[kept], axis=1).max(initial=0) / series.pixel_size),
        bad_low=low,
        bad_all=everywhere,
        defocus=0.0 if ctf is None else ctf.defocus,
        phase_shift=0.0 if ctf is None else ctf.phase_shift,
        resolution=0.0 if series.ctf is None else float(series.ctf.resolution[flattest]),
        score=0.0 if series.ctf is None else float(series.ctf.score[flattest]),
        hand=0 if series.hand is None else -series.hand,
        pixel_size=series.pixel_size,
        cs=series.optics.cs or 0.0,
        voltage=series.optics.voltage or 0.0,
        alpha=-slope[1],
        beta=slope[0],
    )


def append_metrics(folder: PathLike, metrics: SeriesMetrics) -> None:
    """Add a row to `TiltSeries_Metrics.csv`.

    Raises:
        StoreError: If the folder is not there or cannot be written to.
    """
    values = {name: getattr(metrics, name) for name, _ in _METRICS.values()}
    values["series"] = f"{metrics.series}.mrc"
    numbers = {name: 0.0 if isinstance(v, float) and not np.isfinite(v) else v for name, v in values.items()}
    row = ", ".join(format(_plain(numbers[name]), spec) for name, spec in _METRICS.values())
    _append(Path(folder) / METRICS_FILE, row, ",".join(_METRICS))


def read_metrics(path: PathLike) -> tuple[SeriesMetrics, ...]:
    """Read a `TiltSeries_Metrics.csv` of any AreTomo 3: nine, fourteen or sixteen columns, found by their names.

    Raises:
        InputError: If there is no such file.
        FormatError: If a row does not fit the header, or a value is no number.
    """
    found: list[SeriesMetrics] = []
    for number, row in _rows(path, "Tilt_Series"):
        values: dict[str, Any] = {"series": row.pop("Tilt_Series").removesuffix(".mrc")}
        for column, text in row.items():
            if column in _METRICS:
                values[_METRICS[column][0]] = _number(path, number, text)
        if "hand" in values:
            values["hand"] = int(values["hand"])
        found.append(SeriesMetrics(**values))
    return tuple(found)


def append_time(folder: PathLike, stamp: TimeStamp) -> None:
    """Add a row to `TiltSeries_TimeStamp.csv`.

    Raises:
        StoreError: If the folder is not there or cannot be written to.
    """
    row = f"{_plain(stamp.series)},{stamp.device},{_plain(stamp.operation)},{stamp.seconds:.2f}"
    _append(Path(folder) / TIMES_FILE, row, _TIMES_HEADER)


def read_times(path: PathLike) -> tuple[TimeStamp, ...]:
    """Read a `TiltSeries_TimeStamp.csv`.

    Raises:
        InputError: If there is no such file.
        FormatError: If a row does not fit the header, or a value is no number.
    """
    return tuple(
        TimeStamp(
            row["Tilt_Series"],
            int(_number(path, number, row["GPU"])),
            row["Operation"],
            _number(path, number, row["Time(s)"]),
        )
        for number, row in _rows(path, "Tilt_Series", "GPU", "Operation", "Time(s)")
    )


def append_done(folder: PathLike, mdoc: str) -> None:
    """Add a series to `MdocDone.txt`: the mdoc's base name, once, and only when all that was asked for is there.

    Raises:
        StoreError: If the folder is not there or cannot be written to.
    """
    path = Path(folder) / DONE_FILE
    _append(path, _plain(Path(mdoc).name), once=True)


def read_done(path: PathLike) -> tuple[str, ...]:
    """Base names of the mdocs that are done; none where there is no such file."""
    if not Path(path).is_file() or not Path(path).stat().st_size:
        return ()
    return tuple(line for _, line in filled_lines(read_text(path)))


def write_session(folder: PathLike, session: AreTomoSession) -> None:
    """Write `AreTomo3_Session.json`.

    Raises:
        InputError: If a value is not one that JSON has.
        StoreError: If the folder is not there or cannot be written to.
    """
    content = {
        "software": {"name": session.name, "version": session.version},
        "input": dict.fromkeys(_INPUT, "") | dict(session.input),
        "output": dict.fromkeys(_OUTPUT, "") | dict(session.output),
        "parameters": dict(session.parameters),
        "Time": session.time,
    }
    try:
        text = json.dumps(content, indent=4, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("a parameter cannot be written to JSON", path=Path(folder) / SESSION_FILE, got=error) from None
    with atomic_path(Path(folder) / SESSION_FILE) as temporary:
        temporary.write_text(text + "\n")


def read_session(path: PathLike) -> AreTomoSession:
    """Read `AreTomo3_Session.json`, also the flat one of versions before 2.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no JSON object of a session.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno} is no JSON", path=path, got=error.msg) from None
    if not isinstance(content, dict):
        raise FormatError("is no session of AreTomo 3", path=path, expected="an object with parameters")
    parts = {part: content.get(part, {}) for part in ("software", "input", "output", "parameters")}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise FormatError(
            "is no session of AreTomo 3", path=path, expected="objects software, input, output, parameters"
        )
    if "parameters" not in content:
        parts = _of_flat(content)
    if not parts["parameters"]:
        raise FormatError("is no session of AreTomo 3", path=path, expected="parameters")
    software = parts["software"]
    return AreTomoSession(
        parameters=parts["parameters"],
        input=parts["input"],
        output=parts["output"],
        version=str(software.get("version", "")),
        name=str(software.get("name", "")),
        time=str(content.get("Time", "")),
    )


def _of_flat(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    places = dict.fromkeys(_INPUT, "input") | dict.fromkeys(_OUTPUT, "output")
    parts: dict[str, dict[str, Any]] = {"software": {}, "input": {}, "output": {}, "parameters": {}}
    for key, value in content.items():
        if key in ("Name", "Version"):
            parts["software"][key.lower()] = value
        elif key != "Time":
            parts[places.get(key, "parameters")][key] = value
    return parts


def _rejected(diagnostics: AlignmentDiagnostics, tilt: np.ndarray) -> tuple[float, float]:
    """Fraction of the tracked positions that were rejected, at low tilts and at all."""
    if diagnostics.tracks is None or diagnostics.residual is None:
        return 0.0, 0.0
    seen = diagnostics.tracks.seen
    bad = seen & ~np.isfinite(diagnostics.residual.sum(-1))
    low = np.abs(tilt) <= _LOW_TILT
    return float(bad[:, low].sum() / max(seen[:, low].sum(), 1)), float(bad.sum() / max(seen.sum(), 1))


def _plain(value: Any) -> Any:
    """A text that cannot break a row apart."""
    if isinstance(value, str) and any(mark in value for mark in ',\n\r"'):
        raise InputError("a name with a comma, a quote or a line break cannot stand in AreTomo's tables", got=value)
    return value


def _append(path: Path, row: str, header: str = "", *, once: bool = False) -> None:
    """Add a line to a file that others may be adding to, its header first where the file is new."""
    if not path.parent.is_dir():
        raise StoreError("there is no such folder", path=path.parent, mend="create it, or correct the path")
    with store_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = _whole_lines(os.pread(descriptor, os.fstat(descriptor).st_size, 0), header)
            if once and row.encode() in text.split(b"\n"):
                return
            lines = ([header] if header and not text else []) + [row]
            data = text + ("\n".join(lines) + "\n").encode()
            _write_all(descriptor, data[len(text) - 1 :] if text else data, max(len(text) - 1, 0))
            os.ftruncate(descriptor, len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _whole_lines(text: bytes, header: str) -> bytes:
    """What is there, ending with a line's end; a last line that breaks off within a row is left away."""
    start = text.rfind(b"\n") + 1
    if start == len(text):
        return text
    whole = not header or text[start:].count(b",") == header.count(",")
    return text + b"\n" if whole else text[:start]


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def _rows(path: PathLike, *needed: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and values by column of each row."""
    lines = list(filled_lines(read_text(path)))
    header = [name.strip() for name in lines[0][1].split(",")]
    if not set(needed) <= set(header):
        raise FormatError("has another header", path=path, got=lines[0][1][:80], expected=", ".join(needed))
    found: list[tuple[int, dict[str, str]]] = []
    for number, line in lines[1:]:
        values = [text.strip() for text in next(csv.reader(io.StringIO(line)))]
        if len(values) != len(header):
            got = f"{len(values)} values"
            raise FormatError(f"line {number} does not fit the header", path=path, got=got, expected=len(header))
        found.append((number, dict(zip(header, values, strict=True))))
    return found


def _number(path: PathLike, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FormatError(f"line {line} has no number where one belongs", path=path, got=repr(text)) from None
