"""The commands that ask a project's index, keep house, and run what waits, as typed."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Never

import pyarrow.parquet as pq
import pytest

import thon.engine.run as engine_run
from tests.engine.lane_here import LaneHere
from thon.cli.main import main
from thon.job import hardware
from thon.job.events import Event
from thon.job.folder import JobFolder
from thon.job.worker import run as run_worker

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THON_METADATA", "none")
    monkeypatch.setenv("THON_PRICE", "3600")
    monkeypatch.delenv("THON_DATABASE", raising=False)
    hardware._word.cache_clear()
    return tmp_path


@pytest.fixture
def thon(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run_here(folder: JobFolder, watch: Callable[[JobFolder, Event], None]) -> int:
        seen = len(list(folder.events()))
        code = run_worker(folder)
        for event in list(folder.events())[seen:]:
            watch(folder, event)
        return code

    monkeypatch.setattr(engine_run, "run_local", run_here)
    monkeypatch.setattr("thon.engine.lanes.open.LocalLane", lambda options, name: LaneHere())

    def run(*typed: str) -> tuple[int, str, str]:
        code = main(typed)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def made() -> dict[str, Path]:
    """Where the project was made, once that is done."""
    return {}


@pytest.fixture
def project(thon: Run, here: Path, made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Samples read and doubled, with a number in each record, and numbers summed."""
    if not made:
        Path("s.txt").write_text("- 3.987 END")
        thon("read-samples", "s.txt", "-o", "OUT", "-q")
        thon("double-sample", "OUT/J001", "-q")
        thon("totals", "a.txt", "b.txt", "-o", "OUT", "--scale", "2", "-q")
        thon("log", "-o", "OUT")
        made["folder"] = shutil.copytree(here, tmp_path_factory.mktemp("made") / "here")
    shutil.copytree(made["folder"], here, dirs_exist_ok=True)
    return "OUT"


