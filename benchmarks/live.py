"""What the live engine itself costs: CPU time and memory of the watching process, with jobs that do next to nothing.

Files are made in folders of 500, a number at a time so that they arrive while the session runs; each goes through two
steps of its own, and groups of 40 through two more. Counted is the CPU time of the watching process alone, its thread
that looks at the folder included; the workers' is told beside it. The resident memory is noted as items finish.

    python benchmarks/live.py --items 10000 --workers 2
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from thon.engine.live.open import SessionRequest
from thon.engine.live.options import LiveOptions
from thon.engine.live.session import run_live
from thon.engine.live.sources import FolderSource, Rules
from thon.engine.live.status import LiveStatus, Said
from thon.engine.steps import steps_of
from thon.job.record import RunSettings
from thon.project.project import Project

DUMMIES = Path(__file__).parent.parent / "tests" / "job" / "dummies"
FOLDER = 500
GROUP = 40


class Memory:
    """Notes the memory of this process as items finish."""

    def __init__(self, step: int):
        self.step, self.noted = step, dict[int, float]()

    def say(self, said: Said) -> None:
        if said.level in ("error", "warning"):
            print(said.text)

    def show(self, status: LiveStatus) -> None:
        done = status.stages[1].done
        if done >= self.step * (len(self.noted) + 1):
            self.noted[done] = resident()


def resident() -> float:
    """Resident memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def arrive(folder: Path, items: int, share: float) -> None:
    """A share of the files at once, the rest while the session runs."""

    def put(k: int) -> None:
        path = folder / f"square{k // FOLDER}" / f"m{k:05d}.smp"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(f"{f'TS_{k // GROUP:03d}' if k % 1000 < 200 else '-'} {k} END")
        part.rename(path)

    first = int(items * share)
    for k in range(first):
        put(k)

    def trickle() -> None:
        for k in range(first, items):
            put(k)
            time.sleep(0.002)

    threading.Thread(target=trickle, daemon=True).start()


def measure_look(folder: Path) -> float:
    """Seconds for one look at all files, of which 500 are looked at again."""
    source = FolderSource(folder, Rules(skip=LiveOptions().skip))
    names = list(source.scan(lambda name: False))
    again = set(names[:500])
    begun = time.process_time()
    for _ in range(5):
        source.scan(again.__contains__)
    return (time.process_time() - begun) / 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at-once", type=float, default=0.5, help="share of the files that is there at the start")
    given = parser.parse_args()
    os.environ["THON_JOBS"] = str(DUMMIES)
    with tempfile.TemporaryDirectory(prefix="thon-live-") as scratch:
        folder = Path(scratch) / "in"
        folder.mkdir()
        project = Project.create(Path(scratch) / "OUT")
        steps = [(step, step.spec.options()) for step in steps_of("watch-samples")]
        options = LiveOptions(idle=5.0, settle=0.5, poll=1.0, workers=given.workers, interim=False)
        memory = Memory(max(given.items // 10, 1))
        request = SessionRequest(str(folder), steps, options, RunSettings(memory=1.0), {})
        arrive(folder, given.items, given.at_once)
        before, begun = cpu(resource.RUSAGE_SELF), time.monotonic()
        code, _ = run_live(project, request, memory)
        engine, wall = cpu(resource.RUSAGE_SELF) - before, time.monotonic() - begun
        workers = cpu(resource.RUSAGE_CHILDREN)
        done = len(project.jobs()[1].items())
        tasks = 2 * done + 2 * len(project.jobs()[2].items())
        print(f"{done} items, {tasks} tasks, exit code {code}, {wall:.0f} s")
        print(f"engine    {1e3 * engine / done:.2f} ms CPU an item, {1e3 * engine / tasks:.2f} ms a task")
        print(f"workers   {1e3 * workers / tasks:.2f} ms CPU a task, mostly to put it safely on the disk")
        for count, size in memory.noted.items():
            print(f"memory    {size:6.1f} MB after {count} items")
        counts, sizes = list(memory.noted), list(memory.noted.values())
        if len(counts) > 1:
            print(f"growth    {1e3 * (sizes[-1] - sizes[0]) / (counts[-1] - counts[0]):.2f} kB an item")
        print(f"a look    {1e3 * measure_look(folder):.1f} ms CPU for {given.items} files")
        begun_at = cpu(resource.RUSAGE_SELF)
        run_live(
            project,
            SessionRequest(str(folder), steps, options.model_copy(update={"idle": 0.0}), RunSettings(memory=1.0), {}),
            memory,
        )
        print(f"restart   {cpu(resource.RUSAGE_SELF) - begun_at:.1f} s CPU to find that all is done")


if __name__ == "__main__":
    main()
