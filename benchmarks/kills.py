"""Kills at random moments, and what is left of a project: nothing may be lost, and nothing be done twice.

    python benchmarks/kills.py --kills 100 --seed 1

A project with chains of jobs (items over two processes each, then one job of iterations with checkpoints over all of
them) is run by `thon serve`, or by `thon run`, while somebody asks its index again and again. At random moments one of
them gets SIGKILL: the server, the scheduler in front, a job's worker, a process of its pool, or whoever asks. What was
killed is started again as a person would; a killed worker's job is taken up by `thon run JOB`. At the end every output
is compared with that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from thon.base.errors import StoreError
from thon.engine.inputs import file_items
from thon.engine.scheduler.asked import ask_to_run, asked_of
from thon.engine.waiting import add_job
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.index import open_index, reindex
from thon.project.project import Project
from thon.project.request import Request, draft, new_job

GRIND = '''
"""Hash a file, slowly."""
from __future__ import annotations
import hashlib, time
from pathlib import Path
from thon_own_jobs.grains import Grain
from thon.job.context import Context
from thon.job.spec import each


@each(title="Grind", stage="tools")
def grind(sample: Path, context: Context) -> Grain:
    made, digest = context.output("grain.bin"), sample.read_bytes()
    with made.open("wb") as out:
        for k in range(8):
            time.sleep(0.012)
            digest = hashlib.sha256(digest).digest()
            out.write(digest * 512)
    return Grain(context.item, str(made))
'''
BAKE = '''
"""Mix all grains, by iterations with checkpoints."""
from __future__ import annotations
import hashlib, time
from pathlib import Path
from thon_own_jobs.grains import Grain
from thon.job.context import Context
from thon.job.spec import whole


@whole(title="Bake", stage="tools")
def bake(grains: tuple[Grain, ...], context: Context) -> Grain:
    context.checkpoints.mkdir(parents=True, exist_ok=True)
    state = context.checkpoints / "state.txt"
    done, digest = state.read_text().split() if state.exists() else ("0", "")
    everything = b"".join(Path(grain.file).read_bytes() for grain in sorted(grains, key=lambda one: one.name))
    for k in range(int(done), 40):
        time.sleep(0.03)
        digest = hashlib.sha256(digest.encode() + everything).hexdigest()
        part = state.with_suffix(".part")
        part.write_text(f"{k + 1} {digest}")
        part.replace(state)
        context.progress(k + 1, 40)
    made = context.output("bread.txt")
    made.write_text(digest)
    return Grain("bread", str(made))
'''
GRAINS = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Grain:
    name: str
    file: str
"""
VICTIMS = ("server", "scheduler", "worker", "pool process", "client")
PYTHON = (sys.executable, "-P")


@dataclass
class Toll:
    """How many of whom were killed; `missed` had ended by themselves a moment before."""

    killed: collections.Counter[str] = field(default_factory=collections.Counter)
    missed: int = 0


def main() -> int:
    """Run the trial and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=24, help="of each job")
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thon-kills-") as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        _prepare(folder, given.items)
        return _trial(folder, given.kills, random.Random(given.seed))


def _prepare(folder: Path, items: int) -> None:
    jobs = folder / "jobs"
    jobs.mkdir()
    for name, text in (("grains", GRAINS), ("grind", GRIND), ("bake", BAKE)):
        (jobs / f"{name}.py").write_text(text)
    os.environ["THON_JOBS"] = str(jobs)
    os.environ |= {"THON_METADATA": "none", "OMP_NUM_THREADS": "1"}
    (folder / "in").mkdir()
    for k in range(items):
        (folder / "in" / f"s{k:03d}.txt").write_text(str(k))


def _trial(folder: Path, kills: int, chance: random.Random) -> int:
    still = Project.create(folder / "still")
    _add_chain(still, folder / "in")
    _thon("run", "-o", str(still.root), "-q")
    wanted = _outputs(still)
    project, toll, chains = Project.create(folder / "killed"), Toll(), 0
    while sum(toll.killed.values()) < kills:
        _add_chain(project, folder / "in")
        chains += 1
        _disturb(project, kills, chance, toll)
        print(f"{chains} chains, {sum(toll.killed.values())} kills: {dict(toll.killed)}", flush=True)
    return _judge(project, wanted, toll, chains)


def _thon(*arguments: str) -> None:
    subprocess.run([*PYTHON, "-m", "thon.cli.main", *arguments], check=True)


def _add_chain(project: Project, files: Path) -> None:
    """Two jobs of items, and one over all that they made."""
    grind, bake = load_job("grind"), load_job("bake")
    items = file_items(grind, grind.options(), [str(file) for file in sorted(files.iterdir())], project)
    first = new_job(project, draft(project, Request(grind, grind.options(), items, RunSettings(workers=2))))
    wants = {"grains": [first.path.name.split("-")[0]]}
    add_job(project, Request(bake, bake.options(), {}, RunSettings()), wants)


def _disturb(project: Project, kills: int, chance: random.Random, toll: Toll) -> None:
    """Run what waits to its end, with a kill every now and then."""
    while _left(project):
        with _runner(project, chance) as runner, _client(project) as client:
            deadline = time.monotonic() + 120
            while _left(project) and runner.poll() is None:
                if time.monotonic() > deadline:
                    raise SystemExit(f"stuck: {_left(project)}")
                _pause(chance.uniform(0.05, 1.0), project, runner)
                _ask_again(project)
                _ask_index(project, client)
                if sum(toll.killed.values()) < kills:
                    _kill(project, runner, client, chance, toll)


def _pause(seconds: float, project: Project, runner: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and runner.poll() is None and _left(project):
        time.sleep(0.01)


@contextlib.contextmanager
def _runner(project: Project, chance: random.Random) -> Iterator[subprocess.Popen[bytes]]:
    """A server, or `thon run` in front; what is left of the project is asked for."""
    log = (project.root.parent / "runner.log").open("ab")
    if chance.random() < 0.6:
        command = ["serve", str(project.root), "--port", "0", "--token", "a-token-of-the-trial"]
        _ask_again(project)
    else:
        command = ["run", *_left(project), "-o", str(project.root)]
    process = subprocess.Popen([*PYTHON, "-m", "thon.cli.main", *command], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@contextlib.contextmanager
def _client(project: Project) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Somebody who asks the index; `_ask_index` does it again."""
    held: list[subprocess.Popen[bytes]] = []
    _ask_index(project, held)
    try:
        yield held
    finally:
        for process in held:
            process.kill()
            process.wait()


