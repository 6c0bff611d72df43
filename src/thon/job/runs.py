"""The runs of a job, each a stretch of work on one machine, and what they add up to.

Where the items are done by workers on other machines, each of those has a record of its own beside that of the run.

While a job runs, `results.jsonl` gets a line for each item that has ended; `job.json`, which may be long, is written
where a run begins and where it ends. A run that was killed is closed by the next one, from what it left.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from thon.job.events import ItemDone
from thon.job.folder import JobFolder
from thon.job.hardware import describe_machine, user_name
from thon.job.items_file import ItemLine, read_items
from thon.job.machine import now
from thon.job.made import made_files
from thon.job.record import ItemResult, JobRecord, RunRecord, Usage
from thon.job.workers_file import worker_runs

RunEnding = Literal["finished", "failed", "interrupted"]


def begin_run(record: JobRecord, *, gpus: int = 0, watches: bool = False) -> RunRecord:
    """A new run on this machine, noted in the record; one that only watches workers elsewhere costs nothing itself."""
    machine = describe_machine(gpus)
    if watches:
        machine = machine.model_copy(update={"instance": "", "spot": None, "price": 0.0})
    batch = os.environ.get("SLURM_JOB_ID", "")
    run = RunRecord(**machine.model_dump(), user=user_name(), batch=batch, started=now())
    record.runs.append(run)
    record.host, record.cpu = machine.host, machine.cpu
    return run


def end_run(
    folder: JobFolder,
    record: JobRecord,
    ending: RunEnding | Literal["killed"],
    took: Mapping[str, Usage],
    ended: str,
    *,
    share: float = 1.0,
) -> None:
    """Close the last run and those of its workers, and add up all runs.

    The size is that of the outputs as they are now, the time that of the runs themselves.

    Args:
        folder: The job.
        record: Its record.
        ending: How the run ended.
        took: What it took, under the empty name, and what the items of each worker took.
        ended: When it ended.
        share: Part of the machines that the job had.
    """
    run, own = record.runs[-1], took.get("", Usage())
    update = own.model_dump() | {"ended": ended, "state": ending, "share": share}
    update["gpu_seconds"] = round(own.seconds * len(run.gpus) * share, 3)
    record.runs[-1] = run.model_copy(update=update)
    record.runs += worker_runs(folder.path, record.runs[-1], ended, took, share=share)
    record.usage = added(record.runs)
    record.usage.seconds = round(sum(one.seconds for one in record.runs if not one.worker), 3)
    record.usage.bytes = sum(result.bytes for result in record.results.values())


def added(parts: Iterable[Usage]) -> Usage:
    """The sum of what parts took, and the largest memory of them."""
    every = list(parts)
    energies = [one.energy for one in every if one.energy is not None]
    return Usage(
        seconds=round(sum(one.seconds for one in every), 3),
        cpu_seconds=round(sum(one.cpu_seconds for one in every), 3),
        gpu_seconds=round(sum(one.gpu_seconds for one in every), 3),
        peak_memory=max((one.peak_memory for one in every), default=0),
        bytes=sum(one.bytes for one in every),
        bytes_read=sum(one.bytes_read for one in every),
        bytes_written=sum(one.bytes_written for one in every),
        energy=round(sum(energies), 3) if energies else None,
    )


def taken(folder: JobFolder, seconds: float, energy: float | None) -> dict[str, Usage]:
    """What the present run of a job took, from the results that it has written, and in it the items of each worker."""
    by_worker: dict[str, list[ItemResult]] = {"": []}
    for line in read_items(folder.results_file):
        by_worker.setdefault(line.result.worker, []).append(line.result)
    used = {worker: added(results) for worker, results in by_worker.items()}
    used[""].seconds, used[""].energy = round(seconds, 3), energy
    return used


def close_killed(folder: JobFolder, record: JobRecord) -> None:
    """Close a run that nobody closed, for its process was killed: it lasted to the last sign of life that it left."""
    if not record.runs or record.runs[-1].ended is not None:
        return
    signs = [path.stat().st_mtime for path in (folder.events_file, folder.results_file) if path.exists()]
    begun = datetime.datetime.fromisoformat(record.runs[-1].started)
    last = max([begun.timestamp(), *signs])
    ended = datetime.datetime.fromtimestamp(last, datetime.UTC).isoformat(timespec="milliseconds")
    end_run(folder, record, "killed", taken(folder, last - begun.timestamp(), None), ended)


def found_results(folder: JobFolder, record: JobRecord, finished: Sequence[str]) -> dict[str, ItemResult]:
    """Results of the finished items; of one whose line was lost by a kill, as the events and its folder tell."""
    missing = [name for name in finished if name not in record.results]
    told = {event.item: event for event in folder.events() if isinstance(event, ItemDone)} if missing else {}
    results = {name: record.results[name] for name in finished if name in record.results}
    for name in missing:
        event = told.get(name)
        fields = event.model_dump(include=set(ItemResult.model_fields)) if event is not None else {}
        known = {"state": "done", "files": made_files(folder.outputs / name)}
        results[name] = ItemResult.model_validate(fields | known)
    return results


def write_result(folder: JobFolder, line: ItemLine) -> None:
    """Note how an item ended.

    Raises:
        StoreError: The disk refuses.
    """
    folder.append(folder.results_file, line.model_dump_json(exclude_defaults=True))
