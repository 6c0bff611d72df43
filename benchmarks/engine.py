"""What the engine itself costs an item, with a job that does next to nothing, and what the index of a project costs.

    python benchmarks/engine.py items --items 10000 --workers 2
    python benchmarks/engine.py index --micrographs 50000 --jobs 200

`items` runs a job over files of a few bytes in a worker as any job has it, and tells CPU and wall time an item of the
whole process tree, and the worker's memory as items finish. `index` makes the records of a project of that size, then
tells how long its database takes to build, to look for news in, and to ask.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select

from thon.engine.inputs import file_items
from thon.job.record import JobRecord, Made, Reference, RunRecord, RunSettings, Usage
from thon.job.registry import load_job
from thon.project.ask import costs, job_log
from thon.project.history import Origin, trace
from thon.project.index import open_index, reindex
from thon.project.project import Project
from thon.project.request import Request, draft, new_job
from thon.project.tables import numbers

DUMMIES = Path(__file__).parent.parent / "tests" / "job" / "dummies"


def run_items(folder: Path, items: int, workers: int) -> None:
    """Run a job of many tiny items."""
    files = folder / "in"
    files.mkdir()
    for k in range(items):
        (files / f"m{k:05d}.smp").write_text(f"- {k} END")
    project = Project.create(folder / "project")
    spec = load_job("read-samples")
    wanted = file_items(spec, spec.options(), [str(files)], project)
    job = new_job(project, draft(project, Request(spec, spec.options(), wanted, RunSettings(workers=workers))))
    begun = time.monotonic()
    worker = subprocess.Popen([sys.executable, "-P", "-m", "thon.job.worker", str(job.path)])
    noted = dict[int, float]()
    while worker.poll() is None:
        done = count_lines(job.results_file)
        if done >= (items // 10) * (len(noted) + 1):
            noted[done] = resident(worker.pid)
        time.sleep(0.05)
    wall = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"{items} items, {workers} workers: {1e3 * wall / items:.2f} ms wall, {1e3 * cpu / items:.2f} ms CPU an item")
    print("memory of the worker, MB: " + ", ".join(f"{done}: {size:.0f}" for done, size in noted.items()))
    assert worker.returncode == 0
    assert len(job.read().results) == items


def count_lines(file: Path) -> int:
    try:
        with file.open("rb") as lines:
            return sum(1 for _ in lines)
    except FileNotFoundError:
        return 0


def resident(pid: int) -> float:
    """Resident memory of a process now, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_project(folder: Path, micrographs: int, jobs: int) -> Project:
    """A project whose records are those of a large data set: five jobs on every micrograph, the rest on whole sets."""
    project = Project.create(folder / "project")
    per_item = ("import-movies", "motion", "ctf-fit", "pick", "extract")
    names = [f"m{k:05d}" for k in range(micrographs)]
    for k in range(1, jobs + 1):
        each = k <= len(per_item)
        kind = per_item[k - 1] if each else "classify2d"
        write_job(project, k, kind, names if each else ["all"], names if k == len(per_item) + 1 else None)
    return project


def write_job(project: Project, number: int, kind: str, items: list[str], sources: list[str] | None) -> None:
    """The record of one job, as its worker leaves it."""
    before, prints = f"J{number - 1:03d}", {"sha256": "0" * 64, "bytes": 1000, "modified": 0}

    def ports(item: str) -> dict[str, list[Reference]]:
        if number == 1:
            return {"movie": [Reference(file=f"../movies/{item}.eer")]}
        return {"micrograph": [Reference(job=before, item=one) for one in sources or [item]]}

    wanted = {item: ports(item) for item in items}
    keys = [one.key for many in wanted.values() for ones in many.values() for one in ones]
    result = {
        "state": "done",
        "seconds": 1.0,
        "files": {"out.mrc": Made(bytes=10**8, mark="0" * 32), "report.html": Made(bytes=10**5, mark="1" * 32)},
        "values": dict.fromkeys(("defocus", "astigmatism", "angle", "resolution", "ice", "count"), 1.5),
        "results": {"Report": "outputs/report.html"},
    }
    record = JobRecord.model_validate(
        {
            "id": f"J{number:03d}",
            "type": kind,
            "title": kind,
            "state": "finished",
            "options": {"tile_size": 512},
            "settings": {},
            "items": wanted,
            "inputs": dict.fromkeys(keys, prints),
            "software": {"version": "0.1.0"},
            "created": f"2026-11-{number % 28 + 1:02d}T00:00:00+00:00",
            "user": "someone",
            "command": f"thon {kind} {before}",
            "runs": [RunRecord(started="2026-11-01T00:00:00", ended="2026-11-01T01:00:00", price=1.0, seconds=3600)],
            "usage": Usage(seconds=3600),
            "results": dict.fromkeys(items, result),
        }
    )
    folder = project.root / f"J{number:03d}-{kind}"
    folder.mkdir()
    (folder / "job.json").write_text(record.model_dump_json(indent=1))


def run_index(folder: Path, micrographs: int, jobs: int) -> None:
    """Build the index of a large project, look for news in it, and ask it."""
    project = write_project(folder, micrographs, jobs)
    begun = time.process_time()
    timed("build the index", lambda: reindex(project))
    size = (project.root / ".thon/index.sqlite").stat().st_size
    print(f"  {time.process_time() - begun:.1f} s of CPU, {size / 1e6:.0f} MB")
    with open_index(project) as index:
        timed("look for news", index.refresh, times=20)
        with index.reading() as connection:
            questions: dict[str, Callable[[], object]] = {
                "log of all jobs": lambda: job_log(connection, project.id),
                "the run that came to 1.5": lambda: job_log(connection, project.id, where=["resolution=1.5"]),
                "cost by job": lambda: costs(connection, project.id, "job"),
                "cost by month": lambda: costs(connection, project.id, "month"),
                "history of an extracted micrograph": lambda: trace(connection, project, Origin("J005", "m00042")),
                "history of a class average": lambda: trace(connection, project, Origin(f"J{jobs:03d}", "all")),
                "a page of 100 items, sorted by a number": lambda: connection.execute(page(project.id)).all(),
            }
            for name, question in questions.items():
                timed(name, question, times=5)


def page(project: str) -> Select[Any]:
    """A page of a table as a face would show it."""
    mine = (numbers.c.project == project, numbers.c.job == "J003", numbers.c.name == "resolution")
    return select(numbers.c.item, numbers.c.value).where(*mine).order_by(numbers.c.value, numbers.c.item).limit(100)


def timed(name: str, work: Callable[[], object], times: int = 1) -> None:
    """Print the best and the worst time of some runs."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - begun))
    print(f"{name}: {min(taken):.1f} ms" + (f", at worst {max(taken):.1f} ms" if times > 1 else ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("items", "index"))
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--micrographs", type=int, default=50_000)
    parser.add_argument("--jobs", type=int, default=200)
    given = parser.parse_args()
    os.environ.setdefault("THON_JOBS", str(DUMMIES))
    with tempfile.TemporaryDirectory(prefix="thon-bench-") as scratch:
        if given.what == "items":
            run_items(Path(scratch), given.items, given.workers)
        else:
            run_index(Path(scratch), given.micrographs, given.jobs)
