"""A live session: watches what arrives, keeps workers busy with it, and goes on where an earlier one stopped.

One thread decides everything; another looks at the source, worker processes do the items. All that must survive is in
the job folders, so the session itself may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from thon.base.errors import InputError, StoreError, ThonError
from thon.engine.live.control import CONTROL, Ear, LiveControl, write_control
from thon.engine.live.crew import Crew, LocalCrew
from thon.engine.live.flow import Flow
from thon.engine.live.groups import Group
from thon.engine.live.inbox import Found, Inbox
from thon.engine.live.open import SessionRequest, ask_first, hold_project, open_stages
from thon.engine.live.records import close_record, open_record, shares, tell_started
from thon.engine.live.series import Point, Series
from thon.engine.live.sources import Source, open_source
from thon.engine.live.stage import Failure, Stage
from thon.engine.live.status import (
    SHOWN,
    LiveStatus,
    State,
    View,
    Voice,
    failures,
    group_statuses,
    rejections,
    stage_status,
)
from thon.engine.live.watch import Watcher
from thon.engine.pool import Pool, WorkerPool
from thon.engine.run import worst
from thon.job.energy import EnergyMeter
from thon.job.folder import JobFolder
from thon.job.item import as_thon_error, disk_is_full
from thon.job.items_file import ItemLine
from thon.job.live_item import Attempt, Ending, Task, run_tasks
from thon.job.nvml import open_gpus
from thon.job.plan import Resources
from thon.job.record import ItemResult
from thon.project.project import Project

GONE = 30.0
"""How long a project's folder may be away, s."""

TICK = 0.2
"""Longest time between two rounds, s."""


def run_live(
    project: Project, request: SessionRequest, view: View, crew: Crew | None = None, *, told: bool = False
) -> tuple[int, list[Failure]]:
    """Run a live session until nothing has come for the idle time; returns the exit code and what was given up.

    Args:
        project: Where to write.
        request: What to do.
        view: Whoever shows it.
        crew: Workers on other machines; processes on this one unless given.
        told: Whether this session may have been told to stop already, as `start_live` lets it; what an earlier one was
            told is forgotten.

    Raises:
        KeyboardInterrupt: It was stopped; the same request continues.
        ThonError: The source cannot be read, another session has the project, or the disk refuses at the start.
    """
    source = open_source(request.location, request.options, project.root)
    with hold_project(project.root) as hold, ExitStack() as held:
        ask_first(request, source.folder)
        if (project.root / CONTROL).exists():
            write_control(project.root, paused=False, workers=None, **({} if told else {"stop": False}))
        stages = open_stages(project, request, source.location)
        for stage in stages:
            held.enter_context(stage.folder.lock())
            stage.folder.await_pool()
            for folder in (stage.folder, JobFolder(stage.folder.path, interim=True)):
                folder.discard_unfinished()
        Session(project, request, source, stages, view, crew or LocalCrew(request, hold)).run()
    given_up = failures(stages)
    return worst([one.exit_code for one in given_up]), given_up


