"""The lane to Slurm: one job of Slurm for each job, submitted once, followed, and found again after any kill."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from typing import Any

from thon.base.errors import StoreError, ThonError
from thon.engine.lanes.contract import Ending, Needs
from thon.engine.lanes.local import LocalHandle, lane_environment
from thon.engine.lanes.options import LaneOptions
from thon.engine.local import events_size, last_word, start_worker
from thon.engine.scheduler.threads import in_thread
from thon.engine.slurm import commands
from thon.engine.slurm.account import account_of, note_account
from thon.engine.slurm.queue import Queue, shared_queue
from thon.engine.slurm.script import LOG, write_script
from thon.engine.slurm.states import ending_of, words_of
from thon.engine.slurm.submission import SCRIPT, Submission, new_submission, open_submission, write_submission
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.worker import INTERRUPTED

SETTLE = 5.0
"""How long a job whose submission was cut short may take to appear in the queue, s."""

PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Time between two attempts to submit to a cluster that does not answer, s."""


class SlurmLane:
    """A lane to Slurm.

    Args:
        options: The lane.
        name: Its name.
        queue: Where its jobs wait.
    """

    def __init__(self, options: LaneOptions, name: str, queue: Queue | None = None):
        self._options, self._name = options, name
        self._queue = queue or shared_queue()
        self._handles: list[SlurmHandle | LocalHandle] = []
        self._reserved = 0

    def begin_round(self) -> None:
        """A new round begins."""
        self._handles = [handle for handle in self._handles if not handle.over]
        self._reserved = 0

    def full(self, needs: Needs) -> str:
        """Why there is no room for a job now; where the lane has no limit of its own, Slurm knows best."""
        most = self._options.jobs
        if most is not None and len(self._handles) + self._reserved >= most:
            return f"waits for one of the {most} jobs that run at most on {self._name}"
        return ""

    def reserve(self, needs: Needs) -> None:
        """Keep room for a job."""
        self._reserved += 1

    def start(self, folder: JobFolder, needs: Needs) -> SlurmHandle | LocalHandle:
        """Submit a job, or find it again; loops over items go to workers in Slurm where the lane has such."""
        given = open_submission(folder)
        if given is None and self._options.workers is not None and not needs.whole:
            environment = lane_environment(self._name, self._options)
            worker = start_worker(folder, "thon.engine.cluster.worker", self._name, environment=environment)
            handle: SlurmHandle | LocalHandle = LocalHandle(folder, worker, lambda: None, "with workers in Slurm")
        else:
            fresh = given is None
            if given is None:
                given = new_submission(folder, self._name)
                text = write_script(folder, given, needs, self._options)
                with storing(folder.path):
                    write_whole(folder.path / SCRIPT, text.encode())
                write_submission(folder, given)
            handle = SlurmHandle(folder, given, self._options, self._queue, fresh=fresh)
        self._handles.append(handle)
        return handle


