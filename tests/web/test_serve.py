"""`thon serve` as a process: how it starts, runs jobs, ends, and what it says of projects that it cannot serve."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from tests.project.conftest import Do
from tests.web.conftest import Servers
from thon.base.errors import StoreError
from thon.engine.scheduler.asked import asked_of
from thon.project import index as index_module
from thon.project.project import Project
from thon.web import command as command_module
from thon.web import served as served_module
from thon.web.command import command_serve
from thon.web.site import Site

API = "/api/v1/projects/project"
MOST = 100 * 1024
"""Memory of a server that nobody asks anything, kB."""


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    token: str

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def stream(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", headers={"authorization": f"Bearer {self.token}"})
        return urllib.request.urlopen(request, timeout=20)

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Stop it; returns how long that took, s."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(15)
        return time.monotonic() - begun


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Start a server, and wait until it tells its URL."""
    servers: list[Server] = []

    def starting(folder: Path, *more: str) -> Server:
        command = [sys.executable, "-m", "thon.cli.main", "serve", str(folder), "--port", "0", *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        said = ""
        assert process.stdout is not None
        while (match := re.search(r"(http://[^/]+)(/.*)\?token=(\S+)", said)) is None:
            line = process.stdout.readline()
            assert line, said
            said += line
        servers.append(Server(process, match[1], match[3]))
        return servers[-1]

    yield starting
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        if server.process.stdout is not None:
            server.process.stdout.close()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_a_server_is_small_and_ends_at_once(project: Project, do: Do, start: Callable[..., Server]) -> None:
    do("read-numbers", "a", "b")
    server = start(project.root)
    assert server.ask(f"{API}/jobs")["total"] == 1
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]
    assert resident < MOST
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert not re.search(r"libtorch|numba|matplotlib|skimage|llvmlite", mapped)
    with (
        contextlib.closing(server.stream(f"{API}/events")) as changes,
        contextlib.closing(server.stream(f"{API}/jobs/J001/events/live?after=0")) as events,
    ):
        assert changes.readline() == b"retry: 2000\n"
        assert [events.readline() for _ in range(3)][2] == b"id: 90\n" or events.readline()
        assert server.end() < 3.0
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert not (project.root / ".thon" / "server").exists()
    assert not (project.root / ".thon" / "scheduler").exists()


def test_a_job_is_run_told_of_and_taken_up_after_a_kill(project: Project, start: Callable[..., Server]) -> None:
    server = start(project.root)
    with contextlib.closing(server.stream(f"{API}/events")) as changes:
        options = {"smooth-numbers": {"seconds": 1.0, "noisy": False}}
        filled = {"type": "totals", "options": {"scale": 1, **options}, "inputs": {"source": ["../a.txt", "../b.txt"]}}
        assert server.ask(f"{API}/jobs", filled)["jobs"] == ["J001", "J002", "J003"]
        told: list[dict[str, Any]] = []
        while not told or (told[-1]["job"], told[-1]["state"]) != ("J002", "running"):
            line = changes.readline()
            if line.startswith(b"data: {") and b'"job"' in line:
                told.append(json.loads(line[6:]))
    assert {"J001", "J002", "J003"} == {one["job"] for one in told}
    until(lambda: project.job("J002").items() == ["a"])
    server.end(signal.SIGKILL)
    assert asked_of(project.job("J002")) is not None
    done = (project.job("J002").outputs / "a" / "record.json").stat().st_mtime_ns
    server = start(project.root)
    until(lambda: server.ask(f"{API}/jobs/J003")["state"] == "finished")
    assert (project.job("J002").outputs / "a" / "record.json").stat().st_mtime_ns == done
    assert len(project.job("J002").head().runs) == 2
    until(lambda: asked_of(project.job("J003")) is None)


def test_one_server_has_a_project(project: Project, serve: Servers) -> None:
    serve(project.root)
    with pytest.raises(StoreError, match="another process has this project") as refused:
        serve(project.root)
    assert "thon serve of" in str(refused.value.got)