class Session:
    """A session that has its project to itself.

    Args:
        project: Where to write.
        request: What to do.
        source: Where files come from.
        stages: The steps.
        view: Whoever shows it.
        crew: Whoever does the items.
    """

    def __init__(
        self,
        project: Project,
        request: SessionRequest,
        source: Source,
        stages: Sequence[Stage],
        view: View,
        crew: Crew,
    ):
        options = request.options
        watcher = Watcher(source, options.settle)
        first = stages[0]
        self._project, self._options, self._source, self._stages = project, options, source, stages
        self._inbox = Inbox(first.spec, first.options, source, watcher, project.root, keep=options.keep_fetched)
        self._crew, self._lane = crew, request.lane
        self._devices = itertools.cycle(crew.devices)
        self._voice = Voice(project.root, view)
        self._ear = Ear(project.root)
        self._control = self._ear.listen() or LiveControl()
        self._series = Series(project.root)
        self._flow = Flow(
            stages,
            self._inbox,
            options,
            say=self._voice.say,
            store=self._store,
            allowed=self._resources,
            thresholds=self._control.thresholds,
        )
        self._ended: queue.SimpleQueue[tuple[_Given, Future[list[Attempt]]]] = queue.SimpleQueue()
        self._pool: Pool = WorkerPool(0)
        self._in_flight = self._interims = 0
        self._at: Counter[int] = Counter()
        self._state: State = "starting"
        self._message = ""
        self._started, self._files, self._awaited, self._asked = time.time(), 0, 0, False
        self._last_news = self._next_look = self._next_heed = self._published = 0.0
        self._looking: Future[Found] | None = None
        self._paused: float | None = None
        self._there = float("inf")
        self._probing = False
        self._faults: set[str] = set()

    def run(self) -> None:
        """Run until it is over.

        Raises:
            KeyboardInterrupt: It was stopped.
        """
        begun = time.monotonic()
        runs = self._begin()
        self._meter = EnergyMeter(open_gpus() if self._crew.gpus_here else ())
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="look")
        try:
            with self._crew.at_work(runs) as self._pool:
                self._work()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            self._state = "interrupted" if stopped else "broken"
            self._message = "" if stopped else str(as_thon_error(error, self._project.root))
            raise
        else:
            self._state = "ended"
        finally:
            self._looker.shutdown(wait=False, cancel_futures=True)
            self._end(time.monotonic() - begun)

    def _begin(self) -> dict[Path, str]:
        """Take the jobs up; returns when the run of each began."""
        where = f" on {self._lane}" if self._lane else ""
        self._voice.say("log", f"Session on {self._source.location}, {self._crew.size} workers{where}")
        runs = {stage.folder.path: open_record(stage, self._crew) for stage in self._stages}
        known = self._flow.restore(time.monotonic())
        for stage in self._stages:
            tell_started(stage)
        if known:
            self._voice.say("log", f"Continued: {known} items were there before")
        self._state, self._last_news = "running", time.monotonic()
        return runs

    def _work(self) -> None:
        while True:
            moment = time.monotonic()
            self._heed(moment)
            self._look(moment)
            self._collect(moment)
            self._flow.close_groups(moment, nothing_comes=self._nothing_comes(moment))
            self._dispatch(moment)
            self._publish(moment)
            if self._is_over(moment):
                return
            self._wait()

    def _heed(self, moment: float) -> None:
        """Do what the session is told, about once a second.

        Raises:
            KeyboardInterrupt: It is told to stop.
            StoreError: The project is gone.
        """
        if moment < self._next_heed:
            return
        self._next_heed = moment + 1.0
        self._check_project(moment)
        if self._control.stop:  # said while it began
            raise KeyboardInterrupt
        try:
            told = self._ear.listen()
        except StoreError as error:
            self._fault(str(error))
            return
        if told is None:
            return
        before, self._control = self._control, told
        if told.stop:
            raise KeyboardInterrupt
        if told.paused != before.paused:
            self._voice.say("log", "Paused: nothing new is begun" if told.paused else "Goes on")
        if told.workers != before.workers:
            self._pool.resize(told.workers or self._crew.size)
            self._voice.say("log", f"{self._pool.workers} workers from now on")
        if told.thresholds != before.thresholds:
            self._flow.judge(told.thresholds, moment)

    def _check_project(self, moment: float) -> None:
        """Do not outlive a project that somebody removed; a disk that is away for a moment is borne."""
        if self._project.root.is_dir():
            self._there = moment
        elif moment - self._there > GONE:
            raise StoreError("the project is gone", path=self._project.root)

    def _look(self, moment: float) -> None:
        """Start to look at the source, or take in what was seen."""
        if self._looking is None:
            if moment >= self._next_look:
                self._looking = self._looker.submit(self._inbox.look, moment)
            return
        if not self._looking.done():
            return
        looked, self._looking = self._looking, None
        self._next_look = moment if self._inbox.has_backlog else moment + self._options.poll
        try:
            found = looked.result()
        except (ThonError, OSError) as error:
            if isinstance(error, InputError) and not self._inbox.items:
                raise  # what the import asks for is asked once, before anything is done
            self._fault(f"{self._source.location} cannot be looked at: {error}")
            return
        for fault in (*found.faults, *self._source.faults):
            self._fault(fault)
        self._files, self._awaited, self._asked = found.news.total, found.awaited, found.asked
        for file, item in found.renamed.items():
            self._voice.say("log", f"{file} is called {item}, for its name is taken")
        for name in found.news.gone:
            item = self._inbox.item_of(name)
            if item is not None:
                self._flow.lose(item)
        for item in found.items:
            self._flow.offer(item)
        self._flow.looked(quiet=found.asked and not found.awaited)
        if found.items or found.news.arrived or found.news.settled:
            self._last_news = moment

    def _fault(self, text: str) -> None:
        """Say once what is wrong with the source."""
        if text not in self._faults:
            self._faults.add(text)
            self._voice.say("warning", text)

    def _collect(self, moment: float) -> None:
        """Take in the attempts that have ended."""
        while True:
            try:
                given, future = self._ended.get_nowait()
            except queue.Empty:
                return
            self._in_flight -= 1
            self._at[given.step] -= 1
            attempts = _attempts(given, future)
            self._note_disk(attempts[-1], moment)
            if given.group is not None:
                self._interims -= 1
                self._flow.finish_interim(given.group, attempts)
            else:
                self._flow.finish(given.step, given.tasks[0].item, attempts[0], moment)
                self._note(given, attempts[0])

    def _note(self, given: _Given, attempt: Attempt) -> None:
        """Take down for the plots what was done; plots may miss what a full disk refuses."""
        stage, item, result = self._stages[given.step], given.tasks[0].item, attempt.line.result
        if attempt.ending == "done":
            rejected = item in stage.rejected
            point = Point(
                time=time.time(),
                step=stage.spec.name,
                item=item,
                seconds=result.seconds,
                values=result.values,
                rejected=rejected,
            )
            with contextlib.suppress(OSError, StoreError):
                self._series.add(point)

    def _dispatch(self, moment: float) -> None:
        """Give tasks to the workers that have none; on a full disk one at a time, to see whether it is still full."""
        self._pool.want(self._in_flight + (0 if self._control.paused else self._flow.waiting))
        if self._control.paused or (self._paused is not None and (moment < self._paused or self._in_flight)):
            return
        limit = 1 if self._paused is not None else self._pool.room
        while self._in_flight < limit:
            found = self._flow.take(moment)
            if found is None:
                break
            self._submit(_Given(found[0], [found[1]]))
        spare = max(self._pool.room - 1, 1) - self._interims
        while self._in_flight < limit and spare > 0 and not self._nothing_comes(moment):
            grown = self._flow.take_interim()
            if grown is None:
                return
            self._interims += 1
            spare -= 1
            self._submit(_Given(self._flow.gathers, grown[1], grown[0]))

    def _submit(self, given: _Given) -> None:
        self._in_flight += 1
        self._at[given.step] += 1
        self._probing = self._paused is not None
        future = self._pool.submit(run_tasks, given.tasks)
        future.add_done_callback(lambda ended: self._ended.put((given, ended)))

    def _wait(self) -> None:
        """Wait until an attempt ends, or for a moment."""
        try:
            ended = self._ended.get(timeout=min(TICK, self._options.poll))
        except queue.Empty:
            return
        self._ended.put(ended)

    def _nothing_comes(self, moment: float) -> bool:
        """Whether everything that is there was taken up, and nothing has come for the idle time."""
        quiet = moment - self._last_news >= self._options.idle
        return quiet and self._asked and not self._awaited

    def _is_over(self, moment: float) -> bool:
        idle = self._nothing_comes(moment) and not self._in_flight
        return idle and not self._flow.is_busy and not self._control.paused

    def _resources(self, stage: Stage) -> Resources:
        device = next(self._devices) if stage.spec.gpus else "cpu"
        return replace(self._crew.resources, device=device)

    def _note_disk(self, attempt: Attempt, moment: float) -> None:
        """Pause while the disk is full."""
        if attempt.ending == "full":
            if self._paused is None:
                self._tell_full(attempt.line.result.message)
            self._paused, self._probing = moment + self._options.backoff, False
        elif self._probing and attempt.ending == "done":
            self._voice.say("log", "There is space again; the session goes on")
            self._state, self._message, self._paused, self._probing = "running", "", None, False

    def _tell_full(self, message: str) -> None:
        reason = message.split("\n", maxsplit=1)[0]
        self._voice.say("error", f"The disk is full ({reason}). The session waits: free some space and it goes on.")
        self._state, self._message = "paused", "the disk is full"

    def _store(self, write: Callable[[], None]) -> None:
        """Write what must not be lost, again and again while the disk is full."""
        told = False
        while True:
            try:
                write()
            except (StoreError, OSError) as error:
                if not disk_is_full(error):
                    raise
                if not told:
                    self._voice.say(
                        "error", f"The disk is full: {error}. The session waits: free some space, it goes on."
                    )
                told = True
                self._state, self._message = "paused", "the disk is full"
                self._publish(float("inf"))
                time.sleep(min(self._options.backoff, 10.0))
            else:
                if told:
                    self._state, self._message = "running", ""
                return

    def _publish(self, moment: float) -> None:
        """Tell how it stands, about once a second."""
        if moment - self._published < 1.0:
            return
        self._published = time.monotonic()
        self._voice.show(self.status())

    def status(self) -> LiveStatus:
        """How the session stands."""
        moment = time.monotonic()
        paused = self._control.paused and self._state == "running"
        return LiveStatus(
            state="paused" if paused else self._state,
            message="nothing new is begun" if paused else self._message or self._pool.reason,
            source=self._source.location,
            started=self._started,
            updated=time.time(),
            pid=os.getpid(),
            host=platform.node(),
            files=self._files,
            items=len(self._inbox.items),
            awaited=self._awaited,
            workers=self._pool.room,
            workers_asked=self._pool.workers,
            lane=self._lane,
            stages=tuple(stage_status(stage, moment, self._at[k]) for k, stage in enumerate(self._stages)),
            groups=group_statuses(self._flow),
            rejections=tuple(rejections(self._stages)[-SHOWN:]),
            thresholds=tuple(one.model_dump() for one in self._control.thresholds),
            failures=tuple(failures(self._stages)[-SHOWN:]),
            said=tuple(self._voice.latest),
        )

    def _end(self, seconds: float) -> None:
        """Close the jobs' records, and say how it went."""
        energy = self._meter.stop()
        for stage, part in zip(self._stages, shares(self._stages), strict=True):
            stage.folder.discard_unfinished()
            close_record(stage, part, seconds, energy, ended=self._state == "ended")
        lost = failures(self._stages)
        done = ", ".join(f"{stage.spec.name} {stage.done}" for stage in self._stages)
        self._voice.say("log", f"Session {self._state}. Done: {done}. Failed: {len(lost)}")
        for one in lost:
            self._voice.say("error", f"{one.step} {one.item}: {one.message}")
        self._publish(float("inf"))


@dataclass(frozen=True)
class _Given:
    """Tasks that a worker has: an item of a step, or what makes an interim result of a group."""

    step: int
    tasks: list[Task]
    group: Group | None = None


def _attempts(given: _Given, future: Future[list[Attempt]]) -> list[Attempt]:
    """How the tasks went; what broke outside them counts against the first."""
    error = future.exception()
    if error is None:
        return future.result()
    task = given.tasks[0]
    told = as_thon_error(error, task.path)
    inputs = {port: list(many) for port, many in task.inputs.items()}
    result = ItemResult(state="failed", message=str(told), exit_code=told.exit_code)
    ending: Ending = "full" if disk_is_full(error) else "failed"
    return [Attempt(ending, ItemLine(item=task.item, inputs=inputs, result=result), type(error).__name__)]
