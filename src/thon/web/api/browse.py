"""The API of files on the server that jobs may take: where they are, and files that are sent from elsewhere."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Annotated, BinaryIO

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
    target = served.project.root / UPLOADS / clean_name(name)
    part = target.with_name(f"{UNFINISHED}{secrets.token_hex(4)}")
    await run_in_threadpool(_check_free, target)
    try:
        with storing(part):
            file = await run_in_threadpool(part.open, "xb")
            try:
                size = 0
                async for piece in request.stream():
                    size += len(piece)
                    if size > LARGEST_UPLOAD:
                        raise too_large(LARGEST_UPLOAD)
                    await run_in_threadpool(file.write, piece)
                await run_in_threadpool(_sync, file)
            finally:
                await run_in_threadpool(file.close)
        return await run_in_threadpool(_place, part, target)
    finally:
        await run_in_threadpool(part.unlink, missing_ok=True)


def clean_name(name: str) -> str:
    """The name of a file without what could lead elsewhere.

    Raises:
        InputError: Nothing is left of it.
    """
    plain = _NOT_IN_NAMES.sub("_", Path(name.replace("\\", "/")).name).lstrip(".-")
    plain = plain.encode()[:200].decode(errors="ignore")
    if not plain:
        raise InputError("this is no name for a file", got=name, expected="letters, digits, . + - _")
    return plain


def _check_free(target: Path) -> None:
    """Make the folder for what is sent, and look whether such a file is there already."""
    with storing(target.parent):
        target.parent.mkdir(exist_ok=True)
    if target.exists():
        raise ConflictError("there is such a file already", got=target.name, mend="choose another name")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(part: Path, target: Path) -> FileOut:
    """Give a whole file its name, unless another has it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise ConflictError("there is such a file already", got=target.name, mend="choose another name") from error
    except OSError:
        part.rename(target)  # a disk without hard links
    stat, path = target.stat(), f"{UPLOADS}/{target.name}"
    return FileOut(name=target.name, path=path, folder=False, bytes=stat.st_size, modified=stat.st_mtime)
