"""The API: what it tells of a project agrees with the job folders, and what it is told to do is done there."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import os
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from tests.project.conftest import Do
from tests.web.conftest import Servers, Shown
from thon.engine.scheduler.asked import ask_to_run, asked_of, withdraw
from thon.engine.scheduler.threads import in_thread
from thon.engine.slurm.submission import new_submission, write_submission
from thon.job.events import Log
from thon.project.notes import notes_of
from thon.project.project import Project

API = "/api/v1/projects/project"


@pytest.fixture
def ran(do: Do) -> Path:
    """Two numbers read and smoothed; one more file is no good."""
    do("read-numbers", "a", "b", "bad", command="thon read-numbers a.txt b.txt bad.txt")
    return do("smooth-numbers", "J001", noisy=False).path


def test_jobs_are_told_as_their_records_have_them(shown: Shown) -> None:
    web = shown.web
    told = web.get(f"{API}/jobs").json()
    assert [job["job"] for job in told["jobs"]] == ["J001", "J002"]
    first, second = told["jobs"]
    assert (first["state"], first["done"], first["failed"], first["items"]) == ("failed", 2, 1, 3)
    assert (second["state"], second["parents"], second["progress"]) == ("finished", ["J001"], 1.0)
    assert first["command"] == "thon read-numbers a.txt b.txt bad.txt"
    detail = web.get(f"{API}/jobs/J002").json()
    assert detail["options"]["noisy"] is False
    assert detail["runs"][0]["state"] == "finished"
    assert detail["outputs"]["Smooth"] == "outputs/a/smooth.txt"
    assert web.get(f"{API}/jobs/J001").json()["children"] == ["J002"]


def test_jobs_are_found_sorted_and_paged(ran: Path, web: TestClient) -> None:
    web.patch(f"{API}/jobs/J002", json={"title": "The better one", "add": ["good"]})

    def jobs(**query: object) -> list[str]:
        return [job["job"] for job in web.get(f"{API}/jobs", params=query).json()["jobs"]]

    assert jobs(down=True) == ["J002", "J001"]
    assert jobs(state="finished") == ["J002"]
    assert jobs(type="read-numbers") == ["J001"]
    assert jobs(tag="good") == jobs(find="better") == ["J002"]
    assert jobs(offset=1, limit=1) == ["J002"]
    assert web.get(f"{API}/jobs", params={"limit": 1}).json()["total"] == 2
    assert web.get(f"{API}/jobs", params={"sort": "nothing"}).status_code == 422


def test_what_is_not_there_is_told_in_one_shape(shown: Shown) -> None:
    web = shown.web
    for url in (f"{API}/jobs/J009", "/api/v1/projects/other/jobs", "/api/v1/job-types/none", "/api/v1/nothing"):
        answer = web.get(url)
        assert answer.status_code == 404, url
        assert set(answer.json()) == {"what", "got", "expected", "mend", "path"}


def test_a_job_is_placed_and_asked_for(project: Project, web: TestClient) -> None:
    filled = {"type": "read-numbers", "options": {"scale": 2}, "inputs": {"source": ["../a.txt", "../b.txt"]}}
    answer = web.post(f"{API}/jobs", json=filled | {"title": "Mine", "tags": ["new"]})
    assert (answer.status_code, answer.json()) == (201, {"jobs": ["J001"]})
    folder = project.job("J001")
    record = folder.head()
    assert record.state == "waiting"
    assert record.options["scale"] == 2
    assert record.command == "thon read-numbers ../a.txt ../b.txt --scale 2"
    assert asked_of(folder) is not None
    assert (notes_of(folder.path).title, notes_of(folder.path).tags) == ("Mine", ("new",))


def test_a_chain_is_placed_as_jobs_that_take_from_each_other(project: Project, web: TestClient) -> None:
    options = {"scale": 3, "smooth-numbers": {"width": 5}}
    filled = {"type": "totals", "options": options, "inputs": {"source": ["../a.txt"]}, "run": False}
    assert web.post(f"{API}/jobs", json=filled).json()["jobs"] == ["J001", "J002", "J003"]
    records = [project.job(name).head() for name in ("J001", "J002", "J003")]
    assert [record.type for record in records] == ["read-numbers", "smooth-numbers", "sum-numbers"]
    assert [record.options["scale"] for record in records[:2]] == [3, 3]
    assert records[1].options["width"] == 5
    assert records[1].wants == {"numbers": ["J001"]}
    assert records[2].wants == {"numbers": ["J002"]}
    assert asked_of(project.job("J001")) is None


def test_what_cannot_be_right_is_told_by_field(shown: Shown) -> None:
    web = shown.web
    filled = {"type": "smooth-numbers", "options": {"width": 0, "edge": {"mode": "odd"}, "none": 1}, "inputs": {}}
    told = web.post(f"{API}/validate", json=filled).json()
    assert {one["field"] for one in told["errors"]} == {
        "options.width",
        "options.edge.mode",
        "options.none",
        "inputs.numbers",
    }
    assert web.post(f"{API}/jobs", json=filled).status_code == 422
    good = {"type": "read-numbers", "options": {"scale": 1.0, "keep": [0, 2]}, "inputs": {"source": ["../a.txt"]}}
    told = web.post(f"{API}/validate", json=good).json()
    assert (told["errors"], told["changed"]) == ([], ["keep"])
    assert told["command"] == "thon read-numbers ../a.txt --scale 1.0 --keep 0,2"


def test_a_dry_run_tells_what_a_job_would_take(shown: Shown) -> None:
    web = shown.web
    filled = {"type": "smooth-numbers", "options": {"seconds": 3, "disk": 1000}, "inputs": {"numbers": ["J001"]}}
    told = web.post(f"{API}/dry-run", json=filled).json()
    assert (told["items"], told["disk"], told["seconds"]) == (2, 2000, 6)
    assert told["plans"][0]["plan"]["geometry"] == ["on a line"]
    assert len(shown.project.jobs()) == 2


def test_ports_are_offered_the_jobs_that_connect(shown: Shown) -> None:
    web = shown.web
    told = web.get(f"{API}/job-types/smooth-numbers/inputs").json()
    assert [one["job"] for one in told["numbers"]] == ["J002", "J001"]
    assert web.get(f"{API}/job-types/read-numbers/inputs").json() == {"source": []}


def test_a_job_type_is_described_with_units_and_defaults(shown: Shown) -> None:
    web = shown.web
    told = web.get("/api/v1/job-types/smooth-numbers").json()
    properties = told["options"]["properties"]
    assert properties["seconds"]["unit"] == "s"
    assert properties["flag_file"]["advanced"] is True
    assert properties["edge"]["properties"]["mode"]["enum"] == ["reflect", "zero"]
    first = {"name": "numbers", "type": "Numbers", "optional": False, "many": True, "takes_file": False}
    assert told["ports"][0] == first
    chain = web.get("/api/v1/job-types/totals").json()
    assert [step["name"] for step in chain["steps"]] == ["read-numbers", "smooth-numbers", "sum-numbers"]
    assert (chain["shared"], chain["ports"][0]["name"]) == (["scale"], "source")


def test_a_clone_differs_in_what_was_changed(ran: Path, web: TestClient, project: Project) -> None:
    answer = web.post(f"{API}/jobs/J002/clone", json={"options": {"width": 7}, "run": False})
    assert answer.json() == {"jobs": ["J003"]}
    before, after = project.job("J002").head(), project.job("J003").head()
    assert after.options == before.options | {"width": 7}
    assert after.items == before.items
    assert after.command == "thon clone J002 --set width=7"
    again = web.post(f"{API}/jobs/J002/repeat").json()["jobs"][0]
    assert project.job(again).head().options == before.options


def test_a_job_that_waits_is_held_released_stopped_and_removed(web: TestClient, project: Project) -> None:
    filled = {"type": "read-numbers", "inputs": {"source": ["../a.txt"]}}
    web.post(f"{API}/jobs", json=filled)
    assert web.post(f"{API}/jobs/J001/hold").json()["state"] == "held"
    assert asked_of(project.job("J001")) is None
    assert web.post(f"{API}/jobs/J001/release").json()["state"] == "waiting"
    assert web.post(f"{API}/jobs/J001/run", json={}).status_code == 200
    assert asked_of(project.job("J001")) is not None
    assert web.post(f"{API}/jobs/J001/stop").status_code == 200
    assert web.post(f"{API}/jobs/J001/stop").status_code == 409
    assert web.post(f"{API}/jobs/J001/run", json={"lane": "nowhere"}).status_code == 422
    web.post(f"{API}/jobs", json={"type": "smooth-numbers", "inputs": {"numbers": ["J001"]}, "run": False})
    assert web.delete(f"{API}/jobs/J001").status_code == 409
    assert web.delete(f"{API}/jobs/J002").status_code == 204
    assert web.delete(f"{API}/jobs/J001").status_code == 204
    assert project.jobs() == []


def test_a_job_that_is_wanted_is_not_removed(web: TestClient, project: Project) -> None:
    web.post(f"{API}/jobs", json={"type": "read-numbers", "inputs": {"source": ["../a.txt"]}})
    folder = project.job("J001")
    assert web.delete(f"{API}/jobs/J001").status_code == 409
    withdraw(folder)
    submission = new_submission(folder, "gpu")
    write_submission(folder, submission)
    assert web.delete(f"{API}/jobs/J001").status_code == 409
    write_submission(folder, submission.model_copy(update={"over": "cancelled"}))
    assert web.delete(f"{API}/jobs/J001").status_code == 204


def test_what_cannot_be_held_stays_asked_for(ran: Path, web: TestClient, project: Project) -> None:
    folder = project.job("J001")
    ask_to_run(folder)
    assert web.post(f"{API}/jobs/J001/hold").status_code == 409
    assert asked_of(folder) is not None


@pytest.mark.parametrize("more", [{"lane": "nowhere"}, {"after": ["J999"]}, {"after": ["../../x"]}])
def test_a_job_that_could_never_run_is_not_written(web: TestClient, project: Project, more: dict[str, object]) -> None:
    filled = {"type": "read-numbers", "inputs": {"source": ["../a.txt"]}}
    assert web.post(f"{API}/jobs", json=filled | more).status_code == 422
    assert project.jobs() == []


def test_a_finished_job_is_not_run_again(ran: Path, web: TestClient) -> None:
    for action in ("run", "resume", "restart", "hold"):
        assert web.post(f"{API}/jobs/J002/{action}").status_code == 409, action
    assert web.delete(f"{API}/jobs/J002").status_code == 409
    record = (ran / "job.json").read_bytes()
    assert web.patch(f"{API}/jobs/J002", json={"note": "all well"}).json()["notes"] == 1
    assert (ran / "job.json").read_bytes() == record


def test_items_come_in_any_order_a_page_at_a_time(shown: Shown) -> None:
    web = shown.web
    page = web.get(f"{API}/jobs/J001/items", params={"limit": 2}).json()
    assert [one["item"] for one in page["items"]] == ["a", "b"]
    assert (page["total"], page["states"]) == (3, {"done": 2, "failed": 1})
    rest = web.get(f"{API}/jobs/J001/items", params={"limit": 2, "after": page["next"]}).json()
    assert [one["item"] for one in rest["items"]] == ["bad"]
    assert "no number" in rest["items"][0]["message"]
    assert rest["next"] is None
    failed = web.get(f"{API}/jobs/J001/items", params={"state": "failed"}).json()
    assert (failed["total"], failed["items"][0]["item"]) == (1, "bad")
    down = web.get(f"{API}/jobs/J001/items", params={"sort": "item", "down": True}).json()
    assert [one["item"] for one in down["items"]] == ["bad", "b", "a"]
    pictures = [one["tile"] for one in web.get(f"{API}/jobs/J002/items").json()["items"]]
    assert pictures == ["previews/a/numbers.png", "previews/b/numbers.png"]
    assert web.get(f"{API}/jobs/J002/files/{pictures[0]}").headers["content-type"] == "image/png"
    assert web.get(f"{API}/jobs/J001/items", params={"sort": "nothing"}).status_code == 422
    assert web.get(f"{API}/jobs/J001/items", params={"after": "x"}).status_code == 422


def test_files_come_whole_and_in_part(shown: Shown) -> None:
    web = shown.web
    text = (shown.smoothed / "outputs" / "a" / "smooth.txt").read_bytes()
    url = f"{API}/jobs/J002/files/outputs/a/smooth.txt"
    assert web.get(url).content == text
    part = web.get(url, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, text[2:6])
    assert "attachment" in web.get(url, params={"download": True}).headers["content-disposition"]
    names = [one["name"] for one in web.get(f"{API}/jobs/J002/files").json()["entries"]]
    assert {"job.json", "outputs", "events.jsonl"} <= set(names)


def test_a_page_among_the_files_is_never_shown(shown: Shown) -> None:
    web = shown.web
    answer = web.get(f"{API}/jobs/J002/files/outputs/a/report.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_folder_comes_as_one_file(shown: Shown, form: str) -> None:
    web = shown.web
    data = io.BytesIO(web.get(f"{API}/jobs/J002/archive", params={"form": form}).content)
    wanted = {
        str(path.relative_to(shown.smoothed / "outputs")): path.read_bytes()
        for path in (shown.smoothed / "outputs").rglob("*.*")
    }
    prefix = f"{shown.smoothed.name}-outputs/"
    if form == "tar":
        with tarfile.open(fileobj=data) as tar:
            found = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]
    else:
        with zipfile.ZipFile(data) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
    assert {name.removeprefix(prefix): content for name, content in found.items()} == wanted


def test_events_and_logs_are_read_on_from_where_they_were_left(ran: Path, web: TestClient, project: Project) -> None:
    first = web.get(f"{API}/jobs/J002/events", params={"limit": 2}).json()
    assert [event["kind"] for event in first["events"]] == ["started", "item_started"]
    rest = web.get(f"{API}/jobs/J002/events", params={"after": first["next"]}).json()
    assert rest["events"][-1]["kind"] == "finished"
    project.job("J002").emit(Log(text="one more"))
    more = web.get(f"{API}/jobs/J002/events", params={"after": rest["next"]}).json()
    assert [event["text"] for event in more["events"]] == ["one more"]
    last = web.get(f"{API}/jobs/J002/events", params={"last": True, "limit": 1}).json()
    assert last["events"] == more["events"]
    logs = [one["path"] for one in web.get(f"{API}/jobs/J001/logs").json()]
    assert "errors/bad.log" in logs
    log = web.get(f"{API}/jobs/J001/logs/errors/bad.log").json()
    assert "InputError" in log["text"]
    assert web.get(f"{API}/jobs/J001/logs/errors/bad.log", params={"after": log["next"] + 1}).status_code == 404


def test_history_cost_and_questions(shown: Shown) -> None:
    web = shown.web
    told = web.get(f"{API}/why", params={"file": f"{shown.smoothed.name}/outputs/a/smooth.txt"}).json()
    assert ([step["job"] for step in told["chain"]], told["item"]) == (["J002", "J001"], "a")
    assert told["raw"] == [{"folder": "..", "count": 1, "bytes": 7}]
    assert web.get(f"{API}/why", params={"file": "../../etc/passwd"}).status_code == 404
    cost = web.get(f"{API}/cost", params={"by": "type"}).json()
    assert {row["name"]: row["jobs"] for row in cost} == {"read-numbers": 1, "smooth-numbers": 1}
    rows = web.get(f"{API}/sql", params={"query": "SELECT job FROM jobs ORDER BY job", "limit": 1}).json()
    assert rows == {"columns": ["job"], "rows": [["J001"]], "more": True}
    assert web.get(f"{API}/sql", params={"query": "DELETE FROM jobs"}).status_code == 422
    assert web.get(f"{API}/jobs").json()["total"] == 2


def test_the_graph_has_an_edge_for_what_a_job_takes_or_waits_for(ran: Path, web: TestClient) -> None:
    web.post(f"{API}/jobs", json={"type": "sum-numbers", "inputs": {"numbers": ["J002"]}, "run": False})
    edges = {(one["source"], one["target"]): one["count"] for one in web.get(f"{API}/graph").json()["edges"]}
    assert edges == {("J001", "J002"): 2, ("J002", "J003"): 0}


def test_cleaning_is_told_before_it_is_done(ran: Path, web: TestClient) -> None:
    (ran / "checkpoints").mkdir()
    (ran / "checkpoints" / "state").write_bytes(bytes(1000))
    told = web.post(f"{API}/clean", json={}).json()
    assert (told["bytes"], told["removed"][0]["what"], told["dry_run"]) == (1000, ["checkpoints"], True)
    assert (ran / "checkpoints").exists()
    assert web.post(f"{API}/clean", json={"outputs": True}).status_code == 409
    web.post(f"{API}/jobs/J002/keep")
    assert web.get(f"{API}/jobs/J002").json()["final"] is True
    assert web.post(f"{API}/clean", json={"dry_run": False}).json()["bytes"] == 1000
    assert not (ran / "checkpoints").exists()


def test_a_workflow_goes_from_one_project_to_the_same_again(ran: Path, web: TestClient, project: Project) -> None:
    text = web.get(f"{API}/workflow", params={"job": "J002"}).text
    asked = web.post(f"{API}/workflow/inputs", json={"text": text}).json()
    assert list(asked) == ["source"]
    given = {"text": text, "inputs": {"source": ["../a.txt"]}, "run": False}
    assert web.post(f"{API}/workflow", json=given).json() == {"jobs": ["J003", "J004"]}
    assert project.job("J004").head().options == project.job("J002").head().options
    assert web.post(f"{API}/workflow", json={"text": "jobs: ["}).status_code == 422


def test_files_are_chosen_below_the_roots_alone(web: TestClient, project: Project, tmp_path: Path) -> None:
    told = web.get(f"{API}/browse").json()
    assert told["path"] == str(project.root.parent)
    assert {"a.txt", "project"} <= {one["name"] for one in told["entries"]}
    (tmp_path / "out").symlink_to("/etc")
    for path in ("/etc", str(tmp_path / "out"), f"{tmp_path}/../../.."):
        assert web.get(f"{API}/browse", params={"path": path}).status_code == 403, path
    assert web.get(f"{API}/browse", params={"path": str(tmp_path / "none")}).status_code == 404


def test_a_file_is_sent_whole_under_a_clean_name(web: TestClient, project: Project) -> None:
    answer = web.put(f"{API}/uploads/..%2F..%2Fgain file.mrc", content=b"data")
    assert answer.status_code in (201, 404)
    answer = web.put(f"{API}/uploads/gain file.mrc", content=b"data")
    assert answer.json()["path"] == "uploads/gain_file.mrc"
    assert (project.root / "uploads" / "gain_file.mrc").read_bytes() == b"data"
    assert web.put(f"{API}/uploads/gain file.mrc", content=b"other").status_code == 409
    assert [path.name for path in (project.root / "uploads").iterdir()] == ["gain_file.mrc"]
    assert not (project.root.parent / "gain_file.mrc").exists()
    answer = web.put(f"{API}/uploads/{'é' * 190}", content=b"data")
    assert (answer.status_code, answer.json()["name"]) == (201, "é" * 100)


def test_the_disk_is_not_waited_for_where_all_are_served(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        source.rename(target)

    monkeypatch.setattr("thon.web.api.browse.os.link", link)
    assert web.put(f"{API}/uploads/gain.mrc", content=b"data").status_code == 201


def test_nonsense_is_refused_with_words(shown: Shown) -> None:
    def after(*value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()

    for url, query in (
        ("jobs/J001/items", {"after": after(10**30, "a")}),
        ("jobs/J001/items", {"after": after("a", "\ud800")}),
        ("why", {"file": "/" + "a" * 1900}),
    ):
        assert shown.web.get(f"{API}/{url}", params=query).status_code in (404, 422), (url, query)
    told = shown.web.get(f"{API}/jobs/J001/events", params={"after": 1 << 60}).json()
    assert told == {"events": [], "next": 1 << 60}
    assert shown.web.get(f"{API}/sql", params={"query": "select x'ff00'"}).json()["rows"] == [["ff00"]]
    body = b'{"type": "read-numbers", "options": {"weights": "\\ud800"}}'
    for url in ("validate", "jobs"):
        answer = shown.web.post(f"{API}/{url}", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, "half a character" in answer.json()["what"]) == (422, True)
    assert shown.web.patch(f"{API}/jobs/J001", json={"add": ["word\n"]}).status_code == 422


def test_a_file_that_may_not_be_read_is_refused(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thon.web.paths.os.access", lambda path, mode: False)
    assert shown.web.get(f"{API}/jobs/J002/files/job.json").status_code == 403


def test_a_time_that_is_none_is_shown_as_it_is(ran: Path, web: TestClient) -> None:
    record = json.loads((ran / "job.json").read_text()) | {"created": "junk", "started": "junk"}
    (ran / "job.json").chmod(0o644)
    (ran / "job.json").write_text(json.dumps(record, indent=1))
    answer = web.get("/p/project/log", headers={"accept": "text/html"})
    assert (answer.status_code, "junk" in answer.text) == (200, True)


def test_projects_are_told_of_without_being_opened(ran: Path, project: Project, serve: Servers) -> None:
    web = serve(project.root.parent)
    (told,) = web.get("/api/v1/projects").json()
    assert web.app.state.site.if_open("project") is None
    assert (told["jobs"], told["states"]) == (2, {"failed": 1, "finished": 1})
    assert web.get(API).json() == told


def test_a_project_that_is_slow_to_open_keeps_no_other_waiting(
    project: Project, serve: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Project.create(project.root.parent / "slow")
    site = serve(project.root.parent).app.state.site
    begun, answers, opened = threading.Event(), threading.Event(), Project.open

    def slowly(folder: Path) -> Project:
        if folder.name == "slow":
            begun.set()
            assert answers.wait(20)
        return opened(folder)

    monkeypatch.setattr("thon.web.site.Project.open", slowly)
    slow = in_thread(site.project, "slow")
    assert begun.wait(20)
    assert in_thread(site.project, "project").result(10).name == "project"
    answers.set()
    assert slow.result(20).name == "slow"


def test_projects_are_listed_and_made_in_a_folder(tmp_path: Path, serve: Servers) -> None:
    web = serve(tmp_path)
    assert web.get("/api/v1/projects").json() == []
    assert web.post("/api/v1/projects", json={"name": "new"}).status_code == 201
    assert web.post("/api/v1/projects", json={"name": "new"}).status_code == 409
    for name in ("../up", "", ".hidden", "a/b", "a\n"):
        assert web.post("/api/v1/projects", json={"name": name}).status_code == 422, name
    assert [one["name"] for one in web.get("/api/v1/projects").json()] == ["new"]
    assert json.loads((tmp_path / "new" / "project.json").read_bytes())["format"] == 1


def test_lanes_are_listed_and_a_session_is_told_things(web: TestClient, project: Project) -> None:
    (project.root / ".thon" / "lanes.toml").write_text('default = "gpu"\n[gpu]\npartition = "gpu"\nprice = 1.5\n')
    lanes = {one["name"]: one for one in web.get(f"{API}/lanes").json()}
    assert (lanes["gpu"]["default"], lanes["gpu"]["options"]["price"], lanes["local"]["kind"]) == (True, 1.5, "local")
    assert web.post(f"{API}/lanes/none/test").status_code == 422
    told = web.get(f"{API}/live").json()
    assert (told["running"], told["status"], told["control"]["paused"]) == (False, None, False)
    limit = {"step": "ctf-fit", "value": "fit.resolution", "min": None, "max": 8.0}
    assert web.patch(f"{API}/live/control", json={"paused": True, "thresholds": [limit]}).status_code == 200
    told = web.patch(f"{API}/live/control", json={"workers": 3}).json()
    assert (told["paused"], told["workers"], told["thresholds"]) == (True, 3, [limit])
    for workers in (0, 4097):
        assert web.patch(f"{API}/live/control", json={"workers": workers}).status_code == 422
    assert web.post(f"{API}/live/stop").status_code == 409
    assert web.post(f"{API}/live/start", json={"chain": "ctf-fit", "location": ".."}).status_code == 409
    assert web.get(f"{API}/live/series").json() == {"points": [], "more": False}


def test_a_trial_on_a_full_disk_tells_so(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("thon.engine.lanes.trial.Path.write_text", full)
    monkeypatch.setattr("thon.engine.lanes.trial.subprocess.run", lambda *_, **__: SimpleNamespace(stderr=""))
    (trouble,) = web.post(f"{API}/lanes/local/test").json()["troubles"]
    assert os.strerror(errno.ENOSPC) in trouble


def test_a_question_without_end_is_given_up(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thon.web.api.projects.SECONDS", 0.2)
    endless = "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n) SELECT count(*) FROM n"
    answer = shown.web.get(f"{API}/sql", params={"query": endless})
    assert (answer.status_code, answer.json()["got"]) == (422, "interrupted")
    assert shown.web.get(f"{API}/sql", params={"query": "SELECT 1"}).json()["rows"] == [[1]]
