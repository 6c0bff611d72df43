"""The lane of this machine: what has room beside what, and what a job is told of its part."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engine.counting import counting_project
from thon.engine.lanes import local
from thon.engine.lanes.contract import Needs
from thon.engine.lanes.local import LocalLane
from thon.engine.lanes.options import LaneOptions
from thon.job.folder import JobFolder
from thon.project.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return counting_project(tmp_path, monkeypatch)


class TestLocalLane:
    """Room on this machine, in words that a person can follow."""

    @pytest.fixture
    def lane(self, monkeypatch: pytest.MonkeyPatch) -> LocalLane:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        return LocalLane(LaneOptions(kind="local", cpus=8))

    @pytest.mark.parametrize(
        ("held", "wanted", "reason"),
        [
            ([], Needs(), ""),
            ([Needs(threads=2)], Needs(threads=6), ""),
            ([Needs(threads=2)], Needs(threads=7), "waits for CPUs"),
            ([Needs(threads=2)], Needs(), "waits for CPUs"),
            ([Needs(gpus=1)], Needs(gpus=1), ""),
            ([Needs(gpus=1), Needs(gpus=1, threads=1)], Needs(gpus=1), "waits for a GPU"),
            ([Needs(gpus=1)], Needs(gpus=2), "waits for a GPU"),
            ([Needs(gpus=2, threads=2)], Needs(threads=6), ""),
            ([Needs()], Needs(gpus=1), "waits for CPUs"),
            ([], Needs(threads=99), ""),
            ([], Needs(gpus=9), ""),
        ],
    )
    def test_room(self, lane: LocalLane, held: list[Needs], wanted: Needs, reason: str) -> None:
        for needs in held:
            lane.reserve(needs)
        assert lane.full(wanted) == reason
        lane.begin_round()
        assert lane.full(wanted) == ""

    @pytest.mark.parametrize(("needs", "share"), [(Needs(threads=2), "0.25"), (Needs(gpus=1), "0.5"), (Needs(), "1")])
    def test_a_job_is_told_its_part_of_the_machine(
        self, lane: LocalLane, needs: Needs, share: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        told: dict[str, str] = {}

        def start_worker(folder: JobFolder, *, environment: dict[str, str]) -> subprocess.Popen[bytes]:
            told.update(environment)
            return subprocess.Popen(["true"])

        monkeypatch.setattr(local, "start_worker", start_worker)
        lane.start(JobFolder(tmp_path), needs).wait(10)
        assert told["THON_SHARE"] == share

    def test_so_many_jobs_at_most(self) -> None:
        lane = LocalLane(LaneOptions(kind="local", cpus=8, jobs=1))
        lane.reserve(Needs(threads=1))
        assert lane.full(Needs(threads=1)) == "waits for one of the 1 jobs that run at most"
