"""`workers.jsonl` of a job whose items are done on other machines: a line when a worker comes and one when it goes.

Each line names the run that it belongs to by when that began, so that lines of earlier runs may stay.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from thon.job.lines import append_line
from thon.job.record import Machine, RunRecord, Usage

WORKERS_FILE = "workers.jsonl"
WORKER = "THON_WORKER"
"""Environment variable with the name of the worker that a process belongs to."""


class WorkerLine(Machine):
    """A worker has come, or is gone."""

    run: str
    """When the run began."""
    place: str
    """What the cluster calls the worker; another may take that place later."""
    time: str
    worker: str = ""
    """Its own name, which nobody else ever has; empty where it is gone."""
    user: str = ""
    batch: str = ""


def worker_name() -> str:
    """The worker that this process belongs to; empty where it is none of another machine's."""
    return os.environ.get(WORKER, "")


def note_worker(job: Path, line: WorkerLine) -> None:
    """Append a line.

    Raises:
        OSError: The disk refuses.
    """
    append_line(job / WORKERS_FILE, line.model_dump_json(exclude_defaults=True))


def worker_runs(
    job: Path, run: RunRecord, ended: str, took: Mapping[str, Usage], *, share: float = 1.0
) -> list[RunRecord]:
    """The part that each worker had in a run: the machine for as long as it was held.

    Args:
        job: The job's folder.
        run: The run.
        ended: When it ended, and with it the workers that are not gone before.
        took: What the items of each worker took, by its name.
        share: Part of the machines that the job had.
    """
    came: dict[str, WorkerLine] = {}
    gone: dict[str, str] = {}
    holds: dict[str, str] = {}
    for line in _lines(job):
        if line.run != run.started:
            continue
        if line.worker:
            came.setdefault(line.worker, line)
            holds[line.place] = line.worker
            gone.pop(line.worker, None)
        elif line.place in holds:
            gone[holds.pop(line.place)] = line.time
    return [_closed(line, run, gone.get(name, ended), took.get(name, Usage()), share) for name, line in came.items()]


def _closed(line: WorkerLine, run: RunRecord, ended: str, took: Usage, share: float) -> RunRecord:
    seconds = max(0.0, round((_moment(ended) - _moment(line.time)).total_seconds(), 3))
    held = {"seconds": seconds, "gpu_seconds": round(seconds * len(line.gpus) * share, 3)}
    machine = line.model_dump(include={*Machine.model_fields, "worker", "user", "batch"})
    state = {"started": line.time, "ended": ended, "state": run.state, "share": share}
    return RunRecord.model_validate(took.model_dump() | machine | held | state)


def _lines(job: Path) -> Iterator[WorkerLine]:
    try:
        lines = (job / WORKERS_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield WorkerLine.model_validate_json(line)
        except ValidationError:
            continue  # cut short by a kill


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
