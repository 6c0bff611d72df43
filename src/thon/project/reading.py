"""Brings a project's index up to date in a process of its own: `python -m thon.project.reading FOLDER`.

The record of a job of very many items takes seconds and hundreds of megabytes to read, which a server should spend
elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from thon.base.errors import StoreError
from thon.project.index import open_index
from thon.project.project import Project

LARGE = 4_000_000
"""Bytes of records from which on they are read so."""


def read_apart(project: Project) -> None:
    """Bring the index of a project up to date.

    Raises:
        StoreError: It cannot be.
    """
    command = [sys.executable, "-P", "-m", "thon.project.reading", str(project.root)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise StoreError("the index could not be brought up to date", path=project.root, got=told[-1] if told else None)


if __name__ == "__main__":
    with open_index(Project(Path(sys.argv[1]))):
        pass
