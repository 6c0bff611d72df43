"""What a running session is told, and what it does then: pause, workers, thresholds, stop."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.engine.live_harness import Live
from tests.engine.test_cluster import crew
from thon.base.errors import InputError, StoreError
from thon.cli.main import main
from thon.engine.live import launch
from thon.engine.live.control import Ear, Threshold, read_control, with_threshold, write_control
from thon.engine.live.launch import LiveAsk, is_running, read_ask, start_live, stop_live
from thon.engine.live.series import Point, Series, read_series
from thon.engine.live.status import read_status


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path)


class TestFile:
    def test_what_is_not_named_stays_and_what_cannot_be_is_refused(self, tmp_path: Path) -> None:
        one = Threshold(step="ctf-fit", value="fit.resolution", max=8)
        write_control(tmp_path, thresholds=[one])
        told = write_control(tmp_path, workers=3)
        assert read_control(tmp_path) == told
        assert (told.workers, told.thresholds, told.paused) == (3, (one,), False)
        for wrong in (
            {"workers": 0},
            {"workers": 5000},
            {"thresholds": [{"step": "a", "value": "b"}]},
            {"pause": True},
        ):
            with pytest.raises(InputError, match="cannot be told"):
                write_control(tmp_path, **wrong)
        other = Threshold(step="ctf-fit", value="fit.resolution", min=3, max=6)
        assert with_threshold((one,), other) == (other,)
        assert other.text == "ctf-fit: 3 ≤ fit.resolution ≤ 6"
        assert [other.why({"fit.resolution": x}) != "" for x in (2.9, 3.0, 6.0, 6.1)] == [True, False, False, True]
        assert other.why({}) == ""

    def test_it_is_heard_once_and_again_when_it_has_changed(self, tmp_path: Path) -> None:
        ear = Ear(tmp_path)
        assert ear.listen() is None
        write_control(tmp_path, paused=True)
        told = ear.listen()
        assert told is not None
        assert told.paused
        assert ear.listen() is None
        (tmp_path / "live.control.json").write_text("{")
        with pytest.raises(StoreError, match="cannot be read"):
            ear.listen()
        assert ear.listen() is None

    def test_series_are_bounded_and_keep_what_came_last(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thon.engine.live.series.BLOCK", 100)
        series = Series(tmp_path, most=4000)
        for k in range(100):
            values = {"fit.score": float(k), "optics.voltage": 300.0}
            series.add(Point(time=float(k), step="ctf-fit", item=f"m{k}", seconds=1.0, values=values))
        points = list(read_series(tmp_path))
        assert 10 < len(points) < 60
        assert [point.time for point in points] == [float(k) for k in range(100 - len(points), 100)]
        assert points[-1].values == {"fit.score": 99.0}
        for since in (0.5, 70.0, 97.0, 99.0, 200.0):
            latest = [point.time for point in read_series(tmp_path, since=since)]
            assert latest == [point.time for point in points if point.time > since]
        assert list(read_series(tmp_path / "none")) == []


class TestSession:
    def test_a_pause_begins_nothing_and_ends_nothing_and_workers_come_and_go(self, live: Live) -> None:
        for k in range(4):
            live.put(f"s{k}.smp", f"- {k} END")
        live.start(steps={"double-sample": {"seconds": 0.6}}, workers=1)
        live.wait(lambda: live.times_done(1) if live.project.jobs() else None)
        write_control(live.project.root, paused=True)
        live.wait(lambda: live.statuses and live.statuses[-1].state == "paused" and not busy(live))
        done = live.times_done(2)
        assert len(done) < 4
        assert live.statuses[-1].message == "nothing new is begun"
        # All that there is to do waits, and the idle time is over: it is not the end.
        time.sleep(0.7)
        assert live.times_done(2) == done
        write_control(live.project.root, paused=False, workers=3)
        live.wait(lambda: busy(live) > 1)
        assert live.join() == 0
        assert max(status.workers_asked for status in live.statuses) == 3
        assert live.times_done(2) == {f"s{k}": 1 for k in range(4)}
        points = list(read_series(live.project.root))
        assert sorted(point.item for point in points if point.step == "double-sample") == ["s0", "s1", "s2", "s3"]
        assert {point.item: point.values["value"] for point in points if point.step == "double-sample"}["s3"] == 6.0

    def test_it_stops_as_by_ctrl_c_and_goes_on_with_what_was_told_of_items_only(self, live: Live) -> None:
        live.put("s.smp", "- 1 END")
        live.start(steps={"double-sample": {"seconds": 30.0}}, idle=60.0)
        live.wait(lambda: busy(live) == 1 and live.statuses[-1].stages[1].workers == 1)
        assert is_running(live.project.root)
        threshold = Threshold(step="refine-batch", value="total", max=1e9)
        write_control(live.project.root, thresholds=[threshold], workers=2, paused=True)
        live.wait(lambda: live.statuses[-1].state == "paused")
        assert stop_live(live.project, 30)
        with pytest.raises(KeyboardInterrupt):
            live.join()
        assert not is_running(live.project.root)
        assert not list(live.project.root.rglob(".tmp-*"))
        assert live.run() == 0
        told = read_control(live.project.root)
        assert (told.paused, told.stop, told.workers, told.thresholds) == (False, False, None, (threshold,))

    def test_what_does_not_pass_goes_no_further_and_comes_back_when_the_limit_is_relaxed(self, live: Live) -> None:
        write_control(live.project.root, thresholds=[Threshold(step="double-sample", value="value", max=5)])
        for k in range(4):
            live.put(f"a{k}.smp", f"A {k} END")
        live.put("p.smp", "- 40 END")
        live.start(tilts=4, idle=9.0, interim=False)
        live.wait(lambda: "A: complete with 3 members, 1 rejected" in live.text)
        live.wait_done(4, "A")
        assert live.job(4).output("A").total == 6.0
        live.wait(lambda: live.statuses[-1].stages[3].done and live.statuses[-1].stages[1].rejected == 2)
        status = live.statuses[-1]
        assert [stage.rejected for stage in status.stages] == [0, 2, 0, 0]
        assert {(one.item, one.why) for one in status.rejections} == {
            ("a3", "value is 6, more than 5"),
            ("p", "value is 80, more than 5"),
        }
        group = status.groups[0]
        assert (group.ready, group.failed, group.rejected) == (3, 0, 1)
        assert group.steps == {"read-samples": 4, "double-sample": 4}
        assert status.failures == ()
        # Stricter: all have gone on, and stay. Laxer: the member is late, and the group is made anew.
        write_control(live.project.root, thresholds=[Threshold(step="double-sample", value="value", max=3)])
        live.wait(lambda: any("more than 3" in one.why for one in live.statuses[-1].rejections))
        assert {one.item for one in live.statuses[-1].rejections} == {"a3", "p"}
        write_control(live.project.root, thresholds=[Threshold(step="double-sample", value="value", max=7)])
        live.wait(lambda: live.job(4).output("A").total == 12.0)
        assert "double-sample a3: passes now" in live.text
        # It is the same after a restart.
        assert live.join() == 0
        assert live.run(tilts=4, interim=False) == 0
        assert [one.item for one in live.statuses[-1].rejections] == ["p"]
        assert live.times_done(4) == {"A": 2}
        assert sum(point.rejected for point in read_series(live.project.root)) == 2

    def test_it_does_not_outlive_its_project(self, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thon.engine.live.session.GONE", 0.5)
        live.put("s.smp", "- 1 END")
        live.start(idle=600.0)
        live.wait_done(2, "s")
        live.project.root.rename(tmp_path / "away")
        with pytest.raises(StoreError):
            live.join()

    def test_over_a_cluster_it_is_the_same(self, live: Live) -> None:
        for k in range(6):
            live.put(f"a{k}.smp", f"A {k} END")
        assert live.run(crew=crew(2), steps={"double-sample": {"seconds": 0.1}}, interim=False) == 0
        assert live.job(4).output("A").total == 30.0
        assert live.times_done(2) == {f"a{k}": 1 for k in range(6)}
        assert max(status.workers for status in live.statuses) >= 1
        record = live.job(2).read()
        workers = {one.worker for one in record.runs if one.worker}
        assert {result.worker for result in record.results.values()} <= workers
        shares = [sum(one.share for one in live.job(k).head().runs if not one.worker) for k in (1, 2, 3, 4)]
        assert sum(shares) == pytest.approx(1, abs=0.001)


class TestLaunch:
    def test_what_it_is_told_while_it_begins_is_heard(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        write_control(live.project.root, stop=True)
        monkeypatch.setattr(launch.sys, "executable", "true")
        start_live(live.project, LiveAsk(chain="watch-samples", location="../in"))
        assert not read_control(live.project.root).stop
        stop_live(live.project)
        live.start(told=True, idle=600.0)
        with pytest.raises(KeyboardInterrupt):
            live.join()
        assert live.statuses[-1].state == "interrupted"

    def test_a_session_of_its_own_is_started_told_and_stopped(
        self, live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live.put("s.smp", "- 1 END")
        live.put("bad.smp", "- 900 END")
        root = live.project.root
        ask = LiveAsk(
            chain="watch-samples", location="../in", live={"settle": 0.1, "poll": 0.1, "workers": 1, "idle": 600.0}
        )
        pid = start_live(live.project, ask)
        assert read_ask(root) == ask
        live.wait(lambda: (status := read_status(root)) and status.stages and status.stages[-3].done == 2)
        status = read_status(root)
        assert status is not None
        assert (status.pid, status.state) == (pid, "running")
        with pytest.raises(StoreError, match="runs in this project"):
            start_live(live.project, ask)
        assert "thon watch-samples ../in" in live.job(1).head().command
        assert main(["session", "reject", "double-sample", "value", str(root), "--above", "1000"]) == 0
        assert main(["session", "reject", "double-sample", "valu", str(root), "--above", "1000"]) == 2
        assert main(["session", "pause", str(root)]) == 0
        live.wait(lambda: (status := read_status(root)) and status.state == "paused")
        assert main(["session", "status", str(root), "--json"]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["stages"][1]["rejected"] == 1
        assert main(["session", "stop", str(root)]) == 0
        assert "it has stopped" in capsys.readouterr().out
        assert main(["session", "pause", str(root)]) == 2
        status = read_status(root)
        assert status is not None
        assert (status.pid, status.state) == (pid, "interrupted")

    def test_why_it_cannot_begin_is_in_the_status(self, live: Live) -> None:
        start_live(live.project, LiveAsk(chain="watch-samples", location="../none"))
        live.wait(lambda: (status := read_status(live.project.root)) and status.state == "broken")
        status = read_status(live.project.root)
        assert status is not None
        assert "no such folder" in status.message
        assert not is_running(live.project.root)


def busy(live: Live) -> int:
    return sum(stage.running for stage in live.statuses[-1].stages) if live.statuses else 0
