"""The worker of a job of Slurm: `thon-worker`, held back until no worker of another node can still write there.

`flock`, by which workers of one machine keep out of each other's way, means nothing on some disks that nodes share. So
the first process also holds the job by a file with a sign of life, as the owner of a project's index does. The worker
that Slurm starts on another node, after it has lost one, waits until that sign has stood still; and one that finds
another's sign there, for its own node was thought dead and was not, stops before it writes more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from thon.base.errors import ThonError
from thon.job import worker
from thon.project.lock import BEAT, STALE, OwnerLock

HOLD = ".worker"
"""The file, in the job's folder."""


def main(arguments: list[str] | None = None) -> int:
    """Run the job in the folder given as the only argument; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return worker.main(given)
    try:
        with OwnerLock.hold(Path(given[0], HOLD), "a worker", wait=2 * STALE) as lock:
            threading.Thread(target=_watch, args=(lock,), daemon=True).start()
            return worker.main(given)
    except ThonError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _watch(lock: OwnerLock) -> None:
    """Stop, as by Ctrl-C, once another worker has the job."""
    while lock.is_ours:
        threading.Event().wait(BEAT)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