class TestAsking:
    """What ran, what it cost, and where a file came from."""

    def test_what_the_run_that_came_to_a_number_cost_and_which_command_made_it(self, thon: Run, project: str) -> None:
        code, out, err = thon("log", "-o", project, "--where", "value=3.99")
        assert code == 0, err
        head, line = out.splitlines()
        assert head.split() == ["job", "type", "state", "when", "by", "on", "took", "cost", "value", "command"]
        words = line.split()
        assert words[:3] == ["J001", "read-samples", "finished"]
        assert " 3.987  thon read-samples ../s.txt -o . -q" in line
        cost = next(float(words[k]) for k in range(len(words)) if words[k + 1] == "USD")
        assert cost == pytest.approx(
            json.loads(thon("log", "-o", project, "--json")[1].splitlines()[0])["seconds"], abs=0.01
        )

    def test_the_command_that_is_told_can_be_typed_in_the_projects_folder(
        self, thon: Run, project: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [json.loads(line) for line in thon("log", "-o", project, "--json")[1].splitlines()]
        monkeypatch.chdir(project)
        for command in dict.fromkeys(row["command"] for row in rows):
            code, _, err = thon(*command.replace(" -q", "").split()[1:])
            assert code == 0
            assert "(finished before; kept)" in err
        assert len(thon("log")[1].splitlines()) == len(rows) + 1

    def test_the_whole_history_of_a_map_and_of_a_copy_of_it(self, thon: Run, project: str, here: Path) -> None:
        made = "OUT/J005-sum-numbers/outputs/all/sum.txt"
        code, out, err = thon("why", made)
        assert code == 0, err
        assert [line.split()[:4] for line in out.splitlines() if line.startswith(("made", "from J"))] == [
            ["made", "by", "J005", "sum-numbers"],
            ["from", "J004", "smooth-numbers", "finished"],
            ["from", "J003", "read-numbers", "finished"],
        ]
        for said in (
            "command  thon totals ../a.txt ../b.txt -o . --scale 2 -q",
            "options  scale = 2.0",
            "2 of 2 items",
        ):
            assert said in out
        assert "from ..  2 files, 12 B" in out
        assert out.splitlines()[-1].startswith("in all 3 jobs, ")
        assert out.splitlines()[-1].endswith(" USD")
        (here / "far").mkdir()
        shutil.copy(made, "far/map.txt")
        brief = thon("why", "far/map.txt", "-o", project, "--brief")[1]
        assert "is a copy of J005-sum-numbers/outputs/all/sum.txt: the same bytes" in brief
        assert "options" not in brief
        (here / "a.txt").write_text("9 9 9 9")
        assert "../a.txt has changed since" in thon("why", "OUT/J004:a")[1]
        assert "../a.txt has changed since" not in thon("why", "OUT/J004:a", "--brief")[1].split("from J003")[0]
        told = json.loads(thon("why", "J005", "-o", project, "--json")[1])
        assert [job["job"] for job in told["jobs"]] == ["J005", "J004", "J003"]
        assert told["jobs"][2]["changed"] == ["../a.txt has changed"]
        assert told["jobs"][0]["record"]["software"]["packages"]["numpy"]

    def test_costs(self, thon: Run, project: str) -> None:
        rows = [json.loads(line) for line in thon("cost", "-o", project, "--by", "type", "--json")[1].splitlines()]
        assert {row["type"] for row in rows} == {
            "read-samples", "double-sample", "read-numbers", "smooth-numbers", "sum-numbers"
        }  # fmt: skip
        assert all(row["cost"] == pytest.approx(row["seconds"]) for row in rows)
        out = thon("cost", "-o", project)[1]
        assert out.splitlines()[-1].split()[:3] == ["all", "-", "5"]
        assert thon("cost", "-o", project, "--by", "month")[1].splitlines()[1].startswith("20")

    def test_sql_and_tables(self, thon: Run, project: str) -> None:
        statement = "SELECT job, items FROM jobs WHERE type LIKE '%numbers' ORDER BY job"
        assert thon("sql", statement, "-o", project, "--csv")[1].splitlines() == [
            "job,items", "J003,2", "J004,2", "J005,1"
        ]  # fmt: skip
        assert json.loads(thon("sql", statement, "-o", project, "--json")[1].splitlines()[0]) == {
            "job": "J003",
            "items": 2,
        }
        assert thon("sql", "DELETE FROM jobs", "-o", project)[0] == 2
        assert thon("records", "-o", project, "--parquet", "items.parquet", "--table", "items")[0] == 0
        assert pq.read_table("items.parquet").num_rows == 7
        assert thon("records", "-o", project)[0] == 2

    def test_a_table_that_cannot_be_written_leaves_the_last_one(
        self, thon: Run, project: str, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert thon("records", "-o", project, "--csv", "jobs.csv")[0] == 0
        before = (here / "jobs.csv").read_text()
        assert before.count("\n") == 6

        def full(*_: object) -> Never:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("thon.project.tables_out._chunks", full)
        code, _, err = thon("records", "-o", project, "--csv", "jobs.csv")
        assert code != 0
        assert "No space left" in err
        assert (here / "jobs.csv").read_text() == before
        assert not list(here.glob(".*.part"))

    def test_jobs_and_reindex(self, thon: Run, project: str, here: Path) -> None:
        (here / "b.txt").unlink()
        rows = [json.loads(line) for line in thon("jobs", project, "--changed", "--json")[1].splitlines()]
        assert [row["changed"] for row in rows] == [[], [], ["../b.txt is gone"], [], []]
        (here / "OUT" / ".thon" / "index.sqlite").write_bytes(b"nonsense" * 1000)
        code, out, err = thon("jobs", project)
        assert code == 0
        assert "the index was damaged" in err
        assert out.count("finished") == 5
        assert thon("reindex", "-o", project) == (0, "5 jobs\n", "")

    def test_a_record_that_nobody_can_read_does_not_hide_the_others(self, thon: Run, project: str, here: Path) -> None:
        record = here / "OUT" / "J002-double-sample" / "job.json"
        record.chmod(0o644)
        record.write_text("{")
        out = thon("jobs", project)[1]
        assert "J002  double-sample   unreadable" in out
        assert out.count("finished") == 4
        assert thon("log", "-o", project, "--state", "unreadable")[1].count("J00") == 1
        assert thon("cost", "-o", project)[0] == 0


class TestWaiting:
    """Clones, templates, and what waits."""

    def test_clone_set_and_run(self, thon: Run, project: str) -> None:
        code, out, err = thon(
            "clone", "OUT/J004", "--set", "width=1", "--set", "noisy=no", "--set", "edge-mode=zero", "--no-run"
        )
        assert code == 0, err
        assert "J006-smooth-numbers waits" in out
        assert thon("clone", "OUT/J005", "--input", "numbers=OUT/J006", "--no-run")[0] == 0
        assert thon("run", "-o", project)[0] == 0
        assert Path("OUT/J007-sum-numbers/outputs/all/sum.txt").read_text() == "112.000000000\n"
        options = json.loads(thon("show", "OUT/J006", "--json")[1])["options"]
        assert (options["width"], options["noisy"], options["edge"], options["scale"]) == (
            1,
            False,
            {"mode": "zero"},
            2.0,
        )
        assert thon("run", "-o", project)[0] == 0

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("clone OUT/J004 --set wide=1", "no option 'wide'"),
            ("clone OUT/J004 --set width=0", "--width: must be greater than or equal to 1"),
            ("clone OUT/J004 --input numbers", "expected: NAME=FILE"),
            ("clone OUT/J004 --iteration 3", "iteration 3 was not kept"),
            ("run J004 -o OUT", "does not wait"),
            ("restart OUT/J004", "finished and does not change"),
            ("workflow run none.yaml -o OUT", "cannot be read"),
            ("clean --jobs -o OUT", "no result is marked as final"),
            ("why nothing.txt -o OUT", "no such file"),
            ("why a.txt -o OUT", "no job of this project made this file"),
            ("relocate none -o OUT", "no such folder"),
            ("unpack a.txt NEW", "no tar file"),
            ("log -o OUT --where fsc=1", "nothing in this project has 'fsc'"),
        ],
    )
    def test_mistakes(self, thon: Run, project: str, typed: str, said: str) -> None:
        code, _, err = thon(*typed.split())
        assert code != 0
        assert said in err
        assert "Traceback" not in err

    def test_a_template_is_written_and_run_in_another_project(self, thon: Run, project: str) -> None:
        assert thon("workflow", "export", "OUT/J005", "-o", project, "--file", "sums.yaml")[0] == 0
        assert "source: files for read-numbers" in thon("workflow", "export", "J005", "-o", project)[1]
        code, _, err = thon("workflow", "run", "sums.yaml", "-o", "NEW")
        assert code == 2
        assert "--input source=" in err
        code, _, err = thon("workflow", "run", "sums.yaml", "--project", "NEW", "--input", "source=a.txt")
        assert code == 0, err
        assert Path("NEW/J003-sum-numbers/outputs/all/sum.txt").exists()

    def test_what_is_held_says_why(self, thon: Run, project: str) -> None:
        thon("clone", "OUT/J004", "--set", "fail-on=a", "--input", "numbers=OUT/J003:a", "--no-run")
        thon("clone", "OUT/J005", "--input", "numbers=OUT/J006", "--no-run")
        code, _, err = thon("run", "-o", project)
        assert code == 1
        assert "J007-sum-numbers is held: J006 failed" in err
        assert "held" in thon("jobs", project)[1]