class SlurmHandle:
    """A job that is being submitted, is in Slurm's queue, runs there, or has just ended.

    Args:
        folder: The job.
        given: Its submission, which is written down already.
        options: The lane.
        queue: Where it waits.
        fresh: Whether it cannot have been submitted before.
    """

    def __init__(self, folder: JobFolder, given: Submission, options: LaneOptions, queue: Queue, *, fresh: bool):
        self.over = False
        self._folder, self._given, self._options, self._queue = folder, given, options, queue
        self._known_at = time.monotonic()
        self._stopped = self._left = self._hurried = False
        self._may_be_twice = not fresh  # where the answer to a submission was lost, Slurm may note that one late
        self._has_run = False
        self._trouble, self._pause, self._next_try = "", PAUSE, 0.0
        self._submitting: Future[str] | None = None if given.batch else self._submit(fresh=fresh)
        self._concluding: Future[commands.Account | None] | None = None
        self._side: Future[Any] | None = None

    @property
    def batch(self) -> str:
        """Slurm's number of it; empty until it is known."""
        return self._given.batch

    @property
    def state(self) -> str:
        """What it does."""
        row = self._row
        if self._stopped:
            return "stopping"
        if row is None:
            return "starting" if not self.batch or not self._has_run else "running"
        return "running" if row.state in ("RUNNING", "COMPLETING") else "queued"

    @property
    def reason(self) -> str:
        """The state in words."""
        if trouble := self._trouble or self._queue.trouble:
            return f"{trouble}; it is asked again"
        if self._stopped:
            return "is cancelled in Slurm"
        row = self._row
        if row is None:
            return "is submitted to Slurm" if self._concluding is None else "has left the queue"
        return words_of(row)

    def poll(self) -> Ending | None:
        """How it ended; None while it goes on. Returns at once."""
        if self._submitting is not None and (ending := self._await_number(self._submitting)) is not None:
            return self._close(ending)
        if not self.batch:
            return None
        self._tend()
        self._queue.look()
        row = self._row
        if row is not None:
            self._follow(row)
            return None
        if self._concluding is None and self._queue.looked > self._known_at:
            self._concluding = in_thread(account_of, self.batch, self._given.name)
        return None if self._concluding is None else self._conclude(self._concluding)

    def cancel(self) -> None:
        """Cancel it as soon as its number is known."""
        self._stopped = True

    def leave(self) -> None:
        """It goes on without us."""

    def wait(self, seconds: float) -> None:
        """Wait so long for the number of a job that is just being submitted."""
        if self._submitting is not None:
            with contextlib.suppress(NotYetError, ThonError):
                self._given = self._given.model_copy(update={"batch": self._submitting.result(seconds)})
                write_submission(self._folder, self._given)

    @property
    def _row(self) -> commands.Queued | None:
        """Its place in the queue; None where it is not there, or its number is another job's, on another cluster."""
        row = self._queue.rows.get(self.batch)
        return row if row is not None and row.name == self._given.name else None

    def _await_number(self, submitting: Future[str]) -> Ending | None:
        if not submitting.done():
            return None
        try:
            batch = submitting.result()
        except commands.SilentError as error:
            self._may_be_twice = True
            self._try_again(str(error))
            return None
        except ThonError as error:
            return Ending(INTERRUPTED) if self._stopped else Ending(error.exit_code, words=str(error))
        self._given = self._given.model_copy(update={"batch": batch})
        write_submission(self._folder, self._given)
        self._submitting, self._trouble, self._known_at = None, "", time.monotonic()
        self._queue.hurry()
        return None

    def _try_again(self, trouble: str) -> None:
        """Look for the job, and submit it if it is not there, once the cluster had time to recover."""
        if not self._trouble or self._next_try == 0.0:
            self._trouble, self._next_try = trouble, time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if time.monotonic() >= self._next_try:
            self._next_try = 0.0
            self._submitting = self._submit(fresh=False)

    def _submit(self, *, fresh: bool) -> Future[str]:
        return in_thread(_submit, self._folder, self._given, fresh=fresh, is_wanted=lambda: not self._stopped)

    def _tend(self) -> None:
        """Cancel it where it is to be cancelled; what the cluster does not hear is said again."""
        if self._side is not None:
            if not self._side.done():
                return
            side, self._side = self._side, None
            self._trouble = _trouble_of(side)
            self._queue.hurry()
        row = self._row
        if (other := self._superfluous()) is not None:
            self._side = in_thread(commands.scancel, other, f"--name={self._given.name}")
            return
        if row is None:
            return
        if self._stopped and row.state != "COMPLETING":
            self._side = in_thread(commands.scancel, self.batch, f"--name={row.name}")
        elif self._is_late(row):
            self._left = True
            self._side = in_thread(commands.scancel, self.batch, f"--name={row.name}", "--state=PENDING")
        elif row.reason == "BeginTime" and not self._hurried and events_size(self._folder) > self._given.events:
            self._hurried = True
            self._side = in_thread(_start_now, self.batch)

    def _superfluous(self) -> str | None:
        """The number of another job of Slurm that is this very one, submitted twice."""
        if not self._may_be_twice:
            return None
        name, rows = self._given.name, self._queue.rows.values()
        others = (row.batch for row in rows if row.name == name and row.state != "COMPLETING")
        return next((batch for batch in others if batch != self.batch), None)

    def _is_late(self, row: commands.Queued) -> bool:
        """Whether it has waited for longer than the lane's patience."""
        options = self._options
        if row.state != "PENDING" or self._has_run or not options.next or options.patience is None:
            return False
        waited = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(self._given.written)
        return waited.total_seconds() > 60 * options.patience

    def _follow(self, row: commands.Queued) -> None:
        if row.state == "RUNNING":
            self._has_run, self._left, self._hurried = True, False, False

    def _conclude(self, concluding: Future[commands.Account | None]) -> Ending | None:
        """It has left the queue: how it ended, once Slurm tells."""
        if not concluding.done():
            return None
        try:
            account = concluding.result()
        except ThonError as error:
            self._trouble, self._concluding = str(error), None
            return None
        if account is None:  # it is still there, as after a requeue
            self._concluding, self._known_at = None, time.monotonic()
            return None
        with contextlib.suppress(StoreError):  # a worker of a requeue may hold it, or the disk be full
            note_account(self._folder, account)
        return self._close(
            ending_of(
                account,
                told=last_word(self._folder, self._given.events),
                stopped=self._stopped,
                left=self._left,
                tries=self._given.tries,
                log=_tail(self._folder),
            )
        )

    def _close(self, ending: Ending) -> Ending:
        try:
            write_submission(self._folder, self._given.model_copy(update={"over": ending.next}))
        except StoreError:
            if self._folder.path.exists():
                raise
        self.over = True
        if self._may_be_twice:
            in_thread(commands.scancel_named, self._given.name)
        return ending


def cancel_given(folder: JobFolder, given: Submission) -> None:
    """Cancel a job that was given to Slurm, for nobody follows it.

    Raises:
        SilentError: Slurm does not answer.
    """
    for batch in commands.squeue(f"--name={given.name}"):
        commands.scancel(batch, f"--name={given.name}")
    write_submission(folder, given.model_copy(update={"over": "end"}))


def _submit(folder: JobFolder, given: Submission, *, fresh: bool, is_wanted: Callable[[], bool]) -> str:
    """Submit a job, unless it was submitted before; returns its number.

    Raises:
        SilentError: Slurm does not answer; the job may be there.
        RefusedError: Slurm will not have it, or nobody wants it any more.
    """
    if not fresh:
        deadline = time.monotonic() + SETTLE
        while not (found := commands.numbers_of(given.name)) and time.monotonic() < deadline:
            time.sleep(0.5)
        for superfluous in found[1:]:
            commands.scancel(superfluous, f"--name={given.name}")
        if found:
            return found[0]
    if not is_wanted():
        raise commands.RefusedError("was stopped before it was submitted")
    return commands.sbatch(folder.path / SCRIPT)


def _trouble_of(call: Future[Any]) -> str:
    """Why a call to the cluster failed, in words; empty where it did not."""
    try:
        call.result()
    except ThonError as error:
        return str(error)
    return ""


def _start_now(batch: str) -> None:
    with contextlib.suppress(commands.RefusedError):  # it has begun
        commands.start_now(batch)


def _tail(folder: JobFolder) -> str:
    """The last lines that script and worker said."""
    try:
        lines = (folder.path / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "\n  ".join(lines[-3:])
