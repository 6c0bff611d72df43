"""Events survive kills and several writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from thon.job.events import Finished, Log, Progress, Warned, append_event, parse_event, read_events


def test_events_come_back_as_their_own_types(tmp_path: Path) -> None:
    written = [
        Log(item="a", text="größer\nzwei"),
        Warned(text="w"),
        Progress(item="a", done=1, total=3),
        Finished(seconds=2),
    ]
    for event in written:
        append_event(tmp_path / "events.jsonl", event)
    assert list(read_events(tmp_path / "events.jsonl")) == written


def test_a_torn_line_is_skipped_and_the_next_event_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, Log(text="one"))
    with path.open("ab") as file:
        file.write(b'{"kind":"log","te')
    append_event(path, Log(text="two"))
    assert [event.text for event in read_events(path) if event.kind == "log"] == ["one", "two"]


def test_an_event_of_a_newer_version_is_skipped() -> None:
    assert parse_event(b'{"kind":"levitated","time":1}') is None


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: append_event(path, Log(text=f"{k}" * 50)), range(200)))
    assert len(list(read_events(path))) == 200


def test_no_file_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none")) == []
