"""The Python client sees and does what the API does, and raises the server's errors as its own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

import thon
from tests.web.conftest import TOKEN, Servers
from thon.base.errors import InputError, StoreError
from thon.project.project import Project
from thon.web.client import Client, RemoteProject


@pytest.fixture
def url(project: Project, serve: Servers) -> Iterator[str]:
    """A server that runs jobs, in this process, on a port of its own."""
    app = serve(project.root, run=True).app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/?token={TOKEN}"
    app.state.site.end()
    server.should_exit = True
    thread.join()


def test_a_chain_is_run_and_its_results_fetched(url: str, tmp_path: Path) -> None:
    project = thon.connect(url).project()
    extra = tmp_path / "more numbers.txt"
    extra.write_text("1 2 3 4 5")
    sent = project.upload(extra)
    kinds: list[str] = []
    read, smoothed, summed = project.add(
        "totals", inputs={"source": ["../a.txt", sent]}, options={"scale": 2, "smooth-numbers": {"noisy": False}}
    )
    assert summed.wait(60) == "finished"
    for event in smoothed.events():
        kinds.append(event["kind"])
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert [item["item"] for item in smoothed.items(limit=1)] == ["a", "more_numbers"]
    target = smoothed.download("outputs/a/smooth.txt", tmp_path / "fetched.txt")
    assert (
        target.read_text()
        == (Path(project.get("")["path"]) / smoothed.read()["folder"] / "outputs/a/smooth.txt").read_text()
    )
    assert smoothed.previews("a") == ["previews/a/numbers.png"]
    smoothed.note("well done", tags=["good"])
    assert [job["job"] for job in project.jobs(tag="good")] == [smoothed.number]
    assert project.sql("SELECT count(*) FROM jobs")[1] == [[3]]
    assert [step["job"] for step in project.why(job=summed.number)["chain"]] == ["J003", "J002", "J001"]
    assert read.clone(options={"scale": 5}, run=False).read()["options"]["scale"] == 5


def test_the_code_of_the_guide(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "web.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    here = {"http://127.0.0.1:8080/?token=…": url, "galactosidase": "project", "ctf-fit": "read-numbers"}
    here |= {'"micrograph": ["J002"]': '"source": ["../a.txt"]', '"max_resolution": 4.0': '"scale": 2.0'}
    for there, local in here.items():
        assert there in code
        code = code.replace(there, local)
    exec(compile(code, "web.md", "exec"), {})
    assert re.match(r"finished \[\{'name': '\d{4}-\d\d'", capsys.readouterr().out)


def test_changes_are_told_as_they_come(url: str) -> None:
    project = thon.connect(url).project("project")
    changes = project.events()
    threading.Timer(0.5, lambda: project.add("read-numbers", inputs={"source": ["../a.txt"]})).start()
    states = [content["state"] for kind, content in _until_finished(changes) if kind == "job"]
    assert states[-1] == "finished"


def test_errors_of_the_server_are_ours(url: str) -> None:
    client = thon.connect(url)
    project = client.project()
    with pytest.raises(InputError, match="no job 'J009'"):
        project.job("J009")
    with pytest.raises(InputError, match=r"options\.scale: must be greater"):
        project.add("read-numbers", inputs={"source": ["../a.txt"]}, options={"scale": -1})
    (job,) = project.add("read-numbers", inputs={"source": ["../a.txt"]}, run=False)
    with pytest.raises(StoreError, match="nobody asked"):
        RemoteProject(client, "project").job(job.number).stop()
    with pytest.raises(InputError, match="must log in"):
        Client(client.url, "wrong").projects()
    with pytest.raises(InputError, match="not the URL of"):
        thon.connect("http://localhost:1/")
    with pytest.raises(StoreError, match="nobody answers"):
        thon.connect(f"http://127.0.0.1:1/?token={TOKEN}")


def _until_finished(changes: Iterator[tuple[str, dict[str, object]]]) -> Iterator[tuple[str, dict[str, object]]]:
    for kind, content in changes:
        yield kind, content
        if content.get("state") == "finished":
            return