def test_a_server_that_lives_here_is_not_waited_for(project: Project, serve: Servers) -> None:
    serve(project.root)
    begun = time.monotonic()
    with pytest.raises(StoreError, match="another process has this project"):
        Site(project.root, run=False).start(wait=60.0)
    assert time.monotonic() - begun < 10


def test_a_server_that_died_elsewhere_is_waited_out(
    project: Project, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"token": "t", "what": "thon serve", "user": "ada", "host": "n3", "machine": "another", "pid": 1}
    file = project.root / ".thon" / "server"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(said | {"born": "1", "since": "2026-01-01", "count": 0}))
    monkeypatch.setattr("thon.project.lock.STALE", 0.3)
    site = Site(project.root, run=False)
    with pytest.raises(StoreError, match="another process has this project"):
        site.start()
    site.start(wait=10.0)
    site.close()


def test_the_token_is_printed_unless_it_is_known(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "a-token-that-nobody-guesses"
    monkeypatch.setattr(command_module._Server, "run", lambda server, sockets: sockets[0].close())
    for environment, printed in (({"THON_TOKEN": token}, False), ({}, True)):
        told = CliRunner().invoke(command_serve, [str(project.root), "--port", "0", "--no-run"], env=environment)
        assert told.exit_code == 0, told.output
        assert ("token=" in told.output) is printed
        assert token not in told.output


def test_lanes_that_nobody_can_read_run_nothing(project: Project, serve: Servers) -> None:
    lanes = project.root / ".thon" / "lanes.toml"
    lanes.parent.mkdir(exist_ok=True)
    lanes.write_text("[gpu\n")
    served = serve(project.root, run=True).app.state.site.project("project")
    until(lambda: "lanes.toml" in served.runner.trouble)
    assert served.scheduler is None
    lanes.write_text('[gpu]\npartition = "gpu"\n')
    until(lambda: served.runner.wake() or served.scheduler is not None)
    assert served.remarks == []


def test_the_folders_are_followed_whatever_is_in_them(
    project: Project, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_module, "LOOK", 0.01)
    served = serve(project.root).app.state.site.project("project")
    looks: list[float] = []

    def odd() -> None:
        looks.append(time.monotonic())
        raise OverflowError

    monkeypatch.setattr(served, "_follow_jobs", odd)
    served.feed.listeners = 1
    until(lambda: len(looks) > 1)


def test_a_disk_that_has_space_again_is_no_longer_complained_of(
    project: Project, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(project.root).app.state.site.project("project")

    def full() -> bool:
        raise StoreError("cannot write")

    with monkeypatch.context() as patch:
        patch.setattr(served.index, "refresh", full)
        served.refresh()
        assert served.remarks == ["cannot write"]
    served.refresh()
    assert served.remarks == []


def test_a_project_that_cannot_be_written_is_shown(
    project: Project, do: Do, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("read-numbers", "a")
    shutil.rmtree(project.root / ".thon", ignore_errors=True)
    may = os.access
    for module in (served_module, index_module):
        monkeypatch.setattr(module.os, "access", lambda path, mode: mode != os.W_OK and may(path, mode))
    web = serve(project.root)
    told = web.get(API).json()
    assert (told["read_only"], told["jobs"]) == (True, 1)
    assert web.get("/p/project/").status_code == 200
    for method, url, body in (
        ("POST", f"{API}/jobs", {"type": "read-numbers", "inputs": {"source": ["../a.txt"]}}),
        ("PATCH", f"{API}/jobs/J001", {"note": "no"}),
        ("POST", f"{API}/jobs/J001/run", {}),
        ("POST", f"{API}/clean", {"dry_run": False}),
        ("PUT", f"{API}/uploads/a.txt", {}),
    ):
        answer = web.request(method, url, json=body)
        assert (answer.status_code, answer.json()["what"]) == (403, "this project is served read only"), url
    assert not (project.root / ".thon").exists()


def test_a_project_of_a_newer_thon_is_refused_with_words(project: Project, serve: Servers) -> None:
    project.mark(format=99)
    with pytest.raises(StoreError, match="newer thon"):
        serve(project.root)
    web = serve(project.root.parent)
    assert "newer thon" in web.get("/api/v1/projects").json()[0]["trouble"]
    answer = web.get(f"{API}/jobs")
    assert (answer.status_code, answer.json()["what"]) == (409, "this project was made by a newer thon")


@pytest.mark.parametrize("damage", ["deleted", "overwritten", "emptied"])
def test_an_index_that_is_lost_is_made_anew(project: Project, do: Do, serve: Servers, damage: str) -> None:
    do("read-numbers", "a", "b")
    web = serve(project.root)
    before = web.get(f"{API}/jobs").json()
    file = project.root / ".thon" / "index.sqlite"
    for path in file.parent.glob("index.sqlite*"):
        path.unlink()
    if damage == "overwritten":
        file.write_bytes(b"no database at all " * 1000)
    elif damage == "emptied":
        file.write_bytes(b"")
    until(lambda: web.get(f"{API}/jobs").status_code == 200)
    assert web.get(f"{API}/jobs").json() == before


def test_a_folder_edited_by_hand_is_shown_as_broken(project: Project, do: Do, serve: Servers) -> None:
    do("read-numbers", "a", "b")
    do("smooth-numbers", "J001")
    web = serve(project.root)
    record = project.job("J001").path / "job.json"
    record.chmod(0o644)
    record.write_text("{ this is no record")
    web.post(f"{API}/jobs", json={"type": "read-numbers", "inputs": {"source": ["../a.txt"]}, "run": False})
    states = {job["job"]: job["state"] for job in web.get(f"{API}/jobs").json()["jobs"]}
    assert states == {"J001": "unreadable", "J002": "finished", "J003": "waiting"}
    for url in (f"{API}/jobs/J001", f"{API}/graph", f"{API}/jobs/J001/items", f"{API}/why?job=J002", "/p/project/"):
        assert web.get(url).status_code == 200, url
    for url in (f"{API}/jobs/J001/run", f"{API}/jobs/J001/repeat", f"{API}/jobs/J001/stop"):
        answer = web.post(url, json={})
        assert answer.status_code == 409, (url, answer.text)


def test_a_full_disk_is_told_and_lived_through(
    project: Project, do: Do, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    do("read-numbers", "a")
    web = serve(project.root)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    filled = {"type": "read-numbers", "inputs": {"source": ["../a.txt"]}}
    with monkeypatch.context() as patch:
        patch.setattr("thon.job.folder.os.fsync", full)
        answer = web.post(f"{API}/jobs", json=filled)
        assert (answer.status_code, answer.json()["got"]) == (507, os.strerror(errno.ENOSPC))
        assert "free some space" in answer.json()["mend"]
        assert web.get(f"{API}/jobs").json()["total"] == 1
    assert web.post(f"{API}/jobs", json=filled | {"run": False}).status_code == 201
    assert web.get(f"{API}/jobs").json()["total"] == 2


def test_what_follows_a_lost_connection_is_sent_again(project: Project, serve: Servers) -> None:
    web: TestClient = serve(project.root)
    feed = web.app.state.site.project("project").feed
    for k in range(3):
        feed.publish("job", {"job": f"J00{k}"})
    first = feed.place_of(None)
    assert first == 3
    mark = feed._id(1)
    assert [change.content["job"] for change in feed.after(feed.place_of(mark))] == ["J001", "J002"]
    assert feed.place_of("another-1") is None
    assert feed.place_of(mark.replace("-1", "-²")) is None
    assert feed.place_of(mark.replace("-1", "-9")) is None
