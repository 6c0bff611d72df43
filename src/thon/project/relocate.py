"""Finds files from outside that have moved, by their hashes, and notes where they are now in `places.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from thon.base.errors import InputError
from thon.job.fingerprint import Fingerprint, fingerprint
from thon.job.folder import storing, write_whole
from thon.job.places import PLACES, found, moves, stored
from thon.project.project import Project
from thon.project.tables import prints


@dataclass(frozen=True)
class Relocation:
    """What was looked for, and found.

    Args:
        moves: Stored texts of files and folders that have moved, and where they are now.
        files: Number of files found.
        missing: Stored texts of files that are nowhere.
    """

    moves: dict[str, str]
    files: int
    missing: list[str]


def relocate(connection: Connection, project: Project, folder: Path) -> Relocation:
    """Look below a folder for the files that the project's jobs have read and that are gone.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError("no such folder", path=folder, expected="a folder that holds the files somewhere")
    wanted = missing(connection, project)
    there = _by_size(folder)
    now: dict[str, str] = {}
    for key, one in wanted.items():
        match = _match(key, one, there)
        if match is not None:
            now[key] = stored(match, project.root)
    return Relocation(_short(now, wanted), len(now), sorted(wanted.keys() - now.keys()))


def note_moves(project: Project, moved: Mapping[str, str]) -> None:
    """Add to `places.json` of a project.

    Raises:
        StoreError: The disk refuses.
    """
    content = dict(moves(project.root)) | dict(moved)
    with storing(project.root):
        write_whole(project.root / PLACES, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def missing(connection: Connection, project: Project) -> dict[str, Fingerprint]:
    """The files from outside that jobs have read and that are not where they were, with what they were."""
    every = outside(connection, project)
    return {key: one for key, one in every if not os.path.exists(found(key, project.root))}


def outside(
    connection: Connection, project: Project, only: Collection[str] | None = None
) -> Iterator[tuple[str, Fingerprint]]:
    """The files from outside that jobs, or `only` some of them, have read, by stored text, with what they were."""
    columns = (prints.c.key, prints.c.sha256, prints.c.bytes, prints.c.modified, prints.c.partial)
    jobs = {folder.path.name.split("-")[0] for folder in project.jobs()}
    query = select(*columns).where(prints.c.project == project.id).order_by(prints.c.job, prints.c.key)
    query = query if only is None else query.where(prints.c.job.in_(only))
    for key, sha256, size, modified, partial in connection.execute(query):
        if key.split("/")[0] not in jobs:
            yield key, Fingerprint(sha256=sha256, bytes=size, modified=modified, partial=partial)


def _by_size(folder: Path) -> dict[int, list[Path]]:
    """Files below a folder by size; folders, whose fingerprint covers all in them, under -1."""
    found_: dict[int, list[Path]] = {-1: []}
    for here, folders, names in os.walk(folder):
        found_[-1] += [Path(here) / name for name in folders]
        for name in names:
            path = Path(here) / name
            if path.is_file():
                found_.setdefault(path.stat().st_size, []).append(path)
    return found_


def _match(key: str, one: Fingerprint, there: Mapping[int, list[Path]]) -> Path | None:
    """The file with the content of one that was read, first among those of its name."""
    name = os.path.basename(key)
    alike = [*there.get(one.bytes, []), *(path for path in there[-1] if path.name == name)]
    for path in sorted(alike, key=lambda path: path.name != name):
        if fingerprint(path).same_content(one):
            return path
    return None


def _short(now: Mapping[str, str], wanted: Mapping[str, object]) -> dict[str, str]:
    """Whole folders where all that is wanted of one has moved to one other under the same names."""
    short: dict[str, str] = {}
    for folder in sorted({os.path.dirname(key) for key in now}):
        keys = [key for key in wanted if os.path.dirname(key) == folder]
        places = {os.path.dirname(now.get(key, "?/?")) for key in keys}
        same = all(os.path.basename(now.get(key, "")) == os.path.basename(key) for key in keys)
        if len(places) == 1 and same and folder not in ("", ".", ".."):
            short[folder] = places.pop()
        else:
            short |= {key: now[key] for key in keys if key in now}
    return short
