"""Numbers, read, smoothed and summed over the whole set in one command, with one scale for all."""

from __future__ import annotations

from thon.job.spec import chain

totals = chain(
    "read-numbers",
    "smooth-numbers",
    "sum-numbers",
    name="totals",
    title="Totals",
    stage="test",
    doc=__doc__,
    shared=("scale",),
)
