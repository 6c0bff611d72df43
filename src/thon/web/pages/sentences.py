"""What a job's events say, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thon.job.events import Event
from thon.job.told import duration


def sentence(event: Event) -> str:
    """One event in a line."""
    return WORDS[event.kind](event)


def _started(event: Any) -> str:
    kept = f", {event.finished} of them done before" if event.finished else ""
    return f"began on {event.host}: {event.items} to do{kept}"


WORDS: dict[str, Callable[[Any], str]] = {
    "started": _started,
    "item_started": lambda event: "began",
    "progress": lambda event: f"{event.text or 'progress'}  {event.done:g} of {event.total:g}",
    "log": lambda event: event.text,
    "warning": lambda event: f"warning: {event.text}",
    "preview": lambda event: f"drew {event.caption or event.name}",
    "item_done": lambda event: f"done in {duration(event.seconds)}",
    "item_failed": lambda event: f"failed: {event.message}",
    "failed": lambda event: f"failed: {event.message}",
    "finished": lambda event: f"finished in {duration(event.seconds)}",
    "interrupted": lambda event: f"stopped after {duration(event.seconds)}; it can be resumed",
}
