"""A PostgreSQL server of the tests' own, in a temporary folder, that listens on a socket there and nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MissingError(Exception):
    """There is no PostgreSQL here, or it cannot be run."""


def programs() -> Path:
    """The folder of the server's programs, of the newest version that Debian's packages have put here.

    Raises:
        MissingError: There are none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise MissingError("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


@contextmanager
def running() -> Iterator[str]:
    """The URL of a server, which is gone afterwards.

    Raises:
        MissingError: It cannot be run.
    """
    folder = Path(tempfile.mkdtemp(prefix="thon-pg-", dir="/tmp"))
    try:
        _start(folder)
        try:
            yield f"postgresql://thon@/postgres?host={folder}"
        finally:
            _run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop", folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> None:
    bin_ = programs()
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    _run(
        "initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "thon",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        folder=folder,
    )
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c shared_buffers=16MB"
    _run(
        "pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start", folder=folder, bin_=bin_
    )


def _run(program: str, *arguments: str, folder: Path, bin_: Path | None = None) -> None:
    """Run one of the server's programs; root does so as the user postgres, for the server refuses to be run by root."""
    command = [str((bin_ or programs()) / program), *arguments]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, cwd=folder
    )
    if done.returncode:
        raise MissingError(f"PostgreSQL cannot be run: {done.stdout.strip()}")
