"""A project: a folder with one folder per job, `J001-import-tilts`, `J002-align-tilts` and so on.

The folder is the truth. It can be moved, copied and read without thon; nothing in it names its own place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Any

from thon.base.errors import InputError, StoreError
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.machine import now, software
from thon.job.places import MARK
from thon.job.record import FORMAT

_JOB = re.compile(r"(J\d{3,})-[a-z0-9-]+$")
_NUMBER = re.compile(r"J\d{1,6}$")


class Project:
    """The jobs in a project's folder.

    Args:
        root: The folder; `Project.open` and `Project.create` check it.
    """

    def __init__(self, root: Path):
        self.root = root.absolute()

    @classmethod
    def open(cls, folder: Path) -> Project:
        """The project in this folder or the nearest one above it.

        Raises:
            InputError: There is none.
            StoreError: It was made by a newer thon.
        """
        for candidate in [folder.absolute(), *folder.absolute().parents]:
            if (candidate / MARK).exists():
                found = cls(candidate)
                found.check_format()
                return found
        raise InputError("no project here", path=folder, mend="name its folder, or `-o FOLDER` to start one")

    @classmethod
    def create(cls, folder: Path) -> Project:
        """The project in this folder, which is made if it is missing.

        Raises:
            InputError: The folder holds other things, or is a file.
            StoreError: It cannot be written, or was made by a newer thon.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError("this is a file", path=folder, expected="a folder for the project")
        mark = folder / MARK
        if mark.exists():
            return cls.open(folder)
        if folder.is_dir() and any(not name.startswith(".") for name in os.listdir(folder)):
            raise InputError(
                "this folder holds other things", path=folder, expected="a project, an empty folder or a new one"
            )
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            content = {"format": FORMAT, "thon": software().version, "created": now(), "id": secrets.token_hex(4)}
            write_whole(mark, json.dumps(content, indent=1).encode() + b"\n")
        return cls(folder)

    def marks(self) -> dict[str, Any]:
        """What `project.json` says; nothing where it is no JSON, for others have files of that name."""
        try:
            content = json.loads((self.root / MARK).read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def id(self) -> str:
        """What tells the project from others; a project of an early thon is known by when it was made."""
        marks = self.marks()
        return str(marks.get("id") or hashlib.sha256(str(marks.get("created")).encode()).hexdigest()[:8])

    def keep_index_in(self, url: str) -> None:
        """Note in `project.json` which database keeps the index.

        Raises:
            InputError: The URL is none, or holds a password, which everybody could read there.
            StoreError: The disk refuses.
        """
        from sqlalchemy.engine import make_url  # noqa: PLC0415

        from thon.project.database import read_url  # noqa: PLC0415

        read_url(url)
        if make_url(url).password is not None:
            mend = "put the password into ~/.pgpass, or the URL into THON_DATABASE"
            raise InputError("everybody who may read the project could read this password", mend=mend)
        self.mark(database=url)

    def mark(self, **values: Any) -> None:
        """Note something in `project.json`.

        Raises:
            StoreError: The disk refuses.
        """
        with storing(self.root):
            write_whole(self.root / MARK, json.dumps(self.marks() | values, indent=1).encode() + b"\n")

    def check_format(self) -> None:
        """Refuse a project that this thon would misunderstand.

        Raises:
            StoreError: It was made by a newer thon.
        """
        marks = self.marks()
        found = marks.get("format", FORMAT)
        if isinstance(found, int) and found > FORMAT:
            raise StoreError(
                "this project was made by a newer thon",
                path=self.root,
                got=f"format {found}, by thon {marks.get('thon', '?')}",
                expected=f"format {FORMAT} or older",
                mend="install that version",
            )

    def jobs(self) -> list[JobFolder]:
        """All jobs by number."""
        found = [path for path in self.root.iterdir() if _JOB.match(path.name) and (path / "job.json").exists()]
        return [JobFolder(path) for path in sorted(found, key=lambda path: (len(path.name.split("-")[0]), path.name))]

    def doubles(self) -> list[str]:
        """Folders whose number another bears too, as may come of copying by hand; only the first of them counts."""
        names = [job.path.name for job in self.jobs()]
        numbers = [name.split("-")[0] for name in names]
        return [name for k, name in enumerate(names) if numbers[k] in numbers[:k]]

    def job(self, name: str) -> JobFolder:
        """A job by its number (J002, j2) or folder name.

        Raises:
            InputError: No such job.
        """
        number = f"J{int(name[1:]):03d}" if _NUMBER.match(name.upper()) else name
        for job in self.jobs():
            if number in (job.path.name, job.path.name.split("-")[0]):
                return job
        known = ", ".join(job.path.name for job in self.jobs())
        raise InputError(f"no job '{name}'", path=self.root, expected=known or "a project with jobs")

    def new_folder(self, type_name: str) -> JobFolder:
        """A new, empty job folder with the next free number.

        Raises:
            StoreError: The disk refuses.
        """
        with storing(self.root), self._numbering():
            numbers = [int(path.name.split("-")[0][1:]) for path in self.root.iterdir() if _JOB.match(path.name)]
            path = self.root / f"J{max(numbers, default=0) + 1:03d}-{type_name}"
            path.mkdir()
        return JobFolder(path)

    @contextlib.contextmanager
    def _numbering(self) -> Generator[None]:
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def find_job(name: str, project: Project | None) -> JobFolder:
    """A job by number in `project`, or by the path of its folder.

    Raises:
        InputError: No such job.
    """
    path = Path(name)
    if (path / "job.json").exists():
        return JobFolder(path)
    if path.parent != Path("."):
        return Project.open(path.parent).job(path.name)
    if project is None:
        raise InputError(f"no project to look for '{name}' in", mend="go into the project's folder, or name it")
    return project.job(name)


def check_writable(project: Project) -> None:
    """Refuse a project that cannot be written before any work is done.

    Raises:
        StoreError: It cannot be written.
    """
    if not os.access(project.root, os.W_OK):
        raise StoreError("cannot write", path=project.root, mend="choose an output folder that you may write")
