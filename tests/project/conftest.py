"""Dummy jobs in a folder of their own, projects in which they ran, and databases to keep indexes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project.databases import MissingError, running
from thon.engine.inputs import file_items, job_items
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.job.worker import run as run_worker
from thon.project.project import Project
from thon.project.request import Request, draft, new_job

DUMMIES = Path(__file__).parent.parent / "job" / "dummies"

Do = Callable[..., JobFolder]


@pytest.fixture(autouse=True)
def dummy_jobs(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THON_JOBS", str(DUMMIES))
    monkeypatch.setenv("THON_METADATA", "none")
    for name in ("THON_DATABASE", "THON_PRICE", "THON_PRICES", "THON_LANE", "THON_INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    return DUMMIES


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    try:
        with running() as url:
            yield url
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with files beside it."""
    return empty(tmp_path)


@pytest.fixture
def do(project: Project) -> Do:
    """Run a job in this process, on files by their names or on an earlier job."""
    return doer(project)


def empty(folder: Path) -> Project:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7"), ("bad", "x")):
        (folder / f"{name}.txt").write_text(text)
    return Project.create(folder / "project")


def doer(project: Project) -> Do:
    def run(kind: str, *inputs: str, command: str = "", **options: object) -> JobFolder:
        spec = load_job(kind)
        values = spec.options(**options)
        if spec.ports[0].takes_file:
            items = file_items(spec, values, [str(project.root.parent / f"{name}.txt") for name in inputs], project)
        else:
            items = job_items(spec, [(project.job(name), None) for name in inputs], project)
        request = Request(spec, values, items, RunSettings(threads=1), command=command)
        folder = new_job(project, draft(project, request))
        run_worker(folder)
        return folder

    return run
