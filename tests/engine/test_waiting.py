"""Jobs that wait for others: their order, what holds them, clones, restarts, and iterations to begin at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.engine.lane_here import LaneHere
from thon.base.errors import InputError, StoreError
from thon.engine.graph import hold, in_order, obstacles, parents_of, with_parents
from thon.engine.lanes.options import Lanes
from thon.engine.run import Run
from thon.engine.scheduler.asked import ask_with_parents
from thon.engine.scheduler.front import Front, run_waiting
from thon.engine.scheduler.rounds import Scheduler
from thon.engine.waiting import Changes, add_job, clone, restart, sources_of, wants_of
from thon.job.iterations import kept_iterations
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.job.worker import run as run_worker
from thon.project.project import Project
from thon.project.request import Request, changed_inputs

Add = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    return Project.create(tmp_path / "project")


@pytest.fixture
def add(project: Project) -> Add:
    """Write down a job by what goes into its ports, and return its number."""

    def new(kind: str, after: Sequence[str] = (), start: str = "", **given: object) -> str:
        spec = load_job(kind)
        options = {name: value for name, value in given.items() if name in spec.options.model_fields}
        wants = {name: [value] for name, value in given.items() if name not in options}
        request = Request(spec, spec.options(**options), {}, RunSettings(threads=1))
        texts = {name: sources_of([str(one) for one in many], project) for name, many in wants.items()}
        texts |= {"start": [start]} if start else {}
        return add_job(project, request, texts, after).path.name[:4]

    return new


def run(project: Project, *names: str) -> Run:
    front = Front(Lanes(), lambda *_: None, lambda *_: None, open=lambda name, options: LaneHere())
    return run_waiting(project, names, front)


def states(project: Project) -> list[str]:
    return [folder.state() for folder in project.jobs()]


def chain(project: Project, add: Add, **smooth: object) -> None:
    add("read-numbers", source=project.root.parent / "a.txt")
    add("smooth-numbers", numbers="J001", **smooth)
    add("sum-numbers", numbers="J002", start="J001")


class TestRunning:
    """In order, each on what those before it have finished."""

    def test_a_chain_written_down_before_anything_ran(self, project: Project, add: Add) -> None:
        chain(project, add, noisy=False, width=1)
        assert states(project) == ["waiting"] * 3
        assert [parents_of(folder.read()) for folder in project.jobs()] == [set(), {"J001"}, {"J001", "J002"}]
        assert run(project).exit_code == 0
        assert states(project) == ["finished"] * 3
        assert project.job("J003").output("all").values.tolist() == [20.0]
        assert changed_inputs(project.job("J003")) == []
        assert run(project).jobs == ()

    def test_only_what_was_named_and_what_that_waits_for(self, project: Project, add: Add) -> None:
        chain(project, add)
        add("smooth-numbers", numbers="J001")
        assert [folder.path.name[:4] for folder in run(project, "J004").jobs] == ["J001", "J004"]
        assert states(project) == ["finished", "waiting", "waiting", "finished"]

    def test_a_failed_parent_holds_its_children_and_their_children(self, project: Project, add: Add) -> None:
        chain(project, add, fail_on="a")
        assert run(project).exit_code == 1
        assert states(project) == ["finished", "failed", "held"]
        said = [event.text for event in project.job("J003").events() if event.kind == "log"]
        assert said == ["held: J002 failed"]
        assert run(project).exit_code == 1
        folder = project.job("J002")
        folder.write(folder.read().model_copy(update={"options": folder.read().options | {"fail_on": ""}}))
        restart(folder)
        assert run(project).exit_code == 0
        assert states(project) == ["finished"] * 3

    def test_a_parent_of_which_some_items_failed_is_good_for_the_others(self, project: Project, add: Add) -> None:
        folder = add("read-numbers", source=project.root.parent / "a.txt")
        record = project.job(folder).read()
        record.wants["source"] += ["../bad.txt"]
        project.job(folder).write(record)
        add("sum-numbers", numbers="J001")
        assert run(project).exit_code == 2
        assert states(project) == ["failed", "finished"]

    def test_a_parent_that_broke_off_before_it_had_tried_all_is_not(self, project: Project, add: Add) -> None:
        parent = add("read-numbers", source=project.root.parent / "a.txt")
        assert run(project, parent).exit_code == 0
        child = add("smooth-numbers", numbers=parent)
        folder = project.job(parent)
        record = folder.read()
        later = {"b": record.items["a"]}
        folder.write(record.model_copy(update={"state": "failed", "items": record.items | later}))
        assert dict(obstacles({parent: folder}, [parent])) == {parent: "failed"}
        assert run(project, child).exit_code != 0
        assert states(project)[1] == "held"

    def test_a_live_session_gives_what_it_has(self, project: Project, add: Add) -> None:
        parent = add("read-numbers", source=project.root.parent / "a.txt")
        assert run(project, parent).exit_code == 0
        folder = project.job(parent)
        folder.write(folder.read().model_copy(update={"state": "interrupted", "live": "../inbox"}))
        assert not dict(obstacles({parent: folder}, [parent]))
        shutil.rmtree(folder.outputs)
        assert dict(obstacles({parent: folder}, [parent])) == {parent: "interrupted"}

    def test_it_waits_for_what_it_was_told_to(self, project: Project, add: Add) -> None:
        add("read-numbers", source=project.root.parent / "bad.txt")
        add("read-numbers", source=project.root.parent / "a.txt", after=["J001"])
        assert run(project).exit_code == 2
        assert states(project) == ["failed", "held"]

    def test_what_runs_elsewhere_is_waited_for_and_not_held_against_it(self, project: Project, add: Add) -> None:
        chain(project, add)
        run(project, "J001")
        folder = project.job("J001")
        finished = folder.read()
        folder.write(finished.model_copy(update={"state": "running"}))
        ask_with_parents(project, ["J002"])
        scheduler = Scheduler(project, Lanes(), open=lambda name, options: LaneHere())
        with folder.lock():
            scheduler.round()
            assert scheduler.status()["J002"].words == "waits for J001"
        folder.write(finished)
        scheduler.close()
        assert run(project, "J002").exit_code == 0
        assert states(project) == ["finished", "finished", "waiting"]

    def test_an_input_that_is_gone_holds_it(self, project: Project, add: Add) -> None:
        chain(project, add)
        (project.root.parent / "a.txt").unlink()
        assert run(project).exit_code == 2
        assert states(project) == ["held", "held", "held"]


class TestMistakes:
    """Are told when a job is written down, not when its turn comes."""

    def test_rings(self, project: Project, add: Add) -> None:
        chain(project, add)
        folder = project.job("J001")
        folder.write(folder.read().model_copy(update={"after": ["J003"]}))
        with pytest.raises(InputError, match=r"ring(.|\n)*J00\d waits for J00\d waits for") as raised:
            run(project)
        assert raised.value.exit_code == 2
        assert in_order({"J010": ["J002"], "J002": [], "J009": []}) == ["J002", "J009", "J010"]

    def test_a_parent_that_is_not_there(self, project: Project, add: Add) -> None:
        chain(project, add)
        folder = project.job("J003")
        folder.write(folder.read().model_copy(update={"after": ["J077"]}))
        with pytest.raises(InputError, match="J003 waits for J077, which is not there"):
            with_parents(project, [])
        (project.root / "J009-odd").mkdir()
        (project.root / "J009-odd" / "job.json").write_text('{\n "state": "waiting"\n')
        assert with_parents(project, ["J002"]) == ["J001", "J002"]

    @pytest.mark.parametrize(
        ("kind", "given", "said"),
        [
            ("smooth-numbers", {}, "needs something for 'numbers'"),
            ("smooth-numbers", {"numbers": "a.txt"}, "takes a job"),
            ("smooth-numbers", {"numbers": "J009"}, "no job 'J009'"),
            ("double-sample", {"sample": "J001"}, "cannot take what J001 yields"),
            ("read-numbers", {"source": "none.txt"}, "no such file"),
            ("read-numbers", {"source": "a.txt", "other": "a.txt"}, "no port 'other'"),
        ],
    )
    def test_inputs(
        self, project: Project, add: Add, monkeypatch: pytest.MonkeyPatch, kind: str, given: dict[str, str], said: str
    ) -> None:
        monkeypatch.chdir(project.root.parent)
        chain(project, add)
        with pytest.raises(InputError, match=said):
            add(kind, **given)
        assert len(project.jobs()) == 3

    def test_a_job_that_has_begun_is_not_held(self, project: Project, add: Add) -> None:
        chain(project, add)
        run(project)
        with pytest.raises(StoreError, match="has begun"):
            hold(project.job("J001"), "why not")


class TestAgain:
    """Clones and restarts."""

    def test_a_clone_with_changes(self, project: Project, add: Add) -> None:
        chain(project, add, noisy=False, width=1)
        run(project)
        spec = load_job("smooth-numbers")
        wider = clone(project.job("J002"), Changes(options=spec.options(noisy=False, width=1, scale=2.0)))
        summed = clone(project.job("J003"), Changes(wants={"numbers": ["J004"]}), "thon clone")
        assert wants_of(project, project.job("J003").read()) == {"numbers": ["J002"], "start": ["J001"]}
        assert run(project).exit_code == 0
        assert wider.read().options["scale"] == 2.0
        assert summed.output("all").values.tolist() == [30.0]
        assert summed.read().command == "thon clone"
        assert project.job("J003").output("all").values.tolist() == [20.0]

    def test_a_clone_begins_at_an_iteration_that_was_kept(self, project: Project, add: Add) -> None:
        add("read-numbers", source=project.root.parent / "a.txt")
        add("count-up", numbers="J001")
        run(project)
        assert kept_iterations(project.job("J002").path) == [5, 6]
        spec = load_job("count-up")
        longer = clone(project.job("J002"), Changes(options=spec.options(iterations=8), iteration=5))
        assert run(project).exit_code == 0
        assert (longer.outputs / "all" / "count.txt").read_text() == "36\n"
        assert "from iteration 5" in [event.text for event in longer.events() if event.kind == "log"]
        assert parents_of(longer.read()) == {"J001", "J002"}
        with pytest.raises(InputError, match=r"iteration 3 was not kept(.|\n)*5, 6"):
            clone(project.job("J002"), Changes(iteration=3))

    def test_a_restart_forgets_checkpoints_and_a_resumption_does_not(self, project: Project, add: Add) -> None:
        add("read-numbers", source=project.root.parent / "a.txt")
        folder = project.job(add("count-up", numbers="J001", fail_in=4))
        assert run(project).exit_code == 1
        record = folder.read()
        folder.write(record.model_copy(update={"options": record.options | {"fail_in": 0}}))
        seconds = record.usage.seconds
        assert run_worker(folder) == 0
        record = folder.read()
        folder.write(record.model_copy(update={"state": "interrupted"}))
        restart(folder)
        assert not folder.items()
        assert run(project).exit_code == 0
        starts = [event.text for event in folder.events() if event.kind == "log"]
        assert starts == ["from iteration 0", "from iteration 3", "from iteration 0"]
        assert (folder.outputs / "all" / "count.txt").read_text() == "21\n"
        assert folder.read().usage.seconds > seconds
        with pytest.raises(StoreError, match="finished and does not change"):
            restart(folder)
