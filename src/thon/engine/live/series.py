"""What a session's plots show: for each item that was finished, when that was and its numbers: `live.series.jsonl`.

The file is bounded: when it has grown too long, its older half goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from thon.job.folder import write_whole
from thon.job.lines import append_line

SERIES = "live.series.jsonl"
MOST = 32 * 1024**2
"""Longest that the file becomes, bytes: what import, motion and CTF of some 23 000 movies fill."""

BLOCK = 2**17
"""Bytes that are read at first where only the latest is asked for."""

COMMON = ("optics.", "movie.", "tilt.")
"""What the numbers of all items of a session begin with that tell how they were taken, not how they came out."""


class Point(BaseModel):
    """An item that was finished."""

    time: float
    """Seconds since 1970."""
    step: str
    item: str
    seconds: float
    """Time that it took."""
    values: dict[str, float]
    rejected: bool = False
    """Whether a threshold kept it back."""


class Series:
    """Takes down what is finished.

    Args:
        root: The project's folder.
        most: Longest that the file becomes, bytes.
    """

    def __init__(self, root: Path, most: int = MOST):
        self._file, self._most = root / SERIES, most

    def add(self, point: Point) -> None:
        """Take down an item.

        Raises:
            OSError: The disk refuses.
        """
        kept = {name: value for name, value in point.values.items() if not name.startswith(COMMON)}
        append_line(self._file, json.dumps(point.model_copy(update={"values": kept}).model_dump()))
        if self._file.stat().st_size > self._most:
            data = self._file.read_bytes()
            write_whole(self._file, data[data.index(b"\n", len(data) // 2) + 1 :])


def read_series(root: Path, *, since: float = 0.0) -> Iterator[Point]:
    """What was finished after a time, the oldest first; lines that a kill cut short are left out.

    What is older is not read, so that somebody who has it may ask every few seconds.
    """
    points = (_point(line) for line in _lines(root / SERIES, since))
    return (point for point in points if point is not None and point.time > since)


def _lines(file: Path, since: float) -> list[bytes]:
    """The lines from somewhere before a time to the end."""
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return []
    span = BLOCK if since > 0 else size
    while True:
        with file.open("rb") as data:
            data.seek(max(0, size - span))
            lines = data.read().splitlines()
        if span >= size:
            return lines
        first = next(filter(None, map(_point, lines[1:])), None)
        if first is not None and first.time <= since:
            return lines[1:]
        span *= 4


def _point(line: bytes) -> Point | None:
    try:
        return Point.model_validate_json(line)
    except ValidationError:
        return None
