"""One process owns a project's index at a time: a lock that is a file, for disks where `flock` means nothing.

The owner's file is put in place by a hard link, which fails where there is one already, on NFS too. Every few seconds
the owner counts on in it. Whoever wants the lock of an owner that is dead takes it over: at once where that was a
process of this very machine that is gone, or of a time before it was started anew, else once the count has stood still
for `STALE` seconds of the waiter's own clock, so that clocks need not agree; several short attempts of one process
count as one long one. A process that was thought dead and wakes up finds another's file in its place, and stops before
it writes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from thon.base.errors import StoreError
from thon.job.folder import storing
from thon.job.hardware import user_name
from thon.job.machine import now

BEAT = 4.0
"""Time between two signs of life, s."""

STALE = 20.0
"""Time without one after which an owner on another machine counts as dead, s."""

LOOK = 0.05
_LENGTH = 512

_SAID = dict.fromkeys(("token", "what", "user", "host", "machine", "installation", "born", "since"), str) | {"pid": int}
"""What every owner says, and in which form."""

_seen: dict[Path, tuple[bytes, float]] = {}
"""What this process last read in the files that it wants, and since when that is so, by the monotonic clock."""

_seeing = threading.Lock()


class OwnerLock:
    """A lock that is held; see `OwnerLock.hold`.

    Args:
        file: The file.
        purpose: What the owner is, in a word or two.
    """

    def __init__(self, file: Path, purpose: str):
        self._file, self._token = file, secrets.token_hex(8)
        self._said = {
            "token": self._token,
            "what": purpose,
            "user": user_name(),
            "host": platform.node(),
            "machine": _machine(),
            "installation": _installation(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "since": now(),
        }
        self._count = 0
        self._over = threading.Event()

    @classmethod
    @contextlib.contextmanager
    def hold(cls, file: Path, purpose: str, *, wait: float = 0.0, beat: float = BEAT) -> Generator[OwnerLock]:
        """Hold the lock, waiting for it so long.

        Raises:
            StoreError: Somebody else has it and lives, or the disk refuses.
        """
        lock = cls(file, purpose)
        with storing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock._acquire(wait)
        beating = threading.Thread(target=lock._beat, args=(beat,), daemon=True)
        beating.start()
        try:
            yield lock
        finally:
            lock._over.set()
            beating.join()
            lock._release()

    @property
    def is_ours(self) -> bool:
        """Whether nobody has taken it over, as happens to a process that slept for long."""
        try:
            return _parse(self._file.read_bytes()).get("token") == self._token
        except FileNotFoundError:
            return False
        except OSError:
            return True  # that it cannot be read now tells nothing

    def check(self) -> None:
        """Refuse to go on without the lock.

        Raises:
            StoreError: Another process has taken it over.
        """
        if not self.is_ours:
            raise StoreError("another process has taken this project over", path=self._file.parent.parent)

    def _acquire(self, wait: float) -> None:
        deadline = time.monotonic() + wait
        while not self._place():
            there = _bytes(self._file)
            if _is_gone(_parse(there)) or _unchanged_for(self._file, there) > STALE:
                self._remove_stale(there)
                continue
            if time.monotonic() >= deadline:
                raise _busy(self._file, _parse(there)) from BlockingIOError()
            time.sleep(LOOK)
        with _seeing:
            _seen.pop(self._file, None)

    def _place(self) -> bool:
        """Put our file in place, unless there is one."""
        if self._file.exists():
            return False
        own = self._file.with_name(f"{self._file.name}.{self._token}")
        try:
            with own.open("wb") as file:
                self._write(file)
            os.link(own, self._file)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            return self._place_without_links()
        finally:
            own.unlink(missing_ok=True)
        return True

    def _place_without_links(self) -> bool:
        try:
            with self._file.open("xb") as file:
                self._write(file)
        except FileExistsError:
            return False
        return True

    def _write(self, file: BinaryIO) -> None:
        """Write what the owner says so that it outlives a power cut."""
        file.write(self._text())
        file.flush()
        os.fsync(file.fileno())

    def _remove_stale(self, seen: bytes) -> None:
        """Take a dead owner's file away; one that is another, or shows life, meanwhile is put back."""
        aside = self._file.with_name(f"{self._file.name}.stale.{self._token}")
        try:
            self._file.rename(aside)
        except FileNotFoundError:
            return
        if aside.read_bytes() != seen:
            with contextlib.suppress(OSError):
                os.link(aside, self._file)
        aside.unlink()

    def _beat(self, period: float) -> None:
        while not self._over.wait(period):
            self._count += 1
            with contextlib.suppress(OSError):
                if self._is_there():
                    _rewrite(self._file, self._text())

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            if self._is_there():
                self._file.unlink()

    def _is_there(self) -> bool:
        """Whether the file can be read and is ours, so that it may be changed."""
        return _read(self._file).get("token") == self._token

    def _text(self) -> bytes:
        return json.dumps(self._said | {"count": self._count}).encode().ljust(_LENGTH)


def owner_of(file: Path) -> str:
    """Who has the lock, in words; empty where nobody has, or one who is known to be gone."""
    said = _read(file)
    return "" if not said or _is_gone(said) else _words(said)


def lives_here(file: Path) -> bool:
    """Whether the lock's owner is a process of this very machine, and lives."""
    said = _read(file)
    return bool(said) and said["machine"] != "" and said["machine"] == _machine() and not _is_gone(said)


def _busy(file: Path, said: dict[str, Any]) -> StoreError:
    return StoreError(
        "another process has this project",
        path=file.parent.parent,
        got=_words(said),
        mend="stop that one, or wait for it to end",
    )


def _words(said: dict[str, Any]) -> str:
    if not said:
        return "a process that has just begun"
    return f"{said['what']} of {said['user']}, process {said['pid']} on {said['host']}, since {said['since'][:19]}"


def _is_gone(said: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine and is no more."""
    if not said or not said["machine"] or not _machine():
        return False
    if said["machine"] == _machine():
        return _born(said["pid"]) != said["born"]
    boot, installation = said["machine"].split()[0], _installation()
    here = (said["host"], said["installation"]) == (platform.node(), installation) and installation != ""
    return here and boot not in _machine()  # it was started anew since; another container of it may live


def _unchanged_for(file: Path, there: bytes) -> float:
    """For how long this process has read nothing else in a file, s."""
    with _seeing:
        before, since = _seen.get(file, (None, 0.0))
        if before != there:
            since = time.monotonic()
            _seen[file] = there, since
        return time.monotonic() - since


def _machine() -> str:
    """What tells this machine, since it was started, and this container, from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _installation() -> str:
    """What tells this machine from others of its name for as long as it is not set up anew; empty where unknown."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process was started, in ticks; empty where there is none. Process numbers are used again, this is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _parse(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    whole = all(isinstance(said.get(name), kind) for name, kind in _SAID.items())
    return said if whole else {}


def _read(file: Path) -> dict[str, Any]:
    return _parse(_bytes(file))


def _rewrite(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
