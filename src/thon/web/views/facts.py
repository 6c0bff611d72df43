"""The single numbers and texts of a record, for a table beside its viewers."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thon.web.views.records import plain

MOST = 80
"""Facts at most."""

SHORT = 4
"""Tuples of so many numbers are told whole."""


def facts_of(record: Any) -> list[tuple[str, Any]]:
    """Names and values of a record's own numbers and texts, and of those of the records in it."""
    if isinstance(record, Path):
        return [("path", str(record))]
    return [(name, plain(value)) for name, value in _facts(record, "")][:MOST]


def _facts(record: Any, before: str) -> Iterator[tuple[str, Any]]:
    if not dataclasses.is_dataclass(record):
        return
    if hasattr(record, "__len__") and not isinstance(record, type):
        yield f"{before}count", len(record)  # pyright: ignore[reportArgumentType]
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        name = f"{before}{field.name}"
        if isinstance(value, enum.Enum):
            yield name, value.value
        elif isinstance(value, bool | int | float | str | Path | np.generic):
            yield name, str(value) if isinstance(value, Path) else value
        elif isinstance(value, tuple) and 0 < len(value) <= SHORT and all(isinstance(v, int | float) for v in value):
            yield name, list(value)
        elif not isinstance(value, type):
            yield from _facts(value, f"{name}.")
