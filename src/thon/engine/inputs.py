"""From what a person typed (files, job numbers, job folders) to the references in a job's record."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thon.base.errors import InputError
from thon.base.options import Options
from thon.job.folder import JobFolder
from thon.job.places import stored
from thon.job.record import WHOLE_SET, Reference
from thon.job.registry import load_job
from thon.job.spec import JobSpec
from thon.project.project import Project, find_job
from thon.project.request import Items

Expanded = dict[str, dict[str, tuple[Path, ...]]]
"""For each item, the files of each port."""

_ENDINGS = re.compile(
    r"\.(mrc|mrcs|st|ali|rec|map|mdoc|tif|tiff|hdf|h5|eer|zarr|gz|bz2|tlt|rawtlt|xf|aln|xml|star|cs|csg|box|csv|txt|json)$",
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


def expand_files(spec: JobSpec, options: Options, files: Sequence[str]) -> Expanded:
    """The items that files and folders from outside stand for, named as the job does, else after them.

    Raises:
        InputError: A file is missing, stands for nothing, or two items have the same name.
    """
    port, items = spec.ports[0].name, Expanded()
    for text in files:
        path = Path(os.path.abspath(text))
        if not path.exists():
            raise InputError("no such file", path=text, mend="check the path")
        new = spec.expand(path, options) if spec.expand is not None else {item_name(path): {port: (path,)}}
        if not new:
            raise InputError(f"there is nothing for '{spec.name}' in it", path=text)
        for name in new:
            if name in items:
                raise InputError(
                    f"two inputs would both be called '{name}'", got=", ".join(files), mend="run them apart"
                )
        items |= {name: dict(ports) for name, ports in new.items()}
    return items


def file_items(spec: JobSpec, options: Options, files: Sequence[str], project: Project) -> Items:
    """Items for a job that takes files.

    Raises:
        InputError: A file is missing, stands for nothing, or two items have the same name.
    """
    found = expand_files(spec, options, files)
    return _set(spec, {name: file_references(ports, project.root) for name, ports in found.items()})


def file_references(ports: Mapping[str, Sequence[Path]], root: Path) -> dict[str, list[Reference]]:
    """References to files by port."""
    return {port: [Reference(file=stored(path, root)) for path in paths] for port, paths in ports.items()}


def job_items(spec: JobSpec, given: Sequence[tuple[JobFolder, str | None]], project: Project) -> Items:
    """Items for a job that takes what earlier jobs yielded; groups of them where the job gathers groups.

    Raises:
        InputError: What they yielded does not connect, nothing of it is finished, or two items share a name.
    """
    port, items = spec.ports[0], Items()
    for folder, only in given:
        _check_connects(spec, folder, project)
        job = folder.head().id
        for item in [only] if only is not None else folder.items():
            if item in items:
                raise InputError(f"two inputs are called '{item}'", mend="name one job only, or run them apart")
            items[item] = {port.name: [Reference(job=job, item=item)]}
    if not items:
        cleaned = given[0][0].head().cleaned
        if cleaned is not None:
            mend = "`thon repeat` it, which makes them anew"
            raise InputError("its outputs were removed to save space", path=given[0][0].path, got=cleaned, mend=mend)
        raise InputError("nothing is finished there", path=given[0][0].path, mend="`thon resume` it first")
    if spec.group is None:
        return _set(spec, items)
    folders = {folder.head().id: folder for folder, _ in given}
    records = {item: folders[ports[port.name][0].job or ""].output(item) for item, ports in items.items()}
    return gather(spec, items, records)


def gather(spec: JobSpec, items: Items, records: Mapping[str, Any]) -> Items:
    """One item for each value of the attribute by which a job groups its records, the members sorted by name.

    Those whose value is None take no part.
    """
    port, groups = spec.ports[0].name, Items()
    for item in sorted(items):
        value = getattr(records[item], spec.group or "", None)
        if value is not None:
            groups.setdefault(plain_name(str(value)), {port: []})[port] += items[item][port]
    return groups


def connect_ports(spec: JobSpec, items: Items, ports: Mapping[str, str], project: Project) -> Items:
    """Connect what was typed for a job's further ports: files, or jobs.

    Raises:
        InputError: A job has no item that fits.
    """
    for port in spec.ports[1:]:
        text = ports.get(port.name)
        if text is None:
            continue
        if is_job(text):
            items = add_port(items, port.name, *job_of(text, project))
        else:
            reference = [Reference(file=stored(os.path.abspath(text), project.root))]
            items = {item: others | {port.name: reference} for item, others in items.items()}
    return items


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
        result[item] = ports | {port: [Reference(job=folder.head().id, item=chosen)]}
    return result


def item_name(path: Path) -> str:
    """Name of an item after its file: without folders and the endings of the field's formats."""
    name = path.name
    while _ENDINGS.search(name) and _ENDINGS.sub("", name):
        name = _ENDINGS.sub("", name)
    return plain_name(name)


def plain_name(name: str) -> str:
    """A name that a folder can bear."""
    return _NOT_IN_NAMES.sub("_", name).lstrip(".") or "item"


def _set(spec: JobSpec, items: Items) -> Items:
    if not spec.whole:
        return items
    port = spec.ports[0].name
    return {WHOLE_SET: {port: [reference for ports in items.values() for reference in ports[port]]}}


def _check_connects(spec: JobSpec, folder: JobFolder, project: Project) -> None:
    if folder.root != project.root:
        raise InputError("this job is in another project", path=folder.path, expected=str(project.root))
    given, port = load_job(folder.head().type), spec.ports[0]
    if not port.accepts(given.gives):
        raise InputError(
            f"'{spec.name}' cannot take what {folder.path.name} yielded",
            got=given.gives.__name__,
            expected=port.type.__name__,
        )
