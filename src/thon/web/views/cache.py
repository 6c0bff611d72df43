"""Results that are kept for the next question, as long as they fit into a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Keeps what was asked for last; two threads that ask for the same at once wait for one answer.

    Args:
        limit: Bytes that all values together may take; the newest is kept whatever its size.
        size: Bytes of one value.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]):
        self.limit, self._size = limit, size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Future[Value]] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there; an error is raised and not kept."""
        future: Future[Value] = Future()
        with self._lock:
            found = self._kept.setdefault(key, future)
            self._kept.move_to_end(key)
        if found is not future:
            return found.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(value)
        with self._lock:
            self._sizes[key] = self._size(value)
            self._shrink()
        return value

    @property
    def bytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return sum(self._sizes.values())

    def _shrink(self) -> None:
        """Forget the oldest values until the others fit; what is still being made does not count."""
        for key in list(self._sizes.keys() - self._kept.keys()):
            del self._sizes[key]
        total = sum(self._sizes.values())
        for key in [key for key in self._kept if key in self._sizes][:-1]:
            if total <= self.limit:
                return
            total -= self._sizes.pop(key)
            del self._kept[key]
