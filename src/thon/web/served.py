"""One project that is served: its index kept fresh, its jobs run, and what changes told to those who look."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from thon.base.errors import InputError, StoreError, ThonError
from thon.engine.desk import Desk
from thon.engine.live.status import STATUS
from thon.engine.scheduler.rounds import Scheduler
from thon.job.folder import JobFolder
from thon.project.kept_index import KeptIndex
from thon.project.lock import OwnerLock
from thon.project.project import Project
from thon.web.faults import AbsentError, RefusedError
from thon.web.feed import Feed
from thon.web.memory import give_back
from thon.web.runner import Runner

SERVER = "server"
"""File in a project's `.thon` by which one server owns it."""

LOOK = 1.0
"""Time between two looks at the folders while somebody looks at the project, s."""

LOOKED = 15.0
"""Time after a request for which somebody counts as looking, s."""

REMARKS = 20

log = logging.getLogger("thon.web")

Picture = Callable[["Served"], dict[str, Any]]
"""How every job stands now, by number, in a form in which it is told to those who look."""


class Served:
    """One project that is served.

    Args:
        name: What URLs call it.
        project: The project.
        desk: Does what needs job types loaded.
        workbench: Does the same for the jobs that are asked for; None to run none.
        wait: How long to wait for another server that has it, s.
        picture: Tells how every job stands.

    Raises:
        StoreError: Another server has it, or its index was made by a newer thon.
    """

    def __init__(
        self, name: str, project: Project, desk: Desk, *, workbench: Desk | None, picture: Picture, wait: float = 0.0
    ):
        self.name, self.project, self.desk = name, project, desk
        self.read_only = not os.access(project.root, os.W_OK)
        """Whether nothing can be changed in it."""
        self.feed = Feed()
        self._remarks, self._refused = list[str](), ""
        self._looked, self._seen, self._picture = 0.0, dict[str, Any](), picture
        self._fresh = True
        self._over = threading.Event()
        with contextlib.ExitStack() as stack:
            if not self.read_only:
                stack.enter_context(OwnerLock.hold(project.root / ".thon" / SERVER, "thon serve", wait=wait))
            self.index = stack.enter_context(contextlib.closing(KeptIndex(project, self.remark)))
            if doubles := project.doubles():
                self.remark(f"another folder bears the number of {', '.join(doubles)}, which is left out")
            self.runner = None
            if workbench is not None and not self.read_only:
                self.runner = Runner(project, workbench, self._tell)
            if self.runner is not None:
                stack.callback(self.runner.close)
            self._keeper = threading.Thread(target=self._keep, name=f"index of {name}", daemon=True)
            self._keeper.start()
            self._stack = stack.pop_all()

    @property
    def scheduler(self) -> Scheduler | None:
        """What runs the jobs; None where another process does, or nobody."""
        return self.runner.scheduler if self.runner is not None else None

    @property
    def remarks(self) -> list[str]:
        """Sentences about what is not as it should be."""
        trouble = self.runner.trouble if self.runner is not None else ""
        return [*self._remarks, *(text for text in (self._refused, trouble) if text)]

    def remark(self, text: str) -> None:
        """Note something that is not as it should be."""
        if text not in self._remarks:
            self._remarks = [*self._remarks, text][-REMARKS:]

    def job(self, name: str) -> JobFolder:
        """A job by its number.

        Raises:
            AbsentError: No such job.
        """
        try:
            return self.project.job(name)
        except (InputError, ValueError, OSError) as error:
            raise AbsentError(f"no job '{name}'", expected="a job of this project") from error

    def check_writable(self) -> None:
        """Refuse to change a project that is only read.

        Raises:
            RefusedError: It is.
        """
        if self.read_only:
            mend = "serve it from a disk that you may write"
            raise RefusedError("this project is served read only", path=self.project.root, mend=mend)

    def look(self) -> None:
        """Somebody looks at the project: bring the index up to date where that was not done just now."""
        late = time.monotonic() - self._looked > LOOKED
        self._looked = time.monotonic()
        if late:
            self.refresh()

    def changed(self) -> None:
        """Something was asked for or written: see it at once."""
        self.refresh()
        self._fresh = True
        if self.runner is not None:
            self.runner.wake()

    def refresh(self) -> None:
        """Bring the index up to date with the folders; where it cannot be, the old one stays, and a remark says so."""
        try:
            self._fresh = self.index.refresh() or self._fresh
            self._refused = ""
        except (ThonError, OSError) as error:
            self._refused = str(error)

    def close(self) -> None:
        """Stop everything and let go of the project."""
        self._over.set()
        self.feed.end()
        self._keeper.join()
        self._stack.close()

    def _tell(self, job: str, text: str) -> None:
        """Tell those who look what befell a job."""
        self.feed.publish("said", {"job": job, "text": text})
        if not job:
            self.remark(text)

    def _keep(self) -> None:
        """Follow the folders while somebody looks; in a thread of its own."""
        live, idle = None, True
        while not self._over.wait(LOOK):
            if not self.feed.listeners and time.monotonic() - self._looked > LOOKED:
                if not idle:
                    give_back()
                idle = True
                continue
            idle = False
            try:
                self.refresh()
                if self.feed.listeners:
                    live = self._follow_live(live)
                    self._follow_jobs()
            except StoreError:
                pass  # the remark of `refresh` tells
            except Exception as error:  # the next look sees everything anew
                log.error("the folders of %s cannot be followed", self.name, exc_info=error)

    def _follow_jobs(self) -> None:
        """Tell those who look which jobs stand otherwise than before."""
        busy = self.scheduler is not None and bool(self.scheduler.status())
        if not (self._fresh or busy or any(told["state"] == "running" for told in self._seen.values())):
            return
        self._fresh = False
        now = self._picture(self)
        for job, told in now.items():
            if self._seen.get(job) != told:
                self.feed.publish("job", told)
        for job in self._seen.keys() - now.keys():
            self.feed.publish("gone", {"job": job})
        self._seen = now

    def _follow_live(self, seen: int | None) -> int | None:
        try:
            now = (self.project.root / STATUS).stat().st_mtime_ns
        except OSError:
            return seen
        if seen is not None and now != seen:
            self.feed.publish("live", {})
        return now
