"""Samples as they arrive, gathered into batches."""

from __future__ import annotations

from thon.job.spec import chain

watch_samples = chain(
    "read-samples",
    "double-sample",
    "gather-samples",
    "refine-batch",
    name="watch-samples",
    title="Session",
    stage="test",
    doc=__doc__,
    live=True,
)
