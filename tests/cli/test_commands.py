"""The command line, as typed; workers run inside this process except where said."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import thon.engine.run as engine_run
from thon.base.options import Options
from thon.cli.job_command import named_flags, step_options
from thon.cli.main import main
from thon.engine.steps import steps_of
from thon.job.events import Event
from thon.job.folder import JobFolder
from thon.job.worker import run as run_worker

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("a", "1 2 3 4"), ("b", "5 6 7"), ("bad", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
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

    def run(*typed: str) -> tuple[int, str, str]:
        code = main(typed)
        out, err = capsys.readouterr()
        return code, out, err

    return run


class TestRunning:
    def test_files_go_through_the_chain_and_the_results_are_named(self, thon: Run) -> None:
        code, out, err = thon("numbers", "a.txt", "b.txt", "-o", "OUT")
        assert code == 0, err
        assert "Smooth       a: OUT/J002-smooth-numbers/outputs/a/smooth.txt" in out
        assert "Report       b: OUT/J002-smooth-numbers/outputs/b/report.html" in out
        assert Path("OUT/J002-smooth-numbers/outputs/a/smooth.txt").exists()
        assert "J001-read-numbers" in err

    def test_of_many_items_only_the_folder_is_named(self, thon: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thon.cli.progress.NAMED", 1)
        out = thon("totals", "a.txt", "b.txt", "-o", "OUT")[1]
        assert "Results      2 items: OUT/J002-smooth-numbers/outputs\n" in out
        assert "smooth.txt" not in out

    def test_a_step_takes_files_or_a_job(self, thon: Run) -> None:
        assert thon("smooth-numbers", "a.txt", "-o", "OUT", "--width", "1", "--no-noisy")[0] == 0
        assert thon("smooth-numbers", "OUT/J001", "--width", "1", "--no-noisy", "--smooth-scale", "2")[0] == 0
        first, second = (Path(f"OUT/J00{k}-smooth-numbers/outputs/a/smooth.txt").read_text() for k in (2, 3))
        assert [2 * float(x) for x in first.split()[2:]] == [float(x) for x in second.split()[2:]]

    def test_inside_a_project_numbers_do(self, thon: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        thon("read-numbers", "a.txt", "b.txt", "-o", "OUT")
        monkeypatch.chdir("OUT")
        assert thon("sum-numbers", "J001")[0] == 0
        assert thon("sum-numbers", "J001", "--start", "J002")[0] == 0
        assert Path("J003-sum-numbers/outputs/all/sum.txt").read_text() == "56.000000000\n"

    def test_flags_of_all_steps_with_a_word_in_front_where_they_clash(self, thon: Run) -> None:
        Path("w.txt").write_text("1\n1\n1\n2\n")
        typed = ("--read-scale", "10", "--smooth-scale", "2", "--weights", "w.txt", "--keep", "0-1,3", "--width", "1")
        code, _, err = thon("numbers", "a.txt", "-o", "OUT", *typed, "--no-noisy")
        assert code == 0, err
        assert Path("OUT/J002-smooth-numbers/outputs/a/smooth.txt").read_text().split()[2:] == [
            "20.000000000",
            "40.000000000",
            "160.000000000",
        ]

    def test_the_same_command_continues(self, thon: Run) -> None:
        thon("numbers", "a.txt", "-o", "OUT")
        code, _, err = thon("numbers", "a.txt", "-o", "OUT")
        assert code == 0
        assert "J002-smooth-numbers (finished before; kept)" in err

    def test_quiet_says_nothing(self, thon: Run) -> None:
        assert thon("numbers", "a.txt", "-o", "OUT", "--quiet") == (0, "", "")

    def test_json_is_json(self, thon: Run) -> None:
        code, out, err = thon("numbers", "a.txt", "-o", "OUT", "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (0, "")
        assert {"job", "started", "progress", "item_done", "finished", "results"} <= {line["kind"] for line in lines}
        report = lines[-1]["jobs"]["J002-smooth-numbers"]["items"]["a"]["Report"]
        assert Path(report).read_text() == "<p>a</p>"


class TestMistakes:
    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("numbers a.txt --widht 3", "'--width'"),
            ("numbrs a.txt", "Did you mean numbers"),
            ("numbers a.txt -o OUT --width 0", "--width: must be greater than or equal to 1 (found: 0)"),
            ("numbers a.txt -o OUT --edge-mode none", "'none' is not one of 'reflect', 'zero'"),
            ("numbers none.txt -o OUT", "none.txt: no such file"),
            ("numbers a.txt -o OUT --weights none.txt", "none.txt: cannot be read"),
            ("numbers a.txt", "no project here"),
            ("numbers a.txt -o b.txt", "this is a file"),
            ("numbers a.txt -o .", "holds other things"),
            ("numbers bad.txt -o OUT", "holds something that is no number"),
            ("sum-numbers J001", "no project"),
            ("show J001", "no project"),
            ("show --schema nonsense", "no job type 'nonsense'"),
            ("jobs", "no project here"),
        ],
    )
    def test_each_is_one_message_and_exit_code_2(self, thon: Run, typed: str, said: str) -> None:
        code, out, err = thon(*typed.split())
        assert code == 2
        assert said in err
        assert "Traceback" not in err + out

    def test_flags_of_an_importer_that_does_not_run(self, thon: Run) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        code, _, err = thon("smooth-numbers", "OUT/J001", "--keep", "1")
        assert code == 2
        assert "--keep" in err
        assert "read-numbers" in err

    def test_files_and_jobs_mixed(self, thon: Run) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        assert thon("smooth-numbers", "OUT/J001", "a.txt")[0] == 2

    def test_a_type_that_does_not_connect(self, thon: Run) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        code, _, err = thon("read-numbers", "OUT/J001")
        assert code == 2
        assert "takes files, not jobs" in err


class TestSharedOptions:
    """`totals` has one --scale for reading and smoothing."""

    def test_one_flag_is_given_to_every_step_that_has_it(self, thon: Run) -> None:
        assert thon("totals", "a.txt", "b.txt", "-o", "OUT", "--scale", "3")[0] == 0
        scales = [json.loads(thon("show", f"OUT/J00{k}", "--json")[1])["options"].get("scale") for k in (1, 2, 3)]
        assert scales == [3.0, 3.0, None]
        out = thon("totals", "--help")[1]
        assert "Options of several steps:" in out
        assert out.count("--scale ") == 1
        assert "--read-scale" not in out

    def test_a_dry_run_says_who_gets_it_and_plans_the_whole_set_once(self, thon: Run) -> None:
        out = thon("totals", "a.txt", "b.txt", "--scale", "3", "--dry-run")[1]
        assert out.startswith("scale 3 Å for read-numbers, smooth-numbers\n")
        assert out.count("  sum-numbers\n") == 1
        assert out.endswith("What depends on steps before is not counted.\n")
        plan = json.loads(thon("totals", "a.txt", "bad.txt", "--scale", "3", "--dry-run", "--json")[1])
        assert plan["remarks"] == ["scale 3 Å for read-numbers, smooth-numbers"]
        assert [one["item"] for one in plan["plans"] if one["step"] == "sum-numbers"] == ["all"]

    def test_a_wrong_value_is_told_once(self, thon: Run) -> None:
        code, _, err = thon("totals", "a.txt", "-o", "OUT", "--scale", "-1")
        assert code == 2
        assert err.count("--scale") == 1

    def test_it_must_be_given_where_the_defaults_differ(self) -> None:
        steps = steps_of("totals")
        shared = [named_flags(steps, shared=(name,)) for name in ("scale", "seconds")]
        assert not any(flag.required for flags in shared for one in flags for flag in one.flags.values())

        class OtherOptions(Options):
            scale: float = 2.0

        other = replace(steps[1], spec=replace(steps[1].spec, options=OtherOptions))
        named = named_flags([steps[0], other], shared=("scale",))
        assert [flag.required for one in named for flag in one.flags.values() if flag.name == "scale"] == [True, True]
        option = next(one for one in step_options(named) if "--scale" in one.opts)
        assert option.required
        assert "default" not in str(option.help)  # pyright: ignore[reportAttributeAccessIssue]

    def test_the_schema_names_it(self, thon: Run) -> None:
        assert json.loads(thon("show", "--schema", "totals")[1])["shared"] == ["scale"]


class TestOurFaults:
    def test_a_bad_item_is_told_the_others_are_done_and_the_exit_code_tells(self, thon: Run) -> None:
        code, out, err = thon("numbers", "a.txt", "b.txt", "-o", "OUT", "--fail-on", "a")
        assert code == 1
        assert "RuntimeError: told to fail" in err
        assert "OUT/J002-smooth-numbers/errors/a.log" in err
        assert "Traceback" not in err
        assert "Smooth       b: " in out

    def test_the_traceback_on_demand(self, thon: Run) -> None:
        code, _, err = thon("numbers", "a.txt", "-o", "OUT", "--fail-on", "a", "--traceback")
        assert code == 1
        assert "Traceback" in err

    def test_what_breaks_outside_a_job_leaves_a_log(self, thon: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr("thon.cli.run_command.run_steps", broken)
        code, _, err = thon("numbers", "a.txt", "-o", "OUT")
        assert code == 1
        assert "ZeroDivisionError: oops" in err
        log = Path(err.split("the traceback is in ")[1].strip())
        assert "run_steps" in log.read_text()
        log.unlink()


class TestDryRun:
    def test_it_says_what_was_understood_and_writes_nothing(self, thon: Run, here: Path) -> None:
        before = sorted(here.rglob("*"))
        code, out, _ = thon("numbers", "a.txt", "b.txt", "-o", "OUT", "--dry-run", "--memory", "2")
        assert code == 0
        for said in ("4 numbers", "3 numbers", "on a line", "memory 32 B", "of 2 GB allowed", "Disk", "Time"):
            assert said in out
        assert sorted(here.rglob("*")) == before

    def test_a_bad_item_is_told(self, thon: Run) -> None:
        code, out, _ = thon("numbers", "a.txt", "bad.txt", "--dry-run")
        assert code == 2
        assert "holds something that is no number" in out
        assert "4 numbers" in out

    def test_as_json(self, thon: Run) -> None:
        _, out, _ = thon("numbers", "a.txt", "--dry-run", "--json")
        plan = json.loads(out)
        assert plan["plans"][1]["plan"]["understood"][0].startswith("4 numbers")

    def test_from_a_job(self, thon: Run) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        code, out, _ = thon("smooth-numbers", "OUT/J001", "--dry-run", "--disk", str(10**17))
        assert code == 0
        assert "do not fit on the disk" in out


class TestLooking:
    def test_jobs(self, thon: Run) -> None:
        thon("numbers", "a.txt", "b.txt", "-o", "OUT", "--fail-on", "a")
        out = thon("jobs", "OUT")[1]
        assert [line.split()[:4] for line in out.splitlines()[1:]] == [
            ["J001", "read-numbers", "finished", "2/2"],
            ["J002", "smooth-numbers", "failed", "1/2"],
        ]
        rows = [json.loads(line) for line in thon("jobs", "OUT", "--json")[1].splitlines()]
        assert [row["state"] for row in rows] == ["finished", "failed"]

    def test_show(self, thon: Run, here: Path) -> None:
        thon("numbers", "a.txt", "-o", "OUT", "--width", "5", "--edge-mode", "zero", "--read-scale", "2")
        out = thon("show", "OUT/J002")[1]
        for said in ("width = 5", '"mode": "zero"', "J001/a", "finished", "smooth.txt", "CPU s"):
            assert said in out
        assert "noisy" not in out
        assert "scale = 2.0" in thon("show", "J001", "-o", "OUT")[1]
        assert json.loads(thon("show", "OUT/J002", "--json")[1])["options"]["width"] == 5
        events = [json.loads(line)["kind"] for line in thon("show", "OUT/J002", "--events")[1].splitlines()]
        assert events[-1] == "finished"
        (here / "a.txt").write_text("9 9 9")
        assert "../a.txt has changed" in thon("show", "OUT/J001")[1]

    def test_the_schema_of_a_job_and_of_a_chain(self, thon: Run) -> None:
        assert "--width" in thon("show", "smooth-numbers")[1]
        schema = json.loads(thon("show", "--schema", "smooth-numbers")[1])
        assert schema["takes"] == [{"name": "numbers", "type": "Numbers", "optional": False}]
        assert schema["options"]["properties"]["width"]["minimum"] == 1
        assert schema["options"]["properties"]["seconds"]["unit"] == "s"
        chain = json.loads(thon("show", "--schema", "numbers")[1])
        assert [step["name"] for step in chain["steps"]] == ["read-numbers", "smooth-numbers"]


class TestAgain:
    def test_repeat_makes_a_new_job_and_names_changed_inputs(self, thon: Run, here: Path) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        (here / "a.txt").write_text("9 9 9")
        code, out, err = thon("repeat", "J001", "-o", "OUT")
        assert code == 0
        assert "../a.txt has changed" in err
        assert "J002-read-numbers" in out

    def test_resume_does_only_what_is_left(self, thon: Run, here: Path) -> None:
        assert thon("read-numbers", "a.txt", "bad.txt", "-o", "OUT")[0] == 2
        (here / "bad.txt").write_text("1 2 3")
        code, _, err = thon("resume", "OUT/J001")
        assert code == 0
        assert "(resumed)" in err
        assert "bad: done" in err
        assert "a: done" not in err

    def test_resume_of_a_finished_job_changes_nothing(self, thon: Run) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")
        assert "kept" in thon("resume", "OUT/J001")[2]


class TestHelp:
    def test_experts_flags_are_behind_help_all(self, thon: Run) -> None:
        short, long = thon("numbers", "--help")[1], thon("numbers", "--help-all")[1]
        assert "--flag-file" not in short
        assert "1 more options for experts" in short
        assert "--flag-file" in long
        assert "Options of read-numbers" in short

    def test_a_job_on_records_has_the_flags_of_its_importer(self, thon: Run) -> None:
        assert "Options of read-numbers, for files" in thon("smooth-numbers", "--help")[1]

    def test_the_list_has_every_job_by_stage(self, thon: Run) -> None:
        out = thon("--help")[1]
        for said in ("Import:", "Test:", "smooth-numbers", "import-tilts", "convert", "repeat"):
            assert said in out
        order = [
            out.index(f"\n{stage}:")
            for stage in ("Live", "Import", "Preprocess", "Particles", "Refine", "Tools", "Test")
        ]
        assert order == sorted(order)

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion(self, thon: Run, shell: str) -> None:
        code, out, _ = thon("completion", shell)
        assert code == 0
        assert "_THON_COMPLETE" in out

    def test_completion_knows_commands_flags_and_jobs(self, thon: Run, here: Path) -> None:
        thon("read-numbers", "a.txt", "-o", "OUT")

        def complete(words: str, count: int, where: Path) -> str:
            environment = os.environ | {
                "_THON_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(count),
            }
            command = [sys.executable, "-m", "thon.cli.main"]
            return subprocess.run(
                command, env=environment, cwd=where, capture_output=True, text=True, check=False
            ).stdout

        assert "plain,smooth-numbers" in complete("thon smo", 1, here)
        assert "plain,--width" in complete("thon smooth-numbers --wi", 2, here)
        assert "plain,J001" in complete("thon smooth-numbers J", 2, here / "OUT")


class TestSpeed:
    """Bounds on the best of some runs, in CPU time, which other programs on the machine do not lengthen."""

    def test_help_answers_within_300_ms(self) -> None:
        assert best(["-m", "thon.cli.main", "--help"]) < 0.3

    def test_import_thon_within_100_ms(self) -> None:
        assert best(["-c", "import thon"]) - best(["-c", "pass"]) < 0.1

    def test_help_of_any_command_loads_no_torch(self) -> None:
        code = (
            "import sys; from thon.cli.main import main, thon\n"
            "commands = [[name] for name in thon.list_commands(None)] + [['simulate', 'spa'], ['simulate', 'tomo']]\n"
            "for command in commands:\n"
            "    assert not main([*command, '--help']), command\n"
            "    assert 'torch._C' not in sys.modules, command\n"
            "assert len(commands) > 15"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def best(arguments: list[str]) -> float:
    """CPU seconds of the quickest of a few runs."""

    def once() -> float:
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return min(once() for _ in range(5))


class TestOwnProcess:
    """With real workers."""

    def test_ctrl_c_ends_with_130_and_the_command_continues(self, here: Path) -> None:
        command = [sys.executable, "-m", "thon.cli.main", "numbers", "a.txt", "-o", "OUT", "--seconds", "20"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_interrupts)  # noqa: PLW1509
        deadline = time.monotonic() + 60
        while not list(here.glob("OUT/J002*/outputs/.tmp-a*/smooth.txt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted" in err
        assert main(["jobs", "OUT", "--json"]) == 0
        assert JobFolder(next(here.glob("OUT/J002*"))).state() == "interrupted"
        assert list(here.glob("OUT/J002*/outputs/*")) == []

    @pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs a mount of its own")
    @pytest.mark.parametrize("kilobytes", [60, 400])
    def test_a_full_disk_is_said_and_nothing_half_written(self, here: Path, kilobytes: int) -> None:
        code = (
            f"mount -t tmpfs -o size={kilobytes}k tmpfs full && cd full && "
            f"{sys.executable} -m thon.cli.main numbers ../a.txt -o OUT; code=$?;"
            "find OUT -path '*/outputs/*'; exit $code"
        )
        (here / "full").mkdir()
        (here / "a.txt").write_text("\n".join(str(k) for k in range(12000)))
        done = subprocess.run(["unshare", "-m", "bash", "-c", code], capture_output=True, text=True, check=False)
        if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
            pytest.skip("no mounts here")
        assert done.returncode == 1, done.stderr
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert "J002" not in done.stdout
        assert ("J001" in done.stdout) == (kilobytes == 400)
        assert ".tmp" not in done.stdout


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
