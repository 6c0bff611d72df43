"""Tells how a run goes: bars with time left in a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thon.cli.faults import complain
from thon.engine.run import Run, Start
from thon.job.events import Event, Log, Warned
from thon.job.folder import JobFolder
from thon.job.record import JobRecord

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

NAMED = 20
"""Items of a job up to which the files of each are named at the end; of more only their folder is."""

STARTS = {"new": "", "resumed": " (resumed)", "kept": " (finished before; kept)"}


def make_teller(*, quiet: bool, as_json: bool, show_traceback: bool) -> Teller:
    """The teller for how a command was called."""
    if as_json:
        return JsonTeller()
    return Teller(show_traceback=show_traceback) if quiet else BarTeller(show_traceback=show_traceback)


class Teller:
    """Watches a run and says nothing but errors."""

    def __init__(self, *, show_traceback: bool):
        self._show_traceback = show_traceback

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, *raised: object) -> None:
        """End."""

    def announce(self, folder: JobFolder, start: Start) -> None:
        """A job is about to run."""

    def ignore(self, folder: JobFolder, start: Start) -> None:
        """A job is about to run that nobody wants to hear of."""

    def watch(self, folder: JobFolder, event: Event) -> None:
        """Say what failed."""
        if event.kind == "item_failed":
            log = folder.path / event.log
            if self._show_traceback:
                print(log.read_text(), file=sys.stderr)
            told = event.exit_code == 2 or event.error in ("JobError", "StoreError")
            note = "" if told else f"\n  the traceback is in {shown(log)}"
            complain(f"{event.item}: {event.message}{note}")
        elif event.kind == "failed" and not folder.read().results:
            complain(event.message)

    def results(self, run: Run) -> None:
        """The run has ended."""

    def delivered(self, file: Path) -> None:
        """A standalone tool has made its file."""


class BarTeller(Teller):
    """Bars with time left where stderr is a terminal; one line per job, item and warning everywhere."""

    def __init__(self, *, show_traceback: bool):
        super().__init__(show_traceback=show_traceback)
        self._bars: Progress | None = None
        self._tasks: dict[str | None, TaskID] = {}
        self._told: set[str] = set()

    def __enter__(self) -> BarTeller:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        console = Console(stderr=True)
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[text]}"),
        )
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()

    def announce(self, folder: JobFolder, start: Start) -> None:
        """Name the job."""
        self._say(f"[bold]{folder.path.name}[/bold]{STARTS[start]}")

    def watch(self, folder: JobFolder, event: Event) -> None:
        """Move the bars; say what is worth a line."""
        bars = self._bars
        if bars is None:
            return
        match event.kind:
            case "started":
                self._clear()
                self._told.clear()
                if event.items > 1:
                    total = bars.add_task("items", total=event.items, completed=event.finished, text="")
                    self._tasks[None] = total
            case "item_started":
                self._tasks[event.item] = bars.add_task(str(event.item), total=None, text="")
            case "progress":
                if event.item in self._tasks:
                    task = self._tasks[event.item]
                    bars.update(task, completed=event.done, total=event.total, text=event.text)
            case "log" | "warning":
                self._pass_on(event)
            case "item_done" | "item_failed":
                self._end_item(event.item)
                if event.kind == "item_done":
                    self._say(f"  {event.item}: done in {_duration(event.seconds)}", markup=False)
            case _:
                pass
        super().watch(folder, event)

    def results(self, run: Run) -> None:
        """Print where the results are, on stdout."""
        for folder in run.jobs:
            record = folder.read()
            many = sum(bool(result.results) for result in record.results.values())
            if many > NAMED:
                print(f"{'Results':<12} {many} items: {shown(folder.outputs)}")
            else:
                _name_results(folder, record)
            _tell_failed(folder, record)
        last = run.jobs[-1].read().results.values()
        if any(result.state == "done" for result in last) and not any(result.results for result in last):
            print(f"{'Results':<12} {shown(run.jobs[-1].outputs)}")

    def delivered(self, file: Path) -> None:
        """Print the file's name, on stdout."""
        print(shown(file))

    def _end_item(self, item: str | None) -> None:
        task = self._tasks.pop(item, None)
        if task is not None and self._bars is not None:
            self._bars.remove_task(task)
        if self._bars is not None and None in self._tasks:
            self._bars.advance(self._tasks[None])

    def _pass_on(self, event: Log | Warned) -> None:
        """Say what an item said, unless another item of the job has said the same."""
        if event.text in self._told:
            return
        self._told.add(event.text)
        if event.kind == "log":
            self._say(f"  {event.item}: {event.text}", markup=False)
        else:
            self._say(f"  [yellow]warning[/yellow] {event.item}: {event.text}")

    def _clear(self) -> None:
        for task in self._tasks.values():
            if self._bars is not None:
                self._bars.remove_task(task)
        self._tasks.clear()

    def _say(self, text: str, *, markup: bool = True) -> None:
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=markup, soft_wrap=True)


class JsonTeller(Teller):
    """Every event as a line of JSON on stdout, with its job; at last the results."""

    def __init__(self) -> None:
        super().__init__(show_traceback=False)

    def announce(self, folder: JobFolder, start: Start) -> None:
        """Name the job."""
        self._line({"kind": "job", "job": folder.path.name, "start": start})

    def watch(self, folder: JobFolder, event: Event) -> None:
        """Print the event."""
        self._line({"job": folder.path.name, **event.model_dump(mode="json", exclude_none=True)})

    def results(self, run: Run) -> None:
        """Print where the results are."""
        jobs: dict[str, Any] = {}
        for folder in run.jobs:
            record = folder.read()
            jobs[folder.path.name] = {
                "state": record.state,
                "folder": str(folder.path),
                "items": {
                    item: {title: str(folder.path / path) for title, path in result.results.items()}
                    for item, result in record.results.items()
                },
            }
        self._line({"kind": "results", "exit_code": run.exit_code, "jobs": jobs})

    def delivered(self, file: Path) -> None:
        """Print the file's name."""
        self._line({"kind": "delivered", "file": str(file.absolute())})

    def _line(self, content: dict[str, Any]) -> None:
        print(json.dumps(content, ensure_ascii=False), flush=True)


def _name_results(folder: JobFolder, record: JobRecord) -> None:
    for item, result in record.results.items():
        for title, path in result.results.items():
            print(f"{title:<12} {item}: {shown(folder.path / path)}")


def _tell_failed(folder: JobFolder, record: JobRecord) -> None:
    """Say again at the end that items failed, for the lines that said it have long gone by."""
    failed = sum(result.state == "failed" for result in record.results.values())
    if failed:
        print(f"{'Failed':<12} {failed} of {len(record.items)} items of {folder.path.name}", file=sys.stderr)


def shown(path: Path) -> str:
    """A path as a person here would type it: the shorter of relative and absolute."""
    relative, absolute = os.path.relpath(path), str(path.absolute())
    return relative if len(relative) < len(absolute) else absolute


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
