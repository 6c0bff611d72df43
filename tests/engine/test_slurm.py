"""Slurm's commands when they are good, slow, garbled or missing: nothing is submitted twice, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from thon.engine.lanes.contract import Ending, Needs
from thon.engine.lanes.options import LaneOptions
from thon.engine.slurm import account as slurm_account
from thon.engine.slurm import commands
from thon.engine.slurm import lane as slurm_lane
from thon.engine.slurm import queue as slurm_queue
from thon.engine.slurm.commands import Queued, RefusedError, SilentError
from thon.engine.slurm.lane import SlurmHandle, SlurmLane
from thon.engine.slurm.queue import Queue
from thon.engine.slurm.script import write_script
from thon.engine.slurm.submission import Submission, new_submission, open_submission, read_submission, write_submission
from thon.job.folder import JobFolder

SBATCH = """#!/bin/bash
echo "$@" >> $CLUSTER/calls
[ -e $CLUSTER/sbatch ] && { . $CLUSTER/sbatch; }
name=$(sed -n 's/^#SBATCH --job-name=//p' "${@: -1}")
number=$(( $(ls $CLUSTER/queue | wc -l) + 100 ))
echo "$number|PENDING||N/A|Priority|$name" > $CLUSTER/queue/$number
[ -e $CLUSTER/after ] && { . $CLUSTER/after; }
echo $number
"""
SQUEUE = """#!/bin/bash
[ -e $CLUSTER/squeue ] && { . $CLUSTER/squeue; }
for word in "$@"; do case $word in --name=*) name=${word#--name=};; esac; done
cat $CLUSTER/queue/* 2>/dev/null | grep -F -- "|$name" || true
"""
SACCT = """#!/bin/bash
[ -e $CLUSTER/sacct.json ] && { cat $CLUSTER/sacct.json; exit 0; }
echo "Slurm accounting storage is disabled" >&2; exit 1
"""
SCANCEL = """#!/bin/bash
echo "scancel $@" >> $CLUSTER/calls
for word in "${@: -1}"; do mv $CLUSTER/queue/$word $CLUSTER/last; done 2>/dev/null
echo "JobName=$(cut -d'|' -f6 $CLUSTER/last) JobState=CANCELLED ExitCode=0:15" > $CLUSTER/shown
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && cat $CLUSTER/shown 2>/dev/null && exit 0
echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1
"""


@dataclass
class Cluster:
    """A cluster of shell scripts."""

    folder: Path

    @property
    def queue(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "queue").iterdir())

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def does(self, program: str, *lines: str) -> None:
        """Let a program do something else first."""
        (self.folder / program).write_text("\n".join(lines))

    def well(self, *programs: str) -> None:
        for program in programs:
            (self.folder / program).unlink()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    (tmp_path / "bin").mkdir()
    (tmp_path / "queue").mkdir()
    texts = {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, "scancel": SCANCEL, "scontrol": SCONTROL}
    for name, text in texts.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(tmp_path))
    for module, name, seconds in (
        (slurm_queue, "QUICKEST", 0.02),
        (slurm_queue, "SLOWEST", 0.1),
        (slurm_queue, "LOAD", 1.0),
        (slurm_lane, "SETTLE", 0.2),
        (slurm_lane, "PAUSE", 0.05),
        (slurm_lane, "LONGEST_PAUSE", 0.1),
        (slurm_account, "PATIENCE", 0.5),
    ):
        monkeypatch.setattr(module, name, seconds)
    return Cluster(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    path = tmp_path / "project" / "J003-refine3d"
    path.mkdir(parents=True)
    (path / "job.json").write_text('{\n "state": "waiting"\n}\n')
    return JobFolder(path)


def start(folder: JobFolder, queue: Queue | None = None, **options: object) -> SlurmHandle:
    handle = SlurmLane(LaneOptions(**options), "gpu", queue or Queue()).start(folder, Needs(whole=True))
    assert isinstance(handle, SlurmHandle)
    return handle


def until(handle: SlurmHandle, condition: Callable[[], object], seconds: float = 20.0) -> Ending | None:
    deadline = time.monotonic() + seconds
    while True:
        ending = handle.poll()
        if ending is not None or condition():
            return ending
        assert time.monotonic() < deadline, f"it did not come true: {handle.reason}"
        time.sleep(0.01)


def never() -> bool:
    return False


class TestSubmission:
    """Once, whatever happens between."""

    def test_it_is_noted_before_and_after(self, cluster: Cluster, folder: JobFolder) -> None:
        cluster.does("sbatch", "cp $CLUSTER/project/J003-refine3d/submission.json $CLUSTER/seen")
        handle = start(folder)
        until(handle, lambda: handle.state == "queued")
        seen = Submission.model_validate_json((cluster.folder / "seen").read_text())
        assert (seen.batch, handle.batch) == ("", "100")
        found = open_submission(folder)
        assert found is not None
        assert (found.batch, found.token, found.name) == ("100", seen.token, f"J003-refine3d-{seen.token}")
        assert handle.reason == "queued: others are before it in the queue (Priority)"

    def test_killed_after_sbatch_and_before_the_note(self, cluster: Cluster, folder: JobFolder) -> None:
        start(folder).wait(10)
        found = read_submission(folder)
        assert found is not None
        write_submission(folder, found.model_copy(update={"batch": ""}))
        again = start(folder)
        until(again, lambda: again.batch)
        assert (again.batch, cluster.queue, len(cluster.calls)) == ("100", ["100"], 1)

    def test_killed_before_sbatch(self, cluster: Cluster, folder: JobFolder) -> None:
        given = new_submission(folder, "gpu")
        write_submission(folder, given)
        script = write_script(folder, given, Needs(), LaneOptions())
        (folder.path / "batch.sh").write_text(script)
        handle = start(folder)
        until(handle, lambda: handle.batch)
        assert cluster.queue == ["100"]
        assert given.name in (cluster.folder / "queue" / "100").read_text()

    def test_stopped_before_sbatch(self, cluster: Cluster, folder: JobFolder) -> None:
        write_submission(folder, new_submission(folder, "gpu"))
        (folder.path / "batch.sh").touch()
        handle = start(folder)
        handle.cancel()
        assert until(handle, never) == Ending(130)
        assert (cluster.queue, open_submission(folder)) == ([], None)

    @pytest.mark.parametrize("line", ["echo nonsense; exit 0", "echo 'Unable to contact slurm controller' >&2; exit 1"])
    def test_an_answer_that_was_lost_does_not_submit_twice(
        self, line: str, cluster: Cluster, folder: JobFolder
    ) -> None:
        cluster.does("after", line)
        handle = start(folder)
        until(handle, lambda: handle.batch)
        assert (handle.batch, cluster.queue) == ("100", ["100"])

    def test_a_submission_that_slurm_notes_late_is_cancelled(self, cluster: Cluster, folder: JobFolder) -> None:
        cluster.does("sbatch", "echo 'Socket timed out on send/recv operation' >&2; exit 1")
        handle = start(folder)
        until(handle, lambda: "does not get through" in handle.reason)
        cluster.well("sbatch")
        until(handle, lambda: handle.state == "queued")
        (cluster.folder / "queue" / "99").write_text(f"99|PENDING||N/A|Priority|{handle._given.name}\n")
        until(handle, lambda: cluster.queue == ["100"])
        assert cluster.calls[-1] == f"scancel --name={handle._given.name} 99"
        assert (handle.batch, handle.state) == ("100", "queued")

    def test_the_end_of_a_job_whose_folder_is_gone_is_noticed(self, cluster: Cluster, folder: JobFolder) -> None:
        handle = start(folder)
        until(handle, lambda: handle.state == "queued")
        shutil.rmtree(folder.path)
        handle.cancel()
        assert until(handle, never) == Ending(130)
        assert cluster.queue == []

    def test_a_cluster_that_does_not_answer_is_asked_again(self, cluster: Cluster, folder: JobFolder) -> None:
        cluster.does("sbatch", "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1")
        handle = start(folder)
        until(handle, lambda: len(cluster.calls) >= 2)
        assert handle.reason.startswith("sbatch does not get through")
        cluster.well("sbatch")
        until(handle, lambda: handle.state == "queued")
        assert cluster.queue == ["100"]

    def test_a_slow_cluster_does_not_keep_the_scheduler(
        self, cluster: Cluster, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "TIMEOUT", 0.3)
        cluster.does("sbatch", "sleep 5")
        cluster.does("squeue", "sleep 5")
        begun = time.monotonic()
        handle = start(folder)
        handle.poll()
        handle.cancel()
        assert time.monotonic() - begun < 0.2
        until(handle, lambda: "has not answered for 0 s" in handle.reason)
        cluster.well("sbatch", "squeue")
        assert until(handle, never) == Ending(130)

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("sbatch: error: invalid partition specified: gup", "Slurm refuses: invalid partition specified: gup"),
            (
                "sbatch: error: Batch job submission failed: Invalid account",
                "Slurm refuses: Batch job submission failed",
            ),
        ],
    )
    def test_what_slurm_will_not_have(self, said: str, told: str, cluster: Cluster, folder: JobFolder) -> None:
        cluster.does("sbatch", f"echo '{said}' >&2; exit 1")
        ending = until(start(folder), never)
        assert ending is not None
        assert ending.words.startswith(told)
        assert (ending.code, ending.next, open_submission(folder)) == (2, "end", None)

    def test_no_slurm_here(self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        ending = until(start(folder), never)
        assert ending is not None
        assert ending.words.startswith("there is no sbatch on this machine")

    def test_a_note_that_cannot_be_read_submits_nothing(self, cluster: Cluster, folder: JobFolder) -> None:
        (folder.path / "submission.json").write_text("{")
        with pytest.raises(Exception, match="if nothing of this job is in the queue"):
            start(folder)
        assert cluster.calls == []


class TestQueue:
    """One look for all, as often as the cluster bears."""

    def test_garbage_and_silence_are_told_and_lose_nothing(self, cluster: Cluster, folder: JobFolder) -> None:
        handle = start(folder)
        until(handle, lambda: handle.state == "queued")
        cluster.does("squeue", "echo '<html>'; exit 0")
        until(handle, lambda: "no list of jobs" in handle.reason)
        assert open_submission(folder) is not None
        cluster.well("squeue")
        until(handle, lambda: handle.reason.startswith("queued"))

    def test_one_look_for_all_and_fewer_while_nothing_changes(self) -> None:
        looks: list[float] = []

        def ask() -> dict[str, Queued]:
            looks.append(time.monotonic())
            return {}

        queue = Queue(ask)
        deadline = time.monotonic() + 10
        while len(looks) < 3:
            for _ in range(100):
                queue.look()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert looks[2] - looks[1] > looks[1] - looks[0] >= slurm_queue.QUICKEST

    def test_a_number_that_is_another_jobs_is_left_alone(self, cluster: Cluster, folder: JobFolder) -> None:
        handle = start(folder)
        until(handle, lambda: handle.state == "queued")
        (cluster.folder / "queue" / "100").write_text("100|RUNNING|n1|N/A|None|somebody|else's\n")
        assert commands.squeue()["100"].name == "somebody|else's"
        until(handle, lambda: handle.state != "queued")
        handle.cancel()
        assert until(handle, never) == Ending(130)
        assert cluster.queue == ["100"]

    def test_late_jobs_are_cancelled_only_where_they_wait(self, cluster: Cluster, folder: JobFolder) -> None:
        handle = start(folder, next="main", patience=0.001)
        assert until(handle, never) == Ending(130, "fall")
        assert cluster.calls[-1] == f"scancel --name={handle._given.name} --state=PENDING 100"

    def test_a_job_that_ran_and_left(self, cluster: Cluster, folder: JobFolder) -> None:
        handle = start(folder)
        until(handle, lambda: handle.state == "queued")
        file = cluster.folder / "queue" / "100"
        file.write_text(file.read_text().replace("PENDING||N/A|Priority", "RUNNING|n7|N/A|None"))
        until(handle, lambda: handle.state == "running")
        assert handle.reason == "running on n7"
        (cluster.folder / "shown").write_text(
            f"JobId=100 JobName={handle._given.name} JobState=TIMEOUT ExitCode=0:15 NodeList=n7"
        )
        file.unlink()
        ending = until(handle, never)
        assert ending is not None
        assert ending.next == "again"
        second = new_submission(folder, "gpu")
        assert (second.tries, second.token != handle._given.token) == (2, True)


class TestAccounting:
    """`sacct --json` of an old Slurm and of a new one."""

    def old(self) -> dict[str, object]:
        step = {
            "time": {"total": {"seconds": 7, "microseconds": 500000}},
            "statistics": {"energy": {"consumed": 1200}},
            "tres": {
                "requested": {"max": [{"type": "mem", "count": 5_000_000}, {"type": "energy", "count": 3}]},
                "allocated": [{"type": "cpu", "name": None, "count": 4}, {"type": "gres", "name": "gpu", "count": 1}],
            },
        }
        return {
            "job_id": 100,
            "name": "J003",
            "state": {"current": "OUT_OF_MEMORY", "reason": "None"},
            "exit_code": {"status": "SIGNALED", "return_code": 0, "signal": {"signal_id": 9, "name": "KILL"}},
            "partition": "gpu",
            "nodes": "n7",
            "kill_request_user": None,
            "time": {"elapsed": 60, "start": 1000, "submission": 970, "total": {"seconds": 0, "microseconds": 0}},
            "steps": [step],
        }

    def new(self) -> dict[str, object]:
        def number(value: int) -> dict[str, object]:
            return {"set": True, "infinite": False, "number": value}

        job = self.old()
        job["state"] = {"current": ["OUT_OF_MEMORY"], "reason": "None"}
        job["exit_code"] = {
            "status": ["SIGNALED"],
            "return_code": number(0),
            "signal": {"id": number(9), "name": "KILL"},
        }
        return job

    @pytest.mark.parametrize("version", ["old", "new"])
    def test_what_it_tells(self, version: str, cluster: Cluster) -> None:
        text = json.dumps({"jobs": [getattr(self, version)()]})
        (cluster.folder / "sacct.json").write_text(text)
        account = commands.accounting("100", "J003")
        assert account is not None
        assert (account.state, account.code, account.signal) == ("OUT_OF_MEMORY", 0, 9)
        assert account.told == {
            "batch": "100",
            "state": "OUT_OF_MEMORY",
            "exit_code": 0,
            "partition": "gpu",
            "nodes": "n7",
            "elapsed": 60,
            "waited": 30,
            "cpu_seconds": 7.5,
            "peak_memory": 5_000_000,
            "energy": 1200,
            "tres": {"cpu": 4, "gpu": 1},
        }

    def test_nonsense(self, cluster: Cluster) -> None:
        (cluster.folder / "sacct.json").write_text(
            '{"jobs": [{"job_id": 100, "name": "J003", "state": {"current": "FAILED"}}]}'
        )
        with pytest.raises(SilentError, match="no accounting"):
            commands.accounting("100", "J003")
        (cluster.folder / "sacct.json").write_text("[]")
        with pytest.raises(SilentError, match="no accounting"):
            commands.accounting("100", "J003")

    def test_without_accounting_and_forgotten(self, cluster: Cluster) -> None:
        with pytest.raises(RefusedError, match="accounting storage is disabled"):
            commands.accounting("100", "J003")
        account = slurm_account.account_of("100", "J003")
        assert account is not None
        assert account.state == "UNKNOWN"
