"""One file may stand for many items, and many records for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from thon.base.errors import InputError
from thon.engine.dry_run import dry_run, planned_inputs
from thon.engine.inputs import expand_files, file_items, job_items
from thon.engine.run import Run, repeat, run_steps
from thon.engine.steps import steps_of
from thon.job.events import Event
from thon.job.folder import JobFolder
from thon.job.record import Reference, RunSettings
from thon.job.registry import load_job
from thon.job.worker import run as run_worker
from thon.project.project import Project

ONE = RunSettings(threads=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in (("b2", "B 2 END"), ("a1", "A 1 END"), ("b1", "B 5 END"), ("p", "- 7 END")):
        (folder / f"{name}.smp").write_text(text)
    (folder / "w.list").write_text("a1 10\n")
    return Project.create(tmp_path / "project")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_here(folder: JobFolder, watch: Callable[[JobFolder, Event], None]) -> int:
        return run_worker(folder)

    monkeypatch.setattr("thon.engine.run.run_local", run_here)


def chain(project: Project) -> Run:
    steps = [(step, step.spec.options()) for step in steps_of("watch-samples")]
    items = file_items(steps[0][0].spec, steps[0][1], [str(project.root.parent / "in")], project)
    return run_steps(project, steps, items, ONE, announce=lambda *_: None, watch=lambda *_: None)


class TestExpansion:
    def test_a_folder_stands_for_its_files_with_what_lies_beside_them(self, project: Project, tmp_path: Path) -> None:
        spec = load_job("read-samples")
        items = file_items(spec, spec.options(), [str(tmp_path / "in")], project)
        assert sorted(items) == ["a1", "b1", "b2", "p"]
        assert items["a1"] == {
            "sample": [Reference(file="../in/a1.smp")],
            "listing": [Reference(file="../in/w.list")],
        }
        assert items["p"] == {"sample": [Reference(file="../in/p.smp")]}

    def test_one_file_is_one_item_and_two_of_one_name_or_none_are_refused(
        self, project: Project, tmp_path: Path
    ) -> None:
        spec = load_job("read-samples")
        assert list(expand_files(spec, spec.options(), [str(tmp_path / "in" / "p.smp")])) == ["p"]
        with pytest.raises(InputError, match="both be called 'p'"):
            expand_files(spec, spec.options(), [str(tmp_path / "in" / "p.smp")] * 2)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="nothing for 'read-samples' in it"):
            expand_files(spec, spec.options(), [str(tmp_path / "empty")])


class TestGroups:
    def test_each_value_is_an_item_its_members_in_order_and_none_takes_no_part(self, project: Project) -> None:
        run = chain(project)
        assert run.exit_code == 2
        assert [job.items() for job in run.jobs] == [["a1", "b1", "b2", "p"], ["a1", "b1", "b2", "p"], ["B"], ["B"]]
        record = run.jobs[2].read()
        assert record.items["B"] == {"samples": [Reference(job="J002", item=item) for item in ("b1", "b2")]}
        assert set(record.inputs) == {"J002/a1", "J002/b1", "J002/b2"}
        assert run.jobs[3].output("B").total == 14.0
        assert "too few samples" in record.results["A"].message

    def test_they_are_kept_resumed_and_repeated_like_any_item(self, project: Project, tmp_path: Path) -> None:
        first = chain(project)
        again = chain(project)
        assert [job.path for job in first.jobs] == [job.path for job in again.jobs]
        repeated, code = repeat(first.jobs[2], announce=lambda *_: None, watch=lambda *_: None)
        assert (code, repeated.items()) == (2, ["B"])
        (tmp_path / "in" / "a2.smp").write_text("A 1 END")
        assert [job.items() for job in chain(project).jobs[2:]] == [["A", "B"], ["A", "B"]]

    def test_what_belongs_nowhere_makes_no_item(self, project: Project, tmp_path: Path) -> None:
        for file in (tmp_path / "in").glob("[ab]*.smp"):
            file.unlink()
        run = chain(project)
        assert (run.exit_code, len(run.jobs)) == (0, 2)
        assert job_items(load_job("gather-samples"), [(run.jobs[1], None)], project) == {}

    def test_a_job_can_begin_from_what_it_yielded_before(self, project: Project) -> None:
        assert load_job("refine-batch").starts_warm
        assert not load_job("gather-samples").starts_warm
        assert not load_job("sum-numbers").ports[1].accepts(load_job("refine-batch").gives)

    def test_a_dry_run_plans_the_groups(self, project: Project, tmp_path: Path) -> None:
        steps = [(step, step.spec.options()) for step in steps_of("watch-samples")]
        spec, options = steps[0][0].spec, steps[0][1]
        items = planned_inputs(spec, expand_files(spec, options, [str(tmp_path / "in")]))
        plans, _ = dry_run(steps, items, ONE)
        planned = {(one.step, one.item): one.plan for one in plans}
        gathered = planned["gather-samples", "B"]
        assert gathered is not None
        assert gathered.understood == ("2 samples",)
        assert ("gather-samples", "p") not in planned
        assert ("refine-batch", "A") in planned
