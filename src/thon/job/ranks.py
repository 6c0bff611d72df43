"""Several processes that do one item together, each a part of its work.

The first is the worker that holds the job and writes all of its files. The others run the same function beside it, with
the same inputs, into a folder that is thrown away; what they add reaches the first through `thon.ops.processes`. They
know each other by the environment that torchrun sets; under srun, Slurm's numbers are taken.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from thon.job.folder import JobFolder
from thon.job.item import Work, call_job
from thon.job.machine import job_resources, limit_threads, process_count, share
from thon.job.registry import load_job

PARENT = "THON_PARENT"
"""Environment variable with the process that this one must not outlive."""


def take_rank() -> int:
    """This process's number among those that do the job together, from 0."""
    if "SLURM_PROCID" in os.environ and "MASTER_ADDR" in os.environ:
        os.environ.setdefault("RANK", os.environ["SLURM_PROCID"])
        os.environ.setdefault("WORLD_SIZE", os.environ["SLURM_NTASKS"])
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
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [os.environ.pop(name, None) for name in (*together, "RANK", "GLOO_SOCKET_IFNAME")])
        for rank in range(1, count):
            environment = os.environ | {"RANK": str(rank), PARENT: str(os.getpid())}
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield


def follow(folder: JobFolder) -> int:
    """Do a part of each item that is not done yet, once the first process has taken the job up; returns the exit code."""
    while folder.head().state == "waiting":  # the first process has not taken the job up
        time.sleep(0.2)
    record = folder.read()
    spec, finished = load_job(record.type), set(folder.items())
    resources = share(job_resources(record), process_count(record))
    limit_threads(resources.threads)
    for item, inputs in record.items.items():
        if item in finished:
            continue
        work = Work(spec, item, inputs, record.options, record.settings.seed, resources)
        with tempfile.TemporaryDirectory(prefix="thon-rank-") as name:
            home = Path(name)
            left = folder.path / "checkpoints" / item
            if left.exists():
                shutil.copytree(left, home / "checkpoints" / item)
            outputs = home / "outputs"
            outputs.mkdir()
            call_job(folder, work, outputs, lambda event: None, home=home)
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
