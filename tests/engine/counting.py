"""Jobs that count, for the tests of who runs them when."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thon.engine.scheduler.rounds import Scheduler
from thon.engine.waiting import add_job, sources_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.project import Project
from thon.project.request import Request

JOBS = Path(__file__).parent.parent / "slurm" / "jobs"


def counting_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("THON_JOBS", str(JOBS))
    monkeypatch.setenv("THON_METADATA", "none")
    (tmp_path / "gates").mkdir()
    for name, text in (("one", "1"), ("two", "2"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    return Project.create(tmp_path / "project")


def add(project: Project, *names: str, after: tuple[str, ...] = (), threads: int = 1, gated: bool = False) -> JobFolder:
    spec = load_job("count-up-to")
    options = spec.options(gates=str(project.root.parent / "gates") if gated else "")
    request = Request(spec, options, {}, RunSettings(threads=threads))
    files = [str(project.root.parent / f"{name}.txt") for name in names]
    return add_job(project, request, {"source": sources_of(files, project)}, after)


def until(condition: Callable[[], object], scheduler: Scheduler | None = None, seconds: float = 30.0) -> None:
    """Wait for a condition, with rounds meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        if scheduler is not None:
            scheduler.round()
        time.sleep(0.01)
