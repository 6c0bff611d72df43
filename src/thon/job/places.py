"""How paths are stored in a project, so that the project can be moved; where a walk for files goes.

Records do not change, so what has moved since they were written is told by `places.json`: stored texts, of files or of
folders, and where those are now.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from thon.base.errors import StoreError

PLACES = "places.json"
"""File that tells what has moved."""

MARK = "project.json"
"""File that makes a folder a project."""


def stored(path: str | Path, root: Path) -> str:
    """Text under which a path is kept in the records of the project at `root`.

    Relative to the project for what lies in it or beside it (anywhere in the folder that holds the project), so that
    project and data can move together; absolute for everything else.
    """
    text, base = os.path.abspath(path), os.path.abspath(root)
    beside = os.path.dirname(base)
    if text == base or text.startswith(base + os.sep) or (beside != "/" and text.startswith(beside + os.sep)):
        return os.path.relpath(text, base)
    return text


def found(text: str, root: Path) -> str:
    """Absolute path of a stored text, where it is now."""
    base = os.path.abspath(root)
    return os.path.normpath(os.path.join(base, _moved(text, moves(base))))


def moves(root: str | Path) -> Mapping[str, str]:
    """What has moved, as `places.json` of the project at `root` has it: stored texts by stored texts."""
    file = os.path.join(root, PLACES)
    try:
        return _read_moves(file, os.stat(file).st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=16)
def _read_moves(file: str, modified: int) -> Mapping[str, str]:
    try:
        content = json.loads(Path(file).read_bytes())
    except ValueError as error:
        mend = "write it anew with `thon relocate`, or mend it"
        raise StoreError("where files have moved cannot be read", path=file, got=error, mend=mend) from error
    return {str(then): str(now) for then, now in content.items()} if isinstance(content, dict) else {}


def _moved(text: str, known: Mapping[str, str]) -> str:
    """A stored text with what it, or a folder above it, is called now."""
    head = text if known else ""
    while head not in ("", "/"):
        if head in known:
            return known[head] + text[len(head) :]
        head = os.path.dirname(head)
    return text


def free_name(name: str, folder: str, taken: Container[str]) -> str:
    """A name for one more thing, with its folder's in front where the name is taken, and a number where that is."""
    longer = f"{folder}_{name}"
    candidates = itertools.chain((name, longer), (f"{longer}_{k}" for k in itertools.count(2)))
    return next(one for one in candidates if one not in taken)


class Folders:
    """The folders that a walk below a folder goes into: each once, wherever links lead, and no project of thon.

    Args:
        root: Where the walk begins.
    """

    def __init__(self, root: str | Path):
        self._met = [os.path.realpath(root)]

    def inside(self, folder: str, names: Iterable[str]) -> list[str]:
        """Those of a folder's own folders, in order."""
        return [name for name in sorted(names) if self._takes(os.path.join(folder, name))]

    def _takes(self, path: str) -> bool:
        return not is_project(path) and (not os.path.islink(path) or self._leads_elsewhere(path))

    def _leads_elsewhere(self, link: str) -> bool:
        """Whether a link leads neither to what was met, nor into it, nor to what holds it; then it is met."""
        real = os.path.realpath(link)
        if any(_holds(one, real) or _holds(real, one) for one in self._met):
            return False
        self._met.append(real)
        return True


def is_project(folder: str | Path) -> bool:
    """Whether a folder is a project of thon; others have files of the same name."""
    try:
        content = json.loads(Path(folder, MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "thon" in content


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
