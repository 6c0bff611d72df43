"""Files that hold tables: star, comma- or tab-separated values, JSON lines, plain columns of numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.formats.star import read_star
from thon.web.faults import AbsentError
from thon.web.views.table_columns import as_column

LARGEST = 400 << 20
"""Bytes of a file that is shown as a table."""


def file_columns(path: Path, block: str = "") -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
    """The columns of a file, and the names of its tables where it has several.

    Args:
        path: File.
        block: Of a star file; its largest unless said.

    Raises:
        InputError: It is too large.
        FormatError: It holds no table.
        AbsentError: It has no such table.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise InputError("too large to be shown as a table", path=path, got=f"{size / 1e6:.0f} MB")
    suffix = path.suffix.lower()
    if suffix in (".star", ".cif"):
        return _star_columns(path, block)
    text = path.read_text(errors="replace")
    rows = _json_rows(text) if suffix in (".jsonl", ".json") else _text_rows(text, suffix)
    if not rows:
        raise FormatError("there is no table in this file", path=path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: as_column([row.get(name, "") for row in rows]) for name in names}, ()


def _star_columns(path: Path, block: str) -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
    blocks = {name: one for name, one in read_star(path).items() if len(one)}
    if not blocks or (block and block not in blocks):
        raise AbsentError(f"there is no table '{block}'", path=path, expected=", ".join(blocks) or "a loop")
    chosen = blocks[block] if block else max(blocks.values(), key=len)
    return {label: as_column(values) for label, values in chosen.columns.items()}, tuple(blocks)


def _json_rows(text: str) -> list[dict[str, Any]]:
    try:
        whole = json.loads(text)
        entries = cast("list[Any]", whole) if isinstance(whole, list) else []
    except ValueError:
        entries = [_loaded(line) for line in text.splitlines()]
    return [dict(cast("dict[str, Any]", one)) for one in entries if isinstance(one, dict)]


def _loaded(line: str) -> Any:
    """A line of JSON; None for one that was cut short."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _text_rows(text: str, suffix: str) -> list[dict[str, Any]]:
    """Rows of a csv or tsv with a head; of plain text, those that consist of as many numbers as the first."""
    if suffix in (".csv", ".tsv"):
        return list(csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ","))
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]
    kept = [words for words in lines if all(is_number(word) for word in words)]
    width = len(kept[0]) if kept else 0
    return [{f"column {k + 1}": word for k, word in enumerate(words)} for words in kept if len(words) == width]


def is_number(word: str) -> bool:
    """Whether a text is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
