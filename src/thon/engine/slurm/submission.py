"""What is known of a job that was given to a batch system: `submission.json`, so that none is given twice or lost.

The file is written before the job is submitted, with a token that the job bears in its name. Whoever finds it without a
number was, or comes after one who was, killed in between, and looks for the token in the queue first.
"""

from __future__ import annotations

import re
import secrets

from pydantic import BaseModel, ValidationError

from thon.base.errors import StoreError
from thon.engine.local import events_size
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.machine import now

SUBMISSION = "submission.json"
SCRIPT = "batch.sh"
"""The script that is, or was, submitted."""


class Submission(BaseModel):
    """One job of a batch system."""

    token: str
    name: str
    """Of the job there; ends with the token."""
    lane: str
    written: str
    """When it was about to be submitted."""
    batch: str = ""
    """Its number; empty until it is known."""
    tries: int = 1
    """How many times the job was submitted since somebody asked for it."""
    events: int = 0
    """Size of the file of the job's events when it was submitted; what comes after is its worker's."""
    over: str = ""
    """How it ended; empty while it goes on."""


def new_submission(folder: JobFolder, lane: str) -> Submission:
    """What to write down of a job that is about to be submitted; after one that was cut short it is one more try.

    Raises:
        StoreError: What is known of an earlier one cannot be read.
    """
    before, token = read_submission(folder), secrets.token_hex(4)
    again = before is not None and before.over == "again" and before.lane == lane
    number = folder.path.name.split("-")[0]
    kind = re.sub(r"[^a-z0-9-]", "", folder.path.name.removeprefix(f"{number}-"))
    tries = before.tries + 1 if again and before is not None else 1
    return Submission(
        token=token,
        name=f"{number}-{kind}-{token}",
        lane=lane,
        written=now(),
        tries=tries,
        events=events_size(folder),
    )


def open_submission(folder: JobFolder) -> Submission | None:
    """The submission of a job that has not ended, as far as we know; None where there is none.

    Raises:
        StoreError: The file cannot be read, so that it might be submitted twice.
    """
    found = read_submission(folder)
    return None if found is None or found.over else found


def read_submission(folder: JobFolder) -> Submission | None:
    """The last submission of a job; None where there is none.

    Raises:
        StoreError: The file cannot be read.
    """
    file = folder.path / SUBMISSION
    try:
        return Submission.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        mend = "if nothing of this job is in the queue, remove the file"
        raise StoreError("cannot be read", path=file, got=str(error).split("\n")[0], mend=mend) from error


def write_submission(folder: JobFolder, submission: Submission) -> None:
    """Replace what is known of a submission.

    Raises:
        StoreError: The disk refuses.
    """
    with storing(folder.path):
        write_whole(folder.path / SUBMISSION, submission.model_dump_json(indent=1).encode() + b"\n")
