"""Records of finished items as viewers ask for them, and the files that a record names.

A viewer says which part of a record it shows by a *source*: the names of fields with dots between them, such as
`volume`, `micrograph.path` or `classes.2.volume`; or a file in the item's own folder, by `@` and its path there. So a
browser can read what a record names, and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from fastapi import Depends, Query

from thon.data.maps import ClassifiedParticles
from thon.data.tilt_series import ImageRef
from thon.data.volume import Volume
from thon.job.folder import UNFINISHED, JobFolder
from thon.web.faults import AbsentError
from thon.web.site import ServedProject
from thon.web.views.cache import Cache

ITEM = "/api/v1/projects/{project}/jobs/{job}/items/{item}"

FILE = "@"
"""First character of a source that is a file in the item's folder."""

BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
"""What routes that answer with bytes say of themselves."""

RECORD_BYTES = 64 << 20
"""Of records that are kept; one of JSON takes about eight times its size in memory."""


@dataclass(frozen=True)
class Item:
    """A finished item of a job.

    Args:
        folder: The job's.
        name: Of the item.
        record: What it yielded.
        stamp: Changes when the item is done anew.
    """

    folder: JobFolder
    name: str
    record: Any
    stamp: tuple[str, int, int]

    @property
    def outputs(self) -> Path:
        """Its own folder."""
        return self.folder.outputs / self.name

    def part(self, source: str) -> Any:
        """The part of the record that a source names; the record itself for an empty one.

        Raises:
            AbsentError: There is no such part.
        """
        value = self.record
        for name in source.split(".") if source else []:
            value = _inside(value, name, source)
        if value is None:
            raise AbsentError(f"'{self.name}' has no {source or 'record'}", expected="a part of the record")
        return value

    def file(self, source: str) -> Path:
        """The file that a source names.

        Raises:
            AbsentError: There is no such file.
        """
        if source.startswith(FILE):
            return inside(self.outputs, source.removeprefix(FILE))
        value = self.part(source)
        path = value.path if isinstance(value, Volume | ImageRef) else value
        if not isinstance(path, str | Path):
            raise AbsentError(f"{source} is no file", got=type(path).__name__)
        return present(Path(path))

    def section(self, source: str) -> int:
        """The section of the file in which a source's image is."""
        value = None if source.startswith(FILE) else self.part(source)
        return value.section if isinstance(value, ImageRef) else 0


def inside(folder: Path, name: str) -> Path:
    """A file below a folder, links followed.

    Raises:
        AbsentError: There is none, or it lies elsewhere.
    """
    root = folder.resolve()
    if "\0" in name:
        raise AbsentError("there is no such file", got=name)
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise AbsentError("this file lies elsewhere", got=name, expected=f"a file below {folder.name}")
    return present(path)


def present(path: Path) -> Path:
    """A file, if it is there.

    Raises:
        AbsentError: It is not.
    """
    if not os.path.isfile(path):
        raise AbsentError("the file is not there", path=path, mend="if it has moved, `thon relocate` finds it")
    return path


def neighbours(folder: JobFolder, name: str) -> tuple[str | None, str | None]:
    """The items before and after one, in the order of their names."""
    stat = folder.outputs.stat()
    names = _names.get((str(folder.outputs), stat.st_mtime_ns), folder.items)
    at = names.index(name)
    return (names[at - 1] if at else None), (names[at + 1] if at + 1 < len(names) else None)


def find_item(served: ServedProject, job: str, item: str) -> Item:
    """The item that a URL names, with its record."""
    folder = served.job(job)
    path = folder.outputs / item / "record.json"
    try:
        stat = path.stat() if item and "/" not in item and "\0" not in item else None
    except OSError:
        stat = None
    if stat is None or item in (".", "..") or item.startswith(UNFINISHED):
        raise AbsentError(f"no finished item '{item}'", got=folder.path.name, expected="an item of this job")
    stamp = (str(path), stat.st_mtime_ns, stat.st_size)
    large = path.with_name("record.npz")
    record, _ = _records.get(
        stamp, lambda: (folder.output(item), 8 * stat.st_size + (large.stat().st_size if large.exists() else 0))
    )
    return Item(folder, item, record, stamp)


FoundItem = Annotated[Item, Depends(find_item)]
Source = Annotated[
    str, Query(description="Part of the record, by its fields; or @ and a file of the item", max_length=500)
]

_records: Cache[tuple[Any, int]] = Cache(RECORD_BYTES, lambda kept: kept[1])
_names: Cache[list[str]] = Cache(4 << 20, lambda names: 100 * len(names))


def _inside(value: Any, name: str, source: str) -> Any:
    """A field of a record, or an entry of a tuple by its number."""
    if isinstance(value, tuple) and name.isdecimal() and int(name) < len(cast("tuple[Any, ...]", value)):
        return value[int(name)]
    if not name.startswith("_") and name in getattr(type(value), "__dataclass_fields__", ()):
        return getattr(value, name)
    raise AbsentError(f"there is no part '{source}'", got=type(value).__name__)


def class_volumes(record: Any) -> list[Volume | None]:
    """The map of each class, for classes of three dimensions; empty for others."""
    if not isinstance(record, ClassifiedParticles) or record.averages is not None:
        return []
    return [one.volume for one in record.classes]


def plain(value: Any, digits: int = 6) -> Any:
    """Numbers, texts and arrays as JSON takes them, rounded to some digits; what is not finite becomes null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), digits)
    if isinstance(value, list | tuple):
        return [plain(one, digits) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {str(key): plain(one, digits) for key, one in cast("dict[Any, Any]", value).items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    return value
