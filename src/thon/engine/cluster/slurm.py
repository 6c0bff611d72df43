"""The workers of a lane as jobs of Slurm, submitted by dask-jobqueue.

A worker's job is not requeued: another is submitted in its place, which is all the same, for what it had in hand is
given out anew. Workers whose scheduler is gone end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shlex
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Security
from distributed.deploy.spec import ProcessInterface

from thon.base.errors import InputError
from thon.engine.cluster.pool import DEATHS, ClusterCrew
from thon.engine.lanes.local import lane_environment
from thon.engine.lanes.options import LaneOptions, WorkerOptions
from thon.engine.slurm import commands
from thon.engine.slurm.queue import shared_queue
from thon.engine.slurm.script import python_of
from thon.engine.slurm.states import words_of
from thon.job.folder import UNFINISHED, storing
from thon.job.lines import append_line
from thon.job.plan import Resources
from thon.job.record import RunSettings

SUBMITTED = "submitted"
"""File beside the workers' logs with the numbers of their jobs, as long as there are any."""

ORPHANED = 60
"""Time after which a worker without a scheduler ends, s."""

KEPT_FREE = 0.9
"""Part of a worker's memory that an item may use; the rest is for the processes around it."""

ROLES = ("client", "scheduler", "worker")

WORKER_SETTINGS = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]"}
"""How Dask is set on the worker's side."""


@dataclass(frozen=True)
class WorkerRequest:
    """What each worker asks of Slurm.

    Args:
        lane: Name of the lane.
        options: The lane.
        workers: Its table of workers.
        name: Name of the jobs.
        gpus: GPUs of each.
        folder: Where their logs go, and for a while the keys of their connections.
    """

    lane: str
    options: LaneOptions
    workers: WorkerOptions
    name: str
    gpus: int
    folder: Path

    @property
    def directives(self) -> list[str]:
        """Options of sbatch beyond those that dask-jobqueue writes itself."""
        lane = self.options
        kind = "" if lane.gpu_type == "any" else f"{lane.gpu_type}:"
        told = {"name": self.name, "lane": self.lane, "instance": lane.instance, "price": lane.price}
        given = {
            "--qos": lane.qos,
            "--constraint": lane.constraint,
            "--gres": f"gpu:{kind}{self.gpus}" if self.gpus else "",
            "--comment": json.dumps({key: value for key, value in told.items() if value}, separators=(",", ":")),
        }
        return ["--no-requeue", *(f"{key}={shlex.quote(value)}" for key, value in given.items() if value), *lane.sbatch]

    @property
    def prologue(self) -> list[str]:
        """Lines of shell before the worker."""
        environment = lane_environment(self.lane, self.options) | WORKER_SETTINGS
        return [*self.options.setup, *(f"export {key}={shlex.quote(value)}" for key, value in environment.items())]

    @property
    def python(self) -> str:
        """Python there; the shell makes way for it, so that it hears Slurm's signals."""
        return f"exec {shlex.quote(python_of(self.options))}"


class WorkerJob(SLURMJob):
    """A worker's job, which tells why Slurm refuses it instead of taking the cluster down."""

    refused = ""
    for_good = False
    """Whether there is no use in trying again."""

    async def start(self) -> None:
        """Submit it."""
        try:
            await super().start()
        except (commands.SilentError, commands.RefusedError) as error:
            self.refused, self.for_good = str(error), isinstance(error, commands.RefusedError)
            await ProcessInterface.start(self)
        else:
            append_line(Path(str(self.log_directory)) / SUBMITTED, str(self.job_id))

    async def _submit_job(self, script_filename: str) -> str:
        return await asyncio.to_thread(commands.sbatch, Path(script_filename))


class WorkerCluster(SLURMCluster):
    """Such jobs."""

    job_cls = WorkerJob

    @property
    def reason(self) -> str:
        """Why those that are not there yet are not, in words. Returns at once, with what was known last."""
        queue = shared_queue()
        queue.look()
        waiting = [queue.rows[job.job_id] for job in self.workers.values() if job.job_id in queue.rows]
        return next((words_of(row) for row in waiting if row.state == "PENDING"), "")


