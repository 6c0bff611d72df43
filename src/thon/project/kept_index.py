"""An index that one process keeps up to date again and again, while its threads read it.

Readers never wait for that, but where the index is kept on a disk that several machines share. Others may do the same
with the same index at the same time: the project's lock lets one write after another, and what is done already is
seen to be.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from sqlalchemy import Connection, select

from thon.base.errors import StoreError
from thon.job.folder import JobFolder
from thon.project.database import DamagedError, Place, connect, place_of, prepare, telling
from thon.project.index import PATIENCE, Index, is_read_only, lock_file, remove_index
from thon.project.lock import OwnerLock
from thon.project.project import Project
from thon.project.reading import LARGE, read_apart
from thon.project.rows import lines_size, stamp_of
from thon.project.tables import jobs

Say = Callable[[str], None]

Stamps = dict[str, tuple[str, int]]
"""What changes whenever a job folder does, by the folder's name."""


class KeptIndex:
    """The index of a project that is open for long.

    Args:
        project: The project.
        say: Takes a sentence where something was not as it should be.

    Raises:
        StoreError: The index was made by a newer thon, or its database cannot be reached.
    """

    def __init__(self, project: Project, say: Say = lambda text: None):
        self.project, self._say = project, say
        self._scratch = tempfile.TemporaryDirectory(prefix="thon-index-") if is_read_only(project) else None
        place = place_of(project)
        if self._scratch is not None:
            # A file, for many threads cannot share a database in memory.
            file = Path(self._scratch.name) / "index.sqlite"
            place = Place(f"sqlite:///{file}", file)
        self._index = Index(project, connect(place), place)
        self._changing = threading.Lock()
        self._seen: Stamps = {}
        self._number: int | None = None
        self._bad = True
        self._held: Connection | None = None
        self.refresh(wait=PATIENCE)

    @contextlib.contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection to ask; what it changes is not kept. Waits only where the index is being made anew.

        Raises:
            StoreError: The database cannot be reached, or is damaged; then it is made anew for the next one who asks.
        """
        if self._bad or self._file() != self._number:
            self.refresh(wait=PATIENCE)
        try:
            with self._index.reading() as connection:
                yield connection
        except StoreError:
            self._bad = True
            raise

    def refresh(self, *, wait: float = 0.0) -> bool:
        """Read what has changed in the job folders; returns whether anything had.

        Args:
            wait: How long to wait for another process that writes the index, s; after that it is left to that one.

        Raises:
            StoreError: The index was made by a newer thon, or its database cannot be reached or cannot write.
        """
        with self._changing:
            now = _stamps(self.project)
            self._bad = self._bad or self._file() != self._number
            if now == self._seen and not self._bad:
                return False
            try:
                if self._scratch is None and _bytes_of(self.project, now, self._seen) > LARGE:
                    read_apart(self.project)
                with self._owning(wait):
                    self._follow()
            except StoreError as error:
                if not isinstance(error.__cause__, BlockingIOError):
                    raise
                self._say(f"the index is as {error.got} keeps it")
                return False
            self._seen, self._number, self._bad = now, self._file(), False
            return True

    def close(self) -> None:
        """Let go of the database."""
        self._let_go()
        self._index.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _follow(self) -> None:
        try:
            if self._bad:
                self._let_go()
                prepare(self._index.engine, self._index.place)
            self._index.refresh()
        except DamagedError as error:
            self._say(f"the index was damaged ({error}); it was made anew from the job folders")
            self._index.close()
            if self._index.place.file is not None:
                remove_index(self._index.place.file)
            prepare(self._index.engine, self._index.place)
            self._index.rebuild()
        self._hold()

    def _hold(self) -> None:
        """Keep one connection to a file open: to open the first one takes new bytes, which a full disk has not."""
        if self._held is None and self._index.place.file is not None:
            with telling(self._index.place):
                self._held = self._index.engine.connect()
                self._held.execute(select(jobs.c.job).limit(1)).all()
                self._held.rollback()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    @contextlib.contextmanager
    def _owning(self, wait: float) -> Generator[None]:
        if self._scratch is not None:
            yield
            return
        with OwnerLock.hold(lock_file(self.project), "thon serve", wait=wait):
            yield

    def _file(self) -> int | None:
        """The number that the disk has for the index's file, by which another one of that name is known."""
        file = self._index.place.file
        return file.stat().st_ino if file is not None and file.exists() else None


def _stamps(project: Project) -> Stamps:
    """What changes whenever a job folder does."""
    return {folder.path.name: (_stamp(folder), lines_size(folder)) for folder in project.jobs()}


def _bytes_of(project: Project, now: Stamps, seen: Stamps) -> int:
    """Bytes of the records that have changed."""
    changed = [name for name, (stamp, _) in now.items() if seen.get(name, ("", 0))[0] != stamp]
    files = [project.root / name / "job.json" for name in changed]
    return sum(file.stat().st_size for file in files if file.exists())


def _stamp(folder: JobFolder) -> str:
    try:
        return stamp_of(folder)
    except FileNotFoundError:
        return ""  # it went while we looked
