"""What was asked for is run: in the order of age, several at once, on its lane, and after any kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engine.counting import add, counting_project, until
from tests.engine.lane_here import LaneHere
from thon.base.errors import StoreError
from thon.engine.lanes.contract import Ending, Needs
from thon.engine.lanes.options import LaneOptions, Lanes
from thon.engine.pool import WorkerDiedError
from thon.engine.scheduler import rounds
from thon.engine.scheduler.asked import Asked, ask_to_run, ask_with_parents, asked_jobs, asked_of, withdraw, write_asked
from thon.engine.scheduler.front import Front, run_waiting
from thon.engine.scheduler.rounds import Scheduler
from thon.engine.slurm.submission import new_submission, write_submission
from thon.engine.waiting import prepare
from thon.job.folder import JobFolder
from thon.job.machine import now
from thon.project.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return counting_project(tmp_path, monkeypatch)


@dataclass
class Fake:
    """A handle whose ending the test decides."""

    ending: Ending | None = None
    state: str = "queued"
    reason: str = "queued: no free node has what it asks for (Resources)"
    batch: str = "77"
    cancelled: bool = False

    def poll(self) -> Ending | None:
        return self.ending

    def cancel(self) -> None:
        self.cancelled = True

    def leave(self) -> None: ...

    def wait(self, seconds: float) -> None: ...


@dataclass
class FakeLane:
    """A lane with room for so many jobs at a time."""

    room: int = 9
    handles: dict[str, Fake] = field(default_factory=dict)
    reserved: int = 0

    def begin_round(self) -> None:
        self.reserved = 0

    def full(self, needs: Needs) -> str:
        running = sum(handle.ending is None for handle in self.handles.values())
        return "waits for room" if running + self.reserved >= self.room else ""

    def reserve(self, needs: Needs) -> None:
        self.reserved += 1

    def start(self, folder: JobFolder, needs: Needs) -> Fake:
        self.handles[folder.path.name[:4]] = Fake()
        return self.handles[folder.path.name[:4]]


def stands(scheduler: Scheduler, job: str) -> tuple[str, str]:
    """State and words of a job that was asked for; empty before the scheduler has seen it."""
    standing = scheduler.status().get(job)
    return ("", "") if standing is None else (standing.state, standing.words)


class TestAsking:
    """The note in the folder is all there is."""

    def test_it_says_where_and_by_whom_and_keeps_its_age(self, project: Project) -> None:
        folder = add(project, "one")
        first = ask_to_run(folder)
        assert first.lane is None
        assert first.by
        again = ask_to_run(folder, lane="gpu")
        assert (again.asked, again.lane) == (first.asked, "gpu")
        assert asked_of(JobFolder(folder.path)) == again
        withdraw(folder)
        assert asked_of(folder) is None

    def test_the_oldest_is_first(self, project: Project) -> None:
        folders = [add(project, "one") for _ in range(3)]
        for folder, when in zip(folders, ("2026-03", "2026-01", "2026-02"), strict=True):
            write_asked(folder, Asked(asked=when))
        assert list(asked_jobs(project)) == ["J002", "J003", "J001"]

    def test_a_note_edited_by_hand_asks_for_the_default(self, project: Project) -> None:
        folder = add(project, "one")
        (folder.path / "asked.json").write_text("{")
        assert asked_of(folder) == Asked(asked="")

    def test_what_is_finished_is_refused_and_what_is_held_is_released(self, project: Project) -> None:
        folder = add(project, "bad")
        other = add(project, "one", after=("J001",))
        front = Front(Lanes(), lambda *_: None, lambda *_: None, open=lambda name, options: LaneHere())
        assert run_waiting(project, [], front).exit_code == 1
        assert [one.state() for one in (folder, other)] == ["failed", "held"]
        assert asked_jobs(project) == {}
        ask_to_run(other)
        assert other.state() == "waiting"
        other.write(other.read().model_copy(update={"state": "finished"}))
        with pytest.raises(StoreError, match="finished"):
            ask_to_run(other)


class TestRounds:
    """With a lane that does what the test says."""

    def scheduler(self, project: Project, lane: FakeLane, **more: LaneOptions) -> Scheduler:
        self.said: list[str] = []
        lanes = Lanes({"local": LaneOptions(kind="local"), **more})
        return Scheduler(
            project, lanes, open=lambda name, options: lane, say=lambda job, text: self.said.append(f"{job} {text}")
        )

    def test_in_the_order_of_age_as_there_is_room(self, project: Project) -> None:
        for folder in [add(project, "one") for _ in range(3)]:
            ask_to_run(folder)
        lane = FakeLane(room=2)
        scheduler = self.scheduler(project, lane)
        until(lambda: len(lane.handles) == 2, scheduler)
        assert list(lane.handles) == ["J001", "J002"]
        until(lambda: stands(scheduler, "J003")[1] == "waits for room", scheduler)
        assert scheduler.status()["J001"].words == "queued: no free node has what it asks for (Resources)"
        lane.handles["J001"].ending = Ending(0)
        until(lambda: "J003" in lane.handles, scheduler)
        assert scheduler.codes["J001"] == 0
        assert list(asked_jobs(project)) == ["J002", "J003"]

    def test_what_is_no_longer_asked_for_is_stopped(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder)
        lane = FakeLane()
        scheduler = self.scheduler(project, lane)
        until(lambda: lane.handles, scheduler)
        scheduler.stop("J001")
        scheduler.round()
        assert lane.handles["J001"].cancelled
        lane.handles["J001"].ending = Ending(130)
        scheduler.round()
        assert not scheduler.busy
        assert folder.state() == "waiting"

    def test_what_was_cut_short_begins_again_and_what_was_late_goes_to_the_next_lane(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder, lane="spot")
        lane = FakeLane()
        scheduler = self.scheduler(project, lane, spot=LaneOptions(next="main", patience=1.0), main=LaneOptions())
        until(lambda: lane.handles, scheduler)
        first = lane.handles["J001"]
        first.ending = Ending(130, "again", "lost its node, and goes on where it stopped")
        until(lambda: lane.handles["J001"] is not first, scheduler)
        assert self.said == ["J001 lost its node, and goes on where it stopped"]
        lane.handles["J001"].ending = Ending(130, "fall")
        until(lambda: scheduler.status().get("J001") and scheduler.status()["J001"].lane == "main", scheduler)
        asked = asked_of(folder)
        assert asked is not None
        assert asked.lane == "main"

    def test_what_is_asked_for_again_while_it_stops_is_started_again(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder)
        lane = FakeLane()
        scheduler = self.scheduler(project, lane)
        until(lambda: lane.handles, scheduler)
        first = lane.handles["J001"]
        scheduler.stop("J001")
        scheduler.round()
        ask_to_run(folder)
        first.ending = Ending(130)
        until(lambda: lane.handles["J001"] is not first, scheduler)
        assert asked_of(folder) is not None

    def test_trouble_with_one_job_does_not_keep_the_others(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in [add(project, "one") for _ in range(4)]:
            ask_to_run(folder)
        (project.job("J001").path / "job.json").unlink()
        (project.root / "J001-count-up-to" / "job.json").mkdir()
        tried: list[str] = []

        def look_up(path: Path) -> Needs:
            tried.append(path.name[:4])
            if tried.count("J002") == 1 and path.name.startswith("J002"):
                raise OSError(116, "Stale file handle")
            return prepare(path)

        monkeypatch.setattr(rounds, "prepare", look_up)
        lane = FakeLane()
        scheduler = self.scheduler(project, lane)
        until(lambda: lane.handles.keys() == {"J003", "J004"}, scheduler)
        assert "Stale file handle; it is tried again" in stands(scheduler, "J002")[1]
        assert list(asked_jobs(project)) == ["J002", "J003", "J004"]
        monkeypatch.setattr(lane.handles["J003"], "poll", lambda: 1 // 0)
        lane.handles["J004"].ending = Ending(0)
        with pytest.raises(ZeroDivisionError):
            scheduler.round()
        assert scheduler.codes["J004"] == 0
        del scheduler._tasks["J003"], scheduler._later["J002"]
        until(lambda: "J002" in lane.handles, scheduler)

    def test_inputs_are_looked_up_again_where_the_process_that_did_was_killed(self, project: Project) -> None:
        folders = [add(project, "one"), add(project, "one")]
        calls: list[str] = []

        def call(function: Callable[[Path], Needs], path: Path) -> Needs:
            calls.append(path.name[:4])
            if path.name.startswith("J002") or len(calls) == 1:
                raise WorkerDiedError("a worker process was killed by SIGKILL")
            return function(path)

        lane = FakeLane()
        scheduler = Scheduler(project, Lanes(), open=lambda name, options: lane, call=call)
        ask_to_run(folders[0])
        until(lambda: lane.handles, scheduler)
        assert calls == ["J001"] * 2
        ask_to_run(folders[1])
        until(lambda: folders[1].state() == "held", scheduler)
        assert calls[2:] == ["J002"] * rounds.LOSSES

    def test_what_failed_just_before_a_kill_is_not_run_again(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder)
        folder.write(folder.read().model_copy(update={"state": "failed", "ended": now()}))
        lane = FakeLane()
        scheduler = self.scheduler(project, lane)
        scheduler.round()
        assert (scheduler.busy, scheduler.codes, asked_of(folder)) == (False, {"J001": 1}, None)
        time.sleep(0.002)  # times are told to the millisecond
        ask_to_run(folder)
        until(lambda: lane.handles, scheduler)

    def test_what_was_given_to_a_batch_system_is_followed_whatever_became_of_its_lane(self, project: Project) -> None:
        folders = [add(project, "one"), add(project, "one")]
        for folder in folders:
            write_submission(folder, new_submission(folder, "gone"))
        ask_to_run(folders[0])  # the other one was stopped while nobody ran the jobs
        opened: dict[str, LaneOptions] = {}
        lane = FakeLane()

        def open_lane(name: str, options: LaneOptions) -> FakeLane:
            opened[name] = options
            return lane

        scheduler = Scheduler(project, Lanes(), open=open_lane)
        scheduler.round()
        assert {name: handle.cancelled for name, handle in lane.handles.items()} == {"J001": False, "J002": True}
        assert [options.kind for options in opened.values()] == ["slurm"]
        assert asked_of(folders[0]) is not None
        for folder in folders:
            write_submission(folder, new_submission(folder, "gone").model_copy(update={"over": "end"}))
            lane.handles[folder.path.name[:4]].ending = Ending(0)
        until(lambda: not scheduler.busy, scheduler)
        assert scheduler.codes == {"J001": 0, "J002": 0}

    def test_no_room_in_time_leads_to_the_next_lane_too(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder, lane="full")
        options = {"full": LaneOptions(kind="local", next="local", patience=0.001)}
        scheduler = self.scheduler(project, FakeLane(room=0), **options)
        until(lambda: (asked := asked_of(folder)) is not None and asked.lane == "local", scheduler)
        assert self.said == ["J001 goes to lane local, for it did not start in time on full"]

    def test_a_worker_without_a_word_leaves_a_job_that_failed_with_words(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder)
        lane = FakeLane()
        scheduler = self.scheduler(project, lane)
        until(lambda: lane.handles, scheduler)
        lane.handles["J001"].ending = Ending(1, words="took more memory than its lane gives")
        scheduler.round()
        assert folder.state() == "failed"
        assert [event.message for event in folder.events() if event.kind == "failed"] == [
            "took more memory than its lane gives"
        ]
        assert asked_of(folder) is None

    def test_a_lane_that_is_not_there_holds_the_job_with_words(self, project: Project) -> None:
        folder = add(project, "one")
        ask_to_run(folder, lane="lcoal")
        scheduler = self.scheduler(project, FakeLane())
        scheduler.round()
        assert folder.state() == "held"
        assert "did you mean local?" in next(event.text for event in folder.events() if event.kind == "log")
        assert not scheduler.busy

    def test_lanes_that_are_described_anew_hold_for_what_starts_from_then_on(self, project: Project) -> None:
        opened: list[int | None] = []
        lanes: list[FakeLane] = []

        def open_lane(name: str, options: LaneOptions) -> FakeLane:
            opened.append(options.cpus)
            lanes.append(FakeLane())
            return lanes[-1]

        scheduler = Scheduler(project, Lanes({"local": LaneOptions(kind="local", cpus=1)}), open=open_lane)
        ask_to_run(add(project, "one"))
        until(lambda: stands(scheduler, "J001")[0] == "queued", scheduler)
        scheduler.use(Lanes({"local": LaneOptions(kind="local", cpus=2)}))
        ask_to_run(add(project, "two"))
        until(lambda: stands(scheduler, "J002")[0] == "queued", scheduler)
        assert opened == [1]
        for handle in lanes[0].handles.values():
            handle.ending = Ending(0)
        until(lambda: not scheduler.busy, scheduler)
        ask_to_run(add(project, "one"))
        until(lambda: stands(scheduler, "J003")[0] == "queued", scheduler)
        assert opened == [1, 2]

    def test_what_is_held_and_asked_for_by_hand_is_let_go(self, project: Project) -> None:
        folder = add(project, "one")
        folder.write(folder.read().model_copy(update={"state": "held"}))
        write_asked(folder, Asked(asked="2026"))
        scheduler = Scheduler(project, Lanes(), open=lambda name, options: LaneHere())
        until(lambda: scheduler.codes, scheduler)
        assert (scheduler.codes, folder.items()) == ({"J001": 0}, ["one"])

    def test_it_waits_for_another_and_runs_only_its_own(self, project: Project) -> None:
        add(project, "one")
        add(project, "one", after=("J001",))
        other = add(project, "one")
        ask_with_parents(project, [])
        lane = FakeLane()
        scheduler = Scheduler(project, Lanes(), open=lambda name, options: lane, only=["J001", "J002"])
        until(lambda: lane.handles, scheduler)
        assert scheduler.status()["J002"].words == "waits for J001"
        assert list(lane.handles) == ["J001"]
        assert asked_of(other) is not None
