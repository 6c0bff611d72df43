"""Files and folders that a URL names, which must lie where they may be looked at, links followed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from thon.web.api.models import FileOut, Listing
from thon.web.faults import AbsentError, RefusedError

MOST = 2000
"""Entries of a folder in one answer."""


def below(root: Path, name: str) -> Path:
    """What a path relative to a folder names, if that lies in the folder.

    Raises:
        AbsentError: It lies elsewhere, or is not there.
    """
    try:
        base = root.resolve(strict=True)
        path = (base / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise AbsentError("there is no such file", got=name) from error
    if not path.is_relative_to(base):
        raise AbsentError("there is no such file", got=name)
    return path


def present_file(root: Path, name: str) -> Path:
    """A file below a folder.

    Raises:
        AbsentError: There is none.
        RefusedError: It may not be read.
    """
    path = below(root, name)
    if not path.is_file():
        raise AbsentError("there is no such file", got=name)
    if not os.access(path, os.R_OK):
        raise RefusedError("this file may not be read", got=name)
    return path


def present_folder(root: Path, name: str) -> Path:
    """A folder below a folder.

    Raises:
        AbsentError: There is none.
    """
    path = below(root, name)
    if not path.is_dir():
        raise AbsentError("there is no such folder", got=name)
    return path


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """A folder in which people may look for files.

    Raises:
        AbsentError: There is none.
        RefusedError: It does not lie below a folder in which they may.
    """
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise AbsentError("there is no such folder", got=path) from error
    if not any(real.is_relative_to(root) for root in roots):
        known = ", ".join(str(root) for root in roots)
        raise RefusedError("this may not be looked at", got=path, expected=f"below {known}", mend="--browse FOLDER")
    if not real.is_dir():
        raise AbsentError("there is no such folder", got=path)
    return real


def entries_of(
    folder: Path, shown: Path | None, *, find: str = "", offset: int = 0, limit: int = MOST
) -> tuple[list[FileOut], int]:
    """What a folder holds, folders first, and how much that is in all.

    Args:
        folder: The folder.
        shown: What paths are told relative to; None to tell them whole.
        find: Only names in which this text is.
        offset: How many to leave out at the beginning.
        limit: How many at most.

    Raises:
        RefusedError: It may not be read.
    """
    try:
        with os.scandir(folder) as found:
            every = [one for one in found if find.lower() in one.name.lower()]
    except PermissionError as error:
        raise RefusedError("this folder may not be read", path=folder) from error
    every.sort(key=lambda one: (not one.is_dir(), one.name))
    return [_entry(one, shown) for one in every[offset : offset + limit]], len(every)


def listing_of(folder: Path, root: Path, *, find: str, offset: int, limit: int) -> Listing:
    """What a folder below another holds, with paths relative to that."""
    base = root.resolve()
    entries, total = entries_of(folder, base, find=find, offset=offset, limit=limit)
    here = str(folder.relative_to(base))
    parent = None if folder == base else str(folder.parent.relative_to(base))
    return Listing(
        path="" if here == "." else here, parent="" if parent == "." else parent, entries=entries, total=total
    )


def _entry(one: os.DirEntry[str], shown: Path | None) -> FileOut:
    try:
        stat = one.stat()
    except OSError:  # a link that leads nowhere
        stat = one.stat(follow_symlinks=False)
    path = one.path if shown is None else os.path.relpath(one.path, shown)
    return FileOut(name=one.name, path=path, folder=one.is_dir(), bytes=stat.st_size, modified=stat.st_mtime)
