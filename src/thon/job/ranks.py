"""Several processes that do one item together, each a part of its work.

The first is the worker that holds the job and writes all of its files. The others run the same function beside it, with
the same inputs, into a folder that is thrown away; what they add reaches the first through `thon.ops.processes`. They
know each other by the environment that torchrun sets; under srun, Slurm's numbers are taken.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path

from thon.job.folder import JobFolder
from thon.job.item import Work, call_job
from thon.job.machine import job_resources, limit_threads, process_count, share
from thon.job.registry import load_job

PARENT = "THON_PARENT"
"""Environment variable with the process that this one must not outlive."""

LOST = "WORLD_LOST"
"""Environment variable of the first process, set once another is gone; `thon.ops.processes` looks at it."""

_GRACE = 10.0
"""How long a process may take to stop before it is killed, s."""


def take_rank() -> int:
    """This process's number among those that do the job together, from 0."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks != "1" and "SLURM_PROCID" in os.environ and "MASTER_ADDR" in os.environ:
        os.environ.setdefault("RANK", os.environ["SLURM_PROCID"])
        os.environ.setdefault("WORLD_SIZE", tasks)
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def followed(folder: JobFolder, count: int) -> Generator[None]:
    """Be the first of so many processes on this machine; the others end with the block."""
    if count == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    os.environ.update(together, RANK="0", GLOO_SOCKET_IFNAME="lo")
    command = [sys.executable, "-P", "-m", "thon.job.worker", str(folder.path)]
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        ours = (*together, "RANK", "GLOO_SOCKET_IFNAME", LOST)
        stack.callback(lambda: [os.environ.pop(name, None) for name in ours])
        for rank in range(1, count):
            environment = os.environ | {"RANK": str(rank), PARENT: str(os.getpid())}
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            threading.Thread(target=_miss, args=(process, over), daemon=True).start()
            stack.callback(_end, process)
        stack.callback(over.set)
        yield


def _miss(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    """Note when a process is gone before the work is done: whoever waits for it need not."""
    process.wait()
    if not over.is_set():
        os.environ[LOST] = "1"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def follow(folder: JobFolder) -> int:
    """Do a part of each item that is not done yet, once the first process has taken the job up; gives the exit code."""
    while folder.head().state == "waiting":  # the first process has not taken the job up
        time.sleep(0.2)
    record = folder.read()
    spec, finished = load_job(record.type), set(folder.items())
    if not spec.spreads:
        return 0
    resources = share(job_resources(record), process_count(record))
    limit_threads(resources.threads)
    for item, inputs in record.items.items():
        if item in finished:
            continue
        work = Work(spec, item, inputs, record.options, record.settings.seed, resources)
        with tempfile.TemporaryDirectory(prefix="thon-rank-") as name:
            home = Path(name)
            outputs = home / "outputs"
            outputs.mkdir()
            call_job(folder, work, outputs, lambda event: None, home=home)
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
