"""What an item costs that is done by a worker on another machine: 500 items of 10 ms over four workers of a lane.

The lane is one of Slurm with a table of workers, such as `thon lanes` lists. Counted is the time from when the first
item has begun to when the last is done, and the CPU time of the process that watches, from its start to its end.

    python benchmarks/workers.py LANE --items 500 --seconds 0.01 --workers 4
    python benchmarks/workers.py LANE --items 60 --seconds 0.4 --kills 8 --seed 1

With kills, the process that watches, a worker, the process around it or that of an item gets SIGKILL, or a worker's job
is cancelled, every 2 to 5 s; then it is told what was lost, done twice, or is not what it is without kills.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from thon.engine.inputs import file_items, job_items
from thon.engine.lanes.options import read_lanes
from thon.engine.slurm import commands
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.worker import run
from thon.project.project import Project
from thon.project.request import Request, draft, new_job

DUMMIES = Path(__file__).parent.parent / "tests" / "job" / "dummies"
KINDS = ("watcher", "worker", "around", "item", "cancel")


def prepare(root: Path, items: int, seconds: float) -> JobFolder:
    """A project whose second job is to double so many samples, each of which takes its time."""
    (root / "in").mkdir()
    for k in range(items):
        (root / "in" / f"s{k}.smp").write_text(f"- {k} END")
    project = Project.create(root / "workers-benchmark")
    read, double = (step.spec for step in steps_of("watch-samples")[:2])
    files = file_items(read, read.options(), [str(root / "in")], project)
    first = new_job(project, draft(project, Request(read, read.options(), files, RunSettings())))
    run(first)
    options = double.options.model_validate({"seconds": seconds})
    inputs = job_items(double, [(first, None)], project)
    return new_job(project, draft(project, Request(double, options, inputs, RunSettings())))


def watch(folder: JobFolder, lane: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "thon.engine.cluster.worker", str(folder.path), lane]
    with (folder.path / "worker.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def victims(folder: JobFolder, kind: str) -> list[psutil.Process]:
    """The processes of a kind that belong to the job."""
    place = str(folder.path)
    around = [one for one in psutil.process_iter() if is_around(one, place)]
    if kind == "around":
        return around
    workers = [child for one in around for child in one.children()]
    return workers if kind == "worker" else [child for one in workers for child in one.children()]


def is_around(process: psutil.Process, place: str) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "distributed.cli.dask_worker" in words and place in words


def strike(folder: JobFolder, kind: str, chance: random.Random) -> bool:
    """Kill or cancel something; whether there was anything."""
    if kind == "cancel":
        jobs = [one for one in commands.squeue("--states=RUNNING").values() if one.name.endswith(folder.path.name)]
        for one in jobs[:1]:
            commands.scancel(one.batch)
        return bool(jobs)
    found = victims(folder, kind)
    if found:
        chance.choice(found).send_signal(signal.SIGKILL)
    return bool(found)


def run_with_kills(folder: JobFolder, lane: str, kills: int, seed: int) -> list[str]:
    """Run the job, killing; returns what was killed."""
    chance, killed = random.Random(seed), list[str]()
    watcher = watch(folder, lane)
    while watcher.poll() is None:
        due = time.monotonic() + chance.uniform(2, 5)
        while watcher.poll() is None and (time.monotonic() < due or len(killed) >= kills):
            time.sleep(0.05)
        kind = KINDS[(len(killed) + seed) % len(KINDS)]
        if watcher.poll() is not None:
            break
        if kind == "watcher":
            watcher.kill()
            watcher.wait()
            watcher = watch(folder, lane)
        elif not strike(folder, kind, chance):
            continue
        killed.append(kind)
    return killed


def tell(folder: JobFolder) -> None:
    events = list(folder.events())
    done = collections.Counter(event.item for event in events if event.kind == "item_done")
    record = folder.read()
    names = [f"s{k}" for k in range(len(record.items))]
    wrong = [name for name in folder.items() if not is_right(folder, name)]
    print(
        f"{record.state}: {len(folder.items())} of {len(names)} items, lost {sorted(set(names) - set(folder.items()))}"
    )
    print(f"done twice {[name for name, count in done.items() if count > 1]}, wrong {wrong}")
    print(f"left half-written {[path.name for path in folder.path.rglob('.tmp-*')]}")
    begun = [event.time for event in events if event.kind == "item_started"]
    ended = [event.time for event in events if event.kind == "item_done"]
    workers = sum(bool(one.worker) for one in record.runs)
    print(f"{1000 * (max(ended) - min(begun)) / len(ended):.1f} ms an item, {workers} workers, {len(begun)} attempts")


def is_right(folder: JobFolder, item: str) -> bool:
    text = (folder.outputs / item / "twice.txt").read_text()
    return text.startswith(f"- {item[1:]} END {2.0 * int(item[1:])} ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lane")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=".", help="where the nodes see it too")
    given = parser.parse_args()
    os.environ["THON_JOBS"] = str(DUMMIES)
    options = read_lanes()[given.lane]
    assert options.workers is not None, f"the lane {given.lane} has no workers"
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        root = Path(name).absolute()
        lane = options.model_dump(exclude_unset=True, exclude={"workers"}) | {"next": ""}
        workers = options.workers.model_dump() | {"max": given.workers}
        folder = prepare(root, given.items, given.seconds)
        write_lane(folder.root / ".thon" / "lanes.toml", given.lane, lane, workers)
        killed = run_with_kills(folder, given.lane, given.kills, given.seed)
        if killed:
            print(f"killed: {', '.join(killed)}")
        tell(folder)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{1000 * (used.ru_utime + used.ru_stime) / given.items:.1f} ms of CPU time of the watcher an item")


def write_lane(file: Path, name: str, lane: Mapping[str, object], workers: Mapping[str, object]) -> None:
    """The lane as the project's own."""

    def lines(table: Mapping[str, object]) -> list[str]:
        return [f"{key} = {json.dumps(value)}" for key, value in table.items() if value not in (None, {})]

    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([f"[{name}]", *lines(lane), f"[{name}.workers]", *lines(workers)]) + "\n")


if __name__ == "__main__":
    main()
