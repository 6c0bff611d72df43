"""`thon watch-samples FOLDER`, a live chain of dummies, as a process that is killed, interrupted and doubled."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thon.cli.live_view import TableView, drawn
from thon.cli.main import main
from thon.engine.live.status import GroupStatus, LiveStatus, Said, StageStatus
from thon.job.folder import JobFolder

QUICK = ("--settle", "0.1", "--poll", "0.05", "--workers", "1", "--backoff", "0.1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for k in range(6):
        (tmp_path / "in" / f"a{k}.smp").write_text(f"A {k} END")
    return tmp_path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(*typed: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "thon.cli.main", "watch-samples", "in", "-o", "OUT", *QUICK, *typed]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait(look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def children(pid: int) -> list[int]:
    """Processes that run and whose parent is this one."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after[1] == str(pid) and after[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def done(job: str, here: Path) -> list[str]:
    folders = list(here.glob(f"OUT/{job}-*"))
    return JobFolder(folders[0]).items() if folders else []


class TestProcesses:
    def test_kill_9_of_the_watcher_and_a_second_watcher(
        self, here: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        watcher = start("--idle", "60", "--double-seconds", "0.5", "--workers", "2")
        wait(lambda: len(done("J002", here)) >= 2)
        second = start("--idle", "0")
        _, said = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another live session writes into this project" in said
        assert f'"pid": {watcher.pid}' in said
        workers = children(watcher.pid)
        assert len(workers) >= 2
        watcher.kill()
        watcher.wait()
        wait(lambda: not any(alive(pid) for pid in workers))
        assert JobFolder(next(here.glob("OUT/J002-*"))).state() == "interrupted"
        again = start("--idle", "0", "--double-seconds", "0.5")
        _, said = again.communicate(timeout=60)
        assert again.returncode == 0, said
        assert "Continued: " in said
        assert done("J004", here) == ["A"]
        assert next(here.glob("OUT/J004-*/outputs/A/total.txt")).read_text() == "30.0\n"
        for job in here.glob("OUT/J00*"):
            items = [event.item for event in JobFolder(job).events() if event.kind == "item_done"]
            assert len(items) == len(set(items)), job
            assert JobFolder(job).state() == "finished"
            assert not list(job.rglob(".tmp-*"))

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP])
    def test_ctrl_c_or_a_closed_terminal_ends_cleanly_with_a_summary(
        self, here: Path, start: Callable[..., subprocess.Popen[str]], sent: signal.Signals
    ) -> None:
        watcher = start("--idle", "60", "--double-seconds", "30")
        wait(lambda: list(here.glob("OUT/J002-*/outputs/.tmp-*/twice.txt")))
        begun = time.monotonic()
        watcher.send_signal(sent)
        _, said = watcher.communicate(timeout=60)
        assert time.monotonic() - begun < 20
        assert watcher.returncode == 130
        assert "Session interrupted. Done: read-samples" in said
        assert json.loads((here / "OUT/live.json").read_text())["state"] == "interrupted"
        assert JobFolder(next(here.glob("OUT/J002-*"))).head().state == "interrupted"
        assert not list(here.glob("OUT/J00*/**/.tmp-*"))


class TestCommand:
    def test_the_whole_and_what_show_and_jobs_say_of_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("in/bad.smp").write_text("A x END")
        assert main(["watch-samples", "in", "-o", "OUT", *QUICK, "--idle", "0", "--no-interim"]) == 2
        out, err = capsys.readouterr()
        assert out == "Results      OUT\n"
        assert "error: read-samples bad" in err
        assert main(["show", "OUT/J001"]) == 0
        shown = capsys.readouterr().out
        assert "holds no number" in shown
        assert "in/a0.smp" in shown
        assert main(["jobs", "OUT", "--json"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["state"], row["done"], row["items"]) for row in rows] == [
            ("failed", 6, 7),
            ("finished", 6, 6),
            ("finished", 1, 1),
            ("finished", 1, 1),
        ]
        assert main(["repeat", "OUT/J002", "--quiet"]) == 0
        again = JobFolder(Path("OUT/J005-double-sample"))
        assert again.items() == [f"a{k}" for k in range(6)]
        assert again.head().live is None

    def test_json_is_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["watch-samples", "in", "-o", "OUT", *QUICK, "--idle", "0", "--json"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {"said", "status", "results"} == {line["kind"] for line in lines}
        assert lines[-2]["stages"][0]["done"] == 6

    def test_dry_run_says_what_is_there_and_writes_nothing(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("in/bad.smp").write_text("A x END")
        before = sorted(here.rglob("*"))
        assert main(["watch-samples", "in", "-o", "OUT", "--dry-run"]) == 2
        out = capsys.readouterr().out
        assert "7 files, 7 items" in out
        assert "6 samples" in out
        assert "holds no number" in out
        assert sorted(here.rglob("*")) == before

    def test_help_has_the_flags_of_the_session_and_of_all_steps(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["watch-samples", "--help"]) == 0
        out = capsys.readouterr().out
        for said in (
            "Watching",
            "--idle",
            "--series-idle",
            "--double-seconds",
            "--refine-seconds",
            "--upper",
            "--seed",
        ):
            assert said in out
        assert "--start" not in out
        assert "--threads" not in out

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("watch-samples none -o OUT", "no such folder"),
            ("watch-samples in -o OUT --settle -1", "--settle: must be"),
        ],
    )
    def test_mistakes(self, capsys: pytest.CaptureFixture[str], typed: str, said: str) -> None:
        assert main(typed.split()) == 2
        assert said in capsys.readouterr().err


def test_the_table_shows_steps_groups_and_what_was_said() -> None:
    from rich.console import Console  # noqa: PLC0415

    stage = StageStatus("motion", "Motion", "J002-motion", 4, 2, 31, 1, 120.0, 180.0)
    group = GroupStatus("TS_01", 2, 5, 0, complete=False)
    said = Said(time.time(), "error", "motion m7: is [cut] short")
    status = LiveStatus(
        "paused", "the disk is full", "in", 0.0, 1.0, 1, "h", 40, 38, 2, 2, (stage,), (group,), (), (said,)
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(drawn(status, [said]))
    text = console.export_text()
    for part in ("paused: the disk is full", "Motion", "31", "120", "3 min", "TS_01 5/7", "is [cut] short"):
        assert part in text, text
    with TableView() as view:
        view.say(said)
        view.show(status)
