"""A project with jobs that ran, served to a client that has the token, or has not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.project.conftest import DUMMIES, Do, doer, empty
from thon.engine.desk import Desk
from thon.project.project import Project
from thon.web.app import create_app
from thon.web.picture import picture
from thon.web.site import Site

with warnings.catch_warnings():
    # Starlette would rather have a successor of httpx, which does the same here.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

TOKEN = "a-token-that-nobody-guesses"
BASE = "http://127.0.0.1"


class HereDesk(Desk):
    """Does what is asked in this process, which has the job types loaded already."""

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Dummy jobs, no prices, no settings of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THON_JOBS", str(DUMMIES))
        patch.setenv("THON_METADATA", "none")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in ("THON_DATABASE", "THON_PRICE", "THON_PRICES", "THON_LANE", "THON_LANES", "THON_INSTANCE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with files beside it."""
    return empty(tmp_path)


@pytest.fixture
def do(project: Project) -> Do:
    """Run a job in this process."""
    return doer(project)


class Servers:
    """Serves folders, each to a client."""

    def __init__(self) -> None:
        self.sites: list[Site] = []

    def __call__(self, folder: Path, *, run: bool = False, base_path: str = "", **more: Any) -> TestClient:
        site = Site(folder, run=run, picture=picture)
        site.desk = site.workbench = HereDesk()
        self.sites.append(site)
        site.start()
        return client(create_app(site, token=TOKEN, base_path=base_path, **more), TOKEN)

    def close(self) -> None:
        for site in self.sites:
            site.close()


def client(app: Any, token: str = "") -> TestClient:
    """A client that has the token, or has not."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return TestClient(app, BASE, headers=headers, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def serve() -> Iterator[Servers]:
    """Serve a folder."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def web(project: Project, serve: Servers) -> TestClient:
    """A client of an empty project, which runs no jobs."""
    return serve(project.root)


@pytest.fixture(scope="session")
def shown(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A project in which jobs ran, to be read only: two of three files read, then smoothed."""
    project = empty(tmp_path_factory.mktemp("shown"))
    do = doer(project)
    do("read-numbers", "a", "b", "bad", command="thon read-numbers a.txt b.txt bad.txt")
    do("smooth-numbers", "J001", noisy=False)
    servers = Servers()
    yield Shown(project, servers(project.root))
    servers.close()


@dataclass(frozen=True)
class Shown:
    """A project and a client of it."""

    project: Project
    web: TestClient

    @property
    def smoothed(self) -> Path:
        """Folder of the job that smoothed."""
        return self.project.job("J002").path
