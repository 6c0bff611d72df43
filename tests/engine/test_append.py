"""A job that grows takes over what is finished, by content, and does only what is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.lane_here import LaneHere
from thon.base.errors import InputError, StoreError
from thon.engine.append import append
from thon.engine.lanes.options import Lanes
from thon.engine.scheduler.front import Front, run_waiting
from thon.engine.waiting import add_job, sources_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.project import Project
from thon.project.request import Request, changed_inputs


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name, text in (("a", "1 2 3"), ("b", "4 5"), ("c", "6"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    return Project.create(tmp_path / "project")


def add(project: Project, kind: str, *sources: str) -> JobFolder:
    spec = load_job(kind)
    request = Request(spec, spec.options(), {}, RunSettings(threads=1))
    return add_job(project, request, {spec.ports[0].name: typed(project, *sources)})


def typed(project: Project, *sources: str) -> list[str]:
    files = [str(project.root.parent / name) if name.endswith(".txt") else name for name in sources]
    return sources_of(files, project)


def run(project: Project) -> int:
    front = Front(Lanes(), lambda *_: None, lambda *_: None, open=lambda name, options: LaneHere())
    return run_waiting(project, [], front).exit_code


def did(folder: JobFolder) -> list[str]:
    """The items that a job's own worker took up."""
    return sorted(str(event.item) for event in folder.events() if event.kind == "item_started")


def test_a_chain_that_grows(project: Project) -> None:
    add(project, "read-numbers", "a.txt", "b.txt")
    smoothed = add(project, "smooth-numbers", "J001")
    assert run(project) == 0
    grown = append(project.job("J001"), {"source": typed(project, "c.txt")})
    assert run(project) == 0
    after = append(smoothed, {"numbers": ["J003"]})
    assert after.head().wants == {"numbers": ["J003"]}, "J003 has grown from J001, and takes its place"
    assert run(project) == 0
    for folder in (grown, after):
        assert folder.state() == "finished"
        assert folder.items() == ["a", "b", "c"]
        assert did(folder) == ["c"]
        results = folder.read().results
        assert [results[item].origin for item in "abc"] == [f"J00{int(folder.path.name[3]) - 2}"] * 2 + [""]
        assert changed_inputs(folder) == []
    (old,), (new,) = ([*one.outputs.glob("a/smooth.txt")] for one in (smoothed, after))
    assert old.stat().st_ino == new.stat().st_ino
    assert after.output("a").values.tolist() == smoothed.output("a").values.tolist()
    assert Path(after.output("a").path) == new
    said = [event.text for event in after.events() if event.kind == "log" and event.item is None]
    assert said == ["2 of 3 items were taken over from J002"]
    again = append(after, {"numbers": ["J003"]})
    assert run(project) == 0
    assert [again.read().results[item].origin for item in "abc"] == ["J002", "J002", "J004"]
    assert (did(again), again.state()) == ([], "finished")


def test_what_has_changed_or_failed_is_done_anew(project: Project) -> None:
    first = add(project, "read-numbers", "a.txt", "b.txt", "bad.txt")
    assert run(project) == 2
    (project.root.parent / "b.txt").write_text("7 8")
    (project.root.parent / "bad.txt").write_text("9")
    grown = append(first, {"source": typed(project, "c.txt")})
    assert run(project) == 0
    assert did(grown) == ["b", "bad", "c"]
    assert grown.output("b").values.tolist() == [7.0, 8.0]
    assert first.output("b").values.tolist() == [4.0, 5.0]


def test_what_cannot_grow(project: Project) -> None:
    first = add(project, "read-numbers", "a.txt")
    with pytest.raises(StoreError, match="not done"):
        append(first, {"source": typed(project, "c.txt")})
    total = add(project, "sum-numbers", "J001")
    assert run(project) == 0
    with pytest.raises(InputError, match="whole set"):
        append(total, {"numbers": ["J001"]})
    with pytest.raises(InputError, match="nothing is added"):
        append(first, {})
    with pytest.raises(InputError, match="no port 'movies'"):
        append(first, {"movies": typed(project, "c.txt")})
