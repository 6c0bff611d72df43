"""From files that have settled to the items of a session's first step, as its job says what a folder holds."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from thon.base.options import Options
from thon.engine.inputs import Expanded, item_name, plain_name
from thon.engine.live.sources import Source
from thon.engine.live.watch import News, Watcher
from thon.job.items_file import ItemLine
from thon.job.live_item import Stamp, stamp
from thon.job.places import found, free_name, stored
from thon.job.record import Reference
from thon.job.spec import JobSpec

FETCHED = 16
"""Files fetched at one look."""

SHARE = 0.05
"""Share of the time that may go into asking the job what the folder holds."""


@dataclass(slots=True)
class Arrival:
    """Files that make one item.

    Args:
        files: Stored paths by port.
        stamps: Stamp of each file, in the order of the ports.
        folder: Folder of the first file, so that what bears one name in two folders is kept apart.
        number: How many arrived before.
        key: Hash of the files' absolute paths, to see quickly whether they are the same.
    """

    files: dict[str, tuple[str, ...]]
    stamps: tuple[Stamp, ...]
    folder: str
    number: int
    key: int

    @property
    def inputs(self) -> dict[str, list[Reference]]:
        """References by port."""
        return {port: [Reference(file=file) for file in files] for port, files in self.files.items()}

    def origins(self, port: str) -> dict[str, Stamp]:
        """The files of a port with their stamps."""
        known = zip((file for files in self.files.values() for file in files), self.stamps, strict=True)
        chosen = set(self.files[port])
        return {file: stamp_ for file, stamp_ in known if file in chosen}


@dataclass(frozen=True)
class Found:
    """Outcome of a look.

    Args:
        news: What the watcher saw.
        items: Items that are new, or whose files have changed.
        renamed: Files whose name was taken, with the name that they got.
        faults: What could not be looked at or fetched.
        awaited: Number of items some of whose files are still being written.
        asked: Whether everything that was seen has been asked about.
    """

    news: News
    items: list[str] = field(default_factory=list[str])
    renamed: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[str] = field(default_factory=list[str])
    awaited: int = 0
    asked: bool = True


class Inbox:
    """The items that have arrived.

    Args:
        spec: The first step's job.
        options: Its options.
        source: Where files come from.
        watcher: Tells which of them have settled.
        root: The project's folder.
        keep: Whether copies of what is fetched are kept.
    """

    def __init__(
        self, spec: JobSpec, options: Options, source: Source, watcher: Watcher, root: Path, *, keep: bool = True
    ):
        self.items: dict[str, Arrival] = {}
        self._spec, self._options, self._source, self._watcher, self._root = spec, options, source, watcher, root
        self._port = spec.ports[0].name
        self._prefix = f"{source.folder}{os.sep}"
        self._names: dict[str, str] = {}
        # Counted, for somebody may ask while a look is under way that began before.
        self._questions, self._answered = 1, 0
        self._asking = threading.Lock()
        self._not_before, self._keep = 0.0, keep
        self._to_fetch: deque[str] = deque()
        self._awaited = 0

    def restore(self, line: ItemLine) -> None:
        """An item of an earlier session; its files are no news unless they have changed."""
        prints = line.fingerprints
        files = {port: tuple(one.file or "" for one in many) for port, many in line.inputs.items()}
        stamps = tuple((prints[file].bytes, prints[file].modified) for many in files.values() for file in many)
        self._add(line.item, files, stamps, self._absolute(files))
        for file, stamp_ in zip((file for many in files.values() for file in many), stamps, strict=True):
            path = found(file, self._root)
            if path.startswith(self._prefix):
                self._watcher.remember(self._below(path), stamp_)

    def look(self, now: float) -> Found:
        """Look at the source and ask the job what it holds, if there is news.

        Raises:
            OSError: The source cannot be listed now.
            ThonError: The job cannot say.
        """
        questions = self._questions
        news = self._watcher.look(now)
        result = Found(news)
        readable = self._fetch(news.settled, result) if self._source.fetches else news.settled
        if readable or news.arrived or news.gone:
            questions = self._question(questions)
        if self._spec.expand is None:
            for name in readable:
                self._take({item_name(Path(name)): {self._port: (self._path(name),)}}, result)
            self._awaited, self._answered = news.moving, questions
        elif self._answered < questions and time.monotonic() >= self._not_before:
            begun = time.monotonic()
            self._awaited, self._answered = self._take(self._expand(), result), questions
            self._not_before = time.monotonic() + (time.monotonic() - begun) / SHARE
        coming = news.moving + len(self._to_fetch) if self._source.fetches else 0
        return replace(result, awaited=max(self._awaited, coming), asked=self._answered == self._questions)

    def release(self, item: str) -> None:
        """The data of an item are no longer needed: remove copies that are not to be kept."""
        if self._source.fetches and not self._keep:
            for file in self.items[item].files[self._port]:
                Path(found(file, self._root)).unlink(missing_ok=True)

    @property
    def has_backlog(self) -> bool:
        """Whether another look is worth while at once."""
        return bool(self._to_fetch)

    def _fetch(self, settled: list[str], result: Found) -> list[str]:
        """Fetch some of what has settled; returns the files that can be read now."""
        self._to_fetch.extend(settled)
        batch = [self._to_fetch.popleft() for _ in range(min(FETCHED, len(self._to_fetch)))]
        with ThreadPoolExecutor(4) as threads:
            futures = {name: threads.submit(self._source.fetch, name, self._watcher.stamp(name)) for name in batch}
        readable: list[str] = []
        for name, future in futures.items():
            fault = future.exception()
            if fault is None:
                readable.append(name)
            else:
                # A store may raise whatever its own library does; the object is tried again.
                result.faults.append(f"{name} could not be fetched: {fault}")
                self._watcher.look_again(name)
        return readable

    def look_again(self, item: str) -> None:
        """Let the files of an item settle anew."""
        for files in self.items[item].files.values():
            for file in files:
                path = found(file, self._root)
                if path.startswith(self._prefix):
                    self._watcher.look_again(self._below(path))
        arrival = self.items[item]
        arrival.stamps = ((-1, -1),) * len(arrival.stamps)
        self._question(0)

    def _question(self, known: int) -> int:
        """Have the folder asked about; returns one more than the questions that are known."""
        with self._asking:
            self._questions += 1
        return known + 1

    def item_of(self, name: str) -> str | None:
        """The item of whose data a file of the source is."""
        return self._names.get(str(self._path(name)))

    def _expand(self) -> Expanded:
        expand = self._spec.expand
        folder = self._source.folder
        if expand is None or not folder.is_dir():
            return {}
        return {name: dict(ports) for name, ports in expand(folder, self._options).items()}

    def _take(self, items: Expanded, result: Found) -> int:
        """Note new and changed items, the oldest first; returns how many are not whole yet."""
        awaited = 0
        news: list[tuple[str, dict[str, tuple[str, ...]], tuple[Stamp, ...]]] = []
        for name, ports in items.items():
            files = {port: tuple(map(str, paths)) for port, paths in ports.items()}
            if not all(self._is_watched(path) for path in files[self._port]):
                continue
            stamps = [self._stamp(path) for many in files.values() for path in many]
            known = tuple(one for one in stamps if one is not None)
            if len(known) < len(stamps):
                awaited += 1
            elif not self._is_known(files, known):
                news.append((name, files, known))
        for name, files, known in sorted(news, key=lambda one: one[2][0][1]):
            result.items.append(self._name(name, files[self._port][0], result))
            self._add(result.items[-1], self._stored(files), known, files)
        return awaited

    def _is_known(self, files: dict[str, tuple[str, ...]], stamps: tuple[Stamp, ...]) -> bool:
        item = self._names.get(files[self._port][0])
        return item is not None and self.items[item].stamps == stamps and self.items[item].key == _key(files)

    def _name(self, name: str, origin: str, result: Found) -> str:
        """The item of these data: the one that it was, else a new one."""
        if origin in self._names:
            return self._names[origin]
        item = free_name(plain_name(name), plain_name(Path(origin).parent.name), self.items)
        if item != plain_name(name):
            result.renamed[origin] = item
        return item

    def _add(
        self,
        item: str,
        files: dict[str, tuple[str, ...]],
        stamps: tuple[Stamp, ...],
        absolute: dict[str, tuple[str, ...]],
    ) -> None:
        first = absolute[self._port][0]
        number = self.items[item].number if item in self.items else len(self.items)
        self.items[item] = Arrival(files, stamps, os.path.dirname(first), number, _key(absolute))
        self._names[first] = item

    def _is_watched(self, path: str) -> bool:
        """Whether the rules take a file; one outside the source is taken as the job names it."""
        return not path.startswith(self._prefix) or self._watcher.knows(self._below(path))

    def _stamp(self, path: str) -> Stamp | None:
        """Stamp of a file that can be read; files that are not watched are taken as they are."""
        if path.startswith(self._prefix) and self._watcher.knows(self._below(path)):
            return self._watcher.stamp(self._below(path))
        try:
            return stamp(Path(path))
        except OSError:
            return None

    def _stored(self, files: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {port: tuple(stored(file, self._root) for file in many) for port, many in files.items()}

    def _absolute(self, files: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {port: tuple(found(file, self._root) for file in many) for port, many in files.items()}

    def _path(self, name: str) -> Path:
        return Path(self._source.folder, *name.split("/"))

    def _below(self, path: str) -> str:
        return path.removeprefix(self._prefix).replace(os.sep, "/")


def _key(files: Mapping[str, tuple[str, ...]]) -> int:
    return hash(tuple(sorted(files.items())))
