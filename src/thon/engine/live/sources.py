"""Where a live session's files come from: a folder, or what an object store lists, fetched before it is read."""

from __future__ import annotations

import datetime
import errno
import fnmatch
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from thon.base.errors import InputError
from thon.engine.live.options import LiveOptions
from thon.job.live_item import Stamp
from thon.job.places import Folders

Seen = dict[str, Stamp | None]
"""What is there, by path below the source with forward slashes; None where nobody asked for the stamp."""


@dataclass(frozen=True)
class Rules:
    """Which names are looked at.

    Args:
        include: Patterns, one of which must match; empty for all.
        exclude: Patterns none of which may match.
        skip: Patterns of names that no file or folder on the way may have.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    @cached_property
    def _skipped(self) -> re.Pattern[str]:
        """All patterns in one, for there are many names."""
        return re.compile("|".join(fnmatch.translate(pattern) for pattern in self.skip) or r"(?!)")

    @classmethod
    def of(cls, options: LiveOptions) -> Rules:
        """The rules that the options state."""
        return cls(options.include, options.exclude, options.skip)

    def skips(self, name: str) -> bool:
        """Whether a file or folder of this name, without its path, is never looked at."""
        return bool(self._skipped.match(name))

    def takes(self, path: str) -> bool:
        """Whether a file is looked at, given its path below the source."""
        return (not self.include or _matches(path, self.include)) and not _matches(path, self.exclude)


class Source(Protocol):
    """Files that arrive."""

    location: str
    """Folder or URL, for people and records."""

    folder: Path
    """Where the files are once they can be read."""

    fetches: bool
    """Whether `fetch` has work to do."""

    faults: list[str]
    """Folders that could not be looked into at the last look, with the reason."""

    def scan(self, wanted: Callable[[str], bool]) -> Seen:
        """All files, with stamps of at least those that are wanted.

        Raises:
            OSError: The source cannot be listed now.
        """
        ...

    def fetch(self, name: str, stamp: Stamp | None) -> None:
        """Bring a file into the folder, whole, with the stamp that was seen."""
        ...


class FolderSource:
    """A folder and all below it, but for projects of thon.

    Args:
        folder: The folder.
        rules: Which names are looked at.
    """

    fetches = False

    def __init__(self, folder: Path, rules: Rules):
        self.folder, self.location = folder, str(folder)
        self.faults: list[str] = []
        self._rules = rules

    def scan(self, wanted: Callable[[str], bool]) -> Seen:
        """All files; only the stamps of those that are wanted cost a system call."""
        self.faults = []
        return dict(self._walk(str(self.folder), "", wanted, Folders(self.folder)))

    def fetch(self, name: str, stamp: Stamp | None) -> None:
        """Nothing to do."""

    def _walk(
        self, folder: str, prefix: str, wanted: Callable[[str], bool], folders: Folders
    ) -> Iterator[tuple[str, Stamp | None]]:
        below: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if self._rules.skips(entry.name):
                    continue
                if _is_folder(entry):
                    below.append(entry.name)
                elif self._rules.takes(name):
                    yield from self._stamped(entry, name, wanted)
        for name in folders.inside(folder, below):
            path = os.path.join(folder, name)
            try:
                yield from self._walk(path, f"{prefix}{name}/", wanted, folders)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.faults.append(f"{path}: {error.strerror}")

    def _stamped(
        self, entry: os.DirEntry[str], name: str, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, Stamp | None]]:
        """The file's stamp; nothing where it has gone meanwhile, or is a link to nowhere or no file of bytes at all."""
        if not wanted(name):
            yield name, None
            return
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                self.faults.append(f"{entry.path}: {error.strerror}")
            return
        if stat.S_ISREG(status.st_mode):
            yield name, (status.st_size, status.st_mtime_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class UrlSource:
    """What an object store, or any other file system that fsspec knows, lists below a URL.

    Args:
        url: Such as ``s3://bucket/session``.
        rules: Which names are looked at.
        cache: Folder for the copies.
    """

    fetches = True

    def __init__(self, url: str, rules: Rules, cache: Path):
        self.location, self.folder = url, cache
        self.faults: list[str] = []
        self._rules = rules
        self._files, self._root = _file_system(url)

    def scan(self, wanted: Callable[[str], bool]) -> Seen:
        """One listing; it has the stamps."""
        self._files.invalidate_cache()
        try:
            listed: dict[str, dict[str, Any]] = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        found: Seen = {}
        for path, entry in listed.items():
            name = posixpath.relpath(path, self._root)
            if not any(self._rules.skips(part) for part in name.split("/")) and self._rules.takes(name):
                found[name] = (int(entry.get("size") or 0), _changed(entry))
        return found

    def fetch(self, name: str, stamp: Stamp | None) -> None:
        """Copy an object into the cache; the copy gets the object's time of change, by which it is known again."""
        target = self.folder / name
        if stamp is None or (target.exists() and (target.stat().st_size, target.stat().st_mtime_ns) == stamp):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        self._files.get_file(posixpath.join(self._root, name), str(part))
        size = part.stat().st_size
        if size != stamp[0]:
            raise OSError(f"{name}: {size} bytes came, {stamp[0]} were listed")
        os.utime(part, ns=(stamp[1], stamp[1]))
        part.replace(target)


def open_source(location: str, options: LiveOptions, project: Path) -> FolderSource | UrlSource:
    """The source of a folder's path or a URL; objects are copied into `project`.

    Raises:
        InputError: No such folder, or no way to read such a URL.
    """
    rules = Rules.of(options)
    if location.startswith("file://"):
        location = location.removeprefix("file://")
    if "://" in location:
        return UrlSource(location.rstrip("/"), rules, project / "fetched")
    folder = Path(os.path.abspath(location))
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "no such folder"
        raise InputError(what, path=location, expected="the folder that the microscope's files come into")
    if os.path.realpath(folder) == os.path.realpath(project):
        raise InputError("this is the project that is written", path=location, expected="another folder to watch")
    return FolderSource(folder, rules)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # noqa: PLC0415

        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found
    except (ImportError, ValueError) as error:
        raise InputError(
            "this kind of URL cannot be read", path=url, got=error, mend="pip install fsspec and its package for it"
        ) from error


def _changed(entry: dict[str, Any]) -> int:
    """When an object changed, ns since 1970; where a store does not say, a number that changes with its tag."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = entry.get(name)
        if isinstance(value, datetime.datetime):
            return int(value.timestamp() * 1e6) * 1000
        if isinstance(value, int | float):
            return int(value * 1e6) * 1000
        if isinstance(value, str):
            return int(datetime.datetime.fromisoformat(value).timestamp() * 1e6) * 1000
    tag = str(entry.get("ETag") or entry.get("etag") or "")
    return int.from_bytes(hashlib.sha256(tag.encode()).digest()[:7], "little")


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)
