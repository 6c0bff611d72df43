"""Refine a batch, from what an earlier refinement found where there is one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

from annotated_types import Ge
from thon_own_jobs.gather_samples import Batch

from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import each


class RefineBatchOptions(Options):
    seconds: Annotated[float, Ge(0), Unit("s")] = 0.0
    """Time to take."""


@each(title="Refine", stage="test")
def refine_batch(batch: Batch, options: RefineBatchOptions, context: Context, start: Batch | None = None) -> Batch:
    time.sleep(options.seconds)
    path = context.output("total.txt", title="Total")
    path.write_text(f"{batch.total}\n")
    return replace(batch, began_from=() if start is None else start.members)
