"""Runs one item of a job: gathers its inputs, calls the function, puts the result in place or says what failed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from thon.base.errors import InputError, JobError, StoreError, ThonError
from thon.data.record import from_json
from thon.job.clock import Clock
from thon.job.context import Context
from thon.job.events import Event, ItemDone, ItemFailed, ItemStarted
from thon.job.fingerprint import Fingerprint, fingerprint
from thon.job.folder import UNFINISHED, JobFolder, storing
from thon.job.iterations import ITERATIONS
from thon.job.machine import held_gpus
from thon.job.made import made_files, numbers
from thon.job.places import found, stored
from thon.job.plan import Resources, size_text
from thon.job.record import ItemResult, JobRecord, Reference
from thon.job.registry import load_job
from thon.job.runs import found_results
from thon.job.spec import JobSpec
from thon.job.workers_file import worker_name


@dataclass(frozen=True)
class Outcome:
    """How an item ended and which further files it read."""

    item: str
    result: ItemResult
    used: dict[str, Fingerprint]


@dataclass(frozen=True)
class Work:
    """What one item is made from, and with what.

    Args:
        spec: Job type.
        item: Name of the item.
        inputs: References by port.
        options: Every option, as the job's record holds them.
        seed: The job's seed.
        resources: What the item may use.
    """

    spec: JobSpec
    item: str
    inputs: Mapping[str, Sequence[Reference]]
    options: dict[str, Any]
    seed: int
    resources: Resources


def run_item(path: Path, item: str, resources: Resources) -> Outcome:
    """Run one item of the job in the folder `path`; an error is part of the outcome, not raised.

    An item that somebody finished meanwhile, for it was given out twice, is as that one left it.

    Raises:
        KeyboardInterrupt: Passed on, after the half-written outputs are gone.
    """
    folder = JobFolder(path)
    if (folder.outputs / item).exists():
        return _found(folder, item)
    folder.emit(ItemStarted(item=item))
    record, spec = read_job(path)
    clock = Clock(held_gpus(resources.device, spec.gpus))
    outputs = folder.begin_item(item)
    try:
        work = Work(spec, item, record.items[item], record.options, record.settings.seed, resources)
        result, context = call_job(folder, work, outputs, folder.emit)
        used = {stored(file, folder.root): fingerprint(file) for file in context.used}
        made = {"files": made_files(outputs), "values": numbers(result)}
        size = folder.commit_item(item, outputs, result)
        shutil.rmtree(context.checkpoints, ignore_errors=True)
    except FileExistsError:
        shutil.rmtree(outputs, ignore_errors=True)
        return _found(folder, item)
    except BaseException as error:
        shutil.rmtree(outputs, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return failed_outcome(folder, item, error, clock)
    done = done_result(item, context, outputs, size, clock).model_copy(update=made)
    folder.emit(item_done(item, done))
    return Outcome(item, done, used)


def _found(folder: JobFolder, item: str) -> Outcome:
    """An item that another attempt has finished, as the events and its folder tell."""
    return Outcome(item, found_results(folder, read_job(folder.path)[0], [item])[item], {})


def read_job(path: Path) -> tuple[JobRecord, JobSpec]:
    """The record of a job, as `job.json` has it, and its type: read once for many items."""
    return _read_job(path, (path / "job.json").stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read_job(path: Path, modified: int) -> tuple[JobRecord, JobSpec]:
    record = JobFolder(path).head()
    return record, load_job(record.type)


def call_job(
    folder: JobFolder, work: Work, outputs: Path, emit: Callable[[Event], None], *, home: Path | None = None
) -> tuple[Any, Context]:
    """Call the job's function on one item; returns what it yielded, and its context.

    Args:
        folder: The job.
        work: The item.
        outputs: Where its outputs go.
        emit: Takes the events.
        home: Where previews, checkpoints and scratch files lie, if not in the job's folder.

    Raises:
        StoreError: An input is gone, or the outputs will not fit on the disk.
        InputError: An input's type does not connect, or the options are no longer valid.
        JobError: It yielded the wrong type.
    """
    context = _context(home or folder.path, work, outputs, emit)
    try:
        arguments = item_arguments(folder, work)
        _check_plan(folder, work.spec, arguments, context)
        if work.spec.context_name is not None:
            arguments[work.spec.context_name] = context
        result = work.spec.function(**arguments)
    finally:
        context.discard_scratch()
    if not isinstance(result, work.spec.gives):
        got, expected = type(result).__name__, work.spec.gives.__name__
        raise JobError(f"the job {work.spec.name} yielded the wrong type", got=got, expected=expected)
    return result, context


def done_result(item: str, context: Context, outputs: Path, size: int, clock: Clock) -> ItemResult:
    """What an item that is done took, and its main outputs."""
    results = {title: f"outputs/{item}/{os.path.relpath(file, outputs)}" for title, file in context.results.items()}
    return ItemResult(state="done", **clock.read(), worker=worker_name(), bytes=size, results=results)


def item_done(item: str, result: ItemResult) -> ItemDone:
    """The event that tells of it."""
    return ItemDone(item=item, **result.model_dump(include=set(ItemDone.model_fields) - {"time", "item", "kind"}))


def item_arguments(folder: JobFolder, work: Work) -> dict[str, Any]:
    """The records and options for one item of a job.

    Raises:
        StoreError: An input is gone.
        InputError: An input's type does not connect, or the options are no longer valid.
    """
    arguments: dict[str, Any] = {}
    spec = work.spec
    for number, port in enumerate(spec.ports):
        values = [_input(folder, reference) for reference in work.inputs.get(port.name, [])]
        for value in values:
            if not port.accepts(type(value)):
                raise InputError(
                    f"'{port.name}' does not connect", got=type(value).__name__, expected=port.type.__name__
                )
        if port.many and (values or number == 0):
            arguments[port.name] = tuple(values)
        elif values:
            arguments[port.name] = values[0]
    if spec.options_name is not None:
        arguments[spec.options_name] = read_options(spec, work.options, folder.root)
    return arguments


def read_options(spec: JobSpec, stored_options: dict[str, Any], root: Path) -> Any:
    """A job's options as its record holds them."""
    return spec.options.model_validate(from_json(stored_options, find=lambda text: found(text, root)))


