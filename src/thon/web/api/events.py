"""The API of what happens: a project's changes as they come, the events of a job, and its logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from thon.engine.live.status import LOG
from thon.job.events import parse_event
from thon.web.api.models import EventsOut, FileOut, LogText
from thon.web.faults import AbsentError
from thon.web.feed import LOOK, QUIET, stream, told
from thon.web.paths import present_file
from thon.web.site import ServedProject, ServedSite, Site

router = APIRouter(tags=["events"])

JOB = "/projects/{project}/jobs/{job}"
LastId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
After = Annotated[int, Ge(0), Le(1 << 60)]

LOGS = ("*.log", "slurm-*", "*.out", "errors/*.log")

MOST_BYTES = 1 << 20
"""Of a log in one answer."""


@router.get("/projects/{project}/events", response_class=StreamingResponse)
async def follow_project(served: ServedProject, last_event_id: LastId = None) -> StreamingResponse:
    """What changes in a project, as server-sent events.

    `job`: a job that stands otherwise than before, as `GET jobs/JOB` tells it in short; `gone`: a job that was removed;
    `live`: the live session stands otherwise; `said`: a sentence about a job; `reset`: changes were lost, load anew.
    """
    return stream(served.feed.listen(last_event_id))


@router.get(f"{JOB}/events")
def list_events(
    served: ServedProject,
    job: str,
    after: After = 0,
    limit: Annotated[int, Ge(1), Le(10_000)] = 1000,
    last: bool = False,
) -> EventsOut:
    """Events of a job in the order in which they happened; with `last` the last so many."""
    file = served.job(job).events_file
    if last:
        after = max(0, _size(file) - 200 * limit)
    events, end = _events(file, after, limit if not last else 1 << 30)
    return EventsOut(events=[content for content, _ in events[-limit if last else 0 :]], next=end)


@router.get(f"{JOB}/events/live", response_class=StreamingResponse)
async def follow_job(
    served: ServedProject, site: ServedSite, job: str, after: After | None = None, last_event_id: LastId = None
) -> StreamingResponse:
    """Events of a job as server-sent events, from `after` or after `Last-Event-ID`; new ones alone otherwise."""
    file = (await run_in_threadpool(served.job, job)).events_file
    start = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
    if start is None:
        start = await run_in_threadpool(_size, file)
    return stream(_follow(file, start, site))


@router.get(f"{JOB}/logs")
def list_logs(served: ServedProject, job: str) -> list[FileOut]:
    """The logs of a job: its worker's, those of items that failed, those of the batch system."""
    folder = served.job(job).path
    found = [
        *folder.glob("*.log"),
        *folder.glob("slurm-*"),
        *folder.glob("*.out"),
        *sorted(folder.glob("errors/*.log"))[:500],
    ]
    return [
        FileOut(
            name=path.name,
            path=str(path.relative_to(folder)),
            folder=False,
            bytes=path.stat().st_size,
            modified=path.stat().st_mtime,
        )
        for path in dict.fromkeys(found)
        if path.is_file()
    ]


@router.get(f"{JOB}/logs/{{path:path}}")
def read_log(
    served: ServedProject,
    job: str,
    path: str,
    after: After | None = None,
    limit: Annotated[int, Ge(1), Le(MOST_BYTES)] = 65536,
) -> LogText:
    """A part of a log; its end unless told from where."""
    return _text(present_file(served.job(job).path, path), path, after, limit)


@router.get("/projects/{project}/session-log")
def read_session_log(
    served: ServedProject, after: After | None = None, limit: Annotated[int, Ge(1), Le(MOST_BYTES)] = 65536
) -> LogText:
    """A part of the log of the live session; its end unless told from where."""
    return _text(present_file(served.project.root, LOG), LOG, after, limit)


async def _follow(file: Path, place: int, site: Site) -> AsyncGenerator[str]:
    yield "retry: 2000\n\n"
    silent = 0.0
    while not site.ending:
        events, place = await run_in_threadpool(_events, file, place, 1000)
        for content, end in events:
            yield told("event", content, str(end))
        silent = 0.0 if events else silent + LOOK
        if silent >= QUIET:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK)


def _events(file: Path, after: int, limit: int) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """Events after a place in the file, each with the place where it ends, and where the last of them ends."""
    found: list[tuple[dict[str, Any], int]] = []
    if after >= _size(file):
        return found, after
    try:
        with file.open("rb") as lines:
            lines.seek(after)
            for line in lines:
                if not line.endswith(b"\n") or len(found) == limit:
                    break
                after += len(line)
                event = parse_event(line)
                if event is not None:
                    found.append((event.model_dump(exclude_none=True), after))
    except FileNotFoundError:
        pass
    return found, after


def _text(file: Path, name: str, after: int | None, limit: int) -> LogText:
    size = file.stat().st_size
    start = max(0, size - limit) if after is None else after
    if start > size:
        raise AbsentError("the log is shorter than that", got=start, expected=f"at most {size}")
    with file.open("rb") as log:
        log.seek(start)
        data = log.read(limit)
    return LogText(name=name, text=data.decode(errors="replace"), start=start, next=start + len(data), bytes=size)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
