"""`thon session`: how a running session stands, and what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from thon.base.errors import InputError
from thon.cli.around import as_lines
from thon.cli.live_view import drawn
from thon.engine.live.control import Threshold, read_control, with_threshold, without_threshold, write_control
from thon.engine.live.launch import is_running, stop_live
from thon.engine.live.series import read_series
from thon.engine.live.status import read_status
from thon.project.project import Project

PATIENCE = 60.0
"""How long to wait for a session to stop, s."""

PROJECT = click.argument("project", default=".", type=click.Path(), metavar="[PROJECT]")


@click.group("session", short_help="Pause, scale or stop a live session, and say what items must pass")
def command_session() -> None:
    """Tell a live session something, from any machine that sees its project."""


@command_session.command("status")
@PROJECT
@as_lines
def status(project: str, as_json: bool) -> int:
    """Say how the session stands."""
    found = read_status(_root(project))
    if found is None:
        raise InputError("there has been no live session", path=project, mend="`thon live FOLDER` starts one")
    if as_json:
        click.echo(json.dumps(found.plain(), ensure_ascii=False))
        return 0
    from rich.console import Console  # noqa: PLC0415

    Console().print(drawn(found, list(found.said)[-6:]))
    return 0


@command_session.command("pause")
@PROJECT
def pause(project: str) -> int:
    """Begin nothing new; what was begun is finished."""
    return _tell(project, "nothing new is begun; `thon session continue` goes on", paused=True)


@command_session.command("continue")
@PROJECT
def go_on(project: str) -> int:
    """Go on after a pause."""
    return _tell(project, "it goes on", paused=False)


@command_session.command("workers")
@click.argument("number", type=click.IntRange(1))
@PROJECT
def workers(number: int, project: str) -> int:
    """Have other numbers of workers; those that are too many go once they have done what they do."""
    return _tell(project, f"{number} workers from now on", workers=number)


@command_session.command("stop")
@PROJECT
def stop(project: str) -> int:
    """End the session as by Ctrl-C; the same `thon live` goes on with it."""
    stopped = stop_live(Project(_running(project)), PATIENCE)
    click.echo("it has stopped" if stopped else "it is stopping")
    return 0


@command_session.command("reject")
@click.argument("step")
@click.argument("value")
@PROJECT
@click.option("--below", type=float, help="Reject items whose number is less.")
@click.option("--above", type=float, help="Reject items whose number is more.")
@click.option("--never", is_flag=True, help="Reject none by this number any more.")
def reject(step: str, value: str, project: str, below: float | None, above: float | None, never: bool) -> int:
    """Keep items from later steps by a number of what STEP yields, such as `ctf-fit fit.resolution --above 8`.

    It holds for what has not gone on yet, and for all that comes. What passes once the limit is relaxed goes on.
    """
    root = _root(project)
    known = sorted({name for point in read_series(root) if point.step == step for name in point.values})
    if known and value not in known:
        raise InputError(f"{step} has no number '{value}'", expected=", ".join(known))
    before = read_control(root).thresholds
    if never:
        after = without_threshold(before, step, value)
    elif below is None and above is None:
        raise InputError("which items are to be rejected?", expected="--below NUMBER, --above NUMBER, or --never")
    else:
        after = with_threshold(before, Threshold(step=step, value=value, min=below, max=above))
    write_control(root, thresholds=[one.model_dump() for one in after])
    for one in after:
        click.echo(one.text)
    return 0


def _tell(project: str, answer: str, **changes: Any) -> int:
    write_control(_running(project), **changes)
    click.echo(answer)
    return 0


def _root(project: str) -> Path:
    return Project.open(Path(project)).root


def _running(project: str) -> Path:
    """The folder of a project in which a session runs.

    Raises:
        InputError: None does.
    """
    root = _root(project)
    if not is_running(root):
        raise InputError("no live session runs in this project", path=root, mend="`thon live FOLDER` starts one")
    return root