def _input(folder: JobFolder, reference: Reference) -> Any:
    if reference.file is not None:
        return Path(found(reference.file, folder.root))
    return referred_folder(folder.root, reference).output(reference.item or "")


def referred_folder(root: Path, reference: Reference) -> JobFolder:
    """The folder of the job that a reference names.

    Raises:
        StoreError: No such job.
    """
    found_ = job_folder(root, reference.job or "")
    return JobFolder(found_.path, interim=True) if reference.interim else found_


def fingerprint_of(root: Path, reference: Reference) -> Fingerprint:
    """Fingerprint of what a reference names: a file, or the record of an earlier job's item.

    Raises:
        InputError: It does not exist or cannot be read.
        StoreError: No such job.
    """
    return fingerprint(input_path(root, reference))


def input_path(root: Path, reference: Reference) -> Path:
    """What a reference names: a file, or the file with the record of an earlier job's item.

    Raises:
        StoreError: No such job.
    """
    if reference.file is not None:
        return Path(found(reference.file, root))
    return referred_folder(root, reference).outputs / (reference.item or "") / "record.json"


def job_folder(root: Path, job: str) -> JobFolder:
    """The folder of a job by its number, such as J003.

    Raises:
        StoreError: No such job.
    """
    matches = [path for path in root.glob(f"{job}-*") if (path / "job.json").exists()]
    if not matches:
        raise StoreError(f"no job {job}", path=root, mend="`thon jobs` lists what there is")
    return JobFolder(matches[0])


def _context(home: Path, work: Work, outputs: Path, emit: Callable[[Event], None]) -> Context:
    digest = hashlib.sha256(f"{work.seed}/{work.item}".encode()).digest()
    return Context(
        item=work.item,
        folder=outputs,
        previews=home / "previews" / work.item,
        scratch=home / f"{UNFINISHED}scratch-{os.getpid()}-{work.item}",
        checkpoints=home / "checkpoints" / work.item,
        iterations=home / ITERATIONS / work.item,
        resources=work.resources,
        seed=int.from_bytes(digest[:4], "little"),
        emit=emit,
    )


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
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if plan.memory is not None and plan.memory > context.memory:
        context.warn(f"needs about {size_text(plan.memory)} of memory, {size_text(context.memory)} are allowed")


def failed_outcome(folder: JobFolder, item: str, error: BaseException, clock: Clock | None = None) -> Outcome:
    """The outcome of an item that failed, and told as such; without a clock nothing is known of what it took."""
    result = failed_result(folder, item, error, clock)
    folder.emit(item_failed(item, type(error).__name__, result))
    return Outcome(item, result, {})


def failed_result(folder: JobFolder, item: str, error: BaseException, clock: Clock | None) -> ItemResult:
    """What an item that failed took, and why; the traceback goes into a file."""
    log = folder.path / "errors" / f"{item}.log"
    with storing(log):
        log.parent.mkdir(exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)))
    told = as_thon_error(error, folder.path)
    return ItemResult(
        state="failed",
        **(clock.read() if clock is not None else {}),
        worker=worker_name(),
        message=str(told),
        exit_code=told.exit_code,
        log=f"errors/{item}.log",
    )


def item_failed(item: str, error: str, result: ItemResult) -> ItemFailed:
    """The event that tells of it, with the class of the error."""
    return ItemFailed(item=item, error=error, message=result.message, exit_code=result.exit_code, log=result.log)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, or a quota, that takes no more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def as_thon_error(error: BaseException, path: Path) -> ThonError:
    """What to tell a person of any error."""
    if isinstance(error, ThonError):
        return error
    if isinstance(error, ConnectionError):
        return JobError(str(error), mend="if memory ran out, use fewer --workers; then `thon resume`")
    if isinstance(error, MemoryError):
        return JobError("out of memory", mend="give a lower --memory or fewer --workers, or a larger bin")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return StoreError("cannot write", path=path, got=error.strerror, mend="free some space, then `thon resume`")
    return JobError(f"something unexpected happened: {type(error).__name__}: {error}")
