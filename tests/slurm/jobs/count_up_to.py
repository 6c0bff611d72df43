"""Count, an iteration at a time, with a checkpoint after each; waits at gates until they are opened."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import each


@dataclass(frozen=True)
class Count:
    """What was counted."""

    path: str
    total: int


class CountUpToOptions(Options):
    iterations: Annotated[int, Ge(1), Unit("1")] = 5
    """Iterations in all."""

    gates: str = ""
    """Folder where `ITEM.K` must be before iteration K begins, if `ITEM.K.shut` is; `ITEM.K.here` tells who waits."""

    memory: Annotated[int, Ge(0), Unit("MB")] = 0
    """Memory to take."""


@each(title="Count", stage="test")
def count_up_to(source: Path, options: CountUpToOptions, context: Context) -> Count:
    state = context.checkpoints / "state"
    context.checkpoints.mkdir(parents=True, exist_ok=True)
    done, total = map(int, state.read_text().split()) if state.exists() else (0, int(source.read_text()))
    context.log(f"from iteration {done} on {os.environ.get('SLURMD_NODENAME', 'this machine')}")
    ballast = bytearray(os.urandom(1024)) * (1000 * options.memory)
    for k in range(done + 1, options.iterations + 1):
        if options.gates:
            _pass(Path(options.gates), f"{context.item}.{k}")
        total = (3 * total + k) % 1_000_003
        part = state.with_suffix(".part")
        part.write_text(f"{k} {total}")
        part.replace(state)
    path = context.output("count.txt", title="Count")
    path.write_text(f"{total} {len(ballast)}\n")
    return Count(str(path), total)


def _pass(folder: Path, name: str) -> None:
    if not (folder / f"{name}.shut").exists():
        return
    (folder / f"{name}.here").touch()
    while not (folder / name).exists():
        time.sleep(0.02)
