"""One process owns a project, and a dead one does not for long."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import thon.project.lock as module
from thon.base.errors import StoreError
from thon.project.lock import OwnerLock, owner_of

HOLDER = (
    "import sys, time; from pathlib import Path; from thon.project.lock import OwnerLock\n"
    "with OwnerLock.hold(Path(sys.argv[1]), 'thon serve'):\n"
    "    print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".thon" / "owner"


@pytest.fixture
def holder(file: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


ELSEWHERE = {"machine": "another boot", "host": "another"}


def say(file: Path, **changes: str) -> None:
    """Let the owner say something else."""
    file.write_bytes(module.json.dumps(module._read(file) | changes).encode().ljust(512))


def elsewhere(file: Path) -> None:
    """Let the owner be a process of another machine."""
    say(file, **ELSEWHERE)


def test_one_at_a_time_and_the_message_says_who(file: Path) -> None:
    with OwnerLock.hold(file, "thon serve") as lock:
        assert lock.is_ours
        who = r"another process has this project(.|\n)*thon serve of \w+, process \d+"
        with pytest.raises(StoreError, match=who), OwnerLock.hold(file, "thon log"):
            pass
        assert "thon serve" in owner_of(file)
    assert owner_of(file) == ""
    with OwnerLock.hold(file, "thon log"):
        pass
    assert list(file.parent.iterdir()) == []


def test_a_waiter_gets_it_when_it_is_free(file: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreError), OwnerLock.hold(file, "thon", wait=0.2):
        pass
    holder.kill()
    holder.wait()
    begun = time.monotonic()
    with OwnerLock.hold(file, "thon", wait=5):
        assert time.monotonic() - begun < 1


def test_an_owner_on_another_machine_is_given_time(
    file: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder.kill()
    holder.wait()
    elsewhere(file)
    with pytest.raises(StoreError), OwnerLock.hold(file, "thon", wait=0.3):
        pass
    monkeypatch.setattr(module, "STALE", 0.5)
    with OwnerLock.hold(file, "thon", wait=5) as lock:
        assert lock.is_ours


def test_one_that_gives_signs_of_life_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE", 0.5)
    with OwnerLock.hold(file, "thon serve", beat=0.1) as lock:
        lock._said |= ELSEWHERE
        time.sleep(0.3)
        with pytest.raises(StoreError), OwnerLock.hold(file, "thon", wait=1.5):
            pass
        lock.check()


def test_who_slept_for_long_finds_out_and_takes_nothing_away(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE", 0.2)
    with OwnerLock.hold(file, "thon serve", beat=60) as sleeper:
        elsewhere(file)
        with OwnerLock.hold(file, "thon", wait=2) as taker:
            assert not sleeper.is_ours
            with pytest.raises(StoreError, match="taken this project over"):
                sleeper.check()
            sleeper._release()
            assert taker.is_ours


def contend(file: Path, counter: Path, times: int) -> None:
    for _ in range(times):
        with OwnerLock.hold(file, "thon", wait=30):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


@pytest.mark.parametrize("links", [True, False])
def test_of_many_that_want_a_dead_owners_lock_one_gets_it(
    file: Path, tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    holder.kill()
    holder.wait()
    if not links:
        monkeypatch.setattr(module.os, "link", _refuse)
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=contend, args=(file, counter, 5)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert counter.read_text() == "20"


def _refuse(*_: object) -> None:
    raise OSError(module.errno.EPERM, "no links here")


@pytest.mark.parametrize("left", [b"", b'{"token": 1}', None])
def test_short_attempts_add_up_whatever_a_dead_owner_left(
    file: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, left: bytes | None
) -> None:
    holder.kill()
    holder.wait()
    if left is None:
        elsewhere(file)
    else:
        file.write_bytes(left)
    with pytest.raises(StoreError), OwnerLock.hold(file, "thon serve"):
        pass
    monkeypatch.setattr(module, "STALE", 0.1)
    time.sleep(0.2)
    with OwnerLock.hold(file, "thon serve") as lock:
        assert lock.is_ours


def test_an_owner_from_before_this_machine_was_started_is_gone(file: Path, holder: subprocess.Popen[str]) -> None:
    assert "process" in owner_of(file)
    say(file, machine="another boot", installation="f00d")
    assert "process" in owner_of(file)  # a machine of the same name
    say(file, machine="another boot", installation=module._installation())
    assert bool(owner_of(file)) == (not module._installation())
    holder.kill()
    holder.wait()
    say(file, machine=module._machine())
    assert owner_of(file) == ""


def test_one_failed_read_is_no_taking_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OwnerLock.hold(file, "thon serve") as lock:
        with monkeypatch.context() as patch:
            patch.setattr(module.Path, "read_bytes", _stale)
            assert lock.is_ours
        file.unlink()
        assert not lock.is_ours


def test_a_full_disk_leaves_nothing_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "fsync", _full)
    with pytest.raises(StoreError, match="No space left"), OwnerLock.hold(file, "thon"):
        pass
    assert list(file.parent.iterdir()) == []


def _stale(*_: object) -> bytes:
    raise OSError(module.errno.ESTALE, "Stale file handle")


def _full(*_: object) -> None:
    raise OSError(module.errno.ENOSPC, "No space left on device")
