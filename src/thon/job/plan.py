"""What a job intends to do with an item, before it does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resources:
    """What a job may use for one item.

    Args:
        threads: Number of threads.
        memory: Working memory, bytes.
        device: "cpu", "cuda" or "cuda:N".
    """

    threads: int
    memory: int
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """What a job understood and what it will need.

    Args:
        understood: Sentences about the input, for people.
        geometry: Sentences about the geometry, for people.
        memory: Peak working memory, bytes; None where unknown.
        disk: Size of the outputs, bytes; None where unknown.
        seconds: Estimated time, s; None where unknown.
        output: A record standing for what the job will yield, from which the next step of a chain can plan.
    """

    understood: tuple[str, ...] = ()
    geometry: tuple[str, ...] = ()
    memory: int | None = None
    disk: int | None = None
    seconds: float | None = None
    output: Any = None


def size_text(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
