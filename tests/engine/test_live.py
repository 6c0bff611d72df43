"""Live sessions with real worker processes: what arrives is done once, whatever happens to files and processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.live_harness import Live
from thon.base.errors import InputError, StoreError
from thon.engine.inputs import file_items
from thon.engine.run import run_steps
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.record import Reference, RunSettings
from thon.job.worker import run as run_worker
from thon.project.project import Project
from thon.project.request import changed_inputs


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path)


def fill(live: Live) -> None:
    """Two groups of three, two samples of none, and what is no input."""
    for k in range(3):
        live.put(f"a{k}.smp", f"A {k + 1} END")
        live.put(f"deep/b{k}.smp", f"B {10 * k} END")
    for k in range(2):
        live.put(f"p{k}.smp", f"- {k} END")
    live.put("notes.txt", "nothing")


class TestAfterTheFact:
    def test_every_item_goes_its_way_and_the_same_command_does_nothing_again(self, live: Live) -> None:
        fill(live)
        live.put("bad.smp", "A x END")
        live.put("empty.smp", "")
        assert live.run(interim=False, workers=2) == 2
        assert live.job(1).items() == ["a0", "a1", "a2", "b0", "b1", "b2", "p0", "p1"]
        assert live.job(3).items() == live.job(4).items() == ["A", "B"]
        assert live.job(4).output("A").total == 2 * (1 + 2 + 3)
        assert live.job(4).output("B").members == ("b0", "b1", "b2")
        record = live.job(1).read()
        assert (record.state, record.live) == ("failed", "../in")
        assert "holds no number" in record.results["bad"].message
        assert "is cut short" in record.results["empty"].message
        assert record.inputs["../in/a0.smp"].bytes == len("A 1 END")
        assert live.job(2).read().items["a0"] == {"sample": [Reference(job="J001", item="a0")]}
        assert len((live.job(1).path / "job.json").read_text()) < 3000
        status = json.loads((live.project.root / "live.json").read_text())
        assert [stage["done"] for stage in status["stages"]] == [8, 8, 2, 2]
        assert sorted(one["item"] for one in status["failures"]) == ["bad", "empty"]
        assert "read-samples bad" in (live.project.root / "session.log").read_text()
        # A worker has one thread.
        assert (live.job(2).outputs / "a0" / "twice.txt").read_text() == "A 1 END 2.0 1\n"
        before = {k: live.times_done(k) for k in (1, 2, 3, 4)}
        assert live.run(interim=False) == 2, live.text
        assert {k: live.times_done(k) for k in (1, 2, 3, 4)} == before
        assert len(live.project.jobs()) == 4

    def test_a_live_session_and_a_batch_yield_the_same(
        self, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run_here(folder: JobFolder, watch: Callable[..., None]) -> int:
            return run_worker(folder)

        fill(live)
        live.run()
        monkeypatch.setattr("thon.engine.run.run_local", run_here)
        batch = Project.create(tmp_path / "batch")
        steps = [(step, step.spec.options()) for step in steps_of("watch-samples")]
        items = file_items(*[steps[0][0].spec, steps[0][1]], [str(live.source)], batch)
        quiet = {"announce": lambda *_: None, "watch": lambda *_: None}
        run = run_steps(batch, steps, items, RunSettings(threads=1), **quiet)
        assert run.exit_code == 0
        for k, job in enumerate(run.jobs, 1):
            assert job.items() == live.job(k).items()
            for item in job.items():
                ours = (live.job(k).outputs / item / "record.json").read_text()
                # Beginning from an interim result is all that differs.
                assert without_start(ours) == without_start((job.outputs / item / "record.json").read_text())
        assert changed_inputs(live.job(1)) == []
        live.put("a0.smp", "A 7 END")
        assert changed_inputs(live.job(1)) == ["../in/a0.smp has changed"]

    def test_another_option_makes_new_jobs_of_that_step_and_those_after_it(self, live: Live) -> None:
        live.put("p.smp", "- 1 END")
        live.run()
        live.run(steps={"double-sample": {"seconds": 0.01}})
        names = [job.path.name for job in live.project.jobs()]
        assert names[4:] == ["J005-double-sample", "J006-gather-samples", "J007-refine-batch"]
        assert live.times_done(1) == {"p": 1}
        assert live.times_done(5) == {"p": 1}

    def test_a_job_of_a_session_is_not_resumed_alone(self, live: Live) -> None:
        from thon.engine.run import resume  # noqa: PLC0415

        live.run()
        with pytest.raises(StoreError, match="live session"):
            resume(live.job(1), announce=lambda *_: None, watch=lambda *_: None)

    def test_what_the_import_asks_for_is_asked_before_anything_is_written(self, live: Live) -> None:
        live.put("a0.smp", "- 1 END")
        live.put("x.list", "a0 many 3\n")
        with pytest.raises(InputError, match="weigh"):
            live.run()
        assert live.project.jobs() == []
        live.put("x.list", "a0 3\n")
        assert live.run() == 0

    @pytest.mark.parametrize(("order", "first"), [("in-order", "c"), ("newest-first", "a")])
    def test_what_waits_is_taken_in_order_or_the_newest_first_and_what_is_begun_is_finished(
        self, live: Live, order: str, first: str
    ) -> None:
        for age, name in enumerate("abc"):
            os.utime(live.put(f"{name}.smp", "- 1 END"), (1e9 - age, 1e9 - age))
        live.run(order=order)
        steps = ("read-samples", "double-sample")
        names = sorted("abc", reverse=first == "c")
        done = [one.text.split(":")[0] for one in live.said if one.level == "done"]
        assert done == [f"{step} {name}" for name in names for step in steps]

    def test_a_folder_that_is_not_there(self, live: Live, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            live.run(str(tmp_path / "none"))
        with pytest.raises(InputError, match="this is the project"):
            live.run(str(live.project.root))

    def test_include_and_exclude(self, live: Live) -> None:
        fill(live)
        live.run(include=("a*", "deep/*"), exclude=("*1.smp",))
        assert live.job(1).items() == ["a0", "a2", "b0", "b2"]

    def test_two_sessions_of_the_same_names_in_one_folder_are_kept_apart(self, live: Live) -> None:
        for k, session in enumerate(("one", "two")):
            for member in range(2):
                live.put(f"{session}/t{member}.smp", f"TS {10**k} END")
        live.run(steps={}, interim=False)
        totals = {item: live.job(4).output(item) for item in live.job(4).items()}
        assert sorted(totals) == ["TS", "two_TS"] or sorted(totals) == ["TS", "one_TS"]
        assert sorted(one.total for one in totals.values()) == [4.0, 40.0]


class TestFilesThatChange:
    def test_half_written_grows_and_one_is_replaced_and_a_member_comes_late(self, live: Live) -> None:
        live.put("half.smp", "- 1")
        for k in range(2):
            live.put(f"a{k}.smp", f"A {k + 1} END")
        live.start(idle=7.0, tilts=2, interim=False, steps={"double-sample": {"seconds": 0.2}})
        for _ in range(4):
            time.sleep(0.1)
            with (live.source / "half.smp").open("a") as file:
                file.write("0")
        with (live.source / "half.smp").open("a") as file:
            file.write(" END")
        live.wait_done(2, "half")
        assert live.job(2).output("half").value == 20000.0
        live.wait_done(4, "A")
        assert live.job(4).output("A").total == 6.0
        live.put("a2.smp", "A 4 END")
        live.wait(lambda: live.job(4).output("A").total == 14.0)
        assert "A: a2 came late" in live.text
        live.put("a0.smp", "A 100 END")
        live.wait(lambda: live.job(4).output("A").total == 212.0)
        assert live.join() == 0
        assert live.times_done(2) == {"half": 1, "a0": 2, "a1": 1, "a2": 1}
        assert not list(live.project.root.rglob(".tmp-*"))

    def test_a_list_that_grows_changes_only_what_it_says_anew(self, live: Live) -> None:
        live.put("x.list", "a0 1\n")
        live.put("a0.smp", "A 1 END")
        live.put("a1.smp", "A 1 END")
        live.start(idle=3.0, interim=False)
        live.wait_done(2, "a1")
        live.put("x.list", "a0 1\na1 5\n")
        live.wait(lambda: live.job(2).output("a1").value == 10.0)
        live.join()
        assert live.times_done(1) == {"a0": 2, "a1": 2}
        assert live.times_done(2) == {"a0": 1, "a1": 2}
        assert live.job(4).output("A").total == 12.0

    @pytest.mark.parametrize("bad", [0, 2])
    def test_a_member_that_cannot_be_read_counts_where_a_list_says_it_belongs(self, live: Live, bad: int) -> None:
        live.put("x.list", "".join(f"a{k} 1\n" for k in range(3)))
        for k in range(3):
            live.put(f"a{k}.smp", "A 1" if k == bad else "A 1 END")
        live.start(idle=2.0, tilts=3, interim=False)
        live.wait(lambda: "A: complete with 2 members, 1 failed" in live.text)
        live.put(f"a{bad}.smp", "A 5 END")
        live.join()
        assert live.job(4).output("A").total == 14.0

    def test_a_file_that_goes_is_told_and_the_rest_goes_on(self, live: Live) -> None:
        live.put("p.smp", "- 1 END")
        gone = live.put("q.smp", "- 1 END")
        live.start(settle=1.0)
        live.wait(lambda: any(status.awaited for status in live.statuses) or live.said)
        time.sleep(0.3)
        gone.unlink()
        assert live.join() == 0
        assert live.job(2).items() == ["p"]

    def test_files_that_vanish_and_come_back_unchanged_are_done(self, live: Live, tmp_path: Path) -> None:
        for k in range(4):
            live.put(f"deep/a{k}.smp", f"A {k} END")
        live.start(idle=3.0, interim=False, steps={"double-sample": {"seconds": 0.5}})
        live.wait_done(1, "a1")
        (live.source / "deep").rename(tmp_path / "away")
        live.wait(lambda: "its file is gone" in live.text)
        (tmp_path / "away").rename(live.source / "deep")
        assert live.join() == 0, live.text
        assert live.job(4).output("A").total == 2 * (0 + 1 + 2 + 3)
        assert all(stage.failed == 0 for stage in live.statuses[-1].stages)
        assert live.times_done(1) == live.times_done(2) == {f"a{k}": 1 for k in range(4)}

    def test_a_file_whose_time_goes_backwards_is_news(self, live: Live) -> None:
        path = live.put("p.smp", "- 1 END")
        live.run()
        path.write_text("- 2 END")
        os.utime(path, (1e9, 1e9))
        live.run()
        assert live.job(2).output("p").value == 4.0


class TestFaults:
    def test_a_kill_a_cough_and_a_full_disk_cost_an_attempt_each(self, live: Live, tmp_path: Path) -> None:
        faults = tmp_path / "faults"
        faults.mkdir()
        for kind in ("kill", "error", "full"):
            live.put(f"{kind}.smp", "- 1 END")
            (faults / f"{kind}.{kind}").touch()
        live.put("fine.smp", "- 1 END")
        assert live.run(steps={"double-sample": {"faults": str(faults)}}) == 0
        assert live.job(2).items() == ["error", "fine", "full", "kill"]
        assert "killed by SIGKILL; tried again" in live.text
        assert "the disk coughed; tried again" in live.text
        assert "The disk is full" in live.text
        assert "There is space again" in live.text
        assert set(live.times_done(2).values()) == {1}

    def test_what_fails_every_time_is_given_up_with_its_reason(self, live: Live, tmp_path: Path) -> None:
        live.put("p.smp", "- 1 END")
        assert live.run(steps={"double-sample": {"faults": str(tmp_path)}}, attempts=1) == 0
        (tmp_path / "q.error").touch()
        live.put("q.smp", "- 1 END")
        assert live.run(steps={"double-sample": {"faults": str(tmp_path)}}, attempts=1) == 1
        assert "the disk coughed" in live.job(2).read().results["q"].message
        assert live.run(steps={"double-sample": {"faults": str(tmp_path)}}, attempts=1) == 0
        assert live.times_done(2) == {"p": 1, "q": 1}

    def test_items_that_all_fail_for_one_reason_end_the_session_but_files_that_are_cut_short_do_not(
        self, live: Live
    ) -> None:
        for k in range(4):
            live.put(f"s{k}.smp", "- many END")
        with pytest.raises(InputError, match="the first 4 items of read-samples failed for one reason"):
            live.run()
        for k in range(4):
            live.put(f"s{k}.smp", "- 1")
        assert live.run() == 2
        live.put("s1.smp", "- 5 END")
        assert live.run() == 2
        assert live.job(1).items() == ["s1"]

    def test_a_broken_file_that_all_items_need_ends_the_session(self, live: Live, tmp_path: Path) -> None:
        (tmp_path / "reference").touch()
        for k in range(6):
            live.put(f"s{k}.smp", "- 1 END")
        with pytest.raises(InputError, match="the first 4 items of double-sample failed for one reason"):
            live.run(steps={"double-sample": {"faults": str(tmp_path)}})
        assert len(live.job(2).read().results) == 4

    def test_the_session_goes_on_when_nobody_can_be_shown_it(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(shown: object) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(live, "say", closed)
        monkeypatch.setattr(live, "show", closed)
        live.put("p.smp", "- 1 END")
        assert live.run() == 0
        assert live.job(2).items() == ["p"]
        assert json.loads((live.project.root / "live.json").read_text())["state"] == "ended"


class TestInterim:
    def test_a_group_is_refined_while_it_fills_and_the_end_begins_from_that(self, live: Live) -> None:
        live.put("a0.smp", "A 1 END")
        live.put("a1.smp", "A 2 END")
        live.start(idle=4.0, tilts=3)
        live.wait(lambda: "interim result of 2 members" in live.text)
        assert live.job(3).items() == live.job(4).items() == []
        interim = JobFolder(live.job(4).path, interim=True)
        assert interim.output("A").total == 6.0
        live.put("a2.smp", "A 3 END")
        assert live.join() == 0
        batch = live.job(4).output("A")
        assert (batch.total, batch.began_from) == (12.0, ("a0", "a1"))
        assert live.job(4).read().items["A"]["start"][0].key == "J004/interim/A"


class TestUrls:
    def test_a_file_url_is_a_folder(self, live: Live) -> None:
        live.put("p.smp", "- 1 END")
        live.run(f"file://{live.source}")
        assert live.job(2).items() == ["p"]

    def test_objects_are_fetched_and_known_again(self, live: Live) -> None:
        import fsspec  # noqa: PLC0415

        files = fsspec.filesystem("memory")
        files.pipe_file("/live/a0.smp", b"A 1 END")
        files.pipe_file("/live/a1.smp", b"A 2 END")
        try:
            assert live.run("memory://live", interim=False, keep_fetched=False) == 0, live.text
            assert live.job(3).output("A").total == 6.0
            assert not list((live.project.root / "fetched").rglob("*.smp"))
            assert live.run("memory://live", interim=False, keep_fetched=False) == 0
            assert live.times_done(2) == {"a0": 1, "a1": 1}
        finally:
            files.rm("/live", recursive=True)


def without_start(record: str) -> str:
    content = json.loads(record)
    content.pop("began_from", None)
    return json.dumps(content)
