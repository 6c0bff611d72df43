"""Runs jobs for a person who waits for them: here, or by whoever runs the project's jobs already, such as a server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass

from thon.base.errors import StoreError
from thon.engine.lanes.contract import Lane
from thon.engine.lanes.open import open_lane
from thon.engine.lanes.options import LaneOptions, Lanes
from thon.engine.local import Follower, Watch
from thon.engine.run import Announce, Launch, Run, worst
from thon.engine.scheduler.asked import ask_to_run, ask_with_parents, asked_jobs, asked_of, withdraw
from thon.engine.scheduler.rounds import OWNER, Say, Scheduler
from thon.engine.slurm.submission import open_submission
from thon.job.folder import JobFolder
from thon.job.worker import INTERRUPTED
from thon.project.lock import OwnerLock
from thon.project.project import Project

LOOK = 0.03
"""Time between two rounds, s."""

TAKE_OVER = 1.0
"""Time between two attempts to take over from whoever ran the jobs and is gone, s."""


@dataclass(frozen=True)
class Front:
    """How jobs are run for a person.

    Args:
        lanes: Where they can run.
        announce: Is told of each job that is started.
        watch: Is told every event.
        say: Is told in words what events do not tell.
        open: Opens a lane by its name.
    """

    lanes: Lanes
    announce: Announce
    watch: Watch
    say: Say = lambda job, text: None
    open: Callable[[str, LaneOptions], Lane] = open_lane


def run_waiting(project: Project, names: Collection[str], front: Front, *, lane: str | None = None) -> Run:
    """Ask for the jobs named, or for all that wait, and for those that they wait for, and see them through.

    Raises:
        KeyboardInterrupt: It was stopped. Jobs in a batch system go on; `thon run` runs those that still wait.
        InputError: They wait in a ring, or for a job or a lane that is not there.
        StoreError: One is finished, or the disk refuses.
    """
    front.lanes.named(lane)
    folders = ask_with_parents(project, names, lane=lane)
    if not names:
        left = [project.job(name) for name in asked_jobs(project)]
        folders += [folder for folder in left if folder.path not in {one.path for one in folders}]
    codes = see_through(project, folders, front)
    return Run(tuple(folders), worst(list(codes.values())) or int(len(codes) < len(folders)))


def launch_on(lane: str, front: Front) -> Launch:
    """Runs a job on a lane, and waits for it.

    Raises:
        InputError: There is no such lane.
    """
    front.lanes.named(lane)

    def launch(folder: JobFolder, watch: Watch) -> int:
        quiet = Front(front.lanes, lambda folder, start: None, watch, front.say, front.open)
        ask_to_run(folder, lane=lane)
        code = see_through(Project(folder.root), [folder], quiet).get(number_of(folder), 1)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code

    return launch


def see_through(project: Project, folders: Sequence[JobFolder], front: Front) -> dict[str, int]:
    """Wait until jobs that were asked for have ended, and run them unless another process does.

    Returns:
        The exit code of each job by number, but of those that are held because they waited in vain.

    Raises:
        KeyboardInterrupt: It was stopped.
        StoreError: The disk refuses.
    """
    followers = [Follower(folder, front.watch) for folder in folders]
    codes: dict[str, int] = {}
    said = False
    while any(asked_of(folder) is not None for folder in folders):
        with _owner(project) as lock:
            if lock is not None:
                codes |= _run_here(project, folders, front, lock)
                break
        if not said:
            front.say("", "another process runs the jobs of this project; what it does is told here")
            said = True
        _listen(folders, followers)
    every = {number_of(folder): codes.get(number_of(folder), _code_of(folder)) for folder in folders}
    return {name: code for name, code in every.items() if code is not None}


def number_of(folder: JobFolder) -> str:
    """The number of a job, such as J008."""
    return folder.path.name.split("-")[0]


@contextlib.contextmanager
def _owner(project: Project) -> Generator[OwnerLock | None]:
    """Own the running of the project's jobs, if nobody else does."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(OwnerLock.hold(project.root / OWNER, "thon run"))
        except StoreError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            lock = None
        yield lock


def _run_here(project: Project, folders: Sequence[JobFolder], front: Front, lock: OwnerLock) -> dict[str, int]:
    names = [number_of(folder) for folder in folders]
    scheduler = Scheduler(
        project, front.lanes, say=front.say, watch=front.watch, announce=front.announce, open=front.open, only=names
    )
    try:
        scheduler.round()
        while scheduler.busy:
            time.sleep(LOOK)
            lock.check()
            scheduler.round()
    except KeyboardInterrupt:
        _stop(folders, front)
        raise
    finally:
        scheduler.close()
    return scheduler.codes


def _stop(folders: Sequence[JobFolder], front: Front) -> None:
    """Ctrl-C stops what runs here and what has not begun; what is in a batch system goes on."""
    for folder in folders:
        given = open_submission(folder)
        if given is None:
            withdraw(folder)
        elif asked_of(folder) is not None:
            name = number_of(folder)
            front.say(name, f"goes on in the batch system; `thon run {name}` follows it, `thon stop {name}` stops it")


def _listen(folders: Sequence[JobFolder], followers: Sequence[Follower]) -> None:
    """Tell what another process does, for a while or until it has done all."""
    deadline = time.monotonic() + TAKE_OVER
    while time.monotonic() < deadline and any(asked_of(folder) is not None for folder in folders):
        time.sleep(LOOK)
        for follower in followers:
            follower.follow()


def _code_of(folder: JobFolder) -> int | None:
    """Exit code of a job that ended elsewhere; None of one that has not begun."""
    state = folder.state()
    if state in ("waiting", "held"):
        return None
    told = [event.exit_code for event in folder.events() if event.kind == "failed"]
    return {"finished": 0, "interrupted": INTERRUPTED}.get(state, told[-1] if told else 1)
