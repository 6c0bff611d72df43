"""Runs a job whose items are done by workers on other machines: ``python -m thon.engine.cluster.worker JOBDIR LANE``.

It takes the job up like ``thon-worker`` and exits with the same codes; it stays on this machine and does no item
itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from thon.engine.cluster.slurm import slurm_crew
from thon.engine.lanes.options import read_lanes
from thon.job.events import Log
from thon.job.folder import JobFolder
from thon.job.registry import load_job
from thon.job.worker import run, serve


def main(arguments: list[str] | None = None) -> int:
    """Run the job in a folder over the workers of a lane; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2 or given[0].startswith("-"):
        print(f"usage: python -m thon.engine.cluster.worker JOBDIR LANE\n\n{__doc__}")
        return 0 if given in (["-h"], ["--help"]) else 2
    folder, lane = JobFolder(Path(given[0])), given[1]
    return serve(lambda: _run(folder, lane))


def _run(folder: JobFolder, lane: str) -> int:
    record = folder.head()
    crew = slurm_crew(
        lane,
        read_lanes(folder.root)[lane],
        name=f"{folder.root.name}-{folder.path.name}",
        gpus=load_job(record.type).gpus,
        folder=folder.path,
        settings=record.settings,
        say=lambda text: folder.emit(Log(text=text)),
    )
    return run(folder, own_process=True, crew=crew)


if __name__ == "__main__":
    sys.exit(main())
