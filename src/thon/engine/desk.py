"""A process beside that has job types loaded, for a process that must not: a scheduler, a web server.

To load a job type takes PyTorch: seconds and hundreds of megabytes. The desk is started at the first call and ends
when nobody has called for a while.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, ParamSpec, TypeVar

from thon.base.errors import InputError, ThonError
from thon.engine.pool import WorkerPool

Given = ParamSpec("Given")
Result = TypeVar("Result")

IDLE = 60.0
"""Time without a call after which the process ends, s."""

ENVIRONMENT: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


class BusyError(ThonError):
    """More is asked of a desk than it can do."""


class Desk:
    """Calls functions in a process of its own, one at a time.

    Args:
        idle: Time without a call after which the process ends, s.
        limit: Time that a call may take, and may wait for its turn, s; any unless given.
        room: How many calls there may be at one time; any number unless given.
    """

    def __init__(self, idle: float = IDLE, *, limit: float | None = None, room: int | None = None):
        self._idle, self._limit, self._room = idle, limit, room
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._pool: WorkerPool | None = None
        self._calls = 0
        self._last = 0.0
        self._closed = threading.Event()

    def call(self, function: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """What the function returns, or raises; it, its arguments and its result must be such as can be pickled.

        Raises:
            BusyError: There are too many calls, or those before take too long.
            InputError: The call took longer than it may; the process was ended.
            WorkerDiedError: The process was killed; the next call gets a new one.
        """
        with self._taking_turns():
            pool = self._open()
            future = pool.submit(_answer, function, args, kwargs)
            answer, cause = self._wait(future, pool)
        if isinstance(answer, ThonError):
            raise answer from cause
        return answer

    @contextlib.contextmanager
    def _taking_turns(self) -> Generator[None]:
        with self._lock:
            if self._room is not None and self._calls >= self._room:
                raise _busy()
            self._calls += 1
        try:
            if not self._turn.acquire(timeout=-1 if self._limit is None else self._limit):
                raise _busy()
            try:
                yield
            finally:
                self._turn.release()
        finally:
            with self._lock:
                self._calls -= 1
                self._last = time.monotonic()

    def _open(self) -> WorkerPool:
        """The process, which is started where there is none."""
        with self._lock:
            if self._pool is None:
                self._pool = WorkerPool(1, environment=ENVIRONMENT)
                threading.Thread(target=self._watch, args=(self._pool,), name="desk", daemon=True).start()
            return self._pool

    def _wait(self, future: Future[Any], pool: WorkerPool) -> Any:
        wait([future], self._limit)
        if future.done():
            return future.result()
        with self._lock:
            if self._pool is pool:
                self._pool = None
        # Not waited for: a process that waits for a disk cannot be ended before that answers.
        threading.Thread(target=pool.stop, args=(1.0,), daemon=True).start()
        raise InputError(
            "this took too long and was given up",
            expected=f"at most {self._limit:g} s",
            mend="look whether a file that it names lies on a disk that does not answer",
        )

    @property
    def is_open(self) -> bool:
        """Whether the process is there."""
        return self._pool is not None

    def close(self) -> None:
        """End the process now."""
        with self._lock:
            pool, self._pool = self._pool, None
        self._closed.set()
        if pool is not None:
            pool.stop(patience=1.0)

    def _watch(self, pool: WorkerPool) -> None:
        """End the process once it has been idle; in a thread of its own."""
        while not self._closed.wait(self._idle / 4):
            with self._lock:
                if self._pool is not pool:
                    return
                if self._calls or time.monotonic() - self._last < self._idle:
                    continue
                self._pool = None
            pool.shutdown(wait=False)
            return


def _busy() -> BusyError:
    return BusyError("too much is looked at already", mend="try again in a minute")


def _answer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, OSError | None]:
    """What a function returns, or the error that it raises with what the disk said, which is lost on the way else."""
    try:
        return function(*args, **kwargs), None
    except ThonError as error:
        return error, error.__cause__ if isinstance(error.__cause__, OSError) else None
