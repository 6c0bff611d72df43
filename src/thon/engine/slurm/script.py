"""The script that Slurm is given for a job. What the job does not need, or its lane does not say, is not asked for."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Iterator

from thon.engine.lanes.contract import Needs
from thon.engine.lanes.local import lane_environment
from thon.engine.lanes.options import LaneOptions
from thon.engine.slurm.submission import Submission
from thon.job.folder import JobFolder

LOG = "batch.log"
"""File in the job's folder that takes what the script and its worker say."""

WARNING = 120
"""Time before the limit at which the worker is told to stop, s."""

WORKER = "thon.engine.slurm.worker"


def write_script(
    folder: JobFolder, submission: Submission, needs: Needs, options: LaneOptions, *, module: str = WORKER
) -> str:
    """The text of the script for a job on a lane."""
    several = needs.processes > 1
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {text}" for text in _requests(folder, submission, needs, options)),
        *(f"#SBATCH {text}" for text in options.sbatch),
        "",
        *options.setup,
        *(f"export {name}={shlex.quote(value)}" for name, value in lane_environment(submission.lane, options).items()),
        *(_rendezvous() if several else ()),
        "",
        _start(folder, options, module, several=several),
    ]
    return "\n".join(lines) + "\n"


def python_of(options: LaneOptions) -> str:
    """The Python that runs jobs of a lane: that one, that of the virtual environment, or this very one."""
    if not options.python:
        return sys.executable
    path = os.path.expanduser(options.python)
    return os.path.join(path, "bin", "python") if os.path.isdir(os.path.join(path, "bin")) else path


def _requests(folder: JobFolder, submission: Submission, needs: Needs, options: LaneOptions) -> Iterator[str]:
    """The options of sbatch."""
    path = str(folder.path).replace("%", "%%")
    yield f"--job-name={submission.name}"
    yield f"--comment={shlex.quote(_comment(folder, submission, options))}"
    yield f"--chdir={shlex.quote(str(folder.path))}"
    yield f"--output={shlex.quote(f'{path}/{LOG}')}"
    yield from ("--open-mode=append", "--requeue", "--nodes=1", f"--ntasks={needs.processes}")
    for name in ("partition", "account", "qos", "constraint"):
        if value := getattr(options, name):
            yield f"--{name}={shlex.quote(value)}"
    yield from _sizes(needs, options)
    if options.time is not None:
        minutes = max(1, round(60 * options.time))
        yield f"--time={minutes}"
        yield f"--signal=TERM@{min(WARNING, 60 * minutes // 4)}"


def _sizes(needs: Needs, options: LaneOptions) -> Iterator[str]:
    """CPUs, memory and GPUs."""
    cpus, memory = needs.threads or options.cpus, needs.memory or options.memory
    if cpus is not None:
        yield f"--cpus-per-task={max(1, cpus // needs.processes)}"
    if memory is not None:
        yield f"--mem={math.ceil(1000 * memory)}M"
    gpus = min(needs.gpus, options.gpus or 0)
    if gpus:
        kind = "" if options.gpu_type == "any" else f"{options.gpu_type}:"
        yield f"--gpus-per-task={kind}1" if needs.processes > 1 else f"--gres=gpu:{kind}{gpus}"


def _comment(folder: JobFolder, submission: Submission, options: LaneOptions) -> str:
    """What Slurm's accounting keeps of where the job belongs."""
    told = {
        "thon": submission.token,
        "project": folder.root.name,
        "job": folder.path.name,
        "lane": submission.lane,
        "instance": options.instance or None,
        "price": options.price,
    }
    return json.dumps({name: value for name, value in told.items() if value is not None})


def _rendezvous() -> Iterator[str]:
    """Where several processes meet."""
    yield 'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
    yield "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))"


def _start(folder: JobFolder, options: LaneOptions, module: str, *, several: bool) -> str:
    # Threads of several processes are counted by thon, so that none is bound to a part of what all of them may use.
    bind = ["--cpu-bind=none"] if several else []
    words = ["srun", "--kill-on-bad-exit=1", *bind, *options.srun, python_of(options), "-P", "-m", module]
    return f"exec {shlex.join(words)} {shlex.quote(str(folder.path))}"
