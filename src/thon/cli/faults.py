"""How errors reach a person: one clean message, an exit code, and a traceback only where it is asked for.

Exit codes: 2 for the user's mistakes, 1 for ours, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from thon.base.errors import ThonError

INTERRUPTED = 130


def guarded(action: Callable[[], int | None], *, show_traceback: bool) -> int:
    """Run a command and turn whatever it raises into a message on stderr; returns the exit code."""
    try:
        return action() or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said, nor need be.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if show_traceback:
            traceback.print_exception(error)
        return _tell(error)


def _tell(error: BaseException) -> int:
    if isinstance(error, click.Abort | KeyboardInterrupt):
        complain("interrupted; what is finished is kept, and the same command or `thon resume` continues")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, ThonError):
        complain(str(error))
        return error.exit_code
    return _unexpected(error)


def complain(message: str) -> None:
    """Print an error message on stderr."""
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)


def _unexpected(error: BaseException) -> int:
    descriptor, name = tempfile.mkstemp(prefix="thon-error-", suffix=".log")
    text = "".join(traceback.format_exception(error))
    with os.fdopen(descriptor, "w") as log:
        log.write(f"command: {' '.join(sys.argv)}\nfolder: {Path.cwd()}\n\n{text}")
    complain(f"something unexpected happened: {type(error).__name__}: {error}\n  the traceback is in {name}")
    return 1
