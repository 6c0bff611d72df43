"""How a live session stands, as `live.json` in the project tells it to whoever wants to show it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from thon.engine.live_flow import Flow
from thon.engine.live_stage import Failure, Stage
from thon.job.lines import append_line

STATUS = "live.json"
LOG = "session.log"
SHOWN = 200
"""At most so many failures are in the status; `thon show` has all."""

State = Literal["starting", "running", "paused", "stopping", "ended", "interrupted", "broken"]


@dataclass(frozen=True)
class Said:
    """A sentence for people.

    Args:
        time: Seconds since 1970.
        level: "log", "done", "warning" or "error".
        text: The sentence.
    """

    time: float
    level: str
    text: str


@dataclass(frozen=True)
class StageStatus:
    """A step.

    Args:
        name: Job type.
        title: For people.
        job: Its folder's name.
        waiting: Items that wait for a worker.
        running: Items being done.
        done: Items that are done.
        failed: Items that were given up.
        per_hour: Rate of late; None where there is none.
        seconds_left: Time that the waiting ones will take at that rate.
    """

    name: str
    title: str
    job: str
    waiting: int
    running: int
    done: int
    failed: int
    per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class GroupStatus:
    """A group, such as a tilt series: its members on their way, ready and failed, and whether it is complete."""

    name: str
    pending: int
    ready: int
    failed: int
    complete: bool


@dataclass(frozen=True)
class LiveStatus:
    """A session.

    Args:
        state: What it does.
        message: Why, where that needs saying.
        source: Folder or URL that is watched.
        started: Seconds since 1970.
        updated: Seconds since 1970.
        pid: Process that watches.
        host: Machine.
        files: Files seen.
        items: Items that have arrived.
        awaited: Items some of whose files are still being written.
        workers: Worker processes.
        stages: The steps in order.
        groups: The latest groups.
        failures: What was given up, the latest last.
        said: What was said last.
    """

    state: State
    message: str
    source: str
    started: float
    updated: float
    pid: int
    host: str
    files: int
    items: int
    awaited: int
    workers: int
    stages: tuple[StageStatus, ...]
    groups: tuple[GroupStatus, ...]
    failures: tuple[Failure, ...]
    said: tuple[Said, ...]


class View(Protocol):
    """Whoever shows a session."""

    def say(self, said: Said) -> None:
        """Something happened."""
        ...

    def show(self, status: LiveStatus) -> None:
        """The session stands so; called about once a second."""
        ...


class Voice:
    """Passes on what is said and how the session stands, to the view, the log and `live.json`.

    The session does not end because the disk is full or the terminal that showed it was closed.

    Args:
        root: The project's folder.
        view: Whoever shows it.
    """

    def __init__(self, root: Path, view: View):
        self.latest: deque[Said] = deque(maxlen=20)
        self._root, self._log, self._view = root, root / LOG, view

    def say(self, level: str, text: str) -> None:
        """Say a sentence."""
        said = Said(time.time(), level, text)
        self.latest.append(said)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(said.time))
        mark = "" if level in ("log", "done") else f"{level}: "
        with contextlib.suppress(OSError):
            append_line(self._log, f"{stamp}  {mark}{text}".replace("\n", "\n    "))
        with contextlib.suppress(OSError):
            self._view.say(said)

    def show(self, status: LiveStatus) -> None:
        """Show how the session stands."""
        write_status(self._root, status)
        with contextlib.suppress(OSError):
            self._view.show(status)


def stage_status(stage: Stage, now: float) -> StageStatus:
    """How a step stands at the monotonic time `now`."""
    rate = stage.rate(now)
    left = None if not rate else 3600 * (stage.waiting + stage.running) / rate
    name = stage.folder.path.name
    failed = len(stage.failures)
    return StageStatus(
        stage.spec.name, stage.spec.title, name, stage.waiting, stage.running, stage.done, failed, rate, left
    )


def group_statuses(flow: Flow, most: int = 50) -> tuple[GroupStatus, ...]:
    """The groups that began last."""
    latest = sorted(flow.groups.by_name.values(), key=lambda group: group.number)[-most:]
    return tuple(
        GroupStatus(one.name, len(one.pending), len(one.ready), len(one.failed), not one.open) for one in latest
    )


def failures(stages: Sequence[Stage]) -> list[Failure]:
    """What was given up, step by step."""
    return [failure for stage in stages for failure in stage.failures.values()]


def write_status(root: Path, status: LiveStatus) -> None:
    """Replace `live.json` in one step; a disk that is full keeps the old one."""
    part = root / f".tmp-{STATUS}.{os.getpid()}"
    try:
        part.write_text(json.dumps(dataclasses.asdict(status), ensure_ascii=False) + "\n")
        part.replace(root / STATUS)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
