"""STAR files as RELION and others write them: blocks of pairs and of one loop each, values kept as written.

Nothing is interpreted here: a value is text until somebody asks for numbers, so that what is read and written again has
the same values, unknown columns included. Comments are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, read_text

_UNSAFE = re.compile(r"""[^\S\n]|^(?:$|["'#_]|data_|loop_)""", re.MULTILINE)
_TOKEN = re.compile(r"""\s*(?:"([^"]*)"(?=\s|$)|'([^']*)'(?=\s|$)|(\#.*)|(\S+))""")


@dataclass(frozen=True)
class StarBlock:
    """One ``data_`` block.

    Args:
        pairs: Single values by label; labels are without their underscore.
        columns: Columns of the loop by label, all of the same length; empty where the block has no loop.
    """

    pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict[str, list[str]])

    def __post_init__(self) -> None:
        if len({len(column) for column in self.columns.values()}) > 1:
            lengths = {label: len(column) for label, column in self.columns.items()}
            raise InputError("columns of a loop differ in length", got=lengths)

    def __len__(self) -> int:
        """Number of rows of the loop."""
        return len(next(iter(self.columns.values()), ()))

    def numbers(self, label: str) -> Float[np.ndarray, "rows"]:
        """A column as numbers.

        Raises:
            FormatError: If there is no such column, or a value in it is no number.
        """
        return self._convert(label, np.float64)

    def integers(self, label: str) -> Int[np.ndarray, "rows"]:
        """A column as whole numbers; see `numbers`."""
        values = self.numbers(label)
        if (values != np.round(values)).any():
            raise FormatError(f"column {label} holds values that are no whole numbers")
        return values.astype(np.int64)

    def rows(self) -> Iterator[dict[str, str]]:
        """The loop row by row."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def _convert(self, label: str, kind: type[np.float64]) -> Float[np.ndarray, "rows"]:
        if label not in self.columns:
            raise FormatError(f"there is no column {label}", expected=", ".join(self.columns) or "a loop")
        column = self.columns[label]
        try:
            return np.array(column, kind) if len(column) else np.zeros(0)
        except ValueError:
            wrong = next(value for value in column if not _is_number(value))
            raise FormatError(f"column {label} holds a value that is no number", got=repr(wrong)) from None


StarFile = dict[str, StarBlock]
"""Blocks by name, without ``data_``, in the file's order."""


def read_star(path: PathLike) -> StarFile:
    """Read a STAR file.

    Raises:
        InputError: If there is no such file.
        FormatError: If a line breaks the format; the message names it.
    """
    reader = _Reader(path)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        reader.take(number, line)
    return reader.finish()


def write_star(path: PathLike, blocks: Mapping[str, StarBlock], *, comment: str = "version 50001") -> None:
    """Write a STAR file, columns aligned as RELION does, values as they are (quoted where they must be).

    Raises:
        InputError: If a value cannot be written, since it holds a line break or both kinds of quotes.
    """
    parts = [_block_text(name, block, comment, path) for name, block in blocks.items()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts) + "\n")


