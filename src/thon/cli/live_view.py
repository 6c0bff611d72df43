"""Shows a live session: a table that moves in a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from thon.engine.live.status import LiveStatus, Said, StageStatus
from thon.job.told import duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

COLOURS = {"warning": "yellow", "error": "red"}
LINES = 6
"""What was said last, under the table."""


def make_view(*, quiet: bool, as_json: bool) -> LiveView:
    """The view for how the command was called."""
    if as_json:
        return JsonView()
    if quiet:
        return LiveView()
    return TableView() if sys.stderr.isatty() else PlainView()


class LiveView:
    """Shows errors and nothing else."""

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *raised: object) -> None:
        """End."""

    def say(self, said: Said) -> None:
        """Print an error."""
        if said.level == "error":
            click.echo(f"{click.style('error: ', fg='red', bold=True)}{said.text}", err=True)

    def show(self, status: LiveStatus) -> None:
        """How the session stands is not shown."""


class PlainView(LiveView):
    """A line with its time for all that happens, on stderr."""

    def say(self, said: Said) -> None:
        """Print the sentence."""
        clock = time.strftime("%H:%M:%S", time.localtime(said.time))
        mark = click.style(f"{said.level}: ", fg=COLOURS[said.level]) if said.level in COLOURS else ""
        click.echo(f"{clock}  {mark}{said.text}", err=True)


class JsonView(LiveView):
    """Sentences and states as lines of JSON on stdout."""

    def say(self, said: Said) -> None:
        """Print the sentence."""
        self._line({"kind": "said", **dataclasses.asdict(said)})

    def show(self, status: LiveStatus) -> None:
        """Print the state, without what was said, which has lines of its own."""
        self._line({"kind": "status", **{name: v for name, v in dataclasses.asdict(status).items() if name != "said"}})

    def _line(self, content: dict[str, Any]) -> None:
        print(json.dumps(content, ensure_ascii=False), flush=True)


class TableView(LiveView):
    """A table of the steps that is drawn anew, on stderr; warnings and errors stay above it."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._last: list[Said] = []

    def __enter__(self) -> TableView:
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(console=Console(stderr=True), auto_refresh=False)
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the last table where it is."""
        if self._live is not None:
            self._live.stop()

    def say(self, said: Said) -> None:
        """Print what must be seen; the rest passes under the table."""
        self._last = [*self._last, said][-LINES:]
        if said.level in COLOURS and self._live is not None:
            colour = COLOURS[said.level]
            self._live.console.print(f"[{colour}]{said.level}[/] {_escaped(said.text)}", highlight=False)

    def show(self, status: LiveStatus) -> None:
        """Draw the table."""
        if self._live is not None:
            self._live.update(drawn(status, self._last), refresh=True)


def drawn(status: LiveStatus, last: list[Said]) -> RenderableType:
    """A session as rich shows it."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "waiting", "running", "done", "rejected", "failed", "per hour", "time left"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for stage in status.stages:
        table.add_row(*_row(stage))
    state = f"{status.state}: {status.message}" if status.message else status.state
    heading = Text(f"{status.source}  {state}  ", style="bold")
    coming = f", {status.awaited} still coming" if status.awaited else ""
    heading.append(f"{status.items} items of {status.files} files{coming}", style="dim")
    groups = "  ".join(
        f"{one.name} {one.ready}{'' if one.complete else f'/{one.ready + one.pending}…'}" for one in status.groups[-6:]
    )
    lines = [Text(f"{time.strftime('%H:%M:%S', time.localtime(said.time))}  {said.text}", style="dim") for said in last]
    return Group(heading, table, *([Text(groups)] if groups else []), *lines)


def _row(stage: StageStatus) -> tuple[str, ...]:
    rate = "" if stage.per_hour is None else f"{stage.per_hour:.0f}"
    left = "" if not stage.seconds_left else duration(stage.seconds_left)
    failed = f"[red]{stage.failed}[/]" if stage.failed else "0"
    rejected = str(stage.rejected)
    return stage.title, str(stage.waiting), str(stage.running), str(stage.done), rejected, failed, rate, left


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
