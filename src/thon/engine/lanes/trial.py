"""Proves a lane: a small job goes through it, and tells where it came to and what it found there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thon.base.errors import ThonError
from thon.engine.lanes.contract import Needs
from thon.engine.lanes.local import lane_environment
from thon.engine.lanes.options import LaneOptions
from thon.engine.slurm import commands
from thon.engine.slurm.account import account_of
from thon.engine.slurm.script import LOG, write_script
from thon.engine.slurm.states import words_of
from thon.engine.slurm.submission import SCRIPT, Submission
from thon.job.folder import JobFolder, storing
from thon.job.machine import now, software

PATIENCE = 300.0
"""How long a trial may wait in the queue, s."""

LOOK = 0.5


@dataclass
class Trial:
    """How a trial went.

    Args:
        lane: The lane.
        batch: Slurm's number of the job.
        waited: Time in the queue, s.
        reports: What each process told.
        troubles: What is wrong, in words; nothing where the lane is good.
    """

    lane: str
    batch: str = ""
    waited: float = 0.0
    reports: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    troubles: list[str] = field(default_factory=list[str])


def try_lane(
    root: Path,
    name: str,
    options: LaneOptions,
    *,
    processes: int = 1,
    patience: float = PATIENCE,
    say: Callable[[str], None] = lambda text: None,
) -> Trial:
    """Send a small job through a lane and wait for it.

    Args:
        root: The project's folder, which must be seen from there.
        name: The lane.
        options: What it is.
        processes: Processes that must find each other.
        patience: How long the job may wait in the queue, s.
        say: Is told how it goes.

    Raises:
        StoreError: The project cannot be written.
    """
    folder = JobFolder(root / ".thon" / f"trial-{secrets.token_hex(4)}")
    with storing(folder.path):
        folder.path.mkdir(parents=True)
    trial, needs = Trial(name), Needs(whole=True, gpus=options.gpus or 0, processes=processes)
    try:
        if options.kind == "local":
            _run_here(folder, options, trial)
        else:
            _run_in_slurm(folder, options, trial, needs, patience, say)
    except ThonError as error:
        trial.troubles.append(str(error))
    else:
        _judge(folder, options, trial, needs)
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)
    return trial


def _run_here(folder: JobFolder, options: LaneOptions, trial: Trial) -> None:
    command = [sys.executable, "-P", "-m", "thon.engine.lanes.probe", str(folder.path)]
    environment = os.environ | lane_environment(trial.lane, options)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    with storing(folder.path):
        (folder.path / LOG).write_text(done.stderr)


def _run_in_slurm(
    folder: JobFolder, options: LaneOptions, trial: Trial, needs: Needs, patience: float, say: Callable[[str], None]
) -> None:
    token = secrets.token_hex(4)
    given = Submission(token=token, name=f"thon-trial-{token}", lane=trial.lane, written=now())
    script = folder.path / SCRIPT
    with storing(folder.path):
        script.write_text(write_script(folder, given, needs, options, module="thon.engine.lanes.probe"))
    begun = time.monotonic()
    trial.batch = commands.sbatch(script)
    try:
        _await(trial, begun + patience, say)
    except BaseException:
        commands.scancel(trial.batch, f"--name={given.name}")
        raise
    account = account_of(trial.batch, given.name)
    if account is not None and (account.state != "COMPLETED" or account.code):
        trial.troubles.append(f"Slurm tells {account.state}, exit code {account.code}")


def _await(trial: Trial, deadline: float, say: Callable[[str], None]) -> None:
    """Wait until the job has left the queue, and note how long it was in there before it ran."""
    begun, last = time.monotonic(), ""
    while (row := commands.squeue().get(trial.batch)) is not None:
        if row.state == "PENDING":
            trial.waited = time.monotonic() - begun
            if time.monotonic() > deadline:
                raise commands.SilentError(f"did not start in {trial.waited:.0f} s", got=words_of(row))
        if (words := words_of(row)) != last:
            say(words)
            last = words
        time.sleep(LOOK)


def _judge(folder: JobFolder, options: LaneOptions, trial: Trial, needs: Needs) -> None:
    """Say in words what is not as it should be."""
    trial.reports = [json.loads(file.read_text()) for file in sorted(folder.path.glob("probe-*.json"))]
    if len(trial.reports) < needs.processes:
        log = folder.path / LOG
        said = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
        trial.troubles.append(
            "\n  ".join(said)
            or f"the job wrote nothing: {folder.root.parent} is not seen from there, or cannot be written"
        )
    for one in trial.reports:
        if options.gpus and not one["gpus"]:
            trial.troubles.append(f"{one['host']}: there is no GPU, although the lane asks for one")
        if one["thon"] != software().version:
            trial.troubles.append(f"{one['host']}: thon {one['thon']} there, {software().version} here")
        if one.get("together"):
            trial.troubles.append(f"{one['host']}: processes cannot work together: {one['together']}")
