"""Numbers, read and smoothed in one command."""

from __future__ import annotations

from thon.job.spec import chain

numbers = chain("read-numbers", "smooth-numbers", name="numbers", title="Numbers", stage="test", doc=__doc__)
