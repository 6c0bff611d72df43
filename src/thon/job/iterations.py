"""The iterations that a job has kept, at which another can begin: `iterations/ITEM/0005/`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from thon.base.errors import InputError
from thon.job.record import JobRecord

ITERATIONS = "iterations"
EVERY = 5
LAST = 2
"""Iterations that are kept: multiples of `EVERY`, and so many of the last."""


def keep_iteration(checkpoints: Path, folder: Path, number: int) -> None:
    """Keep the files in a folder of checkpoints as those of an iteration, by links that cost no space of their own."""
    kept = folder / f"{number:04d}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for file in checkpoints.iterdir():
        if file.is_file():
            _link(file, kept / file.name)
    for old in _numbers(folder)[:-LAST]:
        if old % EVERY:
            shutil.rmtree(folder / f"{old:04d}")


def kept_iterations(job: Path) -> list[int]:
    """The iterations that a job has kept of every item that it has kept any of."""
    items = [folder for folder in (job / ITERATIONS).glob("*") if folder.is_dir()]
    every = [set(_numbers(folder)) for folder in items]
    return sorted(set.intersection(*every)) if every else []


def begin_at(job: Path, record: JobRecord, item: str) -> None:
    """Let an item begin where its job is to continue from, unless it has come further already.

    Raises:
        InputError: The earlier job no longer has that iteration.
    """
    checkpoints, begin = job / "checkpoints" / item, record.continues
    if begin is None or checkpoints.exists():
        return
    found = list(job.parent.glob(f"{begin.job}-*/{ITERATIONS}/{item}/{begin.iteration:04d}"))
    if not found:
        raise InputError(f"{begin.job} has no iteration {begin.iteration} of '{item}' any more", path=job.parent)
    part = checkpoints.with_name(f".tmp-{item}")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(found[0], part)
    part.rename(checkpoints)


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)
