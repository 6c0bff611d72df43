"""Jobs on a real Slurm: of two users, evicted, on nodes that die, on the next lane, after a kill of the scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.conftest import Bench, Person, account, counted, until
from tests.slurm.lab.cluster import Cluster
from thon.engine.lanes.trial import try_lane
from thon.engine.scheduler.asked import ask_to_run, asked_jobs, asked_of
from thon.engine.scheduler.stop import stop
from thon.engine.slurm import commands
from thon.engine.slurm.submission import read_submission, write_submission
from thon.engine.waiting import add_job
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.request import Request


def logs(folder: JobFolder) -> list[str]:
    return [event.text for event in folder.events() if event.kind == "log"]


def test_two_users_each_with_their_own_jobs_and_files(cluster: Cluster, people: list[Person]) -> None:
    lanes = '[slurm]\npartition = "main"\nmemory = 0.2\nprice = 3.6\n' + f'python = "{people[0].python}"\n'
    lanes += "".join(f'env.{name} = "{value}"\n' for name, value in people[0].variables.items())
    processes: list[subprocess.Popen[str]] = []
    for person, text in zip(people, ("1", "2"), strict=True):
        (person.home / "one.txt").write_text(text)
        (person.home / ".config/thon").mkdir(parents=True)
        (person.home / ".config/thon/lanes.toml").write_text(lanes)
        processes.append(person.thon("count-up-to", "one.txt", "-o", "project", "--lane", "slurm", "--threads", "1"))
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for person, total in zip(people, (1, 2), strict=True):
        (job,) = (person.home / "project").glob("J001-*")
        assert (job / "outputs/one/count.txt").read_text() == f"{counted(total)} 0\n"
        owners = {path.owner() for path in (person.home / "project").rglob("*")}
        assert owners == {person.name}
        (run,) = JobFolder(job).read().runs
        assert (run.user, run.lane, run.price, run.accounting["state"]) == (person.name, "slurm", 3.6, "COMPLETED")
        assert run.accounting["elapsed"] >= 0
        told = account(cluster, run.batch)
        expected = {"project": "project", "job": job.name, "lane": "slurm", "price": 3.6}
        assert {name: value for name, value in json.loads(told["comment"]).items() if name != "thon"} == expected
    assert commands.squeue() == {}


def test_an_evicted_job_goes_on_where_it_stopped(cluster: Cluster, bench: Bench) -> None:
    here, gate = bench.shut("spotty.4")
    there, other_gate = bench.shut("urgent.1")
    spotty = bench.add("spotty", 7)
    ask_to_run(spotty, lane="spot")
    scheduler = bench.scheduler()
    until(here.exists, scheduler)
    urgent = bench.add("urgent", 1)
    ask_to_run(urgent, lane="urgent")
    until(there.exists, scheduler)
    gate.touch()
    other_gate.touch()
    until(lambda: len(scheduler.codes) == 2, scheduler)
    assert scheduler.codes == {"J001": 0, "J002": 0}
    assert spotty.output("spotty").total == counted(7)
    record = spotty.read()
    assert [run.state for run in record.runs] == ["interrupted", "finished"]
    assert record.runs[1].accounting["state"] == "COMPLETED"
    assert record.runs[0].spot is True
    assert [text.split(" on ")[0] for text in logs(spotty)] == ["from iteration 0", "from iteration 3"]
    undisturbed = bench.add("spotty", 7)
    ask_to_run(undisturbed, lane="main")
    until(lambda: "J003" in scheduler.codes, scheduler)
    assert file_of(undisturbed) == file_of(spotty)


def test_a_node_that_dies_costs_the_iteration_in_hand(cluster: Cluster, bench: Bench) -> None:
    here, gate = bench.shut("lost.3")
    folder = bench.add("lost", 5)
    ask_to_run(folder, lane="main")
    scheduler = bench.scheduler()
    until(here.exists, scheduler)
    (node,) = [text.split(" on ")[1] for text in logs(folder)]
    here.unlink()
    cluster.kill_node(node)
    try:
        until(here.exists, scheduler)
        gate.touch()
        until(lambda: scheduler.codes, scheduler)
    finally:
        cluster.start_node(node)
        cluster.await_node(node)
    assert folder.output("lost").total == counted(5)
    assert [run.state for run in folder.read().runs] == ["killed", "finished"]
    said = logs(folder)
    assert [text.split(" on ")[0] for text in said] == ["from iteration 0", "from iteration 2"]
    assert said[1].split(" on ")[1] != node
    submission = read_submission(folder)
    assert submission is not None
    assert submission.tries == 1, "Slurm requeues it by itself"


def test_a_lane_that_does_not_start_it_in_time_falls_to_the_next(bench: Bench) -> None:
    folder = bench.add("late", 3)
    ask_to_run(folder, lane="closed")
    scheduler = bench.scheduler()
    until(lambda: "PartitionDown" in words(scheduler, "J001"), scheduler)
    assert words(scheduler, "J001") == "queued: the partition is down (PartitionDown)"
    until(lambda: scheduler.codes, scheduler)
    assert bench.said == ["J001 goes to lane main, for it did not start in time on closed"]
    assert folder.output("late").total == counted(3)
    assert folder.read().runs[0].lane == "main"


def test_a_partition_that_is_not_there_holds_the_job_with_words(bench: Bench) -> None:
    folder = bench.add("lost", 3)
    ask_to_run(folder, lane="nowhere")
    scheduler = bench.scheduler()
    until(lambda: scheduler.codes, scheduler)
    assert scheduler.codes == {"J001": 2}
    assert folder.state() == "failed"
    assert "invalid partition specified: nowhere" in bench.said[0]
    assert asked_jobs(bench.project) == {}


@pytest.mark.parametrize("noted", [True, False])
def test_a_scheduler_that_was_killed_is_followed_by_one_that_finds_the_job(
    noted: bool, cluster: Cluster, bench: Bench, tmp_path: Path
) -> None:
    here, gate = bench.shut("kept.2")
    folder = bench.add("kept", 4)
    (tmp_path / "lanes.toml").write_text('[main]\npartition = "main"\nmemory = 0.2\n')
    command = [
        sys.executable,
        "-m",
        "thon.cli.main",
        "run",
        "J001",
        "--lane",
        "main",
        "-o",
        str(bench.project.root),
        "-q",
    ]
    first = subprocess.Popen(command, env=os.environ | {"THON_LANES": str(tmp_path / "lanes.toml")})
    try:
        until(here.exists)
    finally:
        first.kill()
        first.wait()
    given = read_submission(folder)
    assert given is not None
    if not noted:
        write_submission(folder, given.model_copy(update={"batch": ""}))
    scheduler = bench.scheduler()
    until(lambda: scheduler.status().get("J001") and scheduler.status()["J001"].state == "running", scheduler)
    assert scheduler.status()["J001"].batch == given.batch
    gate.touch()
    until(lambda: scheduler.codes, scheduler)
    assert folder.output("kept").total == counted(4)
    assert len(folder.read().runs) == 1
    until(lambda: commands.numbers_of(given.name))
    assert commands.numbers_of(given.name) == [given.batch]


def test_what_is_cancelled_by_hand_and_what_is_stopped(cluster: Cluster, bench: Bench) -> None:
    gates = [bench.shut(f"{name}.2") for name in ("mine", "yours", "alone")]
    folders = [bench.add(name, 1) for name in ("mine", "yours", "alone")]
    for folder in folders:
        ask_to_run(folder, lane="main")
    scheduler = bench.scheduler()
    until(lambda: all(here.exists() for here, _ in gates), scheduler)
    scheduler.stop("J001")
    cluster.call("scancel", scheduler.status()["J002"].batch)
    until(lambda: len(scheduler.codes) == 2, scheduler)
    assert scheduler.codes == {"J001": 130, "J002": 130}
    assert bench.said == ["J002 was cancelled in Slurm by root"]
    scheduler.close()
    assert asked_of(folders[2]) is not None
    assert stop(bench.project, folders[2]).startswith("was cancelled in the batch system")
    until(lambda: commands.squeue() == {})
    assert [folder.state() for folder in folders] == ["interrupted"] * 3


def test_two_processes_on_two_nodes_share_the_work(bench: Bench) -> None:
    for total in (1, 2):
        ask_to_run(bench.add(f"part{total}", total), lane="main")
    scheduler = bench.scheduler()
    spec = load_job("share-count")
    request = Request(spec, spec.options(), {}, RunSettings(workers=2, threads=2))
    folder = add_job(bench.project, request, {"counts": ["J001", "J002"]})
    ask_to_run(folder, lane="nodes")
    until(lambda: len(scheduler.codes) == 3, scheduler, seconds=120)
    assert scheduler.codes == {"J001": 0, "J002": 0, "J003": 0}
    assert folder.output("all").total == 2 * (counted(1) + counted(2))
    assert Path(folder.output("all").path).read_text() == "0/2 1/2\n"
    accounting = folder.read().runs[0].accounting
    assert accounting["tres"]["node"] == 2


def test_a_trial_of_lanes(bench: Bench) -> None:
    root = bench.project.root
    good = try_lane(root, "gpu", bench.lanes["gpu"])
    assert good.troubles == []
    (told,) = good.reports
    assert (told["gpus"], told["instance"]) == ("0,1", "fake.gpu")
    assert told["node"].startswith("thon-n")
    bad = try_lane(root, "nowhere", bench.lanes["nowhere"])
    assert "invalid partition" in bad.troubles[0]
    late = try_lane(root, "closed", bench.lanes["closed"], patience=1)
    assert "did not start in" in late.troubles[0]
    assert "PartitionDown" in late.troubles[0]
    broken = bench.lanes["main"].model_copy(update={"python": "/nonexistent/python"})
    told_wrong = try_lane(root, "main", broken)
    assert "/nonexistent/python" in "\n".join(told_wrong.troubles)
    assert list((root / ".thon").glob("trial-*")) == []
    assert commands.squeue() == {}


def words(scheduler: object, job: str) -> str:
    standing = scheduler.status().get(job)  # pyright: ignore
    return standing.words if standing is not None else ""


def file_of(folder: JobFolder) -> bytes:
    (item,) = folder.items()
    return Path(folder.output(item).path).read_bytes()
