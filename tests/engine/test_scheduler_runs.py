"""The scheduler with real workers: several at once, killed, stopped, and taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.counting import add, counting_project, until
from thon.base.errors import StoreError
from thon.engine.lanes.options import LaneOptions, Lanes
from thon.engine.scheduler.asked import ask_to_run, asked_jobs, asked_of
from thon.engine.scheduler.front import Front, run_waiting
from thon.engine.scheduler.rounds import OWNER, Scheduler
from thon.engine.scheduler.stop import stop
from thon.project.lock import OwnerLock
from thon.project.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return counting_project(tmp_path, monkeypatch)


def shut(project: Project, name: str) -> tuple[Path, Path]:
    """Shut a gate; the file that tells of one who waits there, and the one that opens it."""
    gates = project.root.parent / "gates"
    (gates / f"{name}.shut").touch()
    return gates / f"{name}.here", gates / name


class TestWorkers:
    """With workers in processes of their own."""

    def test_two_at_once_and_the_scheduler_that_closes_keeps_them_asked_for(self, project: Project) -> None:
        gates = {name: shut(project, f"{name}.3") for name in ("one", "two")}
        folders = [add(project, "one", gated=True), add(project, "two", gated=True)]
        for folder in folders:
            ask_to_run(folder)
        lanes = Lanes({"local": LaneOptions(kind="local", cpus=2, price=7.2, currency="EUR")})
        scheduler = Scheduler(project, lanes)
        until(lambda: all(here.exists() for here, _ in gates.values()), scheduler)
        assert {one.state for one in scheduler.status().values()} == {"running"}
        scheduler.close()
        assert [folder.state() for folder in folders] == ["interrupted"] * 2
        assert list(asked_jobs(project)) == ["J001", "J002"]
        for _, gate in gates.values():
            gate.touch()
        scheduler = Scheduler(project, lanes)
        until(lambda: len(scheduler.codes) == 2, scheduler)
        assert scheduler.codes == {"J001": 0, "J002": 0}
        assert asked_jobs(project) == {}
        record = folders[0].read()
        assert [run.state for run in record.runs] == ["interrupted", "finished"]
        assert (record.runs[0].price, record.runs[0].currency) == (7.2, "EUR")
        said = [event.text for event in folders[0].events() if event.kind == "log"]
        assert [text.split(" on ")[0] for text in said] == ["from iteration 0", "from iteration 2"]

    def test_kill_nine_of_thon_run_loses_nothing(self, project: Project) -> None:
        here, gate = shut(project, "two.4")
        folder = add(project, "one", "two", gated=True)
        command = [sys.executable, "-m", "thon.cli.main", "run", "-o", str(project.root), "-q"]
        process = subprocess.Popen(command)
        try:
            until(here.exists)
        finally:
            process.kill()
            process.wait()
        assert asked_of(folder) is not None
        gate.touch()
        until(lambda: not folder.is_running())
        assert subprocess.run(command, check=False).returncode == 0
        record = folder.read()
        assert record.state == "finished"
        assert [folder.output(item).total for item in ("one", "two")] == [counted(1), counted(2)]
        done = [event.item for event in folder.events() if event.kind == "item_done"]
        assert sorted(done) == ["one", "two"]
        assert asked_of(folder) is None

    def test_ctrl_c_of_thon_run_stops_it_for_good(self, project: Project) -> None:
        here, _ = shut(project, "one.2")
        folder = add(project, "one", gated=True)
        process = subprocess.Popen([sys.executable, "-m", "thon.cli.main", "run", "-o", str(project.root), "-q"])
        try:
            until(here.exists)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()
        assert (folder.state(), asked_of(folder)) == ("interrupted", None)

    def test_who_comes_second_asks_and_follows_and_takes_over(self, project: Project) -> None:
        here, gate = shut(project, "one.2")
        folder = add(project, "one", gated=True)
        events: list[str] = []
        said: list[str] = []
        front = Front(
            Lanes(),
            lambda *_: None,
            lambda folder, event: events.append(event.kind),
            lambda job, text: said.append(text),
        )
        command = [sys.executable, "-m", "thon.cli.main", "run", "J001", "-o", str(project.root), "-q"]
        with OwnerLock.hold(project.root / OWNER, "a server"):
            second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            until(lambda: asked_of(folder) is not None)
            scheduler = Scheduler(project, Lanes())
            until(here.exists, scheduler)
            gate.touch()
            until(lambda: not scheduler.busy, scheduler)
            assert second.communicate(timeout=20)[1].startswith("note: another process runs the jobs")
            assert second.returncode == 0
        add(project, "two")
        assert run_waiting(project, [], front).exit_code == 0
        assert (said, events[-1]) == ([], "finished")

    def test_stop_of_a_job_that_no_scheduler_runs(self, project: Project) -> None:
        here, _ = shut(project, "one.2")
        folder = add(project, "one", gated=True)
        with pytest.raises(StoreError, match="does not run"):
            stop(project, folder)
        ask_to_run(folder)
        assert stop(project, folder) == "is no longer asked for"
        scheduler = Scheduler(project, Lanes())
        ask_to_run(folder)
        until(here.exists, scheduler)
        assert stop(project, folder) == "is stopped"
        until(lambda: not scheduler.busy, scheduler)
        assert folder.state() == "interrupted"

    def test_a_worker_that_is_killed_is_not_begun_again_for_ever(self, project: Project) -> None:
        here, _ = shut(project, "one.2")
        folder = add(project, "one", gated=True)
        ask_to_run(folder)
        scheduler = Scheduler(project, Lanes())
        until(here.exists, scheduler)
        os.kill(next(event.pid for event in folder.events() if event.kind == "started"), signal.SIGKILL)
        until(lambda: not scheduler.busy, scheduler)
        assert scheduler.codes == {"J001": 1}
        assert folder.state() == "failed"
        assert "killed by SIGKILL" in next(event.message for event in folder.events() if event.kind == "failed")
        assert [run.state for run in folder.read().runs] == ["killed"]


def counted(total: int, iterations: int = 5) -> int:
    for k in range(1, iterations + 1):
        total = (3 * total + k) % 1_000_003
    return total
