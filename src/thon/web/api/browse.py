"""The API of files on the server that jobs may take: where they are, and files that are sent from elsewhere."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from thon.base.errors import InputError
from thon.job.folder import UNFINISHED, storing
from thon.web.api.models import FileOut, Listing
from thon.web.faults import ConflictError
from thon.web.limits import LARGEST_UPLOAD, too_large
from thon.web.paths import MOST, allowed, entries_of
from thon.web.site import ServedProject, ServedSite

router = APIRouter(tags=["files"])

UPLOADS = "uploads"
"""Folder of a project for what is sent."""

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@router.get("/projects/{project}/browse")
def browse(
    served: ServedProject,
    site: ServedSite,
    path: Annotated[str, Query(max_length=2000)] = "",
    find: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Ge(0), Le(10_000_000)] = 0,
    limit: Annotated[int, Ge(1), Le(MOST)] = 500,
) -> Listing:
    """A folder of the server, to choose files from: one below home, the projects' folder, or what --browse names."""
    roots = [*site.browse, served.project.root.resolve()]
    folder = allowed(path or str(served.project.root.parent), roots)
    entries, total = entries_of(folder, None, find=find, offset=offset, limit=limit)
    above = folder.parent if any(folder.parent.is_relative_to(root) for root in roots) else None
    return Listing(
        path=str(folder),
        parent=None if above is None or above == folder else str(above),
        entries=entries,
        total=total,
        roots=[str(root) for root in roots],
    )


@router.put("/projects/{project}/uploads/{name}", status_code=201)
async def upload(served: ServedProject, request: Request, name: str) -> FileOut:
    """Send a file, as the body of the request, into the project's `uploads`, whole or not at all."""
    served.check_writable()
    plain = clean_name(name)
    folder = served.project.root / UPLOADS
    with storing(folder):
        folder.mkdir(exist_ok=True)
    target, part = folder / plain, folder / f"{UNFINISHED}{secrets.token_hex(4)}"
    if target.exists():
        raise ConflictError("there is such a file already", got=plain, mend="choose another name")
    try:
        with storing(part), part.open("xb") as file:
            size = 0
            async for piece in request.stream():
                size += len(piece)
                if size > LARGEST_UPLOAD:
                    raise too_large(LARGEST_UPLOAD)
                await run_in_threadpool(file.write, piece)
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        _place(part, target)
    finally:
        part.unlink(missing_ok=True)
    stat = target.stat()
    return FileOut(name=plain, path=f"{UPLOADS}/{plain}", folder=False, bytes=stat.st_size, modified=stat.st_mtime)


def clean_name(name: str) -> str:
    """The name of a file without what could lead elsewhere.

    Raises:
        InputError: Nothing is left of it.
    """
    plain = _NOT_IN_NAMES.sub("_", Path(name.replace("\\", "/")).name).lstrip(".-")[:200]
    if not plain:
        raise InputError("this is no name for a file", got=name, expected="letters, digits, . + - _")
    return plain


def _place(part: Path, target: Path) -> None:
    """Give a whole file its name, unless another has it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise ConflictError("there is such a file already", got=target.name, mend="choose another name") from error
    except OSError:
        part.rename(target)  # a disk without hard links
