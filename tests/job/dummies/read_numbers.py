"""Read numbers from a text file, one per line.

Stands for an import: files from outside become records.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import each


@dataclass(frozen=True)
class Numbers:
    """Numbers in a file."""

    path: str
    values: np.ndarray


class ReadNumbersOptions(Options):
    scale: Annotated[float, Ge(0), Unit("Å")] = 1.0
    """Length of one unit in the file."""

    weights: Path | None = None
    """File of factors for the numbers."""

    keep: tuple[int, ...] = ()
    """Lines to keep, from 0; all unless given."""


@each(title="Read numbers", stage="import")
def read_numbers(source: Path, options: ReadNumbersOptions, context: Context) -> Numbers:
    try:
        values = np.array([float(line) for line in source.read_text().split()])
    except ValueError as error:
        raise InputError("holds something that is no number", path=source, mend="one number per line") from error
    if options.weights is not None:
        values = values * np.loadtxt(options.weights)
    if options.keep:
        values = values[list(options.keep)]
    context.log(f"{len(values)} numbers")
    if len(values) < 3:
        context.warn("few numbers")
    return Numbers(str(source), values * options.scale)