class _Reader:
    """Takes a file line by line; a loop's rows are collected as token lists and turned into columns at its end."""

    def __init__(self, path: PathLike):
        self.path = path
        self.blocks: StarFile = {}
        self.name: str | None = None
        self.pairs: dict[str, str] = {}
        self.labels: list[str] = []
        self.rows: list[list[str]] = []
        self.mode = "pairs"
        self.has_loop = False

    def take(self, number: int, line: str) -> None:
        if self.mode == "rows" and not _needs_care(line):
            # The common case, kept short: files have hundreds of thousands of rows.
            words = line.split()
            if len(words) == len(self.labels) and not words[0].startswith(("_", "data_", "loop_")):
                self.rows.append(words)
                return
        stripped = line.strip()
        if not stripped:
            # A blank line ends the rows of a loop, but not its labels.
            self.mode = "pairs" if self.mode == "rows" else self.mode
        elif self.mode == "rows" and stripped[0] not in "_#" and not stripped.startswith(("data_", "loop_")):
            self._row(number, stripped)
        elif stripped[0] == "#":
            return
        elif stripped.startswith("data_"):
            self._begin_block(number, stripped.split()[0][5:])
        elif self.name is None:
            raise self._error(number, "a value stands before any data_ block", stripped[:60], "data_…")
        elif stripped.split()[0].lower() == "loop_":
            self._begin_loop(number)
        elif stripped[0] == "_":
            self._label(number, stripped)
        elif self.mode in ("labels", "rows"):
            self._row(number, stripped)
        else:
            raise self._error(number, "a value belongs to no label or loop", stripped[:60], "loop_ or _label value")

    def finish(self) -> StarFile:
        if self.name is None:
            raise FormatError("is no STAR file", path=self.path, expected="a line that starts with data_")
        self._end_block()
        return self.blocks

    def _begin_block(self, number: int, name: str) -> None:
        self._end_block()
        if name in self.blocks:
            raise self._error(number, "a block occurs twice", f"data_{name}", "a new name")
        self.name, self.pairs, self.labels, self.rows = name, {}, [], []
        self.mode, self.has_loop = "pairs", False

    def _begin_loop(self, number: int) -> None:
        if self.has_loop:
            raise self._error(number, "a block has two loops", f"data_{self.name}", "one loop per block")
        self.mode, self.has_loop = "labels", True

    def _label(self, number: int, stripped: str) -> None:
        words = _split(stripped)
        label = words[0][1:]
        if label in self.labels or label in self.pairs:
            raise self._error(number, "a label occurs twice", f"_{label}", "one value or column per label")
        if self.mode == "labels" and len(words) == 1:
            self.labels.append(label)
        elif self.mode == "pairs" and len(words) == 2:
            self.pairs[label] = words[1]
        elif self.mode == "rows":
            raise self._error(number, "a label stands among the rows of a loop", stripped[:60], "values")
        else:
            expected = "_label alone" if self.mode == "labels" else "_label value"
            raise self._error(number, "a label has the wrong number of values", stripped[:60], expected)

    def _row(self, number: int, stripped: str) -> None:
        if not self.labels:
            raise self._error(number, "a loop has values but no labels", stripped[:60], "_label")
        words = stripped.split() if not _needs_care(stripped) else _split(stripped)
        if len(words) != len(self.labels):
            got = f"{len(words)} values: {stripped[:60]}"
            raise self._error(number, "a row has the wrong number of values", got, f"{len(self.labels)} values")
        self.mode = "rows"
        self.rows.append(words)

    def _end_block(self) -> None:
        if self.name is not None:
            values = [list(column) for column in zip(*self.rows, strict=True)] or [[] for _ in self.labels]
            self.blocks[self.name] = StarBlock(self.pairs, dict(zip(self.labels, values, strict=True)))

    def _error(self, number: int, what: str, got: str, expected: str) -> FormatError:
        return FormatError(f"line {number}: {what}", path=self.path, got=got, expected=expected)


def _needs_care(line: str) -> bool:
    return "#" in line or '"' in line or "'" in line


def _split(line: str) -> list[str]:
    """Words of a line, quotes taken off, up to a comment; a # inside a word is part of it."""
    if not _needs_care(line):
        return line.split()
    words: list[str] = []
    for match in _TOKEN.finditer(line):
        double, single, comment, word = match.groups()
        if comment is not None:
            break
        words.append(next(text for text in (double, single, word) if text is not None))
    return words


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _quoted(value: str, path: PathLike) -> str:
    if value and not re.search(r"\s", value) and value[0] not in "\"'#_" and not value.startswith(("data_", "loop_")):
        return value
    for quote in "\"'":
        if quote not in value and "\n" not in value:
            return f"{quote}{value}{quote}"
    raise InputError("a value cannot be written to a STAR file", path=path, got=repr(value))


def _block_text(name: str, block: StarBlock, comment: str, path: PathLike) -> str:
    lines = ["", f"# {comment}", "", f"data_{name}", ""]
    width = max((len(label) for label in block.pairs), default=0) + 2
    lines += [f"_{label:<{width}} {_quoted(value, path)}" for label, value in block.pairs.items()]
    if block.columns:
        lines += ["", "loop_"] if block.pairs else ["loop_"]
        lines += [f"_{label} #{number}" for number, label in enumerate(block.columns, 1)]
        lines += _row_lines([_padded(column, path) for column in block.columns.values()])
    return "\n".join([*lines, ""])


def _padded(column: Sequence[str], path: PathLike) -> list[str]:
    joined = "\n".join(column)
    # One search over the whole column tells that nothing in it wants quotes.
    plain = joined.count("\n") == len(column) - 1 and _UNSAFE.search(joined) is None
    written = column if plain else [_quoted(value, path) for value in column]
    width = max(map(len, written), default=0)
    return [value.rjust(width) for value in written]


def _row_lines(columns: list[list[str]]) -> list[str]:
    return [" ".join(row) for row in zip(*columns, strict=True)]
