"""Sum the numbers of a whole set."""

from __future__ import annotations

import numpy as np
from thon_own_jobs.read_numbers import Numbers

from thon.base.options import Options
from thon.job.context import Context
from thon.job.spec import whole


@whole(title="Sum numbers", stage="test")
def sum_numbers(
    numbers: tuple[Numbers, ...], options: Options, context: Context, start: Numbers | None = None
) -> Numbers:
    total = sum(one.values.sum() for one in numbers) + (start.values.sum() if start is not None else 0.0)
    path = context.output("sum.txt")
    path.write_text(f"{total:.9f}\n")
    return Numbers(str(path), np.array([total]))
