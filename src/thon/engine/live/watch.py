"""Tells which files of a source have settled: neither their size nor their time of change has moved for a while.

Times are measured by the monotonic clock from what was seen to what was seen; a file's own time is only compared with
what it was. A clock that is set back, or a microscope whose clock is wrong, changes nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from thon.engine.live.sources import Source
from thon.job.live_item import Stamp

AGAIN = 500
"""So many of the files that have settled are looked at again each time, in turn."""


@dataclass(slots=True)
class _File:
    stamp: Stamp
    since: float
    settled: bool = False


@dataclass(frozen=True)
class News:
    """What a look at the source found.

    Args:
        arrived: Files not seen before.
        settled: Files that can be read now, new ones and such as have changed since they last settled.
        gone: Files that are no longer there.
        moving: Number of files that are still being written.
        total: Number of files.
    """

    arrived: list[str] = field(default_factory=list[str])
    settled: list[str] = field(default_factory=list[str])
    gone: list[str] = field(default_factory=list[str])
    moving: int = 0
    total: int = 0


class Watcher:
    """Looks at a source again and again.

    Args:
        source: The source.
        settle: How long a file must stay the same, s.
    """

    def __init__(self, source: Source, settle: float):
        self._source, self._settle = source, settle
        self._files: dict[str, _File] = {}
        self._turn: deque[str] = deque()
        self._lock = threading.Lock()

    def remember(self, name: str, stamp: Stamp) -> None:
        """A file that was processed in an earlier session: unless its stamp differs, it is not news."""
        self._files[name] = _File(stamp, 0.0, settled=True)
        self._turn.append(name)

    def look_again(self, name: str) -> None:
        """Let a file settle anew, for somebody found it changed."""
        with self._lock:
            if name in self._files:
                self._files[name].settled = False
                self._files[name].since = float("inf")

    def stamp(self, name: str) -> Stamp | None:
        """Stamp of a file that has settled; None for any other."""
        with self._lock:
            file = self._files.get(name)
            return file.stamp if file is not None and file.settled else None

    def knows(self, name: str) -> bool:
        """Whether the file is there."""
        with self._lock:
            return name in self._files

    def look(self, now: float) -> News:
        """Look at the source; `now` is the monotonic time.

        Raises:
            OSError: It cannot be listed now.
        """
        again = {self._turn.popleft() for _ in range(min(AGAIN, len(self._turn)))}
        seen = self._source.scan(lambda name: name in again or self._is_moving(name))
        self._turn.extend(name for name in again if name in seen)
        with self._lock:
            arrived = [name for name in seen if name not in self._files]
            gone = [name for name in self._files if name not in seen]
            for name in gone:
                del self._files[name]
            settled = [
                name for name, stamp in seen.items() if stamp is not None and self._has_settled(name, stamp, now)
            ]
            moving = sum(not file.settled for file in self._files.values())
            return News(arrived, settled, gone, moving, len(self._files))

    def _is_moving(self, name: str) -> bool:
        file = self._files.get(name)
        return file is None or not file.settled

    def _has_settled(self, name: str, stamp: Stamp, now: float) -> bool:
        """Note what was seen; whether the file settles by it."""
        if name not in self._files:
            self._files[name] = _File(stamp, now)
            self._turn.append(name)
        file = self._files[name]
        if stamp != file.stamp or file.since > now:
            file.stamp, file.since, file.settled = stamp, now, False
        if not file.settled and now - file.since >= self._settle:
            file.settled = True
            return True
        return False
