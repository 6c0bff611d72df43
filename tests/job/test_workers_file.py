"""What a run says that its workers on other machines took."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.job.record import RunRecord, Usage
from thon.job.workers_file import WorkerLine, note_worker, worker_runs

RUN = "2026-11-30T08:00:00.000+00:00"


def at(minute: int) -> str:
    return f"2026-11-30T08:{minute:02d}:00.000+00:00"


def test_a_worker_is_held_from_when_it_came_to_when_it_went_or_the_run_ended(tmp_path: Path) -> None:
    paid = {"price": 6.0, "gpus": ("A",), "host": "n1", "instance": "big", "lane": "gpu"}
    lines = [
        WorkerLine(run="earlier", place="0", time=at(0), worker="n1-1", **paid),
        WorkerLine(run=RUN, place="0", time=at(1), worker="n1-2", batch="2", **paid),
        WorkerLine(run=RUN, place="1", time=at(1), worker="n2-3", **paid),
        WorkerLine(run=RUN, place="0", time=at(11)),
        # Another takes the place of the one that is gone; the second dies and is there again at once.
        WorkerLine(run=RUN, place="0", time=at(13), worker="n3-4"),
        WorkerLine(run=RUN, place="1", time=at(14)),
        WorkerLine(run=RUN, place="1", time=at(15), worker="n2-3", **paid),
    ]
    for line in lines:
        note_worker(tmp_path, line)
    with (tmp_path / "workers.jsonl").open("a") as file:
        file.write('{"run": "2026')
    took = {"": Usage(cpu_seconds=1.0), "n2-3": Usage(cpu_seconds=70.0, peak_memory=5)}
    run = RunRecord(started=RUN, state="finished")
    first, second, third = worker_runs(tmp_path, run, at(21), took, share=0.5)
    assert [one.worker for one in (first, second, third)] == ["n1-2", "n2-3", "n3-4"]
    assert [one.seconds for one in (first, second, third)] == [600.0, 1200.0, 480.0]
    assert (first.cost, second.cost, third.cost) == (pytest.approx(0.5), pytest.approx(1.0), None)
    assert (first.gpu_seconds, first.ended, first.batch, first.state) == (300.0, at(11), "2", "finished")
    assert (second.cpu_seconds, second.peak_memory, second.ended) == (70.0, 5, at(21))
