"""Work shared between processes: results in order, exact sums, errors told to all, no wait for who does not come."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from thon.ops import processes

SCRIPT = """
import os, sys, torch
from thon.ops.processes import from_first, in_parts, is_first, sum_over_processes

rank = int(os.environ["RANK"])
assert is_first() == (rank == 0)
done = []
def square(part):
    done.extend(part)
    return [k * k for k in part]
assert in_parts(range(7), square) == [k * k for k in range(7)]
assert done == list(range(7))[rank::3]
values = torch.tensor([2**40 + rank, -rank])
sum_over_processes(values)
assert values.tolist() == [3 * 2**40 + 3, -3]
assert from_first(lambda: f"made by {rank}") == "made by 0"
def fail(part):
    if 1 in part:
        raise ValueError("image 1 is broken")
    return part
try:
    in_parts(range(6), fail)
except ValueError as error:
    assert str(error) == "image 1 is broken"
else:
    sys.exit("the error of another process was not told")
if rank == 2:
    os._exit(9)
try:
    in_parts(range(6), list)
except ConnectionError as error:
    assert "is gone" in str(error), error
else:
    sys.exit("a process that died was not missed")
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_three_processes_share_work_and_hear_of_errors_and_deaths(tmp_path: Path):
    (tmp_path / "work.py").write_text(SCRIPT)
    together = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen(
            [sys.executable, tmp_path / "work.py"],
            env=os.environ | together | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    told = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 9], told


def test_who_is_alone_does_everything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.in_parts([3, 4], lambda part: [-k for k in part]) == [-3, -4]
    assert processes.from_first(lambda: 5) == 5
    values = torch.tensor([7])
    processes.sum_over_processes(values)
    assert values.item() == 7


def test_a_process_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_MEETING", 0.5)
    with pytest.raises(ConnectionError, match="did not all come"):
        processes.from_first(lambda: 5)
