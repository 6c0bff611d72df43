"""The projects that a server serves; a route takes the one that its URL names as a parameter.

```python
@router.get("/p/{project}/")
def page(served: ServedProject) -> HTMLResponse:
    with served.index.reading() as connection:
        rows = job_log(connection, served.project.id)
```

Such a route is an ordinary function, not `async`, and runs in a thread, so that it may read files and ask the index.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from thon.base.errors import InputError, ThonError
from thon.engine.desk import Desk
from thon.engine.scheduler.asked import ASKED
from thon.job.places import MARK, is_project
from thon.project.lock import lives_here
from thon.project.project import Project
from thon.web.faults import AbsentError, ConflictError
from thon.web.served import SERVER, Picture, Served

__all__ = ["Served", "ServedProject", "ServedSite", "Site"]

_NAME = re.compile(r"[\w][\w.+-]{0,99}")

LIMIT, ROOM = 60.0, 8
"""How long what needs job types loaded may take, s; how many may ask for that at one time."""

Say = Callable[[str], None]


class Site:
    """The projects of one server: one, or those in a folder.

    Args:
        folder: A project, or a folder of projects.
        run: Whether to run the jobs that are asked for.
        browse: Folders below which people may look for inputs; home and the folder around the projects unless given.
        picture: Tells how the jobs of a project stand, for those who look.
        say: Takes a sentence for whoever started the server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run: bool = True,
        browse: Sequence[Path] = (),
        picture: Picture = lambda served: {},
        say: Say = lambda text: None,
    ):
        self.folder, self.run, self.say = folder.resolve(), run, say
        self.single = (self.folder / MARK).exists()
        self.desk, self.workbench = Desk(limit=LIMIT, room=ROOM), Desk()
        """For whoever asks; for the jobs that are run, which may take as long as they need."""
        around = self.folder.parent if self.single else self.folder
        self.browse = list(dict.fromkeys(path.resolve() for path in (Path.home(), around, *browse)))
        self.ending = False
        """Whether the server is about to end; streams then do."""
        self._picture = picture
        self._lock = threading.Lock()
        self._open: dict[str, Served] = {}
        self._opening: dict[str, threading.Lock] = {}

    def start(self, *, wait: float = 0.0) -> None:
        """Open the one project, or those in which jobs are asked for already.

        Args:
            wait: How long to wait for a project that another server has, which may be dead, s.

        Raises:
            ThonError: The one project cannot be served.
        """
        wanted = [name for name in self.names() if self.single or any((self.folder / name).glob(f"J*/{ASKED}"))]
        # All are tried before any is waited for, so that the time of all runs at once.
        busy = [name for name in wanted if not self._starts(name, 0.0, last=not wait)]
        deadline = time.monotonic() + wait
        for name in busy:
            self._starts(name, max(0.0, deadline - time.monotonic()), last=True)

    def names(self) -> list[str]:
        """Names of the projects that are there, as URLs have them."""
        if self.single:
            return [self.folder.name]
        with os.scandir(self.folder) as entries:
            return sorted(one.name for one in entries if one.is_dir() and is_project(one.path))

    def project(self, name: str) -> Served:
        """A project, which is opened when it is asked for first.

        Raises:
            AbsentError: No such project.
            StoreError: Another server has it, or it was made by a newer thon.
        """
        return self._project(name, 0.0)

    def if_open(self, name: str) -> Served | None:
        """A project, if somebody has asked for it already."""
        return self._open.get(name)

    def place(self, name: str) -> Path:
        """The folder of a project."""
        return self.folder if self.single else self.folder / name

    def create(self, name: str) -> Served:
        """A new project in the folder that is served.

        Raises:
            InputError: The name is not fit to be one.
            ConflictError: Such a folder is there already, or a single project is served.
            StoreError: The disk refuses.
        """
        if self.single:
            mend = "`thon serve` a folder of projects"
            raise ConflictError("this server serves one project", path=self.folder, mend=mend)
        if not _NAME.fullmatch(name):
            raise InputError("this is no name for a project", got=name, expected="letters, digits, . + - _")
        if (self.folder / name).exists():
            raise ConflictError("such a folder is there already", got=name, mend="choose another name")
        Project.create(self.folder / name)
        return self.project(name)

    def end(self) -> None:
        """The server is about to end: let streams end."""
        self.ending = True
        for one in list(self._open.values()):
            one.feed.end()

    def close(self) -> None:
        """Let go of all projects."""
        self.end()
        with self._lock:
            opening = dict(self._opening)
        for name, lock in opening.items():
            with lock:
                one = self._open.pop(name, None)
                if one is not None:
                    one.close()
        self.desk.close()
        self.workbench.close()

    def _starts(self, name: str, wait: float, *, last: bool) -> bool:
        """Open a project as the server starts; returns whether it need not be tried again.

        Raises:
            ThonError: It is the one project, and cannot be served.
        """
        try:
            self._project(name, wait)
        except ThonError as error:
            alive = lives_here(self.place(name) / ".thon" / SERVER)
            if not last and isinstance(error.__cause__, BlockingIOError) and not alive:
                self.say(f"{error.got} has {name}; waiting whether that lives")
                return False
            if self.single:
                raise
            self.say(f"{name} is not served: {error}")
        return True

    def _project(self, name: str, wait: float) -> Served:
        found = self._open.get(name)
        if found is not None:
            return found
        if name not in self.names():
            raise AbsentError(f"no project '{name}'", expected=", ".join(self.names()) or "a project")
        with self._lock:
            opening = self._opening.setdefault(name, threading.Lock())
        with opening:
            if self.ending:
                raise ConflictError("the server is about to end")
            if name not in self._open:
                project = Project.open(self.place(name))
                workbench = self.workbench if self.run else None
                self._open[name] = Served(
                    name, project, self.desk, workbench=workbench, wait=wait, picture=self._picture
                )
            return self._open[name]


def served(request: Request, project: str) -> Served:
    """The project that a URL names."""
    found = site_of(request).project(project)
    found.look()
    return found


def site_of(request: Request) -> Site:
    """The server's projects."""
    return request.app.state.site


ServedProject = Annotated[Served, Depends(served)]
ServedSite = Annotated[Site, Depends(site_of)]
