"""A process beside that has job types loaded, for a process that must not: a scheduler, a web server.

To load a job type takes PyTorch: seconds and hundreds of megabytes. The desk is started at the first call and ends
when nobody has called for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from thon.engine.pool import WorkerPool

Given = ParamSpec("Given")
Result = TypeVar("Result")

IDLE = 60.0
"""Time without a call after which the process ends, s."""

ENVIRONMENT: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


class Desk:
    """Calls functions in a process of its own, one at a time.

    Args:
        idle: Time without a call after which the process ends, s.
    """

    def __init__(self, idle: float = IDLE):
        self._idle = idle
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._calls = 0
        self._last = 0.0
        self._closed = threading.Event()

    def call(self, function: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """What the function returns, or raises; it, its arguments and its result must be such as can be pickled.

        Raises:
            WorkerDiedError: The process was killed; the next call gets a new one.
        """
        with self._lock:
            if self._pool is None:
                self._pool = WorkerPool(1, environment=ENVIRONMENT)
                threading.Thread(target=self._watch, args=(self._pool,), name="desk", daemon=True).start()
            pool = self._pool
            self._calls += 1
            future = pool.submit(function, *args, **kwargs)
        try:
            return future.result()
        finally:
            with self._lock:
                self._calls -= 1
                self._last = time.monotonic()

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
