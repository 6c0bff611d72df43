"""`thon why`: the whole history of a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from thon.base.errors import InputError, StoreError
from thon.cli.around import in_project, index_of, with_traceback
from thon.cli.ledger import escape, state_now
from thon.cli.look import differing
from thon.cli.shell import JobOrFile
from thon.engine.inputs import is_job, job_of
from thon.job.folder import JobFolder
from thon.job.plan import size_text
from thon.job.record import JobRecord
from thon.job.told import duration, price
from thon.project.history import History, Origin, find_origin, trace
from thon.project.project import Project
from thon.project.request import changed_inputs

CHANGES = 5
"""Changed inputs of a job that are named."""


@click.command("why", short_help="Tell the whole history of a file")
@click.argument("what", type=JobOrFile(), metavar="FILE|JOB")
@in_project
@click.option("--brief", is_flag=True, help="A line for each job.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_traceback
def command_why(what: str, output: str | None, brief: bool, as_json: bool, traceback: bool) -> None:
    """Tell where a file came from: each job behind it with command, options, versions, machine, hours and cost.

    FILE lies in a job's folder, or is a copy of one that does, wherever it is and however it is called. A job will do
    too: J008, or J008:ITEM.
    """
    where = output if output is not None else _nearest(what)
    with index_of(where) as index, index.reading() as connection:
        project = index.project
        if is_job(what):
            folder, item = job_of(what, project)
            origin = Origin(folder.path.name.split("-")[0], item)
        else:
            origin = find_origin(connection, project, Path(what))
        history = trace(connection, project, origin)
    told = [_read(project, row) for row in history.chain]
    if as_json:
        click.echo(json.dumps(_as_json(history, told), ensure_ascii=False, default=str))
        return
    _print(what, history, told, brief=brief)


@dataclasses.dataclass(frozen=True)
class _Told:
    """A job of the chain: its row, its record where that can be read, and what has changed since."""

    row: dict[str, Any]
    record: JobRecord | None
    changes: list[str]


def _read(project: Project, row: dict[str, Any]) -> _Told:
    row["state"] = state_now(project, row)
    folder = JobFolder(project.root / row["folder"])
    try:
        return _Told(row, folder.head(), changed_inputs(folder, quick=True))
    except StoreError:
        return _Told(row, None, [])


def _nearest(what: str) -> str | None:
    """The project in which a file or a job lies; None where it lies in none."""
    if is_job(what) and Path(what).parent == Path():
        return None
    try:
        return str(Project.open(Path(what).absolute().parent).root)
    except InputError:
        return None


def _print(what: str, history: History, told: list[_Told], *, brief: bool) -> None:
    console, origin = Console(highlight=False, soft_wrap=True), history.origin
    console.print(f"[bold]{escape(what)}[/bold]")
    if origin.copy_of is not None:
        console.print(f"is a copy of {escape(origin.copy_of)}: {origin.remark}")
    for number, one in enumerate(told):
        _print_job(console, one, first=number == 0, item=origin.item, brief=brief)
    for raw in history.raw:
        files = "1 file" if raw.count == 1 else f"{raw.count} files"
        console.print(f"[bold]from[/bold] {escape(raw.folder)}  {files}, {size_text(raw.bytes)}")
    console.print(f"[bold]in all[/bold] {_sum(told)}")


def _print_job(console: Console, one: _Told, *, first: bool, item: str | None, brief: bool) -> None:
    row = one.row
    made = f"{row['used']} of {row['items']} items" if row["items"] > 1 else ""
    made = f"item {escape(item)}" if first and item is not None and row["items"] > 1 else made
    head = [f"[bold]{row['job']} {row['type']}[/bold]", row["state"], made, _took(row)]
    console.print(("made by " if first else "from ") + "  ".join(filter(None, head)))
    lines = [("command", row["command"] or "not recorded")]
    if not brief:
        lines += list(_details(one))
    for name, value in lines:
        console.print(f"  [dim]{name:<8}[/dim] {escape(value)}")
    for change in one.changes[:CHANGES]:
        console.print(f"  [yellow]{escape(change)}[/yellow] since")
    if len(one.changes) > CHANGES:
        console.print(f"  [yellow]{len(one.changes) - CHANGES} more inputs have changed[/yellow] since")


def _details(one: _Told) -> list[tuple[str, str]]:
    row, record = one.row, one.record
    machine = [row["host"], row["instance"], row["cpu"], row["gpus"], f"lane {row['lane']}" if row["lane"] else ""]
    ran = f"{str(row['started'] or 'not yet')[:19].replace('T', ' ')}, by {row['person'] or '?'}"
    versions = f"{row['version']} {(row['source_commit'] or '')[:10]}".strip()
    if record is not None:
        versions = ", ".join([versions, *(f"{name} {number}" for name, number in record.software.packages.items())])
    return [
        ("options", (differing(record) if record is not None else row["options"]).replace("\n", ", ")),
        ("seed", str(row["seed"])),
        ("thon", versions),
        ("ran", ran),
        ("on", ", ".join(str(part) for part in machine if part)),
    ]


def _took(row: dict[str, Any]) -> str:
    parts = [duration(row["seconds"]), f"{duration(row['cpu_seconds'])} of CPU"]
    parts += [f"{duration(row['gpu_seconds'])} of GPU"] if row["gpu_seconds"] else []
    parts += [price(row["cost"], row["currency"])] if row["cost"] is not None else []
    return ", ".join(parts)


def _sum(told: list[_Told]) -> str:
    rows = [one.row for one in told]
    parts = [f"{len(rows)} jobs" if len(rows) != 1 else "1 job"]
    for name, what in (("seconds", ""), ("cpu_seconds", " of CPU"), ("gpu_seconds", " of GPU")):
        seconds = sum(row[name] for row in rows)
        parts += [f"{duration(seconds)}{what}"] if seconds or not what else []
    for currency in sorted({row["currency"] for row in rows if row["cost"] is not None}):
        parts.append(price(sum(row["cost"] for row in rows if row["cost"] and row["currency"] == currency), currency))
    return ", ".join(parts)


def _as_json(history: History, told: list[_Told]) -> dict[str, Any]:
    jobs = [
        one.row | {"record": one.record.model_dump(exclude={"items", "inputs", "results"}), "changed": one.changes}
        if one.record is not None
        else one.row
        for one in told
    ]
    raw = [dataclasses.asdict(folder) for folder in history.raw]
    return {"origin": dataclasses.asdict(history.origin), "jobs": jobs, "raw": raw}
