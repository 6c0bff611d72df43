"""What a job tells while it runs: one union of events that command line, web and log all print.

Each line of ``events.jsonl`` is one event as JSON. A line that a kill cut short is skipped when read, and the next
event starts on a fresh line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from thon.job.lines import append_line


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970."""

    item: str | None = None
    """Item concerned; None for the job as a whole."""


class Started(_Event):
    """The worker took the job up."""

    kind: Literal["started"] = "started"
    host: str
    pid: int
    items: int
    finished: int = 0
    """Items found finished from an earlier run."""


class ItemStarted(_Event):
    """An item was taken up."""

    kind: Literal["item_started"] = "item_started"


class Progress(_Event):
    """Part of an item is done."""

    kind: Literal["progress"] = "progress"
    done: float
    total: float
    text: str = ""


class Log(_Event):
    """A sentence for people."""

    kind: Literal["log"] = "log"
    text: str


class Warned(_Event):
    """A sentence about something that may be wrong."""

    kind: Literal["warning"] = "warning"
    text: str


class PreviewDrawn(_Event):
    """A picture is there to be looked at."""

    kind: Literal["preview"] = "preview"
    name: str
    path: str
    """Relative to the job folder."""
    caption: str = ""


class ItemDone(_Event):
    """An item's outputs are in place."""

    kind: Literal["item_done"] = "item_done"
    seconds: float
    cpu_seconds: float
    peak_memory: int
    """Bytes."""
    bytes: int
    """Size of the outputs."""
    results: dict[str, str] = {}
    """Main outputs by title, relative to the job folder."""


class ItemFailed(_Event):
    """An item was given up; the others go on."""

    kind: Literal["item_failed"] = "item_failed"
    error: str
    """Class of the error."""
    message: str
    exit_code: int
    """2 for a mistake of the user's, 1 for one of ours."""
    log: str = ""
    """File with the traceback, relative to the job folder."""


class Finished(_Event):
    """Every item is done."""

    kind: Literal["finished"] = "finished"
    seconds: float


class Failed(_Event):
    """The job ended with items that failed, or could not run at all."""

    kind: Literal["failed"] = "failed"
    message: str
    exit_code: int = 1
    seconds: float = 0.0


class Interrupted(_Event):
    """The job was stopped; what is finished is kept, and it can be resumed."""

    kind: Literal["interrupted"] = "interrupted"
    seconds: float


Event = Annotated[
    Started
    | ItemStarted
    | Progress
    | Log
    | Warned
    | PreviewDrawn
    | ItemDone
    | ItemFailed
    | Finished
    | Failed
    | Interrupted,
    Field(discriminator="kind"),
]

_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def append_event(path: Path, event: Event) -> None:
    """Append one event as one write, so that several processes can share the file."""
    append_line(path, event.model_dump_json(exclude_none=True))


def parse_event(line: bytes | str) -> Event | None:
    """One event from one line; None for a line that a kill cut short or a newer version wrote."""
    try:
        return _adapter.validate_json(line)
    except (ValidationError, json.JSONDecodeError):
        return None


def read_events(path: Path) -> Iterator[Event]:
    """All events of a job so far, oldest first."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            event = parse_event(line)
            if event is not None:
                yield event
