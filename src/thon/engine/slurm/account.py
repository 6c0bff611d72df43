"""What Slurm's accounting tells of a job that has ended, joined into the record of its run."""

from __future__ import annotations

import time

from thon.engine.slurm import commands
from thon.job.folder import JobFolder

PATIENCE = 10.0
"""How long to wait until the accounting, which comes a little later, knows of an end, s."""

LOOK = 0.5


def account_of(batch: str, name: str) -> commands.Account | None:
    """How a job that has left the queue ended; None where it has not.

    Args:
        batch: Its number.
        name: Its name, for another cluster gives the same numbers to other jobs.

    Raises:
        SilentError: Slurm does not answer.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            account = commands.accounting(batch, name)
        except commands.RefusedError:  # there is no accounting
            break
        if account is not None:
            return account
        if batch in commands.squeue(f"--name={name}"):
            return None
        time.sleep(LOOK)
    try:
        return commands.shown(batch, name)
    except commands.RefusedError:
        return commands.Account("UNKNOWN", told={"batch": batch, "state": "UNKNOWN"})


def note_account(folder: JobFolder, account: commands.Account) -> None:
    """Write what Slurm tells into the record of the run; nothing where the worker never began one.

    Raises:
        StoreError: Somebody runs the job, or the disk refuses.
    """
    with folder.lock():
        record = folder.read()
        runs = [run for run in record.runs if run.batch == account.told["batch"]]
        if not runs:
            return
        runs[-1].accounting = dict(account.told)
        folder.write(record)
        if record.state == "finished":
            file = folder.path / "job.json"
            file.chmod(file.stat().st_mode & ~0o222)
