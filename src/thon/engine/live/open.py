"""Opens a live session on a project: nobody else may have it, and each step finds its job folder again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import InputError, StoreError
from thon.base.options import Options
from thon.engine.inputs import is_job, job_of
from thon.engine.live.options import LiveOptions
from thon.engine.live.stage import Stage
from thon.engine.steps import Step
from thon.job.folder import POOL_SECONDS, JobFolder, storing
from thon.job.machine import now
from thon.job.places import stored
from thon.job.record import JobRecord, Reference, RunSettings
from thon.job.spec import JobSpec
from thon.project.project import Project
from thon.project.request import Request, changed, draft, fingerprints, new_job

LOCK = ".live.lock"
WORKERS = ".live.workers"
LOOKED_AT = 1.0
"""How long others, who look whether a session runs, may hold the lock, s."""


@dataclass(frozen=True)
class SessionRequest:
    """What a live session is asked to do.

    Args:
        location: Folder or URL to watch.
        steps: The steps with their options; the first takes files.
        options: How to watch.
        settings: How to run.
        ports: What was typed for further ports, by name.
        command: What was typed.
        lane: Where the items are done; on this machine unless given.
    """

    location: str
    steps: Sequence[tuple[Step, Options]]
    options: LiveOptions
    settings: RunSettings
    ports: Mapping[str, str]
    command: str = ""
    lane: str = ""


@contextlib.contextmanager
def hold_project(root: Path) -> Generator[Path]:
    """Hold a project as its only live session; yields the file that its workers are to hold.

    Raises:
        StoreError: Another session has it, or workers of a session that was killed do not go.
    """
    with storing(root), (root / LOCK).open("a+") as lock, (root / WORKERS).open("a") as workers:
        if not _locked(lock.fileno(), LOOKED_AT):
            lock.seek(0)
            raise StoreError(
                "another live session writes into this project",
                path=root,
                got=lock.read().strip() or None,
                mend="stop that one first, or choose another output folder",
            )
        if not _locked(workers.fileno(), POOL_SECONDS):
            raise StoreError("workers of an earlier session are still writing here", path=root)
        fcntl.flock(workers, fcntl.LOCK_UN)
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": now()}))
        lock.flush()
        yield root / WORKERS


def _locked(descriptor: int, seconds: float) -> bool:
    """Lock a file, waiting for others at most so long; whether that succeeded."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def ask_first(request: SessionRequest, folder: Path) -> None:
    """Let the first step's job ask for what it must know of the files that are there, before anything is done.

    Raises:
        InputError: It asks.
    """
    step, options = request.steps[0]
    if step.spec.expand is not None and folder.is_dir():
        step.spec.expand(folder, options)


def open_stages(project: Project, request: SessionRequest, location: str) -> list[Stage]:
    """The steps with their job folders: those of an earlier session that was asked the same, else new ones.

    Raises:
        InputError: A file that an option names cannot be read.
        StoreError: The disk refuses.
    """
    stages: list[Stage] = []
    live = location if "://" in location else stored(location, project.root)
    for step, options in request.steps:
        ports = _ports(step.spec, request.ports, project)
        drafted = draft(project, Request(step.spec, options, {}, request.settings, step.source, request.command))
        inputs = drafted.inputs | fingerprints(project, {"": ports}, {})
        follows = stages[-1].job if stages else None
        drafted = drafted.model_copy(update={"live": live, "follows": follows, "inputs": inputs})
        folder = _same(project, drafted) or new_job(project, drafted)
        newest = request.options.order == "newest-first"
        job = folder.head().id
        stages.append(Stage(step.spec, options, folder, job=job, ports=ports, newest_first=newest))
    return stages


def _same(project: Project, drafted: JobRecord) -> JobFolder | None:
    """The job of an earlier session on the same source with the same options, after the same job."""

    def asked(record: JobRecord) -> object:
        return record.type, record.options, record.settings.seed, record.live, record.follows

    for folder in reversed(project.jobs()):
        record = folder.head()
        if asked(record) == asked(drafted) and not changed(record.inputs, drafted.inputs):
            return folder
    return None


def _ports(spec: JobSpec, typed: Mapping[str, str], project: Project) -> dict[str, list[Reference]]:
    """What goes into further ports of every item: a file, or the one item of a job."""
    found: dict[str, list[Reference]] = {}
    for port in spec.ports[1:]:
        text = typed.get(port.name)
        if text is None:
            continue
        if is_job(text):
            folder, only = job_of(text, project)
            items = [only] if only is not None else folder.items()
            if len(items) != 1:
                raise InputError(f"--{port.name} needs one item", got=text, expected=f"{text}:ITEM")
            found[port.name] = [Reference(job=folder.head().id, item=items[0])]
        else:
            found[port.name] = [Reference(file=stored(os.path.abspath(text), project.root))]
    return found
