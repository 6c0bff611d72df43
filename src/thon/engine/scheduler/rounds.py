"""Runs what was asked for in a project: each job once those before it are finished and its lane has room for it.

Whoever owns `.thon/scheduler` calls `round` again and again, about every second. It never waits: what takes time, such
as looking up inputs, runs in a thread, and where a job type must be loaded, in the process behind `call`. The folders
are the truth, so that a scheduler that was killed leaves nothing behind that the next one does not find: a job is asked
for as long as its `asked.json` is there, and one that runs without it was stopped by a person.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from thon.base.errors import StoreError, ThonError
from thon.engine.graph import IN_VAIN, obstacles, parents_of, release
from thon.engine.lanes.contract import Ending, Handle, Lane, Needs
from thon.engine.lanes.open import open_lane
from thon.engine.lanes.options import LaneOptions, Lanes
from thon.engine.local import PATIENCE, Follower, Watch
from thon.engine.run import Announce
from thon.engine.scheduler.asked import Asked, asked_jobs, withdraw, write_asked
from thon.engine.scheduler.endings import close_failed, hold_back
from thon.engine.scheduler.threads import in_thread
from thon.engine.slurm.submission import SUBMISSION, Submission, open_submission
from thon.engine.waiting import prepare
from thon.job.folder import JobFolder
from thon.job.loop import WorkerLostError
from thon.job.worker import INTERRUPTED
from thon.project.project import Project

OWNER = Path(".thon", "scheduler")
"""File by which one process owns the running of a project's jobs."""

LOOKUPS = 2
"""Jobs whose inputs are looked up at the same time."""

LOOKING = 5.0
"""How long a younger job waits for the inputs of an older one to be looked up, so that the older is first, s."""

LOSSES = 3
"""Processes that may be killed while they look up the inputs of a job, until it is given up."""

AGAIN = 10.0
"""Time until a job is looked at again after something unexpected, s."""

Call = Callable[..., Any]
"""Calls a function with arguments and returns what it returns, perhaps in another process."""


class Say(Protocol):
    """Takes a sentence about a job, for people."""

    def __call__(self, job: str, text: str, /) -> None: ...


@dataclass(frozen=True)
class Standing:
    """Where a job that was asked for stands.

    Args:
        job: Its number.
        lane: Name of its lane.
        state: "waits" for other jobs or for room; "starting"; "queued" in the batch system; "running"; "stopping".
        words: The same for people, with what it waits for, the queue's reason, or where it runs.
        batch: The batch system's number of it.
    """

    job: str
    lane: str
    state: str
    words: str
    batch: str = ""


@dataclass
class _Task:
    """A job that was given to its lane."""

    folder: JobFolder
    lane: str
    handle: Handle
    follower: Follower
    stopped: bool = False


