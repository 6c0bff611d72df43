"""Each time that a job is taken up is a run; what a killed one left is kept and counted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from thon.base.errors import StoreError
from thon.data.optics import Optics
from thon.job import hardware
from thon.job.context import Context
from thon.job.events import ItemDone, Started
from thon.job.folder import JobFolder
from thon.job.item import run_item
from thon.job.items_file import ItemLine
from thon.job.iterations import begin_at, keep_iteration, kept_iterations
from thon.job.made import numbers
from thon.job.plan import Resources
from thon.job.record import Continues, ItemResult, JobRecord, Reference, RunRecord, RunSettings, Software
from thon.job.registry import load_job
from thon.job.runs import write_result
from thon.job.worker import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A job on two files, not yet run."""
    monkeypatch.setenv("THON_METADATA", "none")
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("1 2 3 4")
    path = tmp_path / "project" / "J001-read-numbers"
    path.mkdir(parents=True)
    job = JobFolder(path)
    job.write(
        JobRecord(
            id="J001",
            type="read-numbers",
            title="Read numbers",
            options={"scale": 1.0, "weights": None, "keep": []},
            settings=RunSettings(threads=1),
            items={name: {"source": [Reference(file=f"../{name}.txt")]} for name in ("a", "b")},
            inputs={},
            software=Software(version="0"),
            created="2026-01-01",
        )
    )
    return job


def test_a_run_says_who_where_how_long_at_what_price(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THON_PRICE", "36")
    monkeypatch.setenv("THON_LANE", "cheap")
    hardware._word.cache_clear()
    assert run(folder) == 0
    hardware._word.cache_clear()
    (record,) = folder.read().runs
    assert (record.state, record.lane, record.price, record.user) == ("finished", "cheap", 36.0, hardware.user_name())
    assert record.ended is not None
    assert record.seconds > 0
    assert record.cost == pytest.approx(record.seconds / 100)
    usage = folder.read().usage
    assert usage.seconds == record.seconds
    assert usage.bytes == sum(result.bytes for result in folder.read().results.values())
    assert usage.bytes_written > usage.bytes / 2


def test_while_it_runs_results_are_lines_and_job_json_is_left_alone(folder: JobFolder) -> None:
    record = folder.read()
    write_result(folder, ItemLine(item="a", inputs={}, result=ItemResult(state="done", seconds=2.0)))
    assert folder.head() == record
    assert folder.read().results["a"].seconds == 2.0
    assert run(folder) == 0
    assert not folder.results_file.exists()
    assert list(folder.head().results) == ["a", "b"]
    assert folder.head().results["a"].files == {}


def test_a_killed_run_counts_and_its_items_are_not_done_again(folder: JobFolder) -> None:
    """What is on the disk where a worker was killed in its second item, and a line had not been written yet."""
    record = folder.read()
    begun = time.time() - 100
    record.runs.append(RunRecord(started=f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(begun))}+00:00", price=36.0))
    record.state = "running"
    folder.write(record)
    folder.emit(Started(host="gone", pid=1, items=2))
    folder.commit_item("a", folder.begin_item("a"), load_numbers(folder))
    done = ItemDone(item="a", seconds=50.0, cpu_seconds=40.0, peak_memory=10, bytes=20, results={"Main": "outputs/a/x"})
    folder.emit(done)
    (folder.outputs / ".tmp-b").mkdir()
    assert folder.state() == "interrupted"
    assert run(folder) == 0
    killed, second = folder.read().runs
    assert (killed.state, second.state) == ("killed", "finished")
    assert 99 < killed.seconds < 110
    assert killed.cost == pytest.approx(killed.seconds / 100)
    assert folder.read().usage.seconds == pytest.approx(killed.seconds + second.seconds)
    lost = folder.read().results["a"]
    assert (lost.state, lost.seconds, lost.results) == ("done", 50.0, {"Main": "outputs/a/x"})
    assert sum(event.kind == "item_started" for event in folder.events()) == 1


def test_an_item_that_is_given_out_twice_is_done_once(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THON_WORKER", "n1-7")
    once, again = (run_item(folder.path, "a", Resources(1, 10**9)).result for _ in range(2))
    assert (once.state, once.worker) == ("done", "n1-7")
    assert (again.state, again.bytes) == ("done", once.bytes)
    assert [event.kind for event in folder.events() if event.item == "a"].count("item_done") == 1
    # Both at once: the one that comes second throws its own away.
    begin = JobFolder.begin_item

    def overtaken(self: JobFolder, item: str) -> Path:
        first = begin(self, item)
        (first / "x").write_text("first")
        self.commit_item(item, first, None)
        return begin(self, item)

    monkeypatch.setattr(JobFolder, "begin_item", overtaken)
    assert run_item(folder.path, "b", Resources(1, 10**9)).result.state == "done"
    assert (folder.outputs / "b" / "x").read_text() == "first"
    assert not list(folder.path.rglob(".tmp-*"))


def load_numbers(folder: JobFolder) -> object:
    job = load_job("read-numbers")
    return job.function(folder.root.parent / "a.txt", job.options(), Context.local(folder.root / "scratch"))


def test_numbers_of_a_record(folder: JobFolder) -> None:
    assert run(folder) == 0
    assert numbers(Optics(voltage=300.0, cs=2.7, amplitude_contrast=0.1))["voltage"] == 300.0
    assert numbers(Path("x")) == {}


def test_a_job_of_a_newer_thon_is_refused(folder: JobFolder) -> None:
    folder.write(folder.read().model_copy(update={"format": 2}))
    with pytest.raises(StoreError, match=r"newer thon(.|\n)*format 2"):
        folder.read()


class TestIterations:
    """What a job keeps of its iterations, and beginning at one."""

    def test_the_last_two_and_every_fifth_are_kept(self, tmp_path: Path) -> None:
        checkpoints, kept = tmp_path / "checkpoints", tmp_path / "job" / "iterations" / "all"
        checkpoints.mkdir()
        for k in range(1, 13):
            (checkpoints / "part").write_text(str(k))
            (checkpoints / "part").replace(checkpoints / "state")
            keep_iteration(checkpoints, kept, k)
        assert kept_iterations(tmp_path / "job") == [5, 10, 11, 12]
        assert [(kept / f"{k:04d}" / "state").read_text() for k in (5, 10, 11, 12)] == ["5", "10", "11", "12"]

    def test_a_job_begins_where_another_was(self, folder: JobFolder) -> None:
        earlier = folder.root / "J000-read-numbers" / "iterations"
        for item in ("a", "b"):
            (earlier / item / "0005").mkdir(parents=True)
            (earlier / item / "0005" / "state").write_text(item)
        folder.write(folder.read().model_copy(update={"continues": Continues(job="J000", iteration=5)}))
        begin_at(folder.path, folder.read(), "a")
        state = folder.path / "checkpoints" / "a" / "state"
        assert state.read_text() == "a"
        state.write_text("further")
        begin_at(folder.path, folder.read(), "a")
        assert state.read_text() == "further"
        folder.write(folder.read().model_copy(update={"continues": Continues(job="J000", iteration=6)}))
        assert run(folder) == 2
        assert "no iteration 6" in next(event.message for event in folder.events() if event.kind == "failed")
