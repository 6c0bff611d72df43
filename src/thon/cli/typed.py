"""What was typed, for the records of the jobs that come of it."""

from __future__ import annotations

import os
import re
import shlex
from contextvars import ContextVar
from pathlib import Path

TYPED: ContextVar[tuple[str, ...]] = ContextVar("TYPED", default=())
"""The arguments of the command that runs."""

_FLAG = re.compile(r"(--[\w-]+=)(.+)", re.DOTALL)
_JOB = re.compile(r"J\d{1,6}(-[a-z0-9-]+)?(:.+)?", re.IGNORECASE)


def typed_command(root: Path) -> str:
    """The command as it would be typed in the folder of the project at `root`; empty where none was typed."""
    typed = TYPED.get()
    return shlex.join(["thon", *(_placed(word, root) for word in typed)]) if typed else ""


def _placed(word: str, root: Path) -> str:
    """A path as seen from the project's folder; any other word as it is."""
    from thon.job.places import stored  # noqa: PLC0415

    flag = _FLAG.fullmatch(word)
    if flag is not None:
        return flag[1] + _placed(flag[2], root)
    path = Path(word)
    if _JOB.fullmatch(path.name) and path.parent.is_dir():
        return os.path.normpath(os.path.join(stored(path.parent, root), path.name))
    return stored(path, root) if ("/" in word or "." in word or path.is_dir()) and path.exists() else word
