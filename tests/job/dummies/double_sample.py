"""Double a sample: reads its file again, takes its time, and can be told to die, to fail, or to fill up."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from thon_own_jobs.read_samples import Sample

from thon.base.errors import FormatError, StoreError
from thon.base.options import Options, Unit
from thon.job.context import Context
from thon.job.spec import each


class DoubleSampleOptions(Options):
    seconds: Annotated[float, Ge(0), Unit("s")] = 0.0
    """Time to take."""

    faults: str = ""
    """Folder of files `ITEM.kill`, `ITEM.error` and `ITEM.full`, each of which makes that fault once and goes with it,
    and of `reference`, which stands for a gain reference that is cut short."""


@each(title="Double", stage="test")
def double_sample(sample: Sample, options: DoubleSampleOptions, context: Context) -> Sample:
    path = context.output("twice.txt", title="Twice")
    path.write_text("half")
    if options.faults:
        _fault(Path(options.faults), context.item)
    deadline = time.monotonic() + options.seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
    value = 2 * sample.value
    path.write_text(f"{Path(sample.path).read_text()} {value} {os.environ.get('OMP_NUM_THREADS')}\n")
    return replace(sample, path=str(path), value=value)


def _fault(folder: Path, item: str) -> None:
    if (folder / "reference").exists():
        raise FormatError("is truncated", path=folder / "reference")
    for kind in ("kill", "error", "full"):
        flag = folder / f"{item}.{kind}"
        if flag.exists():
            flag.unlink()
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "full":
                raise StoreError("cannot write", path=folder) from OSError(errno.ENOSPC, "No space left on device")
            raise OSError("the disk coughed")
