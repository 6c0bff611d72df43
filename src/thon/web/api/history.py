"""The API of where things came from: the whole history of a file or a job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from thon.base.errors import StoreError
from thon.job.folder import JobFolder
from thon.project.ask import Row
from thon.project.history import History, Origin, find_origin, trace
from thon.project.request import changed_inputs
from thon.web.api.jobs import number_of
from thon.web.api.models import RawOut, Step, Why
from thon.web.cards import state_of
from thon.web.faults import AbsentError
from thon.web.paths import below
from thon.web.site import Served, ServedProject

router = APIRouter(tags=["history"])


@router.get("/projects/{project}/why")
def why(
    served: ServedProject,
    job: Annotated[str, Query(max_length=200)] = "",
    item: Annotated[str | None, Query(max_length=500)] = None,
    file: Annotated[str, Query(max_length=2000)] = "",
    changed: bool = False,
) -> Why:
    """The history of a job, of one of its items, or of a file: relative to the project, or a copy anywhere else.

    With `changed` it is looked which inputs have changed since, which may take a while.
    """
    with served.index.reading() as connection:
        if file:
            path = Path(os.path.expanduser(file))
            place = path if path.is_absolute() else below(served.project.root, file)
            origin = _origin(connection, served, place)
        else:
            origin = Origin(number_of(served.job(job)), item)
        history = trace(connection, served.project, origin)
    return _told(served, history, changed=changed)


def _origin(connection: Connection, served: Served, file: Path) -> Origin:
    try:
        return find_origin(connection, served.project, file)
    except OSError as error:
        raise AbsentError("this file cannot be read", got=error.strerror) from error


def _told(served: Served, history: History, *, changed: bool) -> Why:
    costs = [row["cost"] for row in history.chain if row["cost"] is not None]
    return Why(
        job=history.origin.job,
        item=history.origin.item,
        copy_of=history.origin.copy_of,
        remark=history.origin.remark,
        chain=[_step(served, row, look=changed) for row in history.chain],
        raw=[RawOut(folder=one.folder, count=one.count, bytes=one.bytes) for one in history.raw],
        seconds=sum(row["seconds"] for row in history.chain),
        cpu_seconds=sum(row["cpu_seconds"] for row in history.chain),
        cost=sum(costs) if costs else None,
        currency=next((row["currency"] for row in history.chain if row["currency"]), None),
    )


def _step(served: Served, row: Row, *, look: bool) -> Step:
    folder = JobFolder(served.project.root / row["folder"])
    own = {name: row[name] for name in Step.model_fields if name in row}
    own |= {"options": json.loads(row["options"] or "{}"), "state": state_of(folder, row["state"])}
    return Step.model_validate(own | {"changed": _changes(folder) if look else []})


def _changes(folder: JobFolder) -> list[str]:
    """Inputs of a job that have changed since; none are told of a job whose record cannot be read."""
    try:
        return changed_inputs(folder, quick=True)
    except StoreError:
        return []
