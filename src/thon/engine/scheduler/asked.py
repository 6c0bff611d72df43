"""Which jobs somebody wants run: `asked.json` in a job's folder, from when it is asked for until it has ended.

What was asked for outlives whoever runs it: the next scheduler takes up the same jobs, those that were cut short too.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ValidationError

from thon.base.errors import StoreError
from thon.engine.graph import release, with_parents
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.hardware import user_name
from thon.job.machine import now
from thon.project.project import Project

ASKED = "asked.json"


class Asked(BaseModel):
    """That somebody wants a job run."""

    lane: str | None = None
    """Where; the default lane where it is None."""
    by: str = ""
    """Who asked for it."""
    asked: str
    """When."""


def ask_to_run(folder: JobFolder, *, lane: str | None = None) -> Asked:
    """Ask for a job: one that waits, is held, failed or was interrupted. Who asks again may name another lane.

    Who asks again keeps the place among those who wait, but for one that has failed: it is asked for from now on.

    Raises:
        StoreError: It is finished, or belongs to a live session, or the disk refuses.
    """
    state = folder.state()
    if state == "finished":
        raise StoreError("this job is finished and does not change", path=folder.path, mend="`thon repeat` it")
    if folder.head().live is not None:
        raise StoreError("this job belongs to a live session", path=folder.path, mend="give the same `thon live` again")
    if state == "held":
        release(folder)
    before = asked_of(folder)
    asked = Asked(
        lane=lane or (before.lane if before is not None else None),
        by=before.by if before is not None else user_name(),
        asked=before.asked if before is not None and state != "failed" else now(),
    )
    write_asked(folder, asked)
    return asked


def ask_with_parents(project: Project, names: Collection[str], *, lane: str | None = None) -> list[JobFolder]:
    """Ask for the jobs named and for those that they wait for, in an order in which they can run.

    Of jobs that wait or are held all are asked for where none is named.

    Raises:
        InputError: They wait for each other in a ring, or for a job that is not there.
        StoreError: One of them is finished, or the disk refuses.
    """
    waiting = [project.job(name) for name in with_parents(project, names)]
    there = {folder.path.name for folder in waiting}
    begun = [folder for folder in map(project.job, names) if folder.path.name not in there]
    for folder in (*waiting, *begun):
        ask_to_run(folder, lane=lane)
    return [*waiting, *begun]


def withdraw(folder: JobFolder) -> None:
    """Take back that a job was asked for; whoever runs it stops it.

    Raises:
        StoreError: The disk refuses.
    """
    with storing(folder.path):
        (folder.path / ASKED).unlink(missing_ok=True)


def asked_of(folder: JobFolder) -> Asked | None:
    """What was asked of a job; None where nobody wants it run. A file that cannot be read asks for the default."""
    try:
        return Asked.model_validate_json((folder.path / ASKED).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return Asked(asked="")


def asked_jobs(project: Project) -> dict[str, Asked]:
    """What was asked of the jobs of a project, by number, the oldest first."""
    found: dict[str, Asked] = {}
    for file in project.root.glob(f"J*/{ASKED}"):
        asked = asked_of(JobFolder(file.parent))
        if asked is not None and (file.parent / "job.json").exists():
            found[file.parent.name.split("-")[0]] = asked
    return dict(sorted(found.items(), key=lambda entry: (entry[1].asked, len(entry[0]), entry[0])))


def write_asked(folder: JobFolder, asked: Asked) -> None:
    """Note what is asked of a job.

    Raises:
        StoreError: The disk refuses.
    """
    with storing(folder.path):
        write_whole(folder.path / ASKED, asked.model_dump_json().encode() + b"\n")