@dataclass
class _Turn:
    """A job whose turn has come, while its inputs are looked up and until its lane has room."""

    needs: Future[Needs]
    since: float = field(default_factory=time.monotonic)


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in this process."""
    return function(*arguments)


class Scheduler:
    """Runs the jobs of a project that are asked for.

    Args:
        project: The project.
        lanes: Where jobs can run.
        say: Is told, in words, what befalls a job that its own events do not tell.
        watch: Is told every event of the jobs that run.
        announce: Is told of each job that is started.
        call: Calls what loads job types; in this process unless given.
        open: Opens a lane by its name.
        only: Runs these jobs alone, by number.
    """

    def __init__(
        self,
        project: Project,
        lanes: Lanes,
        *,
        say: Say = lambda job, text: None,
        watch: Watch = lambda folder, event: None,
        announce: Announce = lambda folder, start: None,
        call: Call = call_here,
        open: Callable[[str, LaneOptions], Lane] = open_lane,
        only: Collection[str] | None = None,
    ):
        self.codes: dict[str, int] = {}
        """Exit code of each job that has ended, or could not be started, by number; none of one that waited in vain."""
        self._project, self._lanes, self._open = project, lanes, open
        self._say, self._watch, self._announce, self._call = say, watch, announce, call
        self._only = None if only is None else set(only)
        self._folders: dict[str, JobFolder] = {}
        self._asked: dict[str, Asked] = {}
        self._before: dict[str, tuple[int, set[str]]] = {}
        self._opened: dict[str, Lane] = {}
        self._opened_as: dict[str, LaneOptions] = {}
        self._tasks: dict[str, _Task] = {}
        self._turns: dict[str, _Turn] = {}
        self._waits: dict[str, Standing] = {}
        self._lost: dict[str, int] = {}
        self._later: dict[str, tuple[float, str]] = {}
        self._ended: dict[str, int] = {}

    @property
    def busy(self) -> bool:
        """Whether a job runs, or was asked for and does not wait in vain."""
        return bool(self._tasks or self._waits)

    def status(self) -> dict[str, Standing]:
        """Where each job that is asked for, or runs, stands, by number, as the last round found it."""
        running = {
            name: Standing(name, task.lane, task.handle.state, task.handle.reason, task.handle.batch)
            for name, task in list(self._tasks.items())
        }
        return dict(self._waits) | running

    def round(self) -> None:
        """Notice what has ended, stop what is no longer asked for, and start what can start. Never waits.

        Raises:
            StoreError: The disk refuses; nothing is lost, and the next round tries again.
        """
        self._folders = {folder.path.name.split("-")[0]: folder for folder in reversed(self._project.jobs())}
        self._asked = asked_jobs(self._project)
        asked = {name: one for name, one in self._asked.items() if name in self._folders and self._is_ours(name)}
        self._renew_lanes()
        for lane in self._opened.values():
            lane.begin_round()
        self._find_stopped()
        troubles: list[Exception] = []
        for name, task in list(self._tasks.items()):
            try:
                self._tend(name, task, self._asked.get(name))
            except Exception as error:  # the others must not wait for it
                troubles.append(error)
        waits: dict[str, Standing] = {}
        for name, one in asked.items():
            if name not in self._tasks and (words := self._wait(name, one)) is not None:
                waits[name] = Standing(name, one.lane or self._lanes.default, "waits", words)
        self._waits = waits
        self._turns = {name: turn for name, turn in self._turns.items() if name in waits}
        self._lost = {name: times for name, times in self._lost.items() if name in waits}
        self._later = {name: later for name, later in self._later.items() if name in waits}
        if troubles:
            raise troubles[0]

    def use(self, lanes: Lanes) -> None:
        """Take other lanes from now on; one that changed while jobs are on it stays as it was until they have ended."""
        self._lanes = lanes

    def stop(self, job: str) -> None:
        """Stop a job that is asked for; what is finished of it is kept.

        Raises:
            InputError: No such job.
        """
        withdraw(self._project.job(job))

    def close(self, patience: float = PATIENCE) -> None:
        """The scheduler ends: jobs on this machine are stopped and stay asked for, those of a batch system go on.

        Args:
            patience: How long a job may take to stop before it is killed, s.
        """
        for task in self._tasks.values():
            task.handle.leave()
        deadline = time.monotonic() + patience
        for task in self._tasks.values():
            task.handle.wait(max(0.0, deadline - time.monotonic()))
            task.follower.follow()
        self._tasks.clear()

    def _is_ours(self, name: str) -> bool:
        return self._only is None or name in self._only

    def _find_stopped(self) -> None:
        """Follow, to their end, jobs of a batch system that were stopped while nobody followed them."""
        for name in self._folders.keys() - self._asked.keys() - self._tasks.keys():
            folder = self._folders[name]
            with contextlib.suppress(OSError, StoreError):  # without a note that can be read nothing is known of one
                changed = (folder.path / SUBMISSION).stat().st_mtime_ns
                if self._ended.get(folder.path.name) == changed:
                    continue
                given = open_submission(folder)
                if given is None:
                    self._ended[folder.path.name] = changed
                    continue
                lane = self._lane_given(given)
                handle = self._lane(lane).start(folder, Needs())
                handle.cancel()
                self._tasks[name] = _Task(folder, lane, handle, Follower(folder, self._watch), stopped=True)

    def _tend(self, name: str, task: _Task, asked: Asked | None) -> None:
        """Stop a job that is no longer asked for, tell what it did, and notice its end."""
        if asked is None and not task.stopped:
            task.stopped = True
            task.handle.cancel()
        task.follower.follow()
        ending = task.handle.poll()
        if ending is not None:
            self._end(name, task, ending, asked)

    def _wait(self, name: str, asked: Asked) -> str | None:
        """Bring a job that was asked for a step nearer to its start; what it waits for, None once it need not wait."""
        folder = self._folders[name]
        until, words = self._later.get(name, (0.0, ""))
        if time.monotonic() < until:
            return words
        try:
            return self._step(name, folder, asked)
        except WorkerLostError as error:
            self._turns.pop(name, None)
            self._lost[name] = self._lost.get(name, 0) + 1
            if self._lost[name] < LOSSES:
                return f"its inputs are looked up once more, for {error.what}"
            self._give_up(name, folder, error)
            return None
        except ThonError as error:
            self._give_up(name, folder, error)
            return None
        except Exception as error:  # of ours or of the disk, so that it may pass; others must not wait for it
            self._turns.pop(name, None)
            words = f"something unexpected happened: {type(error).__name__}: {error}; it is tried again"
            self._later[name] = time.monotonic() + AGAIN, words
            return words

    def _step(self, name: str, folder: JobFolder, asked: Asked) -> str | None:
        if (given := open_submission(folder)) is not None:
            lane = self._lane_given(given)
            self._start(name, folder, lane, self._lane(lane), Needs())
            return None
        state = folder.state()
        if state == "finished" or (state == "failed" and self._has_failed_since(folder, asked)):
            withdraw(folder)  # another hand ran it, or the scheduler was killed before it took the note away
            self.codes.setdefault(name, int(state == "failed"))
            return None
        if state == "held":  # whoever asked did not let it go
            release(folder)
            state = "waiting"
        if state == "running":
            return "runs, but not by this scheduler"
        if state == "waiting" and (stops := list(self._obstacles(folder))):
            return self._wait_for(name, folder, stops)
        return self._take_turn(name, folder, asked)

    def _has_failed_since(self, folder: JobFolder, asked: Asked) -> bool:
        """Whether a job that failed did so after it was asked for."""
        ended = folder.head().ended
        return bool(asked.asked) and ended is not None and ended > asked.asked

    def _obstacles(self, folder: JobFolder) -> Iterator[tuple[str, str]]:
        """The jobs that this one waits for, and what is the matter with those that it waits for in vain."""
        for other, state in obstacles(self._folders, self._parents(folder)):
            # As the folders have it, for in the first round after a kill nothing is known yet.
            goes_on = other in self._tasks or other in self._asked
            yield other, "" if goes_on else IN_VAIN.get(state, "")

    def _parents(self, folder: JobFolder) -> set[str]:
        """The jobs before this one, from its record, which is read again only once it has changed."""
        name, changed = folder.path.name, (folder.path / "job.json").stat().st_mtime_ns
        if self._before.get(name, (0, set()))[0] != changed:
            self._before[name] = changed, parents_of(folder.head())
        return self._before[name][1]

    def _wait_for(self, name: str, folder: JobFolder, stops: list[tuple[str, str]]) -> str | None:
        vain = [f"{other} {trouble}" for other, trouble in stops if trouble]
        if not vain:
            return f"waits for {', '.join(other for other, _ in stops)}"
        hold_back(folder, ", ".join(vain))
        return None

    def _take_turn(self, name: str, folder: JobFolder, asked: Asked) -> str | None:
        """Its turn has come: look up its inputs, then start it where its lane has room."""
        wanted = self._lanes.named(asked.lane)
        turn = self._turns.get(name)
        if turn is None:
            if sum(not one.needs.done() for one in self._turns.values()) >= LOOKUPS:
                return "waits until the inputs of others are looked up"
            turn = _Turn(in_thread(self._call, prepare, folder.path))
            self._turns[name] = turn
        if not turn.needs.done():
            return "its inputs are looked up"
        older = itertools.takewhile(lambda one: one is not turn, self._turns.values())
        if any(not one.needs.done() and time.monotonic() - one.since < LOOKING for one in older):
            return "waits for its turn"
        needs, lane = turn.needs.result(), self._lane(wanted)
        if reason := lane.full(needs):
            return self._stay_or_fall(name, folder, asked, turn, reason)
        lane.reserve(needs)
        self._start(name, folder, wanted, lane, needs)
        return None

    def _stay_or_fall(self, name: str, folder: JobFolder, asked: Asked, turn: _Turn, reason: str) -> str:
        """A job for which its lane has no room keeps its place there, or goes to the next lane after some time."""
        wanted = self._lanes.named(asked.lane)
        options, needs = self._lanes[wanted], turn.needs.result()
        if options.next and options.patience is not None and time.monotonic() - turn.since > 60 * options.patience:
            self._fall(name, folder, wanted, asked)
            turn.since = time.monotonic()
        self._lane(wanted).reserve(needs)
        return reason

    def _start(self, name: str, folder: JobFolder, wanted: str, lane: Lane, needs: Needs) -> None:
        begun = folder.marked_state() != "waiting"
        follower = Follower(folder, self._watch)
        handle = lane.start(folder, needs)
        self._tasks[name] = _Task(folder, wanted, handle, follower)
        self.codes.pop(name, None)
        self._announce(folder, "resumed" if begun else "new")

    def _end(self, name: str, task: _Task, ending: Ending, asked: Asked | None) -> None:
        """A job's stay on its lane has ended."""
        del self._tasks[name]
        task.follower.follow()
        if ending.words:
            self._say(name, ending.words)
        if ending.next != "end" and asked is not None:
            if ending.next == "fall":
                self._fall(name, task.folder, task.lane, asked)
            return
        if task.stopped and asked is not None:
            return  # it was asked for again while it stopped
        with contextlib.suppress(StoreError):  # a disk that refuses is told by what the job left
            if asked is not None and ending.words and ending.code != INTERRUPTED:
                close_failed(task.folder, ending.words, ending.code)
                task.follower.follow()
        self.codes[name] = ending.code
        if asked is not None:
            withdraw(task.folder)

    def _fall(self, name: str, folder: JobFolder, lane: str, asked: Asked) -> None:
        """Let a job go to the lane after its own."""
        following = self._lanes[lane].next
        self._say(name, f"goes to lane {following}, for it did not start in time on {lane}")
        write_asked(folder, asked.model_copy(update={"lane": following}))

    def _give_up(self, name: str, folder: JobFolder, error: ThonError) -> None:
        """A job that cannot be started, for what its inputs, its lane or its folder say, is no longer asked for."""
        self._turns.pop(name, None)
        self.codes[name] = error.exit_code
        self._say(name, str(error))
        with contextlib.suppress(StoreError):
            withdraw(folder)
            hold_back(folder, str(error))

    def _lane(self, name: str) -> Lane:
        if name not in self._opened:
            self._opened_as[name] = self._lanes[name]
            self._opened[name] = self._open(name, self._opened_as[name])
        return self._opened[name]

    def _lane_given(self, given: Submission) -> str:
        """Name of the lane on which a job of a batch system is followed; one of its own where there is none now."""
        options = self._lanes.options.get(given.lane)
        if given.lane in self._opened_as:
            options = self._opened_as[given.lane]
        if options is not None and options.kind == "slurm":
            return given.lane
        name = f"{given.lane} (as it was)"
        if name not in self._opened:
            self._opened_as[name] = LaneOptions(kind="slurm")
            self._opened[name] = self._open(name, self._opened_as[name])
        return name

    def _renew_lanes(self) -> None:
        """Let go of lanes that are described otherwise now, and have no jobs."""
        taken = {task.lane for task in self._tasks.values()}
        for name in self._opened.keys() - taken:
            if self._lanes.options.get(name) != self._opened_as[name]:
                del self._opened[name]
