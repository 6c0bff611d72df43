"""What the jobs of a live session say that it took: each its part of the one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.live_harness import Live
from thon.job import hardware
from thon.project.index import open_index, reindex


def test_the_steps_share_the_price_and_a_killed_session_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THON_METADATA", "none")
    monkeypatch.setenv("THON_PRICE", "36")
    monkeypatch.delenv("THON_DATABASE", raising=False)
    hardware._word.cache_clear()
    live = Live(tmp_path)
    live.put("a.smp", "A 1 END")
    live.put("b.smp", "A 2 END")
    assert live.run() == 0
    records = [folder.head() for folder in live.project.jobs()]
    assert [len(record.runs) for record in records] == [1] * 4
    assert sum(record.runs[0].share for record in records) == pytest.approx(1, abs=0.001)
    whole = records[0].runs[0].seconds
    assert sum(record.runs[0].cost or 0 for record in records) == pytest.approx(whole / 100, rel=0.01)
    with open_index(live.project) as index:
        followed = list(index.dump())
    # A session that was killed left a run that nobody closed; the next one closes it.
    first = live.job(1)
    record = first.head()
    record.runs[0].ended, record.runs[0].state, record.state = None, "running", "running"
    first.write(record)
    live.put("c.smp", "A 3 END")
    assert live.run() == 0
    assert [run.state for run in first.head().runs] == ["killed", "finished"]
    assert first.head().usage.seconds > first.head().runs[1].seconds
    hardware._word.cache_clear()
    with open_index(live.project) as index:
        later = list(index.dump())
    reindex(live.project)
    with open_index(live.project) as index:
        assert list(index.dump()) == later != followed
