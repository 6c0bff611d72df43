"""Runs the jobs of a served project: the scheduler's rounds, in a thread, as long as the server owns them."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from thon.base.errors import ThonError
from thon.engine.desk import Desk
from thon.engine.lanes.options import Lanes, places, read_lanes
from thon.engine.scheduler.rounds import OWNER, Scheduler
from thon.project.lock import OwnerLock
from thon.project.project import Project

ROUND = 0.5
"""Time between two rounds, s."""

PATIENCE = 1.5
"""How long jobs on this machine may take to stop when the server ends, s; what they were at is done anew."""

Say = Callable[[str, str], None]

log = logging.getLogger("thon.web")


class Runner:
    """A scheduler with the thread that calls it.

    Args:
        project: The project.
        desk: Does what needs job types loaded.
        say: Is told, of a job, what its own events do not tell.
    """

    def __init__(self, project: Project, desk: Desk, say: Say):
        self.scheduler: Scheduler | None = None
        self.trouble = ""
        """Why no jobs are run, in words; empty where they are."""
        self._project, self._desk, self._say = project, desk, say
        self._known: Lanes | None = None
        self._lanes_file = ("", 0)
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"scheduler of {project.root.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Begin a round now, for something was asked for."""
        self._wake.set()

    def close(self) -> None:
        """Stop; jobs on this machine are stopped too, and stay asked for."""
        self._over.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with OwnerLock.hold(self._project.root / OWNER, "thon serve") as lock:
                    self._rounds(lock)
            except (ThonError, OSError) as error:
                self.trouble = _words(error)
                self._pause(1.0)

    def _rounds(self, lock: OwnerLock) -> None:
        """Rounds for as long as the running of jobs is ours."""
        scheduler = Scheduler(self._project, self._lanes(), say=self._say, call=self._desk.call)
        self.scheduler, self.trouble = scheduler, ""
        try:
            while not self._over.is_set():
                lock.check()
                if self._have_lanes_changed():
                    scheduler.use(self._lanes())
                self._round(scheduler)
                self._pause(ROUND)
        finally:
            self.scheduler = None
            scheduler.close(PATIENCE)

    def _round(self, scheduler: Scheduler) -> None:
        try:
            scheduler.round()
        except ThonError as error:
            self.trouble = str(error)
        except Exception as error:  # the next round looks at everything anew
            log.error("a round of the scheduler failed", exc_info=error)
            self.trouble = f"something unexpected happened: {type(error).__name__}: {error}"
        else:
            self.trouble = ""

    def _have_lanes_changed(self) -> bool:
        """Whether the file of lanes is another than at the last look."""
        before, self._lanes_file = self._lanes_file, _newest(places(self._project.root))
        return before != self._lanes_file

    def _lanes(self) -> Lanes:
        """The lanes as they are described now; as before where that cannot be read.

        Raises:
            ThonError: It cannot be read, and was not before: nobody knows where jobs are to run.
        """
        self._lanes_file = _newest(places(self._project.root))
        try:
            self._known = read_lanes(self._project.root)
        except ThonError as error:
            if self._known is None:
                raise
            self._say("", str(error))
        return self._known

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()


def _newest(files: Iterable[Path]) -> tuple[str, int]:
    """The first of some files that is there, and when it was changed."""
    for file in files:
        with contextlib.suppress(OSError):
            return str(file), file.stat().st_mtime_ns
    return "", 0


def _words(error: ThonError | OSError) -> str:
    """Why no jobs are run."""
    if isinstance(error, ThonError) and isinstance(error.__cause__, BlockingIOError):
        return f"jobs are run by {error.got}"
    return str(error)
