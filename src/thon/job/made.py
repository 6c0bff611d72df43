"""What an item yielded, in short: its files by size and mark, and the numbers of its record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thon.job.fingerprint import mark
from thon.job.items_file import ITEM_FILE
from thon.job.record import Made

MANY = 100
"""A folder of more files counts as one."""

NUMBERS = 64
"""Most numbers of a record that are kept."""

OWN_FILES = frozenset({"record.json", "record.npz", ITEM_FILE})
"""Files of the engine in an item's folder."""


def made_files(folder: Path) -> dict[str, Made]:
    """The outputs in an item's folder, the record and its arrays left out.

    Raises:
        OSError: One cannot be read.
    """
    return {
        str(path.relative_to(folder)): Made(bytes=sum(file.stat().st_size for file in files), mark=mark(path))
        for path, files in _entries(folder)
        if str(path.relative_to(folder)) not in OWN_FILES
    }


def numbers(record: Any) -> dict[str, float]:
    """The finite numbers of a record, and its `figures`; those of records inside it after their field's name.

    `count` is its length.
    """
    found = dict(_numbers(record, ""))
    if hasattr(record, "__len__"):
        found = {"count": float(len(record))} | found
    return dict(list(found.items())[:NUMBERS])


def _entries(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Files, and folders of many, with the files in each."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path, [path]
            continue
        files = [file for file in path.rglob("*") if file.is_file()]
        if len(files) > MANY:
            yield path, files
        else:
            yield from _entries(path)


def _numbers(record: Any, before: str) -> Iterator[tuple[str, float]]:
    if not dataclasses.is_dataclass(record):
        return
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
            if math.isfinite(value):
                yield f"{before}{field.name}", float(value)
        elif not isinstance(value, type):
            yield from _numbers(value, f"{before}{field.name}.")
    for name, value in getattr(record, "figures", {}).items():
        if math.isfinite(value):
            yield f"{before}{name}", value
