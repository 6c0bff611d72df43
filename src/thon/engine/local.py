"""Runs a job on this machine: starts its worker, follows its events, passes on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from thon.base.errors import JobError
from thon.job.events import Event, parse_event
from thon.job.folder import JobFolder
from thon.job.ranks import PARENT
from thon.job.worker import INTERRUPTED

Watch = Callable[[JobFolder, Event], None]

POLL = 0.1
PATIENCE = 15.0
"""How long a worker may take to stop before it is killed, s."""


def run_local(folder: JobFolder, watch: Watch) -> int:
    """Run a job in a worker process of its own and tell `watch` every event; returns the worker's exit code.

    Raises:
        KeyboardInterrupt: After the worker has stopped; the job can be resumed.
        JobError: The worker died without a word.
    """
    follower = Follower(folder, watch)
    worker = start_worker(folder)
    try:
        while worker.poll() is None:
            follower.follow()
            time.sleep(POLL)
    except BaseException:
        stop_worker(worker)
        follower.follow()
        raise
    follower.follow()
    if worker.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if (error := no_word(folder, worker.returncode, closed=follower.closed)) is not None:
        raise error
    return worker.returncode


def start_worker(
    folder: JobFolder, module: str = "thon.job.worker", *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a job's worker, or another module that takes its folder first; it does not outlive this process."""
    with (folder.path / "worker.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we tell the worker once.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(folder.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | dict(environment or {}) | {PARENT: str(os.getpid())},
            start_new_session=True,
        )


def no_word(folder: JobFolder, code: int, *, closed: bool) -> JobError | None:
    """What to say of a worker that did not tell itself how its job ended; None where it did.

    Args:
        folder: The job.
        code: The worker's exit code, below 0 where a signal ended it.
        closed: Whether an event told that the job has ended.
    """
    if code < 0:
        return JobError(
            f"the worker was killed by {signal.Signals(-code).name}",
            path=folder.path,
            mend="if memory ran out, give a lower --memory; `thon resume` goes on where it stopped",
        )
    if closed or code == INTERRUPTED:
        return None
    lines = (folder.path / "worker.log").read_text(errors="replace").strip().splitlines()
    return JobError("the worker could not run", path=folder.path / "worker.log", got="\n  ".join(lines[-3:]))


def last_word(folder: JobFolder, offset: int) -> int | None:
    """Exit code that a worker told in the events after a place in their file; None where it told no end of its job."""
    if not folder.events_file.exists():
        return None
    with folder.events_file.open("rb") as file:
        file.seek(offset)
        events = [event for event in map(parse_event, file) if event is not None]
    codes = {"finished": 0, "interrupted": INTERRUPTED}
    told = [
        event.exit_code if event.kind == "failed" else codes[event.kind]
        for event in events
        if event.kind == "failed" or event.kind in codes
    ]
    return told[-1] if told else None


def events_size(folder: JobFolder) -> int:
    """Where the events so far end in their file."""
    return folder.events_file.stat().st_size if folder.events_file.exists() else 0


class Follower:
    """Reads the events that are appended to a job's, and tells them.

    Args:
        folder: The job.
        watch: Is told every event from now on.
    """

    def __init__(self, folder: JobFolder, watch: Watch):
        self.closed = False
        self._folder, self._watch = folder, watch
        self._offset = events_size(folder)

    def follow(self) -> None:
        """Tell what was appended since the last look."""
        if not self._folder.events_file.exists():
            return
        with self._folder.events_file.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            event = parse_event(line)
            if event is not None:
                self.closed = self.closed or event.kind in ("finished", "failed", "interrupted")
                self._watch(self._folder, event)


def stop_worker(worker: subprocess.Popen[bytes]) -> None:
    """Stop a worker as by Ctrl-C, and wait until it is gone."""
    worker.send_signal(signal.SIGINT)
    try:
        worker.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        worker.kill()
        worker.wait()
