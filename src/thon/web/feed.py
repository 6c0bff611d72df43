"""What changes in a project, for those who look at it: numbered, and kept for a while for those who come back."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse

KEPT = 2000
"""Changes that are kept for those whose connection was cut."""

LOOK = 0.2
"""Time between two looks for changes, s."""

QUIET = 15.0
"""Time after which a comment is sent, so that proxies do not close the connection, s."""


@dataclass(frozen=True)
class Change:
    """Something that has changed: its number, what kind of thing, and how it is now."""

    number: int
    kind: str
    content: Any


class Feed:
    """The changes of one project. Numbers begin anew with each server, whose own mark stands before them."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(4)
        self._changes: deque[Change] = deque(maxlen=KEPT)
        self._number = 0
        self._lock = threading.Lock()
        self._over = False
        self.listeners = 0
        """Who listens now."""

    def publish(self, kind: str, content: Any) -> None:
        """Tell everybody that something has changed."""
        with self._lock:
            self._number += 1
            self._changes.append(Change(self._number, kind, content))

    def end(self) -> None:
        """Let all streams end."""
        self._over = True

    def after(self, number: int) -> list[Change]:
        """What has changed since."""
        with self._lock:
            return [change for change in self._changes if change.number > number]

    def place_of(self, last_id: str | None) -> int | None:
        """The number of the last change that somebody has had; None where what came after is not known any more."""
        if not last_id:
            return self._number
        mark, _, number = last_id.partition("-")
        if mark != self._mark or not number.isdecimal():
            return None
        first = self._changes[0].number if self._changes else self._number + 1
        return int(number) if first - 1 <= int(number) <= self._number else None

    async def listen(self, last_id: str | None) -> AsyncGenerator[str]:
        """Changes as server-sent events, from the one after `last_id`; begins with `reset` where some were lost."""
        self.listeners += 1
        try:
            place = self.place_of(last_id)
            yield "retry: 2000\n\n"
            if place is None:
                place = self._number
                yield told("reset", {}, self._id(place))
            silent = 0.0
            while not self._over:
                changes = self.after(place)
                for change in changes:
                    place = change.number
                    yield told(change.kind, change.content, self._id(place))
                silent = 0.0 if changes else silent + LOOK
                if silent >= QUIET:
                    silent = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(LOOK)
        finally:
            self.listeners -= 1

    def _id(self, number: int) -> str:
        return f"{self._mark}-{number}"


def told(kind: str, content: Any, identifier: str) -> str:
    """One server-sent event."""
    text = json.dumps(content, ensure_ascii=False, default=str)
    return f"id: {identifier}\nevent: {kind}\ndata: {text}\n\n"


def stream(events: AsyncGenerator[str]) -> StreamingResponse:
    """A response of server-sent events."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
