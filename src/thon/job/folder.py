"""A job's folder on disk: `job.json`, `events.jsonl`, `outputs/ITEM/`, `previews/ITEM/`, `errors/ITEM.log`.

In a live session a job gets its items one by one: they are lines of `items.jsonl`, and `job.json` stays short. Other
jobs have lines of `results.jsonl` while they run, which go into `job.json` when the run ends.

An item is written into a folder `outputs/.tmp-ITEM-…` of each attempt's own, which becomes `outputs/ITEM` once every
byte is on the disk: whatever bears its final name is whole, and two attempts at once do not meet. Whoever runs the job
holds a lock on the folder, which the system releases when that process dies in whatever way; the processes of a pool
hold one on `outputs`, so that a worker that comes after a kill waits until they are gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from pydantic import ValidationError

from thon.base.errors import FormatError, StoreError
from thon.data.record import from_json, to_json
from thon.job.events import Event, append_event, read_events
from thon.job.items_file import read_items, with_items, with_results
from thon.job.lines import append_line
from thon.job.places import found, stored
from thon.job.record import FORMAT, JobRecord, State

UNFINISHED = ".tmp-"

STATES: tuple[str, ...] = get_args(State)

_STATE = re.compile(rb'^ "state": "([a-z]+)"', re.MULTILINE)
OWN = "./"
"""Begins the stored path of a file in the item's own folder; other paths are stored as `thon.job.places` says."""

LOCK_SECONDS = 3.0
"""How long to wait for a worker that is just dying."""

POOL_SECONDS = 20.0
"""How long to wait for the processes of a killed worker's pool."""


