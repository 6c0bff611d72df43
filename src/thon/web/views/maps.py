"""All maps of a project, for comparing one with another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter

from thon.job.folder import JobFolder
from thon.web.site import ServedProject

router = APIRouter()

MOST = 12
"""Items of a job that are looked at: who has more has no maps but tomograms."""

MAPS = {
    b"HalfMaps": ("volume",),
    b"SharpenedMap": ("volume", "unsharpened"),
    b"LocalResolutionMap": ("volume",),
    b"RefinedParticles": ("volume",),
    b"Volume": ("",),
    b"Tomogram": ("volume",),
}
"""Parts that are maps, by the name of the record type."""


@router.get("/api/v1/projects/{project}/maps")
def maps(served: ServedProject) -> list[dict[str, str]]:
    """Maps by job, the newest first: job, item and the part of its record."""
    return [one for folder in reversed(served.project.jobs()) for one in _maps(folder)]


def _maps(folder: JobFolder) -> Iterator[dict[str, Any]]:
    items = folder.items()
    if len(items) > MOST:
        return
    job = folder.path.name
    for item in items:
        for source in MAPS.get(_type_of(folder, item), ()):
            title = f"{job}{'' if item == 'all' else f' {item}'}{f', {source}' if source not in ('volume', '') else ''}"
            yield {"job": job.split("-")[0], "item": item, "source": source, "title": title}


def _type_of(folder: JobFolder, item: str) -> bytes:
    """Name of an item's record type, from the first bytes of the record."""
    try:
        with (folder.outputs / item / "record.json").open("rb") as file:
            head = file.read(120)
    except OSError:
        return b""
    _, _, rest = head.partition(b'"type": "')
    return rest.partition(b'"')[0]
