"""What people write on a job: a title, tags and notes, in `notes.json` of its folder.

They change as people like, also when the job is finished and its record does not change any more.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from thon.base.errors import InputError, StoreError
from thon.job.folder import storing, write_whole
from thon.job.hardware import user_name
from thon.job.machine import now

NOTES = "notes.json"
LONGEST_TITLE, LONGEST_NOTE, MOST_TAGS = 200, 20_000, 50

_TAG = re.compile(r"[\w.+-]{1,40}")


class Note(BaseModel):
    """A note."""

    model_config = ConfigDict(frozen=True)

    text: str
    by: str = ""
    at: str = ""


class Notes(BaseModel):
    """What people wrote on a job."""

    model_config = ConfigDict(frozen=True)

    title: str = ""
    """What people call it; empty for the title of its type."""
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    by: str = ""
    """Who changed anything last."""
    changed: str = ""
    """When."""

    @property
    def text(self) -> str:
        """All notes."""
        return "\n".join(note.text for note in self.notes)


def notes_of(folder: Path) -> Notes:
    """What is written on the job in a folder; nothing where the file cannot be understood."""
    file = folder / NOTES
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return Notes()


def write_on(
    folder: Path,
    *,
    title: str | None = None,
    note: str | None = None,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> Notes:
    """Write on a job; what is not given stays.

    Args:
        folder: The job's folder.
        title: What to call it; empty to call it by its type again.
        note: One more note.
        add: Tags to add.
        remove: Tags to take away.

    Raises:
        InputError: A tag, the title or the note is not fit to be one.
        StoreError: The disk refuses.
    """
    for tag in add:
        if not _TAG.fullmatch(tag):
            raise InputError("this is no tag", got=tag, expected="a word of letters, digits, . + - _ (40 at most)")
    if title is not None and (len(title) > LONGEST_TITLE or "\n" in title):
        raise InputError("the title is too long", expected=f"one line of {LONGEST_TITLE} characters")
    if note is not None and (not note.strip() or len(note) > LONGEST_NOTE):
        raise InputError("this is no note", expected=f"a text of {LONGEST_NOTE} characters at most")
    with _holding(folder):
        notes = notes_of(folder)
        tags = dict.fromkeys((*(tag for tag in notes.tags if tag not in remove), *add))
        if len(tags) > MOST_TAGS:
            raise InputError("too many tags", got=len(tags), expected=f"{MOST_TAGS} at most")
        by, at = user_name(), now()
        written = () if note is None else (Note(text=note.strip(), by=by, at=at),)
        called = notes.title if title is None else title.strip()
        notes = Notes(title=called, tags=tuple(tags), notes=(*notes.notes, *written), by=by, changed=at)
        with storing(folder):
            write_whole(folder / NOTES, notes.model_dump_json(indent=1).encode() + b"\n")
    return notes


@lru_cache(maxsize=4096)
def _read(file: Path, modified: int) -> Notes:
    try:
        return Notes.model_validate_json(file.read_bytes())
    except ValidationError:
        return Notes()


@contextmanager
def _holding(folder: Path) -> Generator[None]:
    """Let one process at a time write, by a lock on the project's folder as where jobs get their numbers."""
    if not folder.is_dir():
        raise StoreError("no job here", path=folder, expected="a job's folder")
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
