"""What people tell a running session: pause, other numbers of workers, thresholds, stop: `live.control.json`.

Whoever wants something writes the file; the session reads it about once a second. So it can be told from any machine
that sees the project.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from thon.base.errors import InputError, StoreError
from thon.engine.live.options import MOST_WORKERS
from thon.job.folder import storing, write_whole

CONTROL = "live.control.json"


class Threshold(BaseModel):
    """A limit on a number of what a step yields; an item beyond it goes no further.

    Args:
        step: Job type, such as ctf-fit.
        value: Name of the number, such as fit.resolution.
        min: Least that passes.
        max: Most that passes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    value: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _is_a_limit(self) -> Threshold:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds or not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise ValueError("a threshold needs a least or a most that passes, the least first")
        return self

    @property
    def text(self) -> str:
        """The threshold in words."""
        least = "" if self.min is None else f"{self.min:g} ≤ "
        most = "" if self.max is None else f" ≤ {self.max:g}"
        return f"{self.step}: {least}{self.value}{most}"

    def why(self, values: Mapping[str, float]) -> str:
        """Why an item with these numbers does not pass; empty where it does, or has no such number."""
        value = values.get(self.value)
        if value is None:
            return ""
        if self.min is not None and value < self.min:
            return f"{self.value} is {value:.4g}, less than {self.min:g}"
        if self.max is not None and value > self.max:
            return f"{self.value} is {value:.4g}, more than {self.max:g}"
        return ""


class LiveControl(BaseModel):
    """What a session has been told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paused: bool = False
    """Begin nothing new; what was begun is finished."""
    stop: bool = False
    """End as by Ctrl-C."""
    workers: int | None = None
    """Workers at most; as many as the session was started with where it is None."""
    thresholds: tuple[Threshold, ...] = ()
    """What items must pass."""

    @model_validator(mode="after")
    def _has_workers(self) -> LiveControl:
        if self.workers is not None and self.workers < 1:
            raise ValueError("a session needs 1 worker or more; pause it instead")
        if self.workers is not None and self.workers > MOST_WORKERS:
            raise ValueError(f"a session has {MOST_WORKERS} workers at most")
        return self


class Ear:
    """Hears what the session is told.

    Args:
        root: The project's folder.
    """

    def __init__(self, root: Path):
        self._root = root
        self._seen = 0

    def listen(self) -> LiveControl | None:
        """What it is told now; None where nobody has said anything since the last time.

        Raises:
            StoreError: The file cannot be read; it is read again once it has changed.
        """
        try:
            seen = (self._root / CONTROL).stat().st_mtime_ns
        except OSError:
            return None
        if seen == self._seen:
            return None
        self._seen = seen
        return read_control(self._root)


def read_control(root: Path) -> LiveControl:
    """What the session of the project at `root` has been told; nothing where nobody has said anything.

    Raises:
        StoreError: The file cannot be read.
    """
    try:
        return LiveControl.model_validate_json((root / CONTROL).read_bytes())
    except FileNotFoundError:
        return LiveControl()
    except (OSError, ValidationError) as error:
        raise StoreError("cannot be read", path=root / CONTROL, got=_first(error), mend="remove the file") from error


def write_control(root: Path, **changes: Any) -> LiveControl:
    """Tell the session of the project at `root` something; what is not named stays. Returns all that it is told.

    Raises:
        InputError: It cannot be told that.
        StoreError: The disk refuses.
    """
    try:
        told = LiveControl.model_validate(read_control(root).model_dump() | changes)
    except ValidationError as error:
        raise InputError("a session cannot be told that", got=changes, expected=_first(error)) from error
    with storing(root / CONTROL):
        write_whole(root / CONTROL, told.model_dump_json(indent=1).encode() + b"\n")
    return told


def with_threshold(thresholds: Iterable[Threshold], one: Threshold) -> tuple[Threshold, ...]:
    """The thresholds with one more, which takes the place of an earlier one on the same number."""
    return (*without_threshold(thresholds, one.step, one.value), one)


def without_threshold(thresholds: Iterable[Threshold], step: str, value: str) -> tuple[Threshold, ...]:
    """The thresholds without that on a number."""
    return tuple(other for other in thresholds if (other.step, other.value) != (step, value))


def _first(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
