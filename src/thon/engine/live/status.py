"""How a live session stands, as `live.json` in the project tells it to whoever wants to show it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from thon.engine.live.flow import Flow
from thon.engine.live.groups import Group
from thon.engine.live.stage import Failure, Stage
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
        rejected: Items that are done and go no further, for they do not pass a threshold.
        workers: Workers that are at it, interim results included.
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
    rejected: int = 0
    workers: int = 0


@dataclass(frozen=True)
class GroupStatus:
    """A group, such as a tilt series.

    Args:
        name: Its name.
        pending: Members on their way.
        ready: Members that can be gathered.
        failed: Members that were given up.
        complete: Whether no more are expected.
        rejected: Members that do not pass a threshold.
        steps: For each step up to the gathering the members that are through it, by job type.
        interim: Whether an interim result is being made.
    """

    name: str
    pending: int
    ready: int
    failed: int
    complete: bool
    rejected: int = 0
    steps: Mapping[str, int] = field(default_factory=dict[str, int])
    interim: bool = False


@dataclass(frozen=True)
class Rejection:
    """Why an item goes no further."""

    step: str
    item: str
    why: str


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
        workers: Workers that are there.
        workers_asked: Workers at most.
        lane: Where they are; empty for this machine.
        stages: The steps in order.
        groups: The latest groups.
        failures: What was given up, the latest last.
        rejections: What does not pass, the latest last.
        thresholds: What items must pass.
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
    workers_asked: int = 0
    lane: str = ""
    rejections: tuple[Rejection, ...] = ()
    thresholds: tuple[dict[str, Any], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


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


def stage_status(stage: Stage, now: float, workers: int) -> StageStatus:
    """How a step stands at the monotonic time `now`, with so many workers at it."""
    rate = stage.rate(now)
    left = None if not rate else 3600 * (stage.waiting + stage.running) / rate
    name = stage.folder.path.name
    failed = len(stage.failures)
    return StageStatus(
        stage.spec.name,
        stage.spec.title,
        name,
        stage.waiting,
        stage.running,
        stage.done,
        failed,
        rate,
        left,
        rejected=len(stage.rejected),
        workers=workers,
    )


def group_statuses(flow: Flow, most: int = 50) -> tuple[GroupStatus, ...]:
    """The groups that began last."""
    latest = sorted(flow.groups.by_name.values(), key=lambda group: group.number)[-most:]
    return tuple(_group_status(flow.member_stages, one) for one in latest)


def _group_status(stages: Sequence[Stage], group: Group) -> GroupStatus:
    members = group.pending | group.ready | group.failed
    rejected = {item for stage in stages for item in members & stage.rejected.keys()}
    return GroupStatus(
        group.name,
        len(group.pending),
        len(group.ready),
        len(group.failed - rejected),
        complete=not group.open,
        rejected=len(rejected),
        steps={stage.spec.name: sum(stage.is_done(item) for item in members) for stage in stages},
        interim=group.interim_runs,
    )


def rejections(stages: Sequence[Stage]) -> list[Rejection]:
    """What does not pass, step by step."""
    return [Rejection(stage.spec.name, item, why) for stage in stages for item, why in stage.rejected.items()]


def failures(stages: Sequence[Stage]) -> list[Failure]:
    """What was given up, step by step."""
    return [failure for stage in stages for failure in stage.failures.values()]


def read_status(root: Path) -> LiveStatus | None:
    """How the last session in the project at `root` stood when it last told; None where there was none."""
    try:
        return _adapter().validate_json((root / STATUS).read_bytes())
    except (OSError, ValidationError):
        return None


def broken(source: str, message: str, *, state: State = "broken") -> LiveStatus:
    """The status of a session that this process is about to begin, or that could not begin."""
    moment = time.time()
    return LiveStatus(
        state=state,
        message=message,
        source=source,
        started=moment,
        updated=moment,
        pid=os.getpid(),
        host=platform.node(),
        files=0,
        items=0,
        awaited=0,
        workers=0,
        stages=(),
        groups=(),
        failures=(),
        said=(),
    )


@cache
def _adapter() -> TypeAdapter[LiveStatus]:
    return TypeAdapter(LiveStatus)


def write_status(root: Path, status: LiveStatus) -> None:
    """Replace `live.json` in one step; a disk that is full keeps the old one."""
    part = root / f".tmp-{STATUS}.{os.getpid()}"
    try:
        part.write_text(json.dumps(status.plain(), ensure_ascii=False) + "\n")
        part.replace(root / STATUS)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
