"""Jobs that are written down before they can run: added, cloned, begun anew, and run when their turn comes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thon.base.errors import InputError, StoreError
from thon.base.options import Options
from thon.engine.graph import is_number
from thon.engine.inputs import connect_ports, file_items, is_job, job_items, job_of
from thon.engine.lanes.contract import Needs
from thon.job.folder import JobFolder, storing
from thon.job.item import read_options
from thon.job.iterations import ITERATIONS, kept_iterations
from thon.job.machine import process_count
from thon.job.places import found, stored
from thon.job.record import Continues, JobRecord
from thon.job.registry import load_job
from thon.job.spec import JobSpec
from thon.project.project import Project
from thon.project.request import Request, draft, fingerprints, new_job

Wants = Mapping[str, Sequence[str]]
"""What goes into each port: jobs (J003, J003:ITEM) or files, in the form in which a record holds them."""


def add_job(project: Project, request: Request, wants: Wants, after: Sequence[str] = ()) -> JobFolder:
    """Write down a job that waits for what it wants.

    Raises:
        InputError: A port is not there, has nothing, or cannot take what comes from the job that it names.
        StoreError: The disk refuses.
    """
    for port in request.spec.ports:
        if not port.optional and not wants.get(port.name):
            raise InputError(f"'{request.spec.name}' needs something for '{port.name}'", expected="a job, or a file")
    for name, sources in wants.items():
        check_port(project, request.spec, name, sources)
    record = draft(project, replace(request, items={}))
    record.wants, record.after = {name: list(sources) for name, sources in wants.items()}, list(after)
    return new_job(project, record)


@dataclass(frozen=True)
class Changes:
    """What a clone has that its original has not.

    Args:
        options: All options; the original's unless given.
        wants: What goes into ports instead.
        iteration: The original's iteration at which it begins.
        after: Jobs to wait for besides.
    """

    options: Options | None = None
    wants: Wants | None = None
    iteration: int | None = None
    after: Sequence[str] = ()


def clone(folder: JobFolder, changes: Changes, command: str = "") -> JobFolder:
    """Write down a job like another one, which waits to be run.

    Raises:
        InputError: A change cannot be right, or the iteration was not kept.
        StoreError: The original's options are no longer valid.
    """
    record, project = folder.read(), Project(folder.root)
    spec = load_job(record.type)
    options = changes.options or valid_options(folder, spec, record)
    request = Request(spec, options, record.items, record.settings, record.source, command)
    continues = None if changes.iteration is None else _continues(folder, record, changes.iteration)
    if changes.wants:
        new = add_job(project, request, wants_of(project, record) | dict(changes.wants))
    else:
        new = new_job(project, draft(project, request))
    if continues is not None or changes.after:
        new.write(new.head().model_copy(update={"continues": continues, "after": list(changes.after)}))
    return new


def restart(folder: JobFolder) -> None:
    """Let a job that did not finish wait as if it had never begun: what is finished of it goes, as do checkpoints.

    Raises:
        StoreError: It is finished, it runs, or it belongs to a live session.
    """
    with folder.lock():
        record = folder.read()
        if record.live is not None:
            raise StoreError(
                "this job belongs to a live session", path=folder.path, mend="give the same `thon live` again"
            )
        if record.state == "finished":
            raise StoreError("this job is finished and does not change", path=folder.path, mend="`thon repeat` it")
        with storing(folder.path):
            for name in ("outputs", "previews", "checkpoints", ITERATIONS, "errors"):
                shutil.rmtree(folder.path / name, ignore_errors=True)
        record.results, record.used, record.state = {}, {}, "waiting"
        record.ended = None
        folder.write(record)


def prepare(path: Path) -> Needs:
    """What the job in a folder needs of where it runs, now that its turn has come; the items of one that waits are
    looked up.

    Raises:
        InputError: There is nothing, or it does not connect.
    """
    folder = JobFolder(path)
    if folder.marked_state() == "waiting":
        take_inputs(Project(folder.root), folder)
        take_finished(folder)
    return needs_of(folder)


def take_finished(folder: JobFolder) -> None:
    """Let a job that has grown from an earlier one begin with what that one has finished.

    Raises:
        StoreError: The disk refuses.
    """
    record = folder.head()
    if record.appends is not None:
        from thon.engine.append import take_over  # noqa: PLC0415

        results = take_over(Project(folder.root), folder, record)
        folder.write(record.model_copy(update={"results": results}))


def needs_of(folder: JobFolder) -> Needs:
    """What a job needs of where it runs, as its type and its settings say."""
    record = folder.head()
    spec, settings = load_job(record.type), record.settings
    processes = settings.workers if spec.spreads else 1
    gpus = 0 if settings.device == "cpu" else spec.gpus * process_count(record)
    return Needs(spec.whole, gpus, processes, settings.threads, settings.memory)


def take_inputs(project: Project, folder: JobFolder) -> None:
    """Look up the items of what a job wants, now that they are there.

    Raises:
        InputError: There is nothing, or it does not connect.
    """
    record = folder.head()
    if not record.wants:
        return
    spec = load_job(record.type)
    options = valid_options(folder, spec, record)
    first = record.wants.get(spec.ports[0].name, [])
    if all(is_number(source) for source in first):
        items = job_items(spec, [job_of(source, project) for source in first], project)
    else:
        items = file_items(spec, options, [found(source, project.root) for source in first], project)
    if not items:
        raise InputError("nothing there belongs to a group", got=" ".join(first))
    further = {name: sources[0] for name, sources in record.wants.items() if name != spec.ports[0].name and sources}
    typed = {name: text if is_number(text) else found(text, project.root) for name, text in further.items()}
    items = connect_ports(spec, items, typed, project)
    inputs = fingerprints(project, items, record.options)
    folder.write(record.model_copy(update={"items": items, "inputs": inputs}))


def wants_of(project: Project, record: JobRecord) -> dict[str, list[str]]:
    """What went into each port of a job, in short: a job as a whole, unless one of its several items was chosen."""
    if record.wants:
        return {name: list(sources) for name, sources in record.wants.items()}
    found_: dict[str, dict[str, None]] = {}
    counts: dict[str, dict[str, set[str]]] = {}
    for ports in record.items.values():
        for port, references in ports.items():
            for one in references:
                if one.file is not None:
                    found_.setdefault(port, {})[one.file] = None
                elif one.job is not None:
                    counts.setdefault(port, {}).setdefault(one.job, set()).add(one.item or "")
    for port, jobs in counts.items():
        for job, items in jobs.items():
            chosen = len(items) == 1 and items != set(project.job(job).items())
            source = f"{job}:{next(iter(items))}" if chosen else job
            found_.setdefault(port, {})[source] = None
    return {port: list(sources) for port, sources in found_.items()}


def valid_options(folder: JobFolder, spec: JobSpec, record: JobRecord) -> Options:
    """A job's options, as its type has them now.

    Raises:
        StoreError: They are no longer valid for this version of thon.
    """
    try:
        return read_options(spec, record.options, folder.root)
    except ValueError as error:
        raise StoreError("the options of this job are no longer valid", path=folder.path, got=error) from error


def sources_of(texts: Sequence[str], project: Project) -> list[str]:
    """What was typed for a port, jobs or files, as a record holds it.

    Raises:
        InputError: There is no such job, or no such file.
    """
    return [_source(text, project) for text in texts]


def _source(text: str, project: Project) -> str:
    if is_job(text):
        folder, item = job_of(text, project)
        number = folder.path.name.split("-")[0]
        return number if item is None else f"{number}:{item}"
    path = Path(text).absolute()
    if "://" not in text and not path.exists():
        raise InputError("no such file", path=text, mend="check the path")
    return stored(path, project.root)


def check_port(project: Project, spec: JobSpec, name: str, sources: Sequence[str]) -> None:
    """Refuse what a port cannot take, be it there already or yet to come.

    Raises:
        InputError: There is no such port, or what is wanted for it does not connect.
    """
    port = next((port for port in spec.ports if port.name == name), None)
    if port is None:
        known = ", ".join(port.name for port in spec.ports)
        raise InputError(f"'{spec.name}' has no port '{name}'", expected=known)
    for source in sources:
        if not is_number(source):
            if not port.takes_file:
                raise InputError(f"'{name}' of '{spec.name}' takes a job", got=source, expected=port.type.__name__)
            continue
        given = load_job(project.job(source.split(":")[0]).head().type)
        if not port.accepts(given.gives):
            got, expected = given.gives.__name__, port.type.__name__
            raise InputError(f"'{spec.name}' cannot take what {source} yields", got=got, expected=expected)


def _continues(folder: JobFolder, record: JobRecord, iteration: int) -> Continues:
    kept = kept_iterations(folder.path)
    if iteration not in kept:
        known = ", ".join(map(str, kept)) or "a job that keeps iterations"
        raise InputError(f"iteration {iteration} was not kept", path=folder.path, expected=known)
    return Continues(job=record.id, iteration=iteration)
