"""Files of an item and of a job: which there are, how they are shown, their text; and the log as it grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from thon.base.errors import FormatError
from thon.job.folder import UNFINISHED
from thon.job.items_file import ITEM_FILE
from thon.web.links import link
from thon.web.site import ServedProject
from thon.web.views.curves import last_state
from thon.web.views.kinds import views_of
from thon.web.views.records import FILE, ITEM, FoundItem, Source, plain

router = APIRouter()

JOB = "/api/v1/projects/{project}/jobs/{job}"

IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif"}
TABLES = (".star", ".csv", ".tsv", ".jsonl", ".tlt", ".xf", ".xtilt", ".defocus", ".aln")
TEXTS = (".txt", ".log", ".md", ".json", ".yaml", ".toml", ".mdoc", ".com", ".xml", ".sh", ".box", ".html")
VOLUMES = (".mrc", ".mrcs", ".st", ".rec", ".map", ".ccp4", ".ali")

MOST = 500
"""Files that are listed."""

_KINDS = ["application/octet-stream", *(f"image/{name}" for name in IMAGES.values())]
FILES: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in _KINDS}}}
"""What the route of files says of itself."""

LEVELS: dict[str, tuple[str, ...]] = {
    "all": (),
    "info": ("log", "warning", "item_failed", "failed", "finished", "started"),
    "warning": ("warning", "item_failed", "failed"),
    "error": ("item_failed", "failed"),
}
"""Kinds of events by the least that a reader wants to hear."""


@router.get(f"{ITEM}/views", name="item_views")
def views(request: Request, served: ServedProject, found: FoundItem) -> list[dict[str, Any]]:
    """The viewers of an item: of what it yielded, then of its files."""
    job = found.folder.path.name.split("-")[0]
    place = {"project": served.name, "job": job, "item": found.name}
    url = link(request, "item_views", None, **place).removesuffix("/views")
    shown = views_of(found.record)
    if last_state(found.folder, found.name) is not None:
        shown.insert(-1, {"kind": "iterations", "title": "Convergence"})
    listed = list(_listed(found.outputs))
    if listed:
        shown.append({"kind": "files", "title": "Files of this item", "entries": listed})
    return [view | place | {"url": url} for view in shown]


@router.get(f"{ITEM}/text")
def text(found: FoundItem, source: Source, limit: Annotated[int, Ge(1), Le(4 << 20)] = 1 << 20) -> dict[str, Any]:
    """A file as text, from its beginning; JSON is laid out."""
    path = found.file(source)
    size = path.stat().st_size
    with path.open("rb") as file:
        content = file.read(limit)
    if b"\0" in content:
        raise FormatError("this is no text", path=path, mend="download it")
    shown = content.decode(errors="replace")
    if path.suffix == ".json" and size <= limit:
        shown = _laid_out(shown)
    return {"name": path.name, "text": shown, "bytes": size, "whole": size <= limit}


@router.get(f"{ITEM}/file", response_class=FileResponse, responses=FILES)
def file(found: FoundItem, source: Source, inline: bool = False) -> FileResponse:
    """A file that the record names, or one of the item's folder, as it is."""
    path = found.file(source)
    # Pictures alone are shown in place: anything else, such as a page with scripts, is only ever saved.
    shown = inline and path.suffix.lower() in IMAGES
    kind, place = (None, "inline") if shown else ("application/octet-stream", "attachment")
    return FileResponse(path, filename=path.name, media_type=kind, content_disposition_type=place)


@router.get(f"{JOB}/loglines")
def log_lines(
    served: ServedProject,
    job: str,
    after: Annotated[int, Query(description="Byte from which to go on, as told by the last answer"), Ge(0)] = 0,
    level: Literal["all", "info", "warning", "error"] = "info",
    contains: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Ge(1), Le(5000)] = 1000,
) -> dict[str, Any]:
    """Lines of a job's log from some place on; of a long one the last, unless a place is given."""
    path = served.job(job).events_file
    if not path.is_file():
        return {"lines": [], "next": 0}
    wanted, size = LEVELS[level], path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(min(after, size))
        content = stream.read()
    # A line that is still being written is left for the next time.
    whole = content[: content.rfind(b"\n") + 1]
    events = [_event(line) for line in whole.splitlines()]
    lines = [_line(one) for one in events if one and (not wanted or one["kind"] in wanted)]
    kept = [one for one in lines if contains.lower() in one["text"].lower()]
    return {"lines": kept[-limit:], "next": min(after, size) + len(whole)}


def _listed(folder: Path) -> Iterator[dict[str, Any]]:
    """The files in an item's folder, those of the engine left out."""
    own = {"record.json", "record.npz", ITEM_FILE}
    for count, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        name = str(path.relative_to(folder))
        if count >= MOST:
            return
        if name not in own and not path.name.startswith(UNFINISHED):
            yield {"name": name, "bytes": path.stat().st_size, "kind": _kind(path), "source": f"{FILE}{name}"}


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    kinds = {"image": tuple(IMAGES), "table": TABLES, "text": TEXTS, "volume": VOLUMES}
    return next((kind for kind, suffixes in kinds.items() if suffix in suffixes), "other")


def _laid_out(content: str) -> str:
    try:
        return json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    except ValueError:
        return content


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("kind"), str) else None


def _line(event: dict[str, Any]) -> dict[str, Any]:
    kind = event["kind"]
    told = event.get("text") or event.get("message") or event.get("caption") or kind.replace("_", " ")
    levels = {"warning": "warning", "item_failed": "error", "failed": "error"}
    known = {"time": event.get("time"), "item": event.get("item"), "kind": kind, "text": str(told)}
    return plain(known | {"level": levels.get(kind, "info")}, digits=13)
