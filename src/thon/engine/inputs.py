"""From what a person typed (files, job numbers, job folders) to the references in a job's record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from thon.base.errors import InputError
from thon.job.folder import JobFolder
from thon.job.places import stored
from thon.job.record import WHOLE_SET, Reference
from thon.job.registry import load_job
from thon.job.spec import JobSpec
from thon.project.project import Project, find_job
from thon.project.request import Items

_ENDINGS = re.compile(
    r"\.(mrc|mrcs|st|ali|rec|map|mdoc|tif|tiff|hdf|h5|eer|zarr|gz|bz2|tlt|rawtlt|xf|aln|xml|star|txt|json)$",
    re.IGNORECASE,
)
_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")
_JOB = re.compile(r"(?P<job>.*?J\d{1,6}(-[a-z0-9-]+)?)/?(:(?P<item>.+))?$", re.IGNORECASE)


def is_job(text: str) -> bool:
    """Whether this names a job (J002, J002:ITEM, OUT/J002, OUT/J002-align-tilts) rather than a file."""
    match = _JOB.match(text)
    if match is None or Path(text).is_file():
        return False
    return bool(re.fullmatch(r"J\d{1,6}(-[a-z0-9-]+)?", Path(match["job"]).name, re.IGNORECASE))


def job_of(text: str, project: Project | None) -> tuple[JobFolder, str | None]:
    """The job that a text names, and the one item of it if the text says so.

    Raises:
        InputError: No such job or item.
    """
    match = _JOB.match(text)
    if match is None:
        raise InputError("not a job", got=text, expected="a number such as J002")
    folder = find_job(match["job"], project)
    item = match["item"]
    if item is not None and item not in folder.items():
        raise InputError(f"no finished item '{item}'", path=folder.path, expected=", ".join(folder.items()))
    return folder, item


def file_items(spec: JobSpec, files: Sequence[str], project: Project) -> Items:
    """Items for a job that takes files, named after them.

    Raises:
        InputError: A file is missing, or two have the same name.
    """
    port, items = spec.ports[0].name, Items()
    for text in files:
        path = Path(text)
        if not path.exists():
            raise InputError("no such file", path=path, mend="check the path")
        name = item_name(path)
        if name in items:
            raise InputError(f"two inputs would both be called '{name}'", got=", ".join(files), mend="run them apart")
        items[name] = {port: [Reference(file=stored(path, project.root))]}
    return _set(spec, items)


def job_items(spec: JobSpec, given: Sequence[tuple[JobFolder, str | None]], project: Project) -> Items:
    """Items for a job that takes what earlier jobs yielded.

    Raises:
        InputError: What they yielded does not connect, nothing of it is finished, or two items share a name.
    """
    port, items = spec.ports[0], Items()
    for folder, only in given:
        _check_connects(spec, folder, project)
        for item in [only] if only is not None else folder.items():
            if item in items:
                raise InputError(f"two inputs are called '{item}'", mend="name one job only, or run them apart")
            items[item] = {port.name: [Reference(job=folder.read().id, item=item)]}
    if not items:
        raise InputError("nothing is finished there", path=given[0][0].path, mend="`thon resume` it first")
    return _set(spec, items)


def add_port(items: Items, port: str, folder: JobFolder, only: str | None) -> Items:
    """Connect a job to a further port: the item of the same name, or the only one there is.

    Raises:
        InputError: There is neither.
    """
    names = [only] if only is not None else folder.items()
    result = Items()
    for item, ports in items.items():
        chosen = item if item in names else names[0] if len(names) == 1 else None
        if chosen is None:
            raise InputError(f"no '{item}' for '{port}'", path=folder.path, expected=", ".join(names) or "items")
        result[item] = ports | {port: [Reference(job=folder.read().id, item=chosen)]}
    return result


def item_name(path: Path) -> str:
    """Name of an item after its file: without folders and the endings of the field's formats."""
    name = path.name
    while _ENDINGS.search(name) and _ENDINGS.sub("", name):
        name = _ENDINGS.sub("", name)
    return _NOT_IN_NAMES.sub("_", name).lstrip(".") or "item"


def _set(spec: JobSpec, items: Items) -> Items:
    if not spec.whole:
        return items
    port = spec.ports[0].name
    return {WHOLE_SET: {port: [reference for ports in items.values() for reference in ports[port]]}}


def _check_connects(spec: JobSpec, folder: JobFolder, project: Project) -> None:
    if folder.root != project.root:
        raise InputError("this job is in another project", path=folder.path, expected=str(project.root))
    given, port = load_job(folder.read().type), spec.ports[0]
    if not port.accepts(given.gives):
        raise InputError(
            f"'{spec.name}' cannot take what {folder.path.name} yielded",
            got=given.gives.__name__,
            expected=port.type.__name__,
        )
