"""What lies in a folder of a job."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from thon.web.faults import AbsentError

MOST = 1000
"""Entries that are shown."""


@dataclass(frozen=True)
class Entry:
    """A file or folder: its name, its path in the job's folder, its bytes, when it was changed (s since 1970)."""

    name: str
    path: str
    folder: bool
    bytes: int
    changed: float


@dataclass(frozen=True)
class Listing:
    """A folder of a job.

    Args:
        path: In the job's folder; empty for that itself.
        parents: Name and path of each folder above.
        entries: Folders first.
        more: Entries that are not shown.
    """

    path: str
    parents: list[tuple[str, str]]
    entries: list[Entry]
    more: int


def list_folder(root: Path, path: str) -> Listing:
    """A folder below `root`.

    Raises:
        AbsentError: There is none.
    """
    base = root.resolve()
    place = (base / path).resolve()
    if not place.is_relative_to(base) or not place.is_dir():
        raise AbsentError("no such folder in this job", got=path)
    with os.scandir(place) as found:
        every = sorted(found, key=lambda one: (not one.is_dir(), one.name))
    here = "" if place == base else str(place.relative_to(base))
    entries = [_entry(one, here) for one in every[:MOST]]
    parts = Path(here).parts
    parents = [(part, str(Path(*parts[: k + 1]))) for k, part in enumerate(parts)]
    return Listing(here, parents, entries, max(len(every) - MOST, 0))


def _entry(one: os.DirEntry[str], here: str) -> Entry:
    stat = one.stat(follow_symlinks=False)
    path = f"{here}/{one.name}" if here else one.name
    return Entry(one.name, path, one.is_dir(), stat.st_size, stat.st_mtime)
