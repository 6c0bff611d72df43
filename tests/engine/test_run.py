"""Chains, resumption, kills and interrupts, with real workers where something is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import thon.engine.run as module
from thon.base.errors import JobError
from thon.base.options import Options
from thon.engine.dry_run import dry_run
from thon.engine.inputs import file_items
from thon.engine.local import run_local
from thon.engine.run import Run, repeat, resume, run_steps, worst
from thon.engine.steps import Step, steps_of
from thon.job.events import Event
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.worker import run as run_worker
from thon.project.project import Project

ONE = RunSettings(threads=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    return Project.create(tmp_path / "project")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process: faster, where nothing is killed."""

    def run_here(folder: JobFolder, watch: Callable[[JobFolder, Event], None]) -> int:
        code = run_worker(folder)
        for event in folder.events():
            watch(folder, event)
        return code

    monkeypatch.setattr(module, "run_local", run_here)


class Told:
    """What a run told."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, str]] = []
        self.events: list[Event] = []

    def announce(self, folder: JobFolder, start: str) -> None:
        self.starts.append((folder.path.name[:4], start))

    def watch(self, folder: JobFolder, event: Event) -> None:
        self.events.append(event)


def chain(project: Project, names: str, told: Told, settings: RunSettings = ONE, **options: object) -> Run:
    """Run read-numbers and smooth-numbers on files beside the project."""
    steps: list[tuple[Step, Options]] = []
    for step in steps_of("numbers"):
        given = options if step.spec.name == "smooth-numbers" else {}
        steps.append((step, step.spec.options(**given)))
    files = [str(project.root.parent / f"{name}.txt") for name in names.split()]
    items = file_items(steps[0][0].spec, steps[0][1], files, project)
    return run_steps(project, steps, items, settings, announce=told.announce, watch=told.watch)


@pytest.mark.usefixtures("in_process")
class TestChain:
    def test_each_step_takes_what_the_one_before_finished(self, project: Project) -> None:
        told = Told()
        run = chain(project, "a bad b", told)
        assert run.exit_code == 2
        assert [job.items() for job in run.jobs] == [["a", "b"], ["a", "b"]]
        assert told.starts == [("J001", "new"), ("J002", "new")]

    def test_the_same_command_keeps_what_is_finished_and_makes_no_new_job(self, project: Project) -> None:
        chain(project, "a b", Told())
        told = Told()
        assert chain(project, "a b", told).exit_code == 0
        assert told.starts == [("J001", "kept"), ("J002", "kept")]
        assert len(project.jobs()) == 2

    def test_another_option_makes_a_new_job_of_that_step_only(self, project: Project) -> None:
        chain(project, "a b", Told())
        told = Told()
        chain(project, "a b", told, width=5)
        assert told.starts == [("J001", "kept"), ("J003", "new")]

    def test_nothing_finished_ends_the_chain(self, project: Project) -> None:
        run = chain(project, "bad", Told())
        assert run.exit_code == 2
        assert len(run.jobs) == 1

    def test_a_repetition_is_a_new_job_with_the_same_result(self, project: Project) -> None:
        run = chain(project, "a b", Told(), width=5)
        again, code = repeat(run.jobs[1], announce=Told().announce, watch=Told().watch)
        assert code == 0
        assert again.path.name == "J003-smooth-numbers"
        assert outputs(again) == outputs(run.jobs[1])


class TestKilled:
    def test_kill_9_in_an_item_leaves_nothing_half_written_and_resumes_to_the_same_bytes(
        self, project: Project, tmp_path: Path
    ) -> None:
        flag = str(tmp_path / "flag")
        with pytest.raises(JobError, match="SIGKILL"):
            chain(project, "a b", Told(), flag_file=flag)
        folder = project.job("J002")
        assert folder.state() == "interrupted"
        assert folder.items() == []
        told = Told()
        assert chain(project, "a b", told, flag_file=flag).exit_code == 0
        assert told.starts == [("J001", "kept"), ("J002", "resumed")]
        whole = Project.create(tmp_path / "whole")
        uninterrupted = chain(whole, "a b", Told(), flag_file=flag)
        assert uninterrupted.exit_code == 0
        assert outputs(folder) == outputs(uninterrupted.jobs[1])
        assert not [path for path in folder.path.rglob("*") if path.name.startswith(".tmp")]

    def test_a_worker_does_not_outlive_whoever_started_it(self, project: Project, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
            "from tests_run import Told, chain; from thon.project.project import Project;"
            "chain(Project(Path(sys.argv[2])), 'a', Told(), seconds=60.0)"
        )
        (tmp_path / "tests_run.py").write_text(Path(__file__).read_text())
        parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(project.root)])
        folder = wait_for(lambda: next((job for job in project.jobs() if job.path.name.startswith("J002")), None))
        wait_for(lambda: any(event.kind == "progress" for event in folder.events()))
        parent.kill()
        parent.wait()
        wait_for(lambda: not folder.is_running())
        assert folder.state() == "interrupted"
        assert folder.items() == []

    def test_a_pool_process_that_is_killed_fails_the_job_and_it_resumes(self, project: Project, tmp_path: Path) -> None:
        flag, two = str(tmp_path / "flag"), RunSettings(threads=2, workers=2)
        run = chain(project, "a b", Told(), settings=two, flag_file=flag)
        assert run.exit_code == 1
        folder = run.jobs[1]
        assert "killed" in next(event.message for event in folder.events() if event.kind == "failed")
        assert resume(folder, announce=Told().announce, watch=Told().watch) == 0
        assert folder.items() == ["a", "b"]


class TestInterrupted:
    def test_ctrl_c_stops_the_worker_and_the_job_resumes(self, project: Project) -> None:
        told = Told()

        def interrupt(folder: JobFolder, event: Event) -> None:
            if event.kind == "progress" and folder.path.name.startswith("J002"):
                raise KeyboardInterrupt

        told.watch = interrupt  # type: ignore[method-assign]
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            chain(project, "a", told, seconds=30.0)
        assert time.monotonic() - start < 25
        folder = project.job("J002")
        assert folder.read().state == "interrupted"
        assert not [path for path in folder.path.rglob("*") if path.name.startswith(".tmp")]


def test_a_worker_that_cannot_run_says_why(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.new_folder("smooth-numbers")
    (folder.path / "job.json").write_text("{}")
    with pytest.raises(JobError, match="could not run"):
        run_local(folder, Told().watch)


def test_one_exit_code_for_several() -> None:
    assert [worst(codes) for codes in ([0, 0], [0, 2], [2, 1], [0, 130], [])] == [0, 2, 1, 1, 0]


class TestDryRun:
    def test_the_import_is_done_and_the_rest_is_planned(self, project: Project, tmp_path: Path) -> None:
        steps = [(step, step.spec.options()) for step in steps_of("numbers")]
        before = sorted(tmp_path.rglob("*"))
        plans, allowed = dry_run(steps, {name: {"source": tmp_path / f"{name}.txt"} for name in ("a", "bad")}, ONE)
        assert sorted(tmp_path.rglob("*")) == before
        assert [(plan.step, plan.item) for plan in plans] == [
            ("read-numbers", "a"),
            ("smooth-numbers", "a"),
            ("read-numbers", "bad"),
        ]
        assert plans[0].plan is not None
        assert plans[0].plan.understood == ("4 numbers",)
        assert plans[1].plan is not None
        assert plans[1].plan.memory == 32
        assert "no number" in str(plans[2].error)
        assert allowed.threads == 1


def outputs(folder: JobFolder) -> dict[str, bytes]:
    """Content of every output by name."""
    return {
        str(file.relative_to(folder.outputs)): file.read_bytes() for file in folder.outputs.rglob("*") if file.is_file()
    }


def wait_for(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")
