"""Dummy jobs in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

DUMMIES = Path(__file__).parent.parent / "job" / "dummies"


@pytest.fixture(autouse=True)
def dummy_jobs(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THON_JOBS", str(DUMMIES))
    return DUMMIES
