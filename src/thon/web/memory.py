"""Keeps the memory of a server small: threads share heaps, and what was used is given back when nobody looks."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

_M_ARENA_MAX = -8
_LIBC: Any = ctypes.CDLL(None)


def share_heaps() -> None:
    """Let all threads share two heaps; one for each would hold on to memory that nobody uses."""
    if hasattr(_LIBC, "mallopt"):  # not every C library has such a switch
        _LIBC.mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Give memory that is free back to the system."""
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
