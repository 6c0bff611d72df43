"""How paths are stored in a project, so that the project can be moved."""

from __future__ import annotations

import os
from pathlib import Path


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
    """Absolute path of a stored text."""
    return os.path.normpath(os.path.join(os.path.abspath(root), text))
