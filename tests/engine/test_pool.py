"""Worker processes that die fail one call and are replaced."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from thon.engine.pool import WorkerDiedError, WorkerPool

CALLS = """
import atexit, os, signal, time
from pathlib import Path

def own_pid(_: int) -> int:
    return os.getpid()

def variable(name: str) -> str | None:
    return os.environ.get(name)

def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

def fail() -> None:
    raise ZeroDivisionError("on purpose")

def refuse(text: str) -> None:
    if os.environ.get('THON_TEST_VARIABLE'):
        raise ValueError(text)

def leave_late(seconds: float) -> None:
    atexit.register(time.sleep, seconds)

def unsendable() -> object:
    return lambda: 1

def linger(flag: str) -> None:
    try:
        Path(flag).touch()
        time.sleep(60)
    except KeyboardInterrupt:
        Path(flag).write_text("tidied up")
        raise
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Functions in a module that the processes can import."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "pool_calls.py").write_text(CALLS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("pool_calls")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def pool(calls: ModuleType) -> Iterator[WorkerPool]:
    pool = WorkerPool(1, environment={"THON_TEST_VARIABLE": "7"})
    yield pool
    pool.shutdown()


def test_calls_run_elsewhere_in_one_process_with_its_environment(pool: WorkerPool, calls: ModuleType) -> None:
    pids = set(pool.map(calls.own_pid, range(5)))
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert pool.submit(calls.variable, "THON_TEST_VARIABLE").result(60) == "7"
    assert "THON_TEST_VARIABLE" not in os.environ


def test_what_a_call_raises_comes_back_and_what_cannot_be_sent_is_said(pool: WorkerPool, calls: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        pool.submit(calls.fail).result(60)
    with pytest.raises(Exception, match="unexpected"):
        pool.submit(calls.unsendable).result(60)


def test_a_call_that_the_process_cannot_read_fails_alone(pool: WorkerPool, calls: ModuleType) -> None:
    class Unreadable:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return calls.refuse, ("no",)

    with pytest.raises(ValueError, match="no"):
        pool.submit(calls.own_pid, Unreadable()).result(60)


def test_a_killed_process_fails_its_call_alone_and_the_next_gets_a_new_one(pool: WorkerPool, calls: ModuleType) -> None:
    before = pool.submit(calls.own_pid, 0).result(60)
    dying, after = pool.submit(calls.kill_self), pool.submit(calls.own_pid, 0)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        dying.result(60)
    assert after.result(60) != before


def test_an_idle_process_that_is_killed_costs_no_call(pool: WorkerPool, calls: ModuleType) -> None:
    os.kill(pool.submit(calls.own_pid, 0).result(60), signal.SIGKILL)
    time.sleep(0.3)
    assert pool.submit(calls.own_pid, 0).result(60) > 0


def test_stop_lets_a_call_tidy_up(tmp_path: Path, calls: ModuleType) -> None:
    pool = WorkerPool(1)
    flag = tmp_path / "flag"
    call = pool.submit(calls.linger, str(flag))
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    pool.stop()
    assert flag.read_text() == "tidied up"
    with pytest.raises(WorkerDiedError):
        call.result(5)


def test_processes_do_not_linger_once_the_calls_are_done(calls: ModuleType) -> None:
    pool = WorkerPool(1)
    pool.submit(calls.leave_late, 10.0).result(60)
    begun = time.monotonic()
    pool.shutdown()
    assert time.monotonic() - begun < 5