class JobFolder:
    """Reads and writes one job folder.

    Args:
        path: The folder, directly inside its project.
        interim: Keep what is yielded from part of an item's inputs apart, in `interim/ITEM/`.
    """

    def __init__(self, path: Path, *, interim: bool = False):
        self.path = path.absolute()
        self._place = "interim" if interim else "outputs"

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.path.parent

    @property
    def outputs(self) -> Path:
        """Folder of the finished items."""
        return self.path / self._place

    @property
    def events_file(self) -> Path:
        """The log of events."""
        return self.path / "events.jsonl"

    @property
    def items_file(self) -> Path:
        """Items of a live job, a line each time that one has ended."""
        return self.path / "items.jsonl"

    @property
    def results_file(self) -> Path:
        """How items of the present run ended, a line each."""
        return self.path / "results.jsonl"

    def read(self) -> JobRecord:
        """The job's record, a live job's items and the results of a run that goes on with it.

        Raises:
            StoreError: There is none, or it cannot be read.
        """
        record = self.head()
        if record.live is not None:
            return with_items(record, read_items(self.items_file))
        return with_results(record, read_items(self.results_file))

    def head(self) -> JobRecord:
        """The job's record as `job.json` has it, which of a live job is all but the items.

        Raises:
            StoreError: There is none, or it cannot be read.
        """
        file = self.path / "job.json"
        try:
            data = file.read_bytes()
            record = JobRecord.model_validate_json(data)
        except FileNotFoundError as error:
            raise StoreError("no job here", path=self.path, expected="a file job.json") from error
        except (OSError, ValidationError) as error:
            raise StoreError("the job's record cannot be read", path=file, got=str(error).split("\n")[0]) from error
        if record.format > FORMAT:
            got, expected = f"format {record.format}", f"format {FORMAT} or older"
            raise StoreError(
                "this job was written by a newer thon", path=file, got=got, expected=expected, mend="install that one"
            )
        return record

    def write(self, record: JobRecord) -> None:
        """Replace the job's record in one step; it holds the results of the run so far."""
        with storing(self.path):
            write_whole(self.path / "job.json", record.model_dump_json(indent=1).encode() + b"\n")
            if record.live is None:
                self.results_file.unlink(missing_ok=True)

    def append(self, file: Path, line: str) -> None:
        """Append a line to one of the job's files.

        Raises:
            StoreError: The disk refuses.
        """
        with storing(file):
            append_line(file, line)

    def state(self) -> State:
        """The job's state; a job that is marked running although nobody runs it was interrupted."""
        state = self.marked_state()
        return "interrupted" if state == "running" and not self.is_running() else state

    def marked_state(self) -> State:
        """The state that the record bears, found without reading all of a record that may be very long.

        Raises:
            StoreError: There is no record, or it cannot be read.
        """
        with contextlib.suppress(OSError), (self.path / "job.json").open("rb") as file:
            match = _STATE.search(file.read(4096))
            if match is not None and match[1].decode() in STATES:
                return cast(State, match[1].decode())
        return self.head().state

    def emit(self, event: Event) -> None:
        """Append an event."""
        with storing(self.events_file):
            append_event(self.events_file, event)

    def events(self) -> Iterator[Event]:
        """All events so far."""
        return read_events(self.events_file)

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the job; nobody else can run it meanwhile.

        Raises:
            StoreError: Somebody else runs it, or there is no such folder.
        """
        if not self.path.is_dir():
            raise StoreError("no job here", path=self.path, expected="a job's folder")
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if not _lock(descriptor, LOCK_SECONDS):
                raise StoreError("this job is running", path=self.path, mend="wait for it to end")
            yield
        finally:
            os.close(descriptor)

    def is_running(self) -> bool:
        """Whether a worker holds the job."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return not _lock(descriptor, 0)
        finally:
            os.close(descriptor)

    def items(self) -> list[str]:
        """Names of the finished items."""
        if not self.outputs.is_dir():
            return []
        return sorted(entry.name for entry in self.outputs.iterdir() if not entry.name.startswith(UNFINISHED))

    def begin_item(self, item: str) -> Path:
        """An empty temporary folder for an item's outputs, which nobody else has."""
        folder = self.outputs / f"{UNFINISHED}{item}-{secrets.token_hex(4)}"
        with storing(folder):
            folder.mkdir(parents=True)
        return folder

    def write_record(self, folder: Path, record: Any) -> str:
        """Write the record beside an unfinished item's outputs; returns the SHA-256 of what it says."""
        inside = f"{folder}{os.sep}"
        arrays: dict[str, np.ndarray] = {}

        def place(path: str) -> str:
            return f"{OWN}{path.removeprefix(inside)}" if path.startswith(inside) else stored(path, self.root)

        data = to_json(record, place=place, arrays=arrays)
        text = (json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()
        large = _npz(arrays) if arrays else b""
        with storing(folder):
            if arrays:
                (folder / "record.npz").write_bytes(large)
            (folder / "record.json").write_bytes(text)
        return hashlib.sha256(text + large).hexdigest()

    def commit_item(self, item: str, folder: Path, record: Any) -> int:
        """Put an item's outputs and record into their final place in one step; returns their size in bytes.

        Raises:
            FileExistsError: Another attempt was first; its outputs stay.
        """
        self.write_record(folder, record)
        final = self.outputs / item
        with storing(final):
            size = _settle(folder)
            # The new name is not forced to the disk: if the power fails, an item of the last seconds is done anew.
            if not _take_name(folder, final):
                raise FileExistsError(final)
        return size

    def settle_item(self, item: str, folder: Path) -> int:
        """Put an item's outputs, its record among them, into their final place in one step; returns their bytes.

        What was there before is replaced.
        """
        final = self.outputs / item
        with storing(final):
            size = _settle(folder)
            replace_folder(folder, final)
        return size

    def output(self, item: str) -> Any:
        """The record of a finished item, its paths absolute.

        Raises:
            StoreError: The item is not finished, or its record is damaged.
        """
        folder = self.outputs / item

        def find(text: str) -> str:
            return str(folder / text.removeprefix(OWN)) if text.startswith(OWN) else found(text, self.root)

        try:
            data = json.loads((folder / "record.json").read_bytes())
            large = folder / "record.npz"
            arrays = dict(np.load(large)) if large.exists() else {}
            return from_json(data, find=find, arrays=arrays)
        except FileNotFoundError as error:
            raise StoreError(f"no finished item '{item}'", path=self.path, expected=", ".join(self.items())) from error
        except (OSError, ValueError) as error:
            if isinstance(error, FormatError) and error.path is not None:
                raise
            raise StoreError("the item's record cannot be read", path=folder, got=error) from error

    def discard_unfinished(self) -> None:
        """Remove what an interrupted run left half-written."""
        ours = self.path.glob(".job.json.*")
        for left in [*self.outputs.glob(f"{UNFINISHED}*"), *self.path.glob(f"{UNFINISHED}*"), *ours]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def discard_attempts(self, item: str) -> None:
        """Remove what attempts at an item, none of which goes on, left half-written."""
        for left in self.outputs.glob(f"{UNFINISHED}{glob.escape(item)}-{'[0-9a-f]' * 8}"):
            shutil.rmtree(left, ignore_errors=True)

    def join_pool(self) -> int:
        """Hold the outputs as one of several processes, until this process ends; returns the descriptor."""
        descriptor = os.open(self.outputs, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def await_pool(self) -> None:
        """Wait until the processes of a killed worker's pool are gone.

        Raises:
            StoreError: They do not go.
        """
        with storing(self.outputs):
            self.outputs.mkdir(exist_ok=True)
        descriptor = os.open(self.outputs, os.O_RDONLY)
        try:
            if not _lock(descriptor, POOL_SECONDS):
                raise StoreError("processes of an earlier run are still writing here", path=self.outputs)
        finally:
            os.close(descriptor)

    def seal(self) -> None:
        """Make the files of a finished job read-only."""
        for file in [self.path / "job.json", *self.outputs.rglob("*")]:
            if file.is_file() and not file.is_symlink():
                file.chmod(file.stat().st_mode & ~0o222)


@contextlib.contextmanager
def storing(path: Path) -> Generator[None]:
    """Turn what a disk refuses into a `StoreError` that says how to mend it."""
    mends = {
        errno.ENOSPC: "free some space, then `thon resume`",
        errno.EDQUOT: "free some of your quota, then `thon resume`",
        errno.EROFS: "choose an output folder on a disk that can be written",
        errno.EACCES: "choose an output folder that you may write",
        errno.EPERM: "choose an output folder that you may write",
        errno.ENOENT: "choose an output folder on a disk that takes new folders",
        errno.ENOTDIR: "choose an output folder whose path has no file in it",
        errno.ENAMETOOLONG: "choose a shorter name",
    }
    try:
        yield
    except OSError as error:
        if error.errno in mends:
            raise StoreError("cannot write", path=path, got=error.strerror, mend=mends[error.errno]) from error
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: its old content stays until the new one is on the disk.

    The part has a name of its own, for several processes may write in a folder where a worker tidies up.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_folder(new: Path, final: Path) -> None:
    """Give a folder its final name; one that bears the name already is there until the new one is, then removed."""
    if _take_name(new, final):
        return
    if not _exchange(new, final):
        old = final.with_name(f"{UNFINISHED}old-{secrets.token_hex(4)}")
        final.rename(old)
        new.rename(final)
        new = old
    shutil.rmtree(new)


def _take_name(new: Path, final: Path) -> bool:
    """Give a folder its final name; False where another bears it."""
    try:
        new.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap names in one step; False where the system or the disk cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    return swap is not None and swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _lock(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def _settle(folder: Path) -> int:
    """Force every file to the disk; returns their size in bytes."""
    size = 0
    for file in folder.rglob("*"):
        if file.is_file():
            _sync(file)
            size += file.stat().st_size
    return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()
