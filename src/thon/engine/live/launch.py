"""Starts a live session in a process of its own, which outlives whoever started it; tells whether one runs; stops it.

What is asked for lies in `.thon/live/request.json`, what the process says in `.thon/live/session.out`; how the session
stands is in `live.json` as always, and there too why it could not begin.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from thon.base.errors import InputError, StoreError, ThonError
from thon.engine.live.control import CONTROL, write_control
from thon.engine.live.open import LOCK, SessionRequest
from thon.engine.live.options import LiveOptions
from thon.engine.live.status import LiveStatus, Said, broken, read_status, write_status
from thon.job.folder import storing, write_whole
from thon.job.item import as_thon_error
from thon.job.places import found, stored
from thon.job.record import RunSettings
from thon.project.project import Project, check_writable

PLACE = Path(".thon") / "live"
SILENCE = 30.0
"""A session that has not renewed `live.json` for so long is not there any more, s."""

ENDED = ("ended", "interrupted", "broken")


class LiveAsk(BaseModel):
    """What a session is asked to do, as a form or a program fills it in.

    Args:
        chain: The live chain, such as live.
        location: Folder or URL to watch; a folder relative to the project unless absolute.
        options: Options that are not as by default, by step; those that steps share without one.
        live: How to watch, where that is not as by default.
        settings: How to run, where that is not as by default.
        ports: What goes into further ports, by name.
        lane: Where the items are done; on this machine unless given.
    """

    chain: str
    location: str
    options: dict[str, Any] = Field(default_factory=dict)
    live: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    ports: dict[str, str] = Field(default_factory=dict)
    lane: str = ""


def start_live(project: Project, ask: LiveAsk) -> int:
    """Start a session; returns the number of its process at once. Why it cannot begin, if so, `live.json` tells.

    Raises:
        StoreError: A session runs in this project, or the disk refuses.
    """
    check_writable(project)
    if is_running(project.root):
        raise StoreError("a live session runs in this project", path=project.root, mend="stop that one first")
    place = project.root / PLACE
    with storing(place):
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / "request.json", ask.model_dump_json(indent=1).encode() + b"\n")
    if (project.root / CONTROL).exists():
        write_control(project.root, stop=False)  # what it is told from now on is for the new session
    write_status(project.root, broken(ask.location, "", state="starting"))
    with (place / "session.out").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "thon.engine.live.launch", str(project.root)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that nothing is left of it when it has ended
    return process.pid


def stop_live(project: Project, patience: float = 0.0) -> bool:
    """Stop the session as by Ctrl-C; returns whether it has stopped within the time given, s.

    Raises:
        StoreError: The disk refuses.
    """
    write_control(project.root, stop=True)
    deadline = time.monotonic() + patience
    while is_running(project.root):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


def is_running(root: Path) -> bool:
    """Whether a session writes into the project at `root`, on this machine or another."""
    with contextlib.suppress(OSError), (root / LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    status = read_status(root)
    if status is None or status.state in ENDED or time.time() - status.updated > SILENCE:
        return False
    return status.host != platform.node() or _lives(status.pid)


def read_ask(root: Path) -> LiveAsk | None:
    """What the last session that was started so was asked to do; None where there was none."""
    try:
        return LiveAsk.model_validate_json((root / PLACE / "request.json").read_bytes())
    except (OSError, ValidationError):
        return None


def session_request(project: Project, ask: LiveAsk) -> SessionRequest:
    """The request that was filled in.

    Raises:
        InputError: Something in it cannot be right.
    """
    from thon.engine.forms import Filled, options_of  # noqa: PLC0415
    from thon.engine.steps import steps_of  # noqa: PLC0415

    steps = steps_of(ask.chain)
    location = ask.location if "://" in ask.location else found(ask.location, project.root)
    first = steps[0].spec.ports[0].name
    shown = location if "://" in location else stored(location, project.root)
    filled = Filled(ask.chain, ask.options, {first: [shown]}, ask.settings)
    pairs = [(step, options_of(step.spec, filled, len(steps), project.root)) for step in steps]
    try:
        live, settings = LiveOptions.model_validate(ask.live), RunSettings.model_validate(ask.settings)
    except ValidationError as error:
        first_fault = error.errors()[0]
        name = ".".join(map(str, first_fault["loc"]))
        raise InputError(f"{name}: {first_fault['msg']}", got=first_fault["input"]) from error
    workers = live.workers or len(os.sched_getaffinity(0))
    settings = settings.model_copy(update={"workers": workers, "threads": workers})
    return SessionRequest(location, pairs, live, settings, ask.ports, _command(filled, ask), ask.lane)


class _Quiet:
    """Shows nothing: `live.json` and the log tell all."""

    def say(self, said: Said) -> None:
        """It is in the log."""

    def show(self, status: LiveStatus) -> None:
        """It is in `live.json`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the session that a project's request asks for; returns the exit code."""
    from thon.engine.live.crew import lane_crew  # noqa: PLC0415
    from thon.engine.live.session import run_live  # noqa: PLC0415

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    project = Project.open(Path((sys.argv[1:] if arguments is None else arguments)[0]))
    ask = read_ask(project.root)
    if ask is None:
        print(f"error: there is no request in {project.root / PLACE}", file=sys.stderr)
        return 2
    try:
        request = session_request(project, ask)
        code, _ = run_live(project, request, _Quiet(), lane_crew(project.root, request), told=True)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        told = as_thon_error(error, project.root)
        print(f"error: {told}", file=sys.stderr)
        _tell_broken(project.root, ask, told)
        return told.exit_code
    return code


def _tell_broken(root: Path, ask: LiveAsk, error: ThonError) -> None:
    """Say why a session could not begin; one that had begun has told itself."""
    before = read_status(root)
    if before is None or before.state == "starting":
        write_status(root, broken(ask.location, str(error)))


def _command(filled: Any, ask: LiveAsk) -> str:
    """What would be typed for it."""
    from thon.engine.typed_as import command_of  # noqa: PLC0415

    ports = [word for name, text in ask.ports.items() for word in (f"--{name.replace('_', '-')}", text)]
    lane = ["--lane", ask.lane] if ask.lane else []
    return shlex.join([*shlex.split(command_of(filled)), *ports, *_live_flags(ask.live), *lane])


def _live_flags(live: dict[str, Any]) -> Iterator[str]:
    for name, value in live.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif value is not None:
            yield f"--{flag}"
            yield ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