def _ask_index(project: Project, held: list[subprocess.Popen[bytes]]) -> None:
    if not held or held[0].poll() is not None:
        command = [*PYTHON, "-m", "thon.cli.main", "log", "-o", str(project.root)]
        with (project.root.parent / "client.log").open("ab") as log:
            held[:] = [subprocess.Popen(command, stdout=log, stderr=log)]


def _kill(
    project: Project,
    runner: subprocess.Popen[bytes],
    client: list[subprocess.Popen[bytes]],
    chance: random.Random,
    toll: Toll,
) -> None:
    """Kill, of those that can be there, one of the kind that was killed least, a moment after it has come."""
    front = "server" if "serve" in runner.args else "scheduler"
    kinds = [front, "worker", "pool process", "client"]
    wanted = min(kinds, key=lambda name: toll.killed[name] + chance.random())
    deadline = time.monotonic() + 6
    while not (found := _there(front, runner, client).get(wanted)) and time.monotonic() < deadline:
        _ask_index(project, client)
        _pause(0.02, project, runner)
    _pause(chance.uniform(0, 0.6), project, runner)
    found = _there(front, runner, client).get(wanted)
    if not found:
        return
    try:
        os.kill(chance.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        toll.missed += 1
        return
    toll.killed[wanted] += 1


def _there(front: str, runner: subprocess.Popen[bytes], client: list[subprocess.Popen[bytes]]) -> dict[str, list[int]]:
    """Processes that are there, by kind."""
    there: dict[str, list[int]] = {}
    with contextlib.suppress(psutil.Error):
        there[front] = [runner.pid]
        for child in psutil.Process(runner.pid).children(recursive=True):
            line = " ".join(child.cmdline())
            if "thon.job.worker" in line:
                there.setdefault("worker", []).append(child.pid)
                pool = [one.pid for one in child.children() if "multiprocessing.spawn" in " ".join(one.cmdline())]
                there.setdefault("pool process", []).extend(pool)
    there["client"] = [asker.pid for asker in client if asker.poll() is None]
    return {kind: pids for kind, pids in there.items() if pids}


def _left(project: Project) -> list[str]:
    """Jobs that are not finished."""
    return [job.path.name.split("-")[0] for job in project.jobs() if job.marked_state() != "finished"]


def _ask_again(project: Project) -> None:
    """Ask for what failed because its worker was killed, as a person would."""
    for name in _left(project):
        if asked_of(project.job(name)) is None:
            with contextlib.suppress(StoreError):  # it has just ended
                ask_to_run(project.job(name))


def _outputs(project: Project) -> dict[str, dict[str, str]]:
    """Hash of every output and record, by job."""
    found: dict[str, dict[str, str]] = {}
    for job in project.jobs():
        files = [file for file in sorted(job.outputs.rglob("*")) if file.is_file()]
        hashes = {str(file.relative_to(job.outputs)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        found[job.path.name] = hashes
    return found


def _judge(project: Project, wanted: dict[str, dict[str, str]], toll: Toll, chains: int) -> int:
    """Compare, and print."""
    _thon("run", "-o", str(project.root), "-q")  # whoever ended last may not have taken its note away
    right = list(wanted.values())
    faults = [name for k, (name, files) in enumerate(_outputs(project).items()) if files != right[k % len(right)]]
    twice = lost = left = 0
    for job in project.jobs():
        done = collections.Counter(event.item for event in job.events() if event.kind == "item_done")
        twice += sum(count > 1 for count in done.values())
        record = job.read()
        undone = [one for one in record.results.values() if one.state != "done"]
        lost += len(record.items.keys() - record.results.keys()) + len(undone)
        left += sum(1 for _ in job.outputs.glob(".tmp-*")) + (asked_of(job) is not None)
    with open_index(project) as index:
        followed = "\n".join(index.dump())
    reindex(project)
    with open_index(project) as index:
        same = followed == "\n".join(index.dump())
    print("\nkilled         times")
    for name in VICTIMS:
        print(f"{name:<14} {toll.killed[name]:5d}")
    items = sum(len(job.head().items) for job in project.jobs())
    print(f"{chains} chains, {items} items; jobs that differ from the undisturbed run: {len(faults)} {faults}")
    print(f"items lost: {lost}, done twice: {twice}, half-written or still asked for: {left}")
    print(f"the index is as if made anew: {same}")
    return int(bool(faults or twice or lost or left or not same))


if __name__ == "__main__":
    sys.exit(main())
