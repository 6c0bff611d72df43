"""What Slurm is asked for, and what its words mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thon.engine.lanes.contract import Ending, Needs
from thon.engine.lanes.options import LaneOptions
from thon.engine.slurm.commands import Account, Queued
from thon.engine.slurm.script import write_script
from thon.engine.slurm.states import TRIES, ending_of, words_of
from thon.engine.slurm.submission import Submission
from thon.job.folder import JobFolder

GOLDEN = Path(__file__).parent.parent / "slurm" / "batch.sh"


class TestScript:
    """What Slurm is asked for."""

    def given(self) -> Submission:
        return Submission(token="0a1b2c3d", name="J003-refine3d-0a1b2c3d", lane="gpu", written="")

    def test_golden(self) -> None:
        options = LaneOptions(
            partition="gpu,gpu-long",
            account="cryo em",
            qos="normal",
            constraint="ib&avx512",
            gpus=2,
            cpus=16,
            memory=64.5,
            time=24,
            price=1.12,
            currency="EUR",
            instance="g5.xlarge",
            spot=True,
            setup=("module load cuda/12.4",),
            env={"TMPDIR": "/scratch/$USER dir"},
            python="/opt/thon/bin/python",
            srun=("--mpi=none",),
            sbatch=("--exclusive",),
        )
        folder = JobFolder(Path("/data/my project/J003-refine3d"))
        assert write_script(folder, self.given(), Needs(whole=True, gpus=4, processes=2), options) == GOLDEN.read_text()

    @pytest.mark.parametrize(
        ("options", "needs", "asked"),
        [
            ({}, Needs(gpus=1), []),
            ({"gpus": 1}, Needs(gpus=1), ["--gres=gpu:1"]),
            ({"gpus": 1, "gpu_type": "a100"}, Needs(gpus=4), ["--gres=gpu:a100:1"]),
            ({"gpus": 4}, Needs(), []),
            ({"gpus": 4}, Needs(gpus=2, processes=2), ["--gpus-per-task=1"]),
            ({"cpus": 8, "memory": 32}, Needs(threads=3, memory=1.5), ["--cpus-per-task=3", "--mem=1500M"]),
            ({"cpus": 8}, Needs(processes=4), ["--cpus-per-task=2"]),
            ({"time": 0.1}, Needs(), ["--time=6", "--signal=TERM@90"]),
        ],
    )
    def test_as_loose_as_the_job_allows(self, options: dict[str, object], needs: Needs, asked: list[str]) -> None:
        text = write_script(JobFolder(Path("/p/J001-x")), self.given(), needs, LaneOptions(**options))
        always = "job-name|comment|chdir|output|open-mode|requeue|nodes|ntasks"
        assert [line[8:] for line in text.splitlines() if re.match(rf"#SBATCH --(?!{always})", line)] == asked


class TestWords:
    """Slurm's words, in ours."""

    @pytest.mark.parametrize(
        ("state", "reason", "words"),
        [
            ("PENDING", "Resources", "queued: no free node has what it asks for (Resources)"),
            ("PENDING", "QOSMaxCpuPerUserLimit", "queued: a limit of your account or quality of service is reached"),
            ("PENDING", "AssocGrpGRES", "queued: a limit of your account"),
            ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "queued: the nodes that it could run on are down"),
            ("PENDING", "Unheard", "queued: Slurm's reason is (Unheard)"),
            ("RUNNING", "None", "running on n3"),
            ("COMPLETING", "None", "Slurm clears up after it (COMPLETING)"),
        ],
    )
    def test_reasons(self, state: str, reason: str, words: str) -> None:
        assert words_of(Queued("1", "x", state, "n3" if state == "RUNNING" else "", "N/A", reason)).startswith(words)

    @pytest.mark.parametrize(
        ("account", "told", "code", "following", "words"),
        [
            (Account("COMPLETED"), 0, 0, "end", ""),
            (Account("FAILED", 2), 2, 2, "end", ""),
            (Account("FAILED", 1), 1, 1, "end", ""),
            (Account("FAILED", 1), None, 1, "end", "the worker could not run: Slurm tells FAILED, exit code 1\n"),
            (Account("FAILED", 127), None, 127, "end", "the worker could not run: Slurm tells FAILED, exit code 127"),
            (Account("FAILED", 0, 9), None, 1, "end", "the worker could not run: Slurm tells FAILED, signal 9"),
            (
                Account("FAILED", 130),
                None,
                130,
                "again",
                "was told to stop, as before a time limit or to make room, and goes on",
            ),
            (
                Account("FAILED", 2),
                130,
                130,
                "again",
                "was told to stop, as before a time limit or to make room, and goes on",
            ),
            (Account("TIMEOUT"), None, 130, "again", "reached the lane's time limit and goes on"),
            (Account("NODE_FAIL"), None, 130, "again", "lost its node and goes on"),
            (Account("PREEMPTED"), 130, 130, "again", "had to make room for another job and goes on"),
            (Account("BOOT_FAIL"), None, 130, "again", "got a node that did not start and goes on"),
            (Account("OUT_OF_MEMORY", 0, 9), None, 1, "end", "took more memory than its lane gives"),
            (Account("DEADLINE"), None, 1, "end", "could not end before the deadline"),
            (Account("CANCELLED", by="ada"), 130, 130, "end", "was cancelled in Slurm by ada"),
            (Account("UNKNOWN"), None, 1, "end", "the worker could not run: Slurm tells UNKNOWN"),
            (Account("UNKNOWN"), 2, 2, "end", ""),
        ],
    )
    def test_endings(self, account: Account, told: int | None, code: int, following: str, words: str) -> None:
        ending = ending_of(account, told=told, stopped=False, left=False, tries=1, log="said")
        assert (ending.code, ending.next) == (code, following)
        assert ending.words.startswith(words)
        assert bool(ending.words) == bool(words)
        assert ending.words.endswith("said") == (words.startswith("the worker"))

    def test_what_we_cancelled_and_what_was_cut_short_too_often(self) -> None:
        cancelled = Account("CANCELLED", by="ada")
        plain = {"told": None, "tries": 1, "log": ""}
        assert ending_of(cancelled, stopped=True, left=False, **plain) == Ending(130)
        assert ending_of(cancelled, stopped=False, left=True, **plain) == Ending(130, "fall")
        assert ending_of(cancelled, stopped=True, left=True, **plain) == Ending(130)
        last = ending_of(Account("TIMEOUT"), stopped=False, left=False, told=None, tries=TRIES, log="")
        assert (last.next, "for the 20th time" in last.words) == ("end", True)
