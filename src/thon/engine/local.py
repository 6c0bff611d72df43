"""Runs a job on this machine: starts its worker, follows its events, passes on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

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
    follower = _Follower(folder, watch)
    with (folder.path / "worker.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we tell the worker once.
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "thon.job.worker", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {PARENT: str(os.getpid())},
            start_new_session=True,
        )
        try:
            while worker.poll() is None:
                follower.follow()
                time.sleep(POLL)
        except BaseException:
            _stop(worker)
            follower.follow()
            raise
    follower.follow()
    if worker.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if worker.returncode < 0:
        raise JobError(
            f"the worker was killed by {signal.Signals(-worker.returncode).name}",
            path=folder.path,
            mend="if memory ran out, give a lower --memory; `thon resume` goes on where it stopped",
        )
    if not follower.closed:
        lines = (folder.path / "worker.log").read_text(errors="replace").strip().splitlines()
        raise JobError("the worker could not run", path=folder.path / "worker.log", got="\n  ".join(lines[-3:]))
    return worker.returncode


class _Follower:
    """Reads the events that were appended since the last look."""

    def __init__(self, folder: JobFolder, watch: Watch):
        self.closed = False
        self._folder, self._watch = folder, watch
        self._offset = folder.events_file.stat().st_size if folder.events_file.exists() else 0

    def follow(self) -> None:
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


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGINT)
    try:
        worker.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        worker.kill()
        worker.wait()