def test_keeping_house(thon: Run, project: str) -> None:
    Path("OUT/J004-smooth-numbers/checkpoints/a").mkdir(parents=True)
    Path("OUT/J004-smooth-numbers/checkpoints/a/state").write_bytes(bytes(2000))
    out = thon("clean", "-o", project, "--dry-run")[1]
    assert "2 kB would be freed" in out
    assert thon("keep", "J005", "-o", project)[1] == "final: J005\n"
    out = thon("clean", "--jobs", "-o", project)[1]
    assert [line.split()[-1] for line in out.splitlines()[1:6]] == [
        "outputs", "outputs", "protected", "checkpoints", "protected"
    ]  # fmt: skip
    assert thon("export", "all.tar", "-o", project)[0] == 0
    code, out, err = thon("unpack", "all.tar", "NEW/project")
    assert code == 1
    Path("NEW/deep").mkdir(parents=True)
    code, out, err = thon("unpack", "all.tar", "NEW/deep/project")
    assert code == 0, err
    assert "3 files from outside are not here" in out
    code, out, _ = thon("relocate", ".", "-o", "NEW/deep/project")
    assert (code, out.splitlines()[-1]) == (0, "3 files found, 0 still missing")
    assert "gone" not in thon("why", "J005", "-o", "NEW/deep/project")[1]


def test_no_help_needs_the_database() -> None:
    code = (
        "import sys; from thon.cli.main import main\n"
        "assert not main(['--help'])\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'pyarrow', 'yaml', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
