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


def elsewhere(file: Path) -> None:
    """Let the owner be a process of another machine."""
    said = module._read(file) | {"machine": "another"}
    file.write_bytes(module.json.dumps(said).encode().ljust(512))


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
        lock._said["machine"] = "another"
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
