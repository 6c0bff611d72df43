"""Smooth numbers with a running mean and a little noise; slow on demand, and it can be told to fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from thon_own_jobs.read_numbers import Numbers

from thon.base.options import Advanced, Options, Unit
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each


class EdgeOptions(Options):
    mode: Literal["reflect", "zero"] = "reflect"
    """What lies beyond the ends."""


class SmoothNumbersOptions(Options):
    width: Annotated[int, Ge(1), Unit("1")] = 3
    """Numbers in the running mean."""

    scale: Annotated[float, Unit("1")] = 1.0
    """Factor at the end; clashes with an option of read-numbers."""

    seconds: Annotated[float, Ge(0), Unit("s")] = 0.0
    """Time to take."""

    noisy: bool = True
    """Add noise."""

    edge: EdgeOptions = EdgeOptions()
    """The ends."""

    fail_on: str = ""
    """Item that raises an error nobody expected."""

    flag_file: Annotated[str, Advanced()] = ""
    """Die by SIGKILL in the middle if this file is missing, and make it."""

    disk: Annotated[int, Ge(0), Unit("bytes")] = 0
    """What the plan says the output takes."""


def plan_smooth_numbers(numbers: Numbers, options: SmoothNumbersOptions, resources: Resources) -> Plan:
    return Plan(
        understood=(f"{len(numbers.values)} numbers, {resources.threads} threads",),
        geometry=("on a line",),
        memory=numbers.values.nbytes,
        disk=options.disk or numbers.values.nbytes,
        seconds=options.seconds,
        output=numbers,
    )


@each(title="Smooth numbers", stage="test", plan=plan_smooth_numbers)
def smooth_numbers(numbers: Numbers, options: SmoothNumbersOptions, context: Context) -> Numbers:
    path = context.output("smooth.txt", title="Smooth")
    if context.item == options.fail_on:
        raise RuntimeError("told to fail")
    context.preview("numbers", np.tile(numbers.values, (3, 1)), "before")
    (context.scratch / "draft.txt").write_text("draft")
    with path.open("w") as file:
        file.write("# half-written\n")
        file.flush()
        if options.flag_file and not Path(options.flag_file).exists():
            Path(options.flag_file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        for k in range(10):
            context.progress(k, 10, "smoothing")
            time.sleep(options.seconds / 10)
        mode = "reflect" if options.edge.mode == "reflect" else "constant"
        padded = np.pad(numbers.values, options.width // 2, mode=mode)
        smooth = np.convolve(padded, np.full(options.width, 1 / options.width), "valid") * options.scale
        if options.noisy:
            smooth = smooth + np.random.default_rng(context.seed).normal(0, 0.01, smooth.shape)
        file.writelines(f"{value:.9f}\n" for value in smooth)
    report = context.report()
    report.write_text(f"<p>{context.item}</p>")
    return Numbers(str(path), smooth)
