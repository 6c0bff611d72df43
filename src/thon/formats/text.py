"""Text files of numbers, read so that every complaint names the file and the line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError

PathLike = str | os.PathLike[str]

LARGEST = 1e15
"""No length, angle, dose or count in these files is larger: a number that is, is damage."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")


def read_text(path: PathLike) -> str:
    """Content of a text file: UTF-8 (with or without BOM), UTF-16 with BOM, else Latin-1; any line ends.

    Raises:
        InputError: If there is no such file, or it cannot be read.
        FormatError: If it is empty, or binary.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except OSError as error:
        raise InputError("cannot be read", path=path, got=error.strerror) from None
    text = _decode(data)
    if "\0" in text:
        raise FormatError("is not a text file", path=path, got="binary data")
    if not text.strip():
        raise FormatError("is empty", path=path, mend="it may not have been written completely")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def filled_lines(text: str) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and stripped text of each line that is not blank."""
    # Not str.splitlines, which also breaks at form feeds and other separators that editors do not count as lines.
    for number, line in enumerate(text.split("\n"), 1):
        if stripped := line.strip():
            yield number, stripped


def to_number(word: str, path: PathLike, line: int) -> float:
    """One finite number below `LARGEST`; Fortran's ``1.5D+02`` is understood.

    Raises:
        FormatError: If the word is none.
    """
    if _NUMBER.fullmatch(word):
        value = float(word.replace("d", "e").replace("D", "e"))
        if math.isfinite(value) and abs(value) < LARGEST:
            return value
    raise FormatError(f"line {line} has no number where one belongs", path=path, got=repr(word), expected="a number")


def to_integer(word: str, path: PathLike, line: int) -> int:
    """One whole number, also where it is written as ``3.0``.

    Raises:
        FormatError: If the word is none.
    """
    value = to_number(word, path, line)
    if value != int(value):
        raise FormatError(f"line {line} has no whole number where one belongs", path=path, got=repr(word))
    return int(value)


def numeric_row(line: str, path: PathLike, number: int, columns: int | None = None) -> list[float]:
    """The numbers of one line, separated by blanks or commas.

    Raises:
        FormatError: If a word is not a number, or there are not `columns` of them.
    """
    words = line.replace(",", " ").split()
    if columns is not None and len(words) != columns:
        raise FormatError(f"line {number} has the wrong number of values", path=path, got=len(words), expected=columns)
    return [to_number(word, path, number) for word in words]


def numeric_table(path: PathLike, columns: int) -> Float[np.ndarray, "rows columns"]:
    """A file that is nothing but rows of `columns` numbers; blank lines are passed over.

    Raises:
        FormatError: If it is anything else.
    """
    rows = [numeric_row(line, path, number, columns) for number, line in filled_lines(read_text(path))]
    return np.array(rows, np.float64).reshape(-1, columns)


def format_rows(rows: Iterable[Iterable[float]], formats: Iterable[str]) -> str:
    """Lines of numbers, one format specification per column (``"12.7f"``)."""
    formats = list(formats)
    # Adding zero turns −0.0, which some readers stumble over, into 0.0.
    return "".join("".join(format(v + 0.0, f) for v, f in zip(row, formats, strict=True)) + "\n" for row in rows)
