"""Simulate numbers like those in a file: a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import each


class SimulateNumbersOptions(Options):
    target: str = "simulated"
    """Name of the new folder."""

    files: Annotated[int, Ge(1), Unit("1")] = 2
    """Files in it."""


@each(title="Simulate numbers", stage="simulate", standalone=True)
def simulate_numbers(source: Path, options: SimulateNumbersOptions, context: Context) -> Path:
    folder = context.output(options.target)
    (folder / "deep").mkdir(parents=True)
    for k in range(options.files):
        (folder / "deep" / f"{k}.txt").write_text(source.read_text())
    return folder
