"""The API of a job's files: what there is, each of them with ranges, and whole folders as one file."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, StreamingResponse

from thon.job.folder import UNFINISHED
from thon.web.api.models import Listing
from thon.web.paths import MOST, listing_of, present_file, present_folder
from thon.web.site import ServedProject

router = APIRouter(tags=["files"])

JOB = "/projects/{project}/jobs/{job}"
Short = Annotated[str, Query(max_length=200)]
Place = Annotated[str, Query(max_length=2000)]

SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}
"""Files that a page may show; all others are only downloaded, for they might be pages themselves."""

PIECE = 1 << 20


@router.get(f"{JOB}/files")
def list_files(
    served: ServedProject,
    job: str,
    path: Place = "",
    find: Short = "",
    offset: Annotated[int, Ge(0), Le(10_000_000)] = 0,
    limit: Annotated[int, Ge(1), Le(MOST)] = 500,
) -> Listing:
    """What lies in a job's folder, or in one below it."""
    root = served.job(job).path
    return listing_of(present_folder(root, path), root, find=find, offset=offset, limit=limit)


@router.get(f"{JOB}/files/{{path:path}}", name="job_file", response_class=FileResponse)
def get_file(served: ServedProject, job: str, path: str, download: bool = False) -> FileResponse:
    """A file of a job, or a part of it by a `Range` header."""
    return send(present_file(served.job(job).path, path), download=download)


@router.get(f"{JOB}/archive", response_class=StreamingResponse)
def get_archive(
    served: ServedProject, job: str, path: Place = "outputs", form: Literal["tar", "zip"] = "tar"
) -> StreamingResponse:
    """A folder of a job as one file; files are neither compressed nor kept in memory."""
    folder = served.job(job)
    place = present_folder(folder.path, path)
    name = f"{folder.path.name}-{place.name}" if place != folder.path.resolve() else folder.path.name
    pieces = _tar(place, name) if form == "tar" else _zip(place, name)
    kind = "application/x-tar" if form == "tar" else "application/zip"
    return StreamingResponse(pieces, media_type=kind, headers={"content-disposition": _attachment(f"{name}.{form}")})


def send(path: Path, *, download: bool = False) -> FileResponse:
    """A file as a response; one that a browser might run is never shown."""
    kind = SHOWN.get(path.suffix.lower())
    text = path.suffix.lower() in (".txt", ".log", ".json", ".jsonl", ".star", ".csv", ".xml", ".mdoc", ".yaml", ".md")
    media = kind or ("text/plain; charset=utf-8" if text else "application/octet-stream")
    headers = {"content-security-policy": "sandbox; default-src 'none'"}
    shown = (kind is not None or text) and not download
    name = "inline" if shown else _attachment(path.name)
    return FileResponse(path, media_type=media, headers=headers | {"content-disposition": name})


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name)}"


class _Pieces(io.RawIOBase):
    """Gathers what is written, to be taken piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._place += len(part)
        return len(part)

    def tell(self) -> int:
        return self._place

    def take(self) -> bytes:
        parts, self._parts = b"".join(self._parts), []
        return parts


def _tar(folder: Path, name: str) -> Iterator[bytes]:
    pieces = _Pieces()
    with tarfile.open(fileobj=pieces, mode="w", dereference=True) as tar:
        for path in _files(folder):
            entry = tar.gettarinfo(path, f"{name}/{path.relative_to(folder)}")
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            tar.addfile(entry)
            yield from _copied(path, entry.size, pieces)
            pieces.write(bytes(-entry.size % tarfile.BLOCKSIZE))
            tar.offset += entry.size + -entry.size % tarfile.BLOCKSIZE
    yield pieces.take()


def _zip(folder: Path, name: str) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:  # pyright: ignore[reportArgumentType]
        for path in _files(folder):
            entry = zipfile.ZipInfo.from_file(path, f"{name}/{path.relative_to(folder)}", strict_timestamps=False)
            with archive.open(entry, "w", force_zip64=True) as target, path.open("rb") as source:
                while piece := source.read(PIECE):
                    target.write(piece)
                    yield pieces.take()
    yield pieces.take()


def _copied(path: Path, size: int, pieces: _Pieces) -> Iterator[bytes]:
    """Exactly so many bytes of a file, piece by piece; what it lacks meanwhile is filled with zeros."""
    left = size
    with path.open("rb") as file:
        while left:
            piece = file.read(min(PIECE, left)) or bytes(min(PIECE, left))
            pieces.write(piece)
            left -= len(piece)
            yield pieces.take()


def _files(folder: Path) -> Iterator[Path]:
    """Whole files below a folder; links that lead out of it are left out."""
    for path in sorted(folder.rglob("*")):
        whole = not any(part.startswith(UNFINISHED) for part in path.relative_to(folder).parts)
        if whole and path.is_file() and path.resolve().is_relative_to(folder):
            yield path
