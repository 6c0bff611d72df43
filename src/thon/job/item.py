"""Runs one item of a job: gathers its inputs, calls the function, puts the result in place or says what failed."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thon.base.errors import InputError, JobError, StoreError, ThonError
from thon.data.record import from_json
from thon.job.context import Context
from thon.job.events import ItemDone, ItemFailed, ItemStarted
from thon.job.fingerprint import Fingerprint, fingerprint
from thon.job.folder import JobFolder
from thon.job.places import found, stored
from thon.job.plan import Resources, size_text
from thon.job.record import ItemResult, JobRecord, Reference
from thon.job.registry import load_job
from thon.job.spec import JobSpec


@dataclass(frozen=True)
class Outcome:
    """How an item ended and which further files it read."""

    item: str
    result: ItemResult
    used: dict[str, Fingerprint]


def run_item(path: Path, item: str, resources: Resources) -> Outcome:
    """Run one item of the job in the folder `path`; an error is part of the outcome, not raised.

    Raises:
        KeyboardInterrupt: Passed on, after the half-written outputs are gone.
    """
    folder = JobFolder(path)
    folder.emit(ItemStarted(item=item))
    clock = _Clock()
    outputs = folder.begin_item(item)
    try:
        context = _context(folder, item, outputs, resources, folder.read().settings.seed)
        try:
            result = _call(folder, item, context)
        finally:
            shutil.rmtree(context.scratch, ignore_errors=True)
        results = {title: os.path.relpath(file, outputs) for title, file in context.results.items()}
        used = {stored(file, folder.root): fingerprint(file) for file in context.used}
        size = folder.commit_item(item, result)
    except BaseException as error:
        shutil.rmtree(outputs, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return _failed(folder, item, error, clock)
    done = ItemResult(
        state="done",
        **clock.read(),
        bytes=size,
        results={title: f"outputs/{item}/{name}" for title, name in results.items()},
    )
    folder.emit(ItemDone(item=item, **done.model_dump(include=set(ItemDone.model_fields) - {"time", "item", "kind"})))
    return Outcome(item, done, used)


def item_arguments(folder: JobFolder, record: JobRecord, spec: JobSpec, item: str) -> dict[str, Any]:
    """The records and options for one item of a job.

    Raises:
        StoreError: An input is gone.
        InputError: An input's type does not connect, or the options are no longer valid.
    """
    arguments: dict[str, Any] = {}
    for number, port in enumerate(spec.ports):
        given = record.items[item].get(port.name, [])
        values = [_input(folder, reference) for reference in given]
        for value in values:
            if not port.accepts(type(value)):
                raise InputError(
                    f"'{port.name}' does not connect", got=type(value).__name__, expected=port.type.__name__
                )
        if spec.whole and number == 0:
            arguments[port.name] = tuple(values)
        elif values:
            arguments[port.name] = values[0]
    if spec.options_name is not None:
        arguments[spec.options_name] = read_options(spec, record.options, folder.root)
    return arguments


def read_options(spec: JobSpec, stored_options: dict[str, Any], root: Path) -> Any:
    """A job's options as its record holds them."""
    return spec.options.model_validate(from_json(stored_options, find=lambda text: found(text, root)))


def _input(folder: JobFolder, reference: Reference) -> Any:
    if reference.file is not None:
        return Path(found(reference.file, folder.root))
    return job_folder(folder.root, reference.job or "").output(reference.item or "")


def job_folder(root: Path, job: str) -> JobFolder:
    """The folder of a job by its number, such as J003.

    Raises:
        StoreError: No such job.
    """
    matches = [path for path in root.glob(f"{job}-*") if (path / "job.json").exists()]
    if not matches:
        raise StoreError(f"no job {job}", path=root, mend="`thon jobs` lists what there is")
    return JobFolder(matches[0])


def _context(folder: JobFolder, item: str, outputs: Path, resources: Resources, seed: int) -> Context:
    previews = folder.path / "previews" / item
    digest = hashlib.sha256(f"{seed}/{item}".encode()).digest()
    return Context(
        item=item,
        folder=outputs,
        previews=previews,
        scratch=Path(tempfile.mkdtemp(prefix=".tmp-scratch-", dir=folder.path)),
        resources=resources,
        seed=int.from_bytes(digest[:4], "little"),
        emit=folder.emit,
    )


def _call(folder: JobFolder, item: str, context: Context) -> Any:
    record = folder.read()
    spec = load_job(record.type)
    arguments = item_arguments(folder, record, spec, item)
    _check_plan(folder, spec, arguments, context)
    if spec.context_name is not None:
        arguments[spec.context_name] = context
    result = spec.function(**arguments)
    if not isinstance(result, spec.gives):
        raise JobError(
            f"the job {spec.name} yielded the wrong type", got=type(result).__name__, expected=spec.gives.__name__
        )
    return result


def _check_plan(folder: JobFolder, spec: JobSpec, arguments: dict[str, Any], context: Context) -> None:
    """Refuse what cannot fit on the disk, and say so of what may not fit in memory, before any work is done."""
    if spec.plan is None:
        return
    options = arguments.get(spec.options_name or "", spec.options)
    plan = spec.plan(arguments[spec.ports[0].name], options, context.resources)
    free = shutil.disk_usage(folder.path).free
    if plan.disk is not None and plan.disk > free:
        raise StoreError(
            "the outputs do not fit on the disk",
            path=folder.path,
            got=f"{size_text(free)} free",
            expected=size_text(plan.disk),
            mend="free some space, choose another output folder, or ask for a smaller volume",
        )
    if plan.memory is not None and plan.memory > context.memory:
        context.warn(f"needs about {size_text(plan.memory)} of memory, {size_text(context.memory)} are allowed")


def _failed(folder: JobFolder, item: str, error: BaseException, clock: _Clock) -> Outcome:
    log = folder.path / "errors" / f"{item}.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)))
    name = f"errors/{item}.log"
    told = as_thon_error(error, folder.path)
    result = ItemResult(state="failed", **clock.read(), message=str(told), exit_code=told.exit_code, log=name)
    folder.emit(
        ItemFailed(item=item, error=type(error).__name__, message=result.message, exit_code=result.exit_code, log=name)
    )
    return Outcome(item, result, {})


def as_thon_error(error: BaseException, path: Path) -> ThonError:
    """What to tell a person of any error."""
    if isinstance(error, ThonError):
        return error
    if isinstance(error, MemoryError):
        return JobError("out of memory", mend="give a lower --memory or fewer --workers, or a larger bin")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return StoreError("cannot write", path=path, got=error.strerror, mend="free some space, then `thon resume`")
    return JobError(f"something unexpected happened: {type(error).__name__}: {error}")


class _Clock:
    """Time and memory of an item, in its own process."""

    def __init__(self) -> None:
        self._start, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        seconds, cpu = time.monotonic() - self._start, time.process_time() - self._cpu
        return {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "peak_memory": peak}
