"""Items over workers of Dask, here on this machine: each once, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster, Security

from thon.base.errors import InputError
from thon.engine.cluster.pool import ClusterCrew, ClusterPool
from thon.engine.cluster.slurm import slurm_crew
from thon.engine.inputs import file_items
from thon.engine.lanes.options import LaneOptions
from thon.engine.run import run_steps
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.loop import WorkerLostError
from thon.job.plan import Resources
from thon.job.record import RunSettings
from thon.job.worker import run as run_worker
from thon.project.project import Project


def local_cluster() -> LocalCluster:
    return LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=True,
        security=Security.temporary(),
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=50,
    )


def crew(workers: int) -> ClusterCrew:
    resources = Resources(threads=1, memory=10**9)
    return ClusterCrew(local_cluster, resources=resources, gpus=0, minimum=0, maximum=workers)


def job(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, run: Callable[..., Any], **options: Any
) -> JobFolder:
    """Samples that were read here and are doubled by `run`."""
    source = folder / "in"
    source.mkdir(exist_ok=True)
    for k in range(count):
        (source / f"s{k}.smp").write_text(f"- {k} END")
    project = Project.create(folder / "OUT")
    steps = steps_of("watch-samples")[:2]
    pairs = [(steps[0], steps[0].spec.options()), (steps[1], steps[1].spec.options(**options))]
    items = file_items(pairs[0][0].spec, pairs[0][1], [str(source)], project)

    def run_it(folder: JobFolder, watch: object) -> int:
        return (run if folder.path.name.startswith("J002") else run_worker)(folder)

    def ignore(*told: object) -> None:
        """Nobody looks."""

    monkeypatch.setattr("thon.engine.run.run_local", run_it)
    run_steps(project, pairs, items, RunSettings(threads=1), announce=ignore, watch=ignore)
    return project.job("J002")


def over_workers(count: int) -> Callable[[JobFolder], int]:
    return lambda folder: run_worker(folder, crew=crew(count))


def outputs(folder: JobFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder.outputs)): path.read_bytes() for path in folder.outputs.rglob("*") if path.is_file()
    }


def times_done(folder: JobFolder) -> dict[str, int]:
    events = [event.item or "" for event in folder.events() if event.kind == "item_done"]
    return {item: events.count(item) for item in events}


class TestItems:
    def test_they_are_done_elsewhere_as_they_are_here_and_the_record_tells_by_whom(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("THON_METADATA", "none")
        monkeypatch.setenv("THON_PRICE", "3600")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        for place in ("here", "there"):
            (tmp_path / place).mkdir()
        here = job(tmp_path / "here", monkeypatch, 6, run_worker)
        there = job(tmp_path / "there", monkeypatch, 6, over_workers(2), seconds=0.2)
        assert outputs(here) == outputs(there)
        record = there.read()
        assert (record.state, record.memory, record.threads) == ("finished", 10**9, 1)
        run, *workers = record.runs
        assert 1 <= len(workers) <= 2
        assert {result.worker for result in record.results.values()} == {one.worker for one in workers}
        assert not run.worker
        assert record.usage.seconds == run.seconds
        for one in workers:
            assert 0 < one.seconds < run.seconds
            assert one.cost == pytest.approx(one.seconds)
            assert one.cores == len(os.sched_getaffinity(0))
            mine = [result.cpu_seconds for result in record.results.values() if result.worker == one.worker]
            assert one.cpu_seconds == pytest.approx(sum(mine), abs=0.002)
        assert not list(there.path.rglob(".tmp-*"))

    def test_a_lost_worker_costs_what_it_had_in_hand_and_an_item_that_kills_again_and_again_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faults = tmp_path / "faults"
        faults.mkdir()
        (faults / "s1.kill").touch()

        def killing(folder: JobFolder) -> int:
            def strike() -> None:
                """Kill the first worker that has an item, once, and the process of s5 each time that it comes."""
                struck = False
                while not over.wait(0.02):
                    begun = [event.item for event in folder.events() if event.kind == "item_started"]
                    if not struck and "s3" in begun:
                        struck = True
                        line = (folder.path / "workers.jsonl").read_text().splitlines()[0]
                        os.kill(int(line.split('"worker":"')[1].split('"')[0].rsplit("-", 1)[1]), signal.SIGKILL)
                    if not (faults / "s5.kill").exists():
                        (faults / "s5.kill").touch()

            over = threading.Event()
            thread = threading.Thread(target=strike)
            thread.start()
            try:
                return run_worker(folder, crew=crew(2))
            finally:
                over.set()
                thread.join()

        folder = job(tmp_path, monkeypatch, 8, killing, seconds=0.3, faults=str(faults))
        record = folder.read()
        assert record.state == "failed"
        assert folder.items() == ["s0", "s1", "s2", "s3", "s4", "s6", "s7"]
        assert times_done(folder) == dict.fromkeys(folder.items(), 1)
        failed = record.results["s5"]
        assert "killed by SIGKILL" in failed.message
        assert failed.exit_code == 1
        assert len({one.worker for one in record.runs if one.worker}) >= 3
        assert not list(folder.path.rglob(".tmp-*"))


@pytest.fixture
def pool() -> Iterator[ClusterPool]:
    with crew(1).at_work({}) as pool:
        yield pool


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


SLOWLY = "__import__('time').sleep(0.3) or __import__('os').getpid()"
"""What a worker does that cannot import the tests."""


class TestPool:
    def test_it_grows_and_shrinks_with_what_is_wanted(self, pool: ClusterPool) -> None:
        assert pool.room == 0
        assert pool.submit(os.getpid).result(60) != os.getpid()
        assert pool.room == 1
        pool.want(5)
        pool.resize(2)
        assert pool.reason == "1 of 2 workers are there"
        until(lambda: pool.room == 2)
        assert len({future.result(60) for future in [pool.submit(eval, SLOWLY) for _ in range(4)]}) == 2
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result(60)
        pool.resize(1)
        assert pool.room == 1
        queued = [pool.submit(eval, SLOWLY) for _ in range(3)]
        pool.shutdown()
        assert all(future.done() for future in queued)

    def test_calls_fail_where_no_worker_can_be_had(self, pool: ClusterPool) -> None:
        call = pool.submit(os.getpid)
        pool.give_up(WorkerLostError("none is to be had"))
        with pytest.raises(WorkerLostError, match="none is to be had"):
            call.result(5)


class TestRequest:
    def test_a_worker_asks_for_what_the_lane_says_and_the_job_needs(self, tmp_path: Path) -> None:
        options = LaneOptions.model_validate(
            {
                "partition": "gpu",
                "qos": "high",
                "gpu_type": "a100",
                "price": 2.5,
                "instance": "g5",
                "time": 1.5,
                "setup": ("module load cuda",),
                "env": {"TMPDIR": "/fast disk"},
                "python": "/opt/thon/bin/python",
                "sbatch": ("--exclusive",),
                "workers": {"max": 8, "cpus": 6, "memory": 20.0, "gpus": 1},
            }
        )
        settings = RunSettings(memory=5.0)
        made = slurm_crew("gpu", options, name="p-J001", gpus=1, folder=tmp_path, settings=settings)
        assert (made.size, made.resources) == (8, Resources(6, 5 * 10**9, "cuda"))
        with made.open_cluster() as cluster:
            script = cluster.job_script()
        lines = script.splitlines()
        for line in ("-J p-J001", "-p gpu", "--cpus-per-task=6", "--mem=19074M", "-t 1:30:00", "--no-requeue"):
            assert f"#SBATCH {line}" in lines
        for line in ("--qos=high", "--gres=gpu:a100:1", "--exclusive"):
            assert f"#SBATCH {line}" in lines
        assert lines.index("module load cuda") < lines.index("export THON_PRICE=2.5")
        assert "export TMPDIR='/fast disk'" in lines
        (command,) = [
            line for line in lines if line.startswith("exec /opt/thon/bin/python -m distributed.cli.dask_worker tls://")
        ]
        for word in ("--tls-key", "--nanny", "--death-timeout 60", "--nthreads 1"):
            assert word in command
        # A job that uses no GPU asks for none; the keys go with the cluster.
        without = slurm_crew("gpu", options, name="p-J001", gpus=0, folder=tmp_path, settings=RunSettings())
        assert without.resources == Resources(6, 18 * 10**9, "cpu")
        with without.open_cluster() as cluster:
            assert "gres" not in cluster.job_script()
            assert [path.stat().st_mode & 0o77 for path in (tmp_path / ".tmp-keys").iterdir()] == [0, 0]
        assert not (tmp_path / ".tmp-keys").exists()
        with pytest.raises(InputError, match="no workers"):
            slurm_crew("cpu", LaneOptions(), name="x", gpus=0, folder=tmp_path, settings=RunSettings())
