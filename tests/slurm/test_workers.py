"""Items over workers that are jobs of a real Slurm: spread, cancelled, killed, and of a live session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.lab.cluster import Cluster
from thon.engine.inputs import file_items
from thon.engine.live.control import write_control
from thon.engine.live.launch import LiveAsk, start_live
from thon.engine.live.status import read_status
from thon.engine.slurm import commands
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.project import Project
from thon.project.request import Request, draft, new_job

DUMMIES = Path(__file__).parent.parent / "job" / "dummies"

LANES = """
[spread]
partition = "main"
price = 36.0
instance = "fake.large"
[spread.workers]
max = 2
cpus = 1
memory = 0.4
[nowhere]
partition = "nowhere"
[nowhere.workers]
max = 2
"""


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("THON_JOBS", str(DUMMIES))
    monkeypatch.setenv("THON_LANES", str(tmp_path / "lanes.toml"))
    (tmp_path / "lanes.toml").write_text(LANES)
    (tmp_path / "in").mkdir()
    return Project.create(tmp_path / "OUT")


def until(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def job(project: Project, count: int) -> JobFolder:
    """A job that reads so many samples."""
    source = project.root.parent / "in"
    for k in range(count):
        (source / f"s{k}.smp").write_text(f"- {k} END")
    spec = steps_of("watch-samples")[0].spec
    items = file_items(spec, spec.options(), [str(source)], project)
    return new_job(project, draft(project, Request(spec, spec.options(), items, RunSettings())))


def drive(folder: JobFolder, lane: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "thon.engine.cluster.worker", str(folder.path), lane]
    with (folder.path / "worker.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def times(folder: JobFolder, kind: str) -> Counter[str]:
    return Counter(event.item or "" for event in folder.events() if event.kind == kind)


def test_items_are_spread_and_nothing_is_lost_or_twice_when_workers_and_driver_go(project: Project) -> None:
    folder = job(project, 100)
    driver = drive(folder, "spread")
    # A worker is cancelled: another comes in its place.
    until(lambda: len(times(folder, "item_done")) > 5)
    first = next(iter(commands.squeue("--states=RUNNING")))
    commands.scancel(first)
    until(lambda: len(times(folder, "item_done")) > 20)
    # The driver is killed: its workers end, and the next driver has its own.
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert len(folder.items()) < 100
    left = set(commands.squeue())
    driver = drive(folder, "spread")
    assert driver.wait(60) == 0, (folder.path / "worker.log").read_text()[-2000:]
    record = folder.read()
    assert (record.state, len(folder.items())) == ("finished", 100)
    assert set(times(folder, "item_done").values()) == {1}
    assert [run.state for run in record.runs if not run.worker] == ["killed", "finished"]
    workers = [run for run in record.runs if run.worker and run.state == "finished"]
    assert len(workers) == 2
    assert {(run.instance, run.price, run.lane) for run in workers} == {("fake.large", 36.0, "spread")}
    assert {run.batch for run in workers}.isdisjoint(left)
    assert sum(run.cost or 0 for run in workers) == pytest.approx(sum(run.seconds for run in workers) / 100)
    assert record.runs[-3].cost == 0
    assert not list(folder.path.rglob(".tmp-*"))
    assert "0 of 2 workers are there" in " ".join(event.text for event in folder.events() if event.kind == "log")
    until(lambda: not commands.squeue())


def test_a_lane_that_leads_nowhere_says_so(project: Project) -> None:
    folder = job(project, 2)
    assert drive(folder, "nowhere").wait(60) == 1
    (failed,) = [event for event in folder.events() if event.kind == "failed"]
    assert "no worker can be submitted" in failed.message
    assert "invalid partition" in failed.message.lower()


def test_a_live_session_has_its_workers_there_and_survives_kill(project: Project) -> None:
    for name in ("read-samples", "double-sample", "gather-samples", "refine-batch"):
        load_job(name)
    for k in range(6):
        (project.root.parent / "in" / f"a{k}.smp").write_text(f"A {k} END")
    live = {"settle": 0.1, "poll": 0.1, "idle": 2.0, "interim": False, "backoff": 0.1}
    ask = LiveAsk(
        chain="watch-samples", location="../in", lane="spread", live=live, options={"double-sample": {"seconds": 0.5}}
    )
    pid = start_live(project, ask)
    until(lambda: (status := read_status(project.root)) and status.workers and status.stages[1].done)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    start_live(project, ask)
    until(lambda: (status := read_status(project.root)) and status.state == "running" and status.workers == 2)
    write_control(project.root, workers=1)
    until(lambda: (status := read_status(project.root)) and status.state == "ended")
    jobs = [project.job(f"J{k:03d}") for k in (1, 2, 3, 4)]
    assert [len(one.items()) for one in jobs] == [6, 6, 1, 1]
    assert jobs[3].output("A").total == 30.0
    assert all(count == 1 for one in jobs for count in times(one, "item_done").values())
    status = read_status(project.root)
    assert status is not None
    assert (status.lane, status.failures) == ("spread", ())
    until(lambda: not commands.squeue())
