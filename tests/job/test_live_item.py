"""One item of a session: done once for what it is made from, and never from a file that moves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from thon.job.events import Log
from thon.job.fingerprint import fingerprint
from thon.job.folder import JobFolder, replace_folder
from thon.job.items_file import ItemLine, hash_inputs, read_items, with_items
from thon.job.lines import append_line
from thon.job.live_item import Task, run_task, run_tasks, stamp
from thon.job.plan import Resources
from thon.job.record import ItemResult, JobRecord, Reference, RunRecord, RunSettings, Software


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "a.smp").write_text("A 1 END")
    folder = JobFolder(tmp_path / "OUT" / "J001-read-samples")
    folder.path.mkdir(parents=True)
    record = JobRecord(
        id="J001",
        type="read-samples",
        title="",
        options={"upper": False},
        settings=RunSettings(),
        items={},
        inputs={},
        software=Software(version="1"),
        created="",
        live="../",
    )
    folder.write(record)
    return folder


def task(folder: JobFolder, **changes: object) -> Task:
    file = folder.root.parent / "a.smp"
    given = {
        "path": folder.path,
        "item": "a",
        "inputs": {"sample": [Reference(file="../a.smp")]},
        "basis": "",
        "origins": {"../a.smp": stamp(file)},
        "attributes": ("series",),
        "resources": Resources(1, 10**9),
    }
    return Task(**(given | changes))  # type: ignore[arg-type]


class TestAttempt:
    def test_it_is_done_and_its_folder_says_of_what(self, folder: JobFolder) -> None:
        attempt = run_task(task(folder))
        assert (attempt.ending, attempt.line.attributes) == ("done", {"series": "A"})
        assert attempt.line.fingerprints == {"../a.smp": fingerprint(folder.root.parent / "a.smp")}
        kept = ItemLine.model_validate_json((folder.outputs / "a" / "item.json").read_bytes())
        assert (kept.basis, kept.version) == (attempt.line.basis, attempt.line.version)
        assert folder.output("a").value == 1.0

    def test_again_it_is_kept_and_a_touch_changes_nothing(self, folder: JobFolder) -> None:
        first = run_task(task(folder)).line
        file = folder.root.parent / "a.smp"
        os.utime(file, (1e9, 1e9))
        again = run_task(task(folder))
        assert (again.ending, again.line.basis, again.line.version) == ("kept", first.basis, first.version)
        assert again.line.fingerprints["../a.smp"].modified == 10**18
        assert sum(event.kind == "item_done" for event in folder.events()) == 1

    def test_other_content_replaces_what_was_there(self, folder: JobFolder) -> None:
        first = run_task(task(folder)).line
        (folder.root.parent / "a.smp").write_text("A 2 END")
        again = run_task(task(folder))
        assert (again.ending, folder.output("a").value) == ("done", 2.0)
        assert again.line.version != first.version
        assert folder.items() == ["a"]
        assert not list(folder.path.rglob(".tmp-*"))

    def test_what_lies_beside_counts_by_what_was_read_from_it(self, folder: JobFolder) -> None:
        beside = folder.root.parent / "x.list"
        inputs = {"sample": [Reference(file="../a.smp")], "listing": [Reference(file="../x.list")]}
        versions: list[str] = []
        for text in ("a 3\n", "a 3\nb 1\n", "a 4\nb 1\n"):
            beside.write_text(text)
            attempt = run_task(task(folder, inputs=inputs))
            assert attempt.ending == "done"
            versions.append(attempt.line.version)
        assert versions[0] == versions[1] != versions[2]
        assert folder.output("a").value == 4.0

    def test_a_file_that_is_not_what_was_seen_is_not_read(self, folder: JobFolder) -> None:
        attempt = run_task(task(folder, origins={"../a.smp": (7, 1)}))
        assert attempt.ending == "changed"
        assert folder.items() == []

    def test_a_file_that_is_written_while_it_is_read_yields_nothing(
        self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = folder.root.parent / "a.smp"
        asked = task(folder)

        def written(self: JobFolder, place: Path, record: object) -> str:
            real.write_text("A 9 END")
            os.utime(real, ns=(asked.origins["../a.smp"][1],) * 2)
            return ""

        monkeypatch.setattr(JobFolder, "write_record", written)
        attempt = run_task(asked)
        assert (attempt.ending, attempt.line.result.message) == ("changed", "a file was written while it was read")
        assert folder.items() == []
        assert not list(folder.path.rglob(".tmp-*"))

    def test_what_an_earlier_session_gave_out_does_not_replace_what_a_later_one_made(
        self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = JobFolder.write_record

        def taken_up(self: JobFolder, place: Path, yielded: object) -> str:
            record = folder.head()
            record.runs.append(RunRecord(started="later"))
            folder.write(record)
            return real(self, place, yielded)

        monkeypatch.setattr(JobFolder, "write_record", taken_up)
        attempt = run_task(task(folder))
        assert (attempt.ending, folder.items()) == ("failed", [])
        assert "another session" in attempt.line.result.message

    def test_a_fault_is_told_and_ends_a_row_of_tasks(self, folder: JobFolder) -> None:
        (folder.root.parent / "a.smp").write_text("A 1")
        attempts = run_tasks([task(folder), task(folder)])
        assert [one.ending for one in attempts] == ["failed"]
        assert attempts[0].line.result.exit_code == 2
        assert "cut short" in (folder.path / "errors" / "a.log").read_text()

    def test_an_interim_result_is_kept_apart(self, folder: JobFolder) -> None:
        assert run_task(task(folder, interim=True)).ending == "done"
        assert folder.items() == []
        assert JobFolder(folder.path, interim=True).output("a").value == 1.0
        assert not any(event.kind == "item_done" for event in folder.events())


class TestLines:
    def test_the_last_line_of_an_item_counts_and_a_cut_one_does_not(self, folder: JobFolder) -> None:
        for state in ("failed", "done"):
            line = ItemLine(item="a", inputs={}, result=ItemResult(state=state))
            append_line(folder.items_file, line.model_dump_json())
        with folder.items_file.open("a") as file:
            file.write('{"item": "b", "inp')
        append_line(folder.items_file, ItemLine(item="c", inputs={}, result=ItemResult(state="done")).model_dump_json())
        record = folder.read()
        assert {item: result.state for item, result in record.results.items()} == {"a": "done", "c": "done"}
        assert folder.head().results == {}
        assert [line.item for line in read_items(folder.items_file)] == ["a", "a", "c"]
        assert with_items(folder.head(), []).items == {}

    def test_the_hash_of_inputs_knows_ports_names_and_content_but_no_warm_start(self) -> None:
        one, other = Reference(job="J001", item="a"), Reference(job="J001", item="b")
        known = {"J001/a": "1", "J001/b": "2"}
        base = hash_inputs({"x": [one]}, known)
        assert base == hash_inputs({"x": [one], "start": [Reference(job="J2", item="a", interim=True)]}, known)
        assert len({base, hash_inputs({"y": [one]}, known), hash_inputs({"x": [other]}, known)}) == 3
        assert base != hash_inputs({"x": [one]}, {"J001/a": "3"})

    def test_an_event_is_a_line(self, folder: JobFolder) -> None:
        folder.emit(Log(item="a", text="hello"))
        assert json.loads(folder.events_file.read_text())["text"] == "hello"


def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for swap in (True, False):
        if not swap:
            monkeypatch.setattr("thon.job.folder._exchange", lambda one, other: False)
        for name in ("new", "old"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{name}{swap}").touch()
        replace_folder(tmp_path / "new", tmp_path / "old")
        assert [path.name for path in (tmp_path / "old").iterdir()] == [f"new{swap}"]
        assert [path.name for path in tmp_path.iterdir()] == ["old"]
