"""`--lane`, `thon lanes`, `thon stop` and `thon append`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.lane_here import LaneHere
from thon.cli.main import main
from thon.engine.lanes.options import LaneOptions
from thon.engine.waiting import needs_of
from thon.job.folder import JobFolder
from thon.project.project import Project

Run = Callable[..., tuple[int, str, str]]

LANES = """
default = "desk"

[desk]
kind = "local"
price = 0.5

[slurm-gpu]
partition = "gpu"
gpus = 1
memory = 64
price = 1.12
currency = "EUR"
next = "desk"
patience = 30
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7")):
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "lanes.toml").write_text(LANES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THON_METADATA", "none")
    monkeypatch.setenv("THON_LANES", str(tmp_path / "lanes.toml"))
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, LaneHere]:
    """The lanes that were opened; all of them run jobs in this process."""
    lanes: dict[str, LaneHere] = {}

    def open_here(options: LaneOptions, name: str) -> LaneHere:
        return lanes.setdefault(name, LaneHere())

    monkeypatch.setattr("thon.engine.lanes.open.LocalLane", open_here)
    monkeypatch.setattr("thon.engine.slurm.lane.SlurmLane", open_here)
    return lanes


@pytest.fixture
def thon(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*typed: str) -> tuple[int, str, str]:
        code = main(typed)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_every_command_that_runs_a_job_runs_it_on_a_lane(thon: Run, opened: dict[str, LaneHere]) -> None:
    assert thon("numbers", "a.txt", "-o", "p", "--lane", "slurm-gpu", "-q")[0] == 0
    assert opened["slurm-gpu"].started == ["J001-read-numbers", "J002-smooth-numbers"]
    for words in (
        ("repeat", "p/J001", "--lane", "slurm-gpu"),
        ("clone", "p/J001", "-o", "p", "--lane", "slurm-gpu"),
        ("clone", "p/J002", "-o", "p", "--no-run"),
        ("run", "J005", "-o", "p", "--lane", "slurm-gpu"),
        ("append", "p/J001", "-o", "p", "--input", "source=b.txt", "--lane", "slurm-gpu"),
    ):
        code, _, err = thon(*words, "-q") if "--no-run" not in words else thon(*words)
        assert code == 0, err
    started = [name[:4] for name in opened["slurm-gpu"].started]
    assert started == ["J001", "J002", "J003", "J004", "J005", "J006"]
    assert not list(Path("p").glob("J*/asked.json"))
    assert JobFolder(Path("p/J006-read-numbers")).items() == ["a", "b"]


def test_a_job_that_waits_for_another(thon: Run, opened: dict[str, LaneHere]) -> None:
    assert thon("read-numbers", "a.txt", "-o", "p", "-q")[0] == 0
    assert thon("clone", "p/J001", "-o", "p", "--no-run")[0] == 0
    assert thon("read-numbers", "b.txt", "-o", "p", "--after", "p/J001", "-q")[0] == 0
    assert opened["desk"].started == ["J003-read-numbers"]
    assert JobFolder(Path("p/J003-read-numbers")).read().after == ["J001"]
    code, _, err = thon("read-numbers", "b.txt", "-o", "p", "--seed", "2", "--after", "p/J009", "-q")
    assert (code, "no job 'J009'" in err) == (2, True)


def test_jobs_that_name_none_go_to_the_default(thon: Run, opened: dict[str, LaneHere]) -> None:
    assert thon("read-numbers", "a.txt", "-o", "p", "-q")[0] == 0
    assert opened == {}, "a command without a lane runs its job here, at once"
    assert thon("clone", "p/J001", "-o", "p", "-q")[0] == 0
    assert list(opened) == ["desk"]


def test_a_lane_that_is_not_there_is_told_before_anything_is_written(thon: Run) -> None:
    code, _, err = thon("read-numbers", "a.txt", "-o", "p", "--lane", "slurm-gup")
    assert (code, "did you mean slurm-gpu?" in err) == (2, True)
    assert Project(Path("p")).jobs() == []


def test_the_list(thon: Run) -> None:
    code, out, err = thon("lanes")
    assert code == 0
    rows = [line.split("  ") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["lane", "local", "desk (default)", "slurm-gpu"]
    assert "1 GPU of any type, 64 GB" in out
    assert "1.12 EUR" in out
    assert "desk after 30 min" in out
    assert err.strip().endswith("lanes.toml")


def test_the_script_of_a_job(thon: Run, here: Path) -> None:
    assert thon("read-numbers", "a.txt", "-o", "p", "-q")[0] == 0
    code, out, _ = thon("lanes", "show", "slurm-gpu", "--job", "J001", "-o", "p")
    assert code == 0
    assert f"--chdir={here}/p/J001-read-numbers" in out
    assert "gpu:" not in out, "this job uses no GPU"
    assert needs_of(JobFolder(Path("p/J001-read-numbers"))).gpus == 0
    assert "--gres=gpu:1" in thon("lanes", "show", "slurm-gpu")[1]
    code, _, err = thon("lanes", "show", "desk")
    assert (code, "this machine, which needs no script" in err) == (2, True)


def test_a_trial_here_and_one_without_slurm(thon: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = thon("lanes", "test", "desk", "--json")
    told = json.loads(out)
    assert (code, told["troubles"], told["reports"][0]["price"]) == (0, [], 0.5)
    monkeypatch.setenv("PATH", str(here))
    code, _, err = thon("lanes", "test", "slurm-gpu")
    assert (code, "there is no sbatch on this machine" in err) == (1, True)


def test_stop_of_what_does_not_run(thon: Run) -> None:
    assert thon("read-numbers", "a.txt", "-o", "p", "-q")[0] == 0
    code, _, err = thon("stop", "J001", "-o", "p")
    assert (code, "this job does not run" in err) == (1, True)
