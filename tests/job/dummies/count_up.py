"""Count up from a sum, an iteration at a time; keeps each iteration, and can be told to fail in one."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge
from thon_own_jobs.read_numbers import Numbers

from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import whole


class CountUpOptions(Options):
    iterations: Annotated[int, Ge(1), Unit("1")] = 6
    """Iterations in all."""

    fail_in: Annotated[int, Ge(0), Unit("1")] = 0
    """Iteration that raises an error; none where it is 0."""


@whole(title="Count up", stage="test")
def count_up(numbers: tuple[Numbers, ...], options: CountUpOptions, context: Context) -> Numbers:
    state = context.checkpoints / "state.txt"
    context.checkpoints.mkdir(parents=True, exist_ok=True)
    done, total = (int(text) for text in state.read_text().split()) if state.exists() else (0, 0)
    context.log(f"from iteration {done}")
    for k in range(done + 1, options.iterations + 1):
        if k == options.fail_in:
            raise RuntimeError("told to fail")
        total += k
        part = state.with_suffix(".part")
        part.write_text(f"{k} {total}")
        part.replace(state)
        context.keep_iteration(k)
    path = context.output("count.txt", title="Count")
    path.write_text(f"{total}\n")
    return Numbers(str(path), np.array([total + sum(one.values.sum() for one in numbers)]))
