"""A pool of persistent worker processes that outlives the death of any of them.

`concurrent.futures.ProcessPoolExecutor` is of no more use once one of its processes was killed. Here each process has
a thread of its own that hands it one task at a time: a process that dies fails that task alone and is started anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from thon.base.errors import JobError
from thon.job.loop import WorkerLostError, watch_process

Given = ParamSpec("Given")
Result = TypeVar("Result")

_starting = threading.Lock()


@dataclass(frozen=True)
class _Call:
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class WorkerDiedError(WorkerLostError):
    """A worker process was killed while it had a task."""


class Pool(Protocol):
    """Workers whose number can change while they work."""

    workers: int
    """How many there are to be, at most."""

    @property
    def room(self) -> int:
        """How many calls can run at one time now."""
        ...

    @property
    def reason(self) -> str:
        """Why there are fewer workers than there are to be, in words; empty where there are not."""
        ...

    def submit(self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        """Queue a call."""
        ...

    def want(self, calls: int) -> None:
        """Say how many calls could run at one time now, if there were room for all."""
        ...

    def resize(self, workers: int) -> None:
        """Have more workers, or fewer once they have done what they do."""
        ...

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end once the calls are done."""
        ...

    def stop(self, patience: float = 5.0) -> None:
        """End the workers now."""
        ...


class WorkerPool(Executor):
    """Runs calls in worker processes, which are spawned and hear neither Ctrl-C nor each other.

    Args:
        workers: Number of processes.
        environment: Environment variables for them, such as how many threads their libraries may start.
        hold: A file on which each of them holds a shared lock as long as it lives.
    """

    def __init__(self, workers: int, *, environment: Mapping[str, str] | None = None, hold: Path | None = None):
        self.workers = 0
        self._environment, self._hold = dict(environment or {}), hold
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._processes: dict[int, BaseProcess] = {}
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()
        self.resize(workers)

    def submit(self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        """Queue a call; its future fails with `WorkerDiedError` if the process that had it was killed."""
        future: Future[Result] = Future()
        self._calls.put(_Call(future, fn, args, kwargs))
        return future

    @property
    def room(self) -> int:
        """How many calls can run at one time."""
        return self.workers

    @property
    def reason(self) -> str:
        """Why there are fewer workers than there are to be: never."""
        return ""

    def want(self, calls: int) -> None:
        """Nothing to do: the processes are there whether they have calls or not."""

    def resize(self, workers: int) -> None:
        """Have more processes, or fewer once they have done the calls that are queued now."""
        for _ in range(self.workers, workers):
            thread = threading.Thread(target=self._run, args=(next(self._numbers),), daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(workers, self.workers):
            self._calls.put(None)
        self.workers = workers
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes end once the calls are done."""
        self.resize(0)
        if wait:
            for thread in self._threads:
                thread.join()

    def stop(self, patience: float = 5.0) -> None:
        """End the processes now, by SIGTERM, which their calls hear as Ctrl-C, and by SIGKILL if they do not listen."""
        self._stopping = True
        processes = list(self._processes.values())
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(patience)
            if process.is_alive():
                process.kill()
        self.shutdown()

    @property
    def pids(self) -> list[int]:
        """Processes that are there now."""
        return [process.pid for process in self._processes.values() if process.pid is not None]

    def _run(self, number: int) -> None:
        """Serve one process; in a thread of its own."""
        ours = self._start(number)
        while (call := self._calls.get()) is not None:
            if not call.future.set_running_or_notify_cancel():
                continue
            if not self._processes[number].is_alive() and not self._stopping:
                ours.close()
                ours = self._start(number)
            try:
                ours.send((call.function, call.arguments, call.keywords))
                good, value = ours.recv()
            except (EOFError, OSError):
                call.future.set_exception(self._died(number))
            except Exception as error:
                # What cannot be pickled is the caller's mistake, not the process's.
                call.future.set_exception(error)
            else:
                _finish(call.future, good, value)
        ours.close()
        self._processes.pop(number).join()

    def _start(self, number: int) -> Connection:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        # Not forked, for a child would share the state of the threads; the variables are read as libraries load.
        with _starting, _environment(self._environment):
            process = spawn.Process(target=_serve, args=(theirs, os.getpid(), self._hold), daemon=True)
            process.start()
        theirs.close()
        self._processes[number] = process
        return ours

    def _died(self, number: int) -> WorkerDiedError:
        process = self._processes[number]
        process.join(5)
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"gone with exit code {code}"
        return WorkerDiedError(f"a worker process was {how}", mend="if memory ran out, use fewer --workers")


def _finish(future: Future[Any], good: bool, value: Any) -> None:
    if good:
        future.set_result(value)
    else:
        future.set_exception(value)


def _serve(calls: Connection, parent: int, hold: Path | None) -> None:
    """What a worker process does: calls, one after another, until its parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    watch_process(parent, lambda: os._exit(1))
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError), _holding(hold):
        while True:
            call = calls.recv_bytes()
            try:
                function, arguments, keywords = pickle.loads(call)
                answer = (True, function(*arguments, **keywords))
            except Exception as error:
                answer = (False, error)
            if not _can_be_sent(answer):
                answer = (False, JobError(f"something unexpected happened: {answer[1]!r}"))
            calls.send(answer)
    # What was done is safe; to take all libraries down piece by piece would take seconds.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _can_be_sent(answer: object) -> bool:
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:
        return False
    return True


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _holding(file: Path | None) -> Generator[None]:
    if file is None:
        yield
        return
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