def slurm_crew(
    lane: str,
    options: LaneOptions,
    *,
    name: str,
    gpus: int,
    folder: Path,
    settings: RunSettings,
    deaths: int = DEATHS,
    say: Callable[[str], None] | None = None,
) -> ClusterCrew:
    """The workers of a lane.

    Args:
        lane: Its name.
        options: The lane.
        name: Name of the workers' jobs.
        gpus: GPUs that an item can use.
        folder: Where logs go.
        settings: How the job is to run.
        deaths: Processes that may die of an item before it is given up.
        say: Takes sentences about which workers are there.

    Raises:
        InputError: The lane has no workers.
    """
    workers = options.workers
    if workers is None:
        raise InputError(f"the lane '{lane}' has no workers", expected=f"a table [{lane}.workers]")
    held = min(gpus, workers.gpus) if settings.device != "cpu" else 0
    request = WorkerRequest(lane, options, workers, name, held, folder)
    memory = int(min(KEPT_FREE * workers.memory, settings.memory or workers.memory) * 1e9)
    threads = min(workers.cpus, settings.threads or workers.cpus)
    resources = Resources(threads, memory, "cuda" if held else "cpu")
    return ClusterCrew(
        partial(open_slurm, request),
        resources=resources,
        gpus=held,
        minimum=workers.min,
        maximum=workers.max,
        deaths=deaths,
        say=say,
    )


@contextlib.contextmanager
def open_slurm(request: WorkerRequest) -> Generator[Any]:
    """A cluster of Dask's, without workers yet; those that an earlier one left behind are cancelled."""
    lane, logs, keys = request.options, request.folder / "workers", request.folder / f"{UNFINISHED}keys"
    with storing(request.folder):
        logs.mkdir(exist_ok=True)
        shutil.rmtree(keys, ignore_errors=True)
        keys.mkdir(mode=0o700)
    _cancel_left(logs / SUBMITTED, request.name)
    cluster = WorkerCluster(
        name=request.name,
        cores=1,
        processes=1,
        memory=f"{request.workers.memory} GB",
        queue=lane.partition or None,
        account=lane.account or None,
        walltime=_clock(lane.time),
        job_cpu=request.workers.cpus,
        job_mem=f"{math.ceil(request.workers.memory * 1e9 / 2**20)}M",
        job_name=request.name,
        job_extra_directives=request.directives,
        job_script_prologue=request.prologue,
        job_directives_skip=[],
        log_directory=str(logs),
        python=request.python,
        death_timeout=ORPHANED,
        local_directory='"${TMPDIR:-/tmp}"',
        worker_extra_args=["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
        security=_security(keys),
        scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        interface=None,
    )
    try:
        yield cluster
    finally:
        shutil.rmtree(keys, ignore_errors=True)
        (logs / SUBMITTED).unlink(missing_ok=True)


def _security(keys: Path) -> Security:
    """Certificate and key that all connections of a run use, in files that only this user can read."""
    made = Security.temporary()
    files = {"cert": keys / "cert.pem", "key": keys / "key.pem"}
    for what, file in files.items():
        file.touch(mode=0o600)
        file.write_text(getattr(made, f"tls_worker_{what}"))
    roles = {f"tls_{role}_{what}": str(file) for role in ROLES for what, file in files.items()}
    return Security(tls_ca_file=str(files["cert"]), require_encryption=True, **roles)


def _cancel_left(submitted: Path, name: str) -> None:
    """Cancel the workers of a cluster that was killed; they would end by themselves, but later."""
    if submitted.exists():
        with contextlib.suppress(commands.SilentError, commands.RefusedError):
            for batch in submitted.read_text().split():
                commands.scancel(batch, "--name", name)
        submitted.unlink()


def _clock(hours: float | None) -> str | None:
    if hours is None:
        return None
    minutes = max(1, round(60 * hours))
    return f"{minutes // 60}:{minutes % 60:02d}:00"
