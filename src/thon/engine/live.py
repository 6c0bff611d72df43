"""A live session: watches what arrives, keeps workers busy with it, and goes on where an earlier one stopped.

One thread decides everything; another looks at the source, worker processes do the items. All that must survive is in
the job folders, so the session itself may be killed at any moment.
"""

from __future__ import annotations

import itertools
import os
import platform
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import InputError, StoreError, ThonError
from thon.engine.live_flow import Flow
from thon.engine.live_groups import Group
from thon.engine.live_inbox import Found, Inbox
from thon.engine.live_open import SessionRequest, ask_first, hold_project, open_stages
from thon.engine.live_sources import Source, open_source
from thon.engine.live_stage import Failure, Stage
from thon.engine.live_status import (
    SHOWN,
    LiveStatus,
    State,
    View,
    Voice,
    failures,
    group_statuses,
    stage_status,
)
from thon.engine.live_watch import Watcher
from thon.engine.pool import WorkerPool
from thon.engine.run import worst
from thon.job.energy import EnergyMeter
from thon.job.events import Failed, Finished, Interrupted, Started
from thon.job.folder import JobFolder
from thon.job.item import as_thon_error, disk_is_full
from thon.job.items_file import ItemLine
from thon.job.live_item import Attempt, Ending, Task, run_tasks
from thon.job.machine import devices, held_gpus, now, resources, share
from thon.job.nvml import open_gpus
from thon.job.plan import Resources
from thon.job.record import ItemResult
from thon.job.runs import RunEnding, begin_run, close_killed, end_run
from thon.project.project import Project

LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that tell numerical libraries how many threads to start; a worker has one."""

TICK = 0.2
"""Longest time between two rounds, s."""


def run_live(project: Project, request: SessionRequest, view: View) -> tuple[int, list[Failure]]:
    """Run a live session until nothing has come for the idle time; returns the exit code and what was given up.

    Raises:
        KeyboardInterrupt: It was stopped; the same request continues.
        ThonError: The source cannot be read, another session has the project, or the disk refuses at the start.
    """
    source = open_source(request.location, request.options, project.root)
    with hold_project(project.root) as hold, ExitStack() as held:
        ask_first(request, source.folder)
        stages = open_stages(project, request, source.location)
        for stage in stages:
            held.enter_context(stage.folder.lock())
            stage.folder.await_pool()
            for folder in (stage.folder, JobFolder(stage.folder.path, interim=True)):
                folder.discard_unfinished()
        Session(project, request, source, stages, view).run(hold)
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
    """

    def __init__(self, project: Project, request: SessionRequest, source: Source, stages: Sequence[Stage], view: View):
        options = request.options
        watcher = Watcher(source, options.settle)
        first = stages[0]
        self._project, self._options, self._source, self._stages = project, options, source, stages
        self._inbox = Inbox(first.spec, first.options, source, watcher, project.root, keep=options.keep_fetched)
        self._workers = options.workers or len(os.sched_getaffinity(0))
        whole = resources(request.settings, max(stage.spec.gpus for stage in stages))
        self._allowed = share(Resources(self._workers, whole.memory, whole.device), self._workers)
        self._devices = itertools.cycle(devices(whole.device))
        self._voice = Voice(project.root, view)
        self._flow = Flow(stages, self._inbox, options, say=self._voice.say, store=self._store, allowed=self._resources)
        self._ended: queue.SimpleQueue[tuple[_Given, Future[list[Attempt]]]] = queue.SimpleQueue()
        self._in_flight = self._interims = 0
        self._state: State = "starting"
        self._message = ""
        self._started, self._files, self._awaited, self._asked = time.time(), 0, 0, False
        self._last_news = self._next_look = self._published = 0.0
        self._looking: Future[Found] | None = None
        self._paused: float | None = None
        self._probing = False
        self._faults: set[str] = set()

    def run(self, hold: Path) -> None:
        """Run until it is over.

        Raises:
            KeyboardInterrupt: It was stopped.
        """
        begun = time.monotonic()
        self._begin()
        self._meter = EnergyMeter(open_gpus() if self._allowed.device.startswith("cuda") else ())
        self._pool = WorkerPool(self._workers, environment=dict.fromkeys(LIBRARIES, "1"), hold=hold)
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="look")
        try:
            self._work()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            self._state = "interrupted" if stopped else "broken"
            self._message = "" if stopped else str(as_thon_error(error, self._project.root))
            self._pool.stop()
            raise
        else:
            self._state = "ended"
            self._pool.shutdown()
        finally:
            self._looker.shutdown(wait=False, cancel_futures=True)
            self._end(time.monotonic() - begun)

    def _begin(self) -> None:
        self._voice.say("log", f"Session on {self._source.location}, {self._workers} workers")
        for stage in self._stages:
            record = stage.folder.head()
            close_killed(stage.folder, record)
            shown = {"threads": self._workers, "memory": self._allowed.memory * self._workers}
            shown |= {"device": self._allowed.device if stage.spec.gpus else "cpu"}
            state = {"state": "running", "started": record.started or now(), "ended": None}
            record = record.model_copy(update=shown | state)
            begin_run(record, gpus=held_gpus(self._allowed.device, stage.spec.gpus))
            stage.folder.write(record)
        known = self._flow.restore(time.monotonic())
        for stage in self._stages:
            host = platform.node()
            stage.folder.emit(Started(host=host, pid=os.getpid(), items=len(stage.entries), finished=stage.done))
        if known:
            self._voice.say("log", f"Continued: {known} items were there before")
        self._state, self._last_news = "running", time.monotonic()

    def _work(self) -> None:
        while True:
            moment = time.monotonic()
            self._look(moment)
            self._collect(moment)
            self._flow.close_groups(moment, nothing_comes=self._nothing_comes(moment))
            self._dispatch(moment)
            self._publish(moment)
            if self._is_over(moment):
                return
            self._wait()

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
            attempts = _attempts(given, future)
            self._note_disk(attempts[-1], moment)
            if given.group is not None:
                self._interims -= 1
                self._flow.finish_interim(given.group, attempts)
            else:
                self._flow.finish(given.step, given.tasks[0].item, attempts[0], moment)

    def _dispatch(self, moment: float) -> None:
        """Give tasks to the workers that have none; on a full disk one at a time, to see whether it is still full."""
        if self._paused is not None and (moment < self._paused or self._in_flight):
            return
        limit = 1 if self._paused is not None else self._workers
        while self._in_flight < limit:
            found = self._flow.take(moment)
            if found is None:
                break
            self._submit(_Given(found[0], [found[1]]))
        spare = max(self._workers - 1, 1) - self._interims
        while self._in_flight < limit and spare > 0 and not self._nothing_comes(moment):
            grown = self._flow.take_interim()
            if grown is None:
                return
            self._interims += 1
            spare -= 1
            self._submit(_Given(-1, grown[1], grown[0]))

    def _submit(self, given: _Given) -> None:
        self._in_flight += 1
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
        return self._nothing_comes(moment) and not self._in_flight and not self._flow.is_busy

    def _resources(self, stage: Stage) -> Resources:
        device = next(self._devices) if stage.spec.gpus else "cpu"
        return Resources(self._allowed.threads, self._allowed.memory, device)

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
        return LiveStatus(
            state=self._state,
            message=self._message,
            source=self._source.location,
            started=self._started,
            updated=time.time(),
            pid=os.getpid(),
            host=platform.node(),
            files=self._files,
            items=len(self._inbox.items),
            awaited=self._awaited,
            workers=self._workers,
            stages=tuple(stage_status(stage, moment) for stage in self._stages),
            groups=group_statuses(self._flow),
            failures=tuple(failures(self._stages)[-SHOWN:]),
            said=tuple(self._voice.latest),
        )

    def _end(self, seconds: float) -> None:
        """Close the jobs' records, and say how it went."""
        energy = self._meter.stop()
        for stage in self._stages:
            stage.folder.discard_unfinished()
            self._close(stage, seconds, energy)
        lost = failures(self._stages)
        done = ", ".join(f"{stage.spec.name} {stage.done}" for stage in self._stages)
        self._voice.say("log", f"Session {self._state}. Done: {done}. Failed: {len(lost)}")
        for one in lost:
            self._voice.say("error", f"{one.step} {one.item}: {one.message}")
        self._publish(float("inf"))

    def _close(self, stage: Stage, seconds: float, energy: float | None) -> None:
        codes = [failure.exit_code for failure in stage.failures.values()]
        record = stage.folder.head()
        state: RunEnding = "interrupted" if self._state != "ended" else "failed" if codes else "finished"
        record.state, record.ended = state, now()
        share = self._share(stage)
        joules = None if energy is None else round(energy * share, 3)
        took = stage.took.model_copy(update={"seconds": round(seconds, 3), "energy": joules})
        end_run(record, state, took, record.ended, share=share)
        record.usage.bytes = stage.size
        stage.folder.write(record)
        if state == "interrupted":
            stage.folder.emit(Interrupted(seconds=seconds))
        elif codes:
            message = f"{len(codes)} of {len(stage.entries)} items failed"
            stage.folder.emit(Failed(message=message, exit_code=worst(codes), seconds=seconds))
        else:
            stage.folder.emit(Finished(seconds=seconds))

    def _share(self, stage: Stage) -> float:
        """The step's part of the session's CPU time, which is its part of the machine."""
        whole = sum(one.took.cpu_seconds for one in self._stages)
        return round(stage.took.cpu_seconds / whole, 4) if whole else 1 / len(self._stages)


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
