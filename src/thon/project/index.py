"""A project's index: a database of what its job folders say, that follows them and can be made anew from them.

Nobody has to tell it what has happened. Before it is asked, it looks which folders have changed since, and reads those:
of a job that is running or live only the new lines. The same rows come of it in whatever order things happened, and
`dump` writes them so that two indexes can be compared byte by byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, select

from thon.base.errors import StoreError
from thon.job.folder import storing
from thon.project.database import (
    FOLDER,
    NEWEST,
    DamagedError,
    Place,
    connect,
    in_memory,
    place_of,
    prepare,
    telling,
    version_of,
)
from thon.project.follow import follow
from thon.project.lock import BEAT, STALE, OwnerLock
from thon.project.project import Project
from thon.project.tables import metadata

PATIENCE = 3.0
"""How long a reading command waits for another process to finish writing, s."""

LONG_PATIENCE = STALE + 2 * BEAT
"""Time in which an owner on another machine is found to be dead, s."""

Say = Callable[[str], None]


class Index:
    """The index of one project.

    Args:
        project: The project.
        engine: Its database.
        place: Where that is.
    """

    def __init__(self, project: Project, engine: Engine, place: Place):
        self.project, self.place, self.engine = project, place, engine

    @contextlib.contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection to ask; what it changes is not kept.

        Raises:
            StoreError: The database cannot be reached, or is damaged.
        """
        try:
            with telling(self.place), self.engine.connect() as connection:
                yield connection
        except DamagedError as error:
            raise _damaged(self.place, error) from error

    def refresh(self) -> int:
        """Read what has changed in the job folders; returns how many jobs that were.

        Raises:
            DamagedError: The database's file is no database any more.
            StoreError: The database cannot be reached, or cannot write.
        """
        with telling(self.place), self.engine.begin() as connection:
            return follow(connection, self.project)

    def rebuild(self) -> None:
        """Forget the project and read all of its folders again.

        Raises:
            StoreError: The database cannot be reached, or cannot write.
        """
        with telling(self.place), self.engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.execute(delete(table).where(table.c.project == self.project.id))
            follow(connection, self.project)

    def dump(self) -> Iterator[str]:
        """Every row of the project, in the one order that rows have, as lines of JSON."""
        with self.reading() as connection:
            for table in metadata.sorted_tables:
                keys, columns = list(table.primary_key.columns), sorted(table.columns, key=lambda column: column.name)
                # Text is ordered by its bytes here, for databases have orders of their own.
                rows = connection.execute(select(*columns).where(table.c.project == self.project.id)).mappings()
                for row in sorted(rows, key=lambda row: [row[key] for key in keys]):
                    yield json.dumps([table.name, dict(row)], ensure_ascii=False)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


@contextlib.contextmanager
def open_index(project: Project, say: Say = lambda text: None) -> Generator[Index]:
    """The index of a project, up to date with its folders where that is possible.

    A project that cannot be written gets one in memory. While another process has the project, the index is as fresh
    as that keeps it.

    Args:
        project: The project.
        say: Takes a sentence where something was not as it should be.

    Raises:
        StoreError: The index was made by a newer thon, or its database cannot be reached.
    """
    place = place_of(project)
    index = _in_memory(project, place) if is_read_only(project) else _fresh(project, place, say)
    if doubles := project.doubles():
        say(f"another folder bears the number of {', '.join(doubles)}, which is left out; give it a free number")
    try:
        yield index
    finally:
        index.close()


def reindex(project: Project) -> int:
    """Make the index anew from the job folders, whatever there was; returns the number of jobs.

    It waits for long enough to take over from an owner on another machine that is gone.

    Raises:
        StoreError: Another process has the project, or the disk refuses.
    """
    place = place_of(project)
    with OwnerLock.hold(lock_file(project), "thon reindex", wait=LONG_PATIENCE):
        if place.file is not None:
            remove_index(place.file)
        index = Index(project, connect(place), place)
        try:
            prepare(index.engine, place)
            index.rebuild()
        finally:
            index.close()
    return len(project.jobs())


def lock_file(project: Project) -> Path:
    """The file by which one process owns a project's index."""
    return project.root / FOLDER / "owner"


def _fresh(project: Project, place: Place, say: Say) -> Index:
    index = Index(project, connect(place), place)
    try:
        with OwnerLock.hold(lock_file(project), "thon", wait=PATIENCE):
            try:
                prepare(index.engine, place)
                index.refresh()
            except DamagedError as error:
                say(f"the index was damaged ({error}); it was made anew from the job folders")
                index = _anew(project, place, index)
    except StoreError as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        if not _is_usable(index):
            index.close()
            return _in_memory(project, place)
        say(f"the index is as {error.got} keeps it")
    return index


def _is_usable(index: Index) -> bool:
    """Whether an index that another process keeps can be asked."""
    if index.place.file is not None and not index.place.file.exists():
        return False
    with index.reading() as connection:
        return version_of(connection) == NEWEST


def _anew(project: Project, place: Place, damaged: Index) -> Index:
    damaged.close()
    if place.file is not None:
        remove_index(place.file)
    index = Index(project, connect(place), place)
    prepare(index.engine, place)
    index.rebuild()
    return index


def _in_memory(project: Project, place: Place) -> Index:
    """An index in memory, which starts from the file where that can be read."""
    memory = in_memory()
    index = Index(project, connect(memory), memory)
    if place.file is not None and place.file.exists() and not _has_log(place.file):
        try:
            # Nobody can write there, so that it can be read as if it were cut in stone.
            source = sqlite3.connect(f"file:{place.file}?immutable=1", uri=True)
            with contextlib.closing(source), index.engine.connect() as connection:
                source.backup(_raw(connection))
        except sqlite3.DatabaseError:
            index = Index(project, connect(memory), memory)
    prepare(index.engine, memory)
    index.refresh()
    return index


def _has_log(file: Path) -> bool:
    """Whether a database has pages that are not in its file yet, as a kill may leave it."""
    logs = (file.with_name(file.name + end) for end in ("-wal", "-journal"))
    return any(log.exists() and log.stat().st_size for log in logs)


def _raw(connection: Connection) -> sqlite3.Connection:
    found: Any = connection.connection.driver_connection
    return found


def is_read_only(project: Project) -> bool:
    """Whether a project's index lies in it and cannot be written there."""
    place = place_of(project)
    if place.file is None or not place.file.is_relative_to(project.root):
        return False
    folder = project.root / FOLDER
    there = [path for path in (folder, place.file) if path.exists()]
    return not all(os.access(path, os.W_OK) for path in there or [project.root])


def remove_index(file: Path) -> None:
    """Remove the file of an index, and those that belong to it."""
    with storing(file):
        for end in ("", "-wal", "-shm", "-journal"):
            file.with_name(file.name + end).unlink(missing_ok=True)


def _damaged(place: Place, error: Exception) -> StoreError:
    return StoreError("the index is damaged", path=place.file, got=error, mend="`thon reindex` makes it anew")
