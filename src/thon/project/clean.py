"""Frees disk space: what finished jobs leave behind, and outputs of jobs that no final result goes back to.

Records always stay, so that the history of a result, and of a copy of a removed output, can still be told.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import InputError
from thon.job.folder import JobFolder, storing
from thon.job.machine import now
from thon.project.project import Project
from thon.project.sizes import leftovers_of, size_of

FINAL = "final"
"""Key in `project.json` with the jobs whose results are final."""


@dataclass(frozen=True)
class Removal:
    """What can go of one job.

    Args:
        folder: The job.
        paths: Folders to remove.
        bytes: What they take.
        outputs: Whether its outputs are among them.
    """

    folder: JobFolder
    paths: tuple[Path, ...]
    bytes: int
    outputs: bool


def final_jobs(project: Project) -> list[str]:
    """The numbers of the jobs whose results were marked as final."""
    return [str(name) for name in project.marks().get(FINAL, [])]


def mark_final(project: Project, jobs: Sequence[str], *, final: bool = True) -> list[str]:
    """Mark the results of jobs as final, or no longer; returns all that are.

    Raises:
        InputError: No such job.
        StoreError: The disk refuses.
    """
    numbers = [project.job(name).path.name.split("-")[0] for name in jobs]
    others = [name for name in final_jobs(project) if name not in numbers]
    project.mark(**{FINAL: sorted([*others, *numbers] if final else others)})
    return final_jobs(project)


def plan_cleaning(project: Project, protected: Collection[str] | None) -> list[Removal]:
    """What can go: leftovers of jobs that have ended well, and all outputs of those that are not protected.

    Args:
        project: The project.
        protected: Final results and all jobs that they go back to; None to leave all outputs alone.
    """
    found: list[Removal] = []
    for folder in project.jobs():
        number, state = folder.path.name.split("-")[0], folder.marked_state()
        unneeded = protected is not None and number not in protected and state in ("finished", "failed", "interrupted")
        if folder.is_running() or not (unneeded or state == "finished"):
            continue
        outputs = [folder.outputs] if unneeded and folder.outputs.is_dir() and any(folder.outputs.iterdir()) else []
        paths = (*leftovers_of(folder), *outputs)
        if paths:
            seen = set[tuple[int, int]]()
            found.append(Removal(folder, paths, sum(size_of(path, seen) for path in paths), bool(outputs)))
    return found


def clean(removal: Removal) -> None:
    """Remove it; a job that loses its outputs says so in its record, first.

    Raises:
        InputError: Somebody has taken the job up since.
        StoreError: The disk refuses.
    """
    folder = removal.folder
    if folder.is_running():
        raise InputError("this job runs", path=folder.path, mend="wait for it to end")
    with folder.lock(), storing(folder.path):
        if removal.outputs:
            # The results of an interrupted run must get into the record before their folder goes.
            record = folder.read() if folder.head().live is None else folder.head()
            folder.write(record.model_copy(update={"cleaned": now()}))
        for path in removal.paths:
            aside = path.with_name(f".tmp-removed-{path.name}")
            path.rename(aside)
            shutil.rmtree(aside)
