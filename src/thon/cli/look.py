"""`thon jobs` and `thon show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from thon.cli.again import named_job
from thon.cli.plans import duration
from thon.cli.progress import shown
from thon.cli.shell import JobName
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.plan import size_text
from thon.job.record import JobRecord
from thon.job.registry import load, load_job
from thon.job.spec import Chain, JobSpec
from thon.project.project import Project
from thon.project.request import changed_inputs, stored_options

COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "waiting": "dim"}


@click.command("jobs", short_help="List the jobs of a project")
@click.argument("project", type=click.Path(), default=".", metavar="[PROJECT]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per job.")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def command_jobs(project: str, as_json: bool, traceback: bool) -> None:
    """List the jobs of a project: number, type, state, items done, time."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("job", "type", "state", "items", "time", "size", "created"):
        table.add_column(column, justify="right" if column in ("items", "time", "size") else "left")
    for folder in Project.open(Path(project)).jobs():
        row = job_row(folder)
        if as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
        state = f"[{COLOURS[row['state']]}]{row['state']}[/]"
        time, bytes_ = duration(row["seconds"]), size_text(row["bytes"])
        items = f"{row['done']}/{row['items']}"
        table.add_row(row["id"], row["type"], state, items, time, bytes_, row["created"][:16].replace("T", " "))
    if not as_json:
        Console(highlight=False).print(table if table.row_count else "no jobs yet")


def job_row(folder: JobFolder) -> dict[str, Any]:
    """A job in a line."""
    record = folder.read()
    return {
        "id": record.id,
        "type": record.type,
        "state": folder.state(),
        "done": len(folder.items()),
        "items": len(record.items),
        "seconds": record.usage.seconds,
        "bytes": record.usage.bytes,
        "created": record.created,
        "folder": str(folder.path),
    }


@click.command("show", short_help="Show a job, or the options of a job type")
@click.argument("job", type=JobName(), metavar="JOB")
@click.option("-o", "--output", type=click.Path(), metavar="FOLDER", help="The project's folder.")
@click.option("--schema", is_flag=True, help="JOB is a job type: print its ports and the JSON Schema of its options.")
@click.option("--events", is_flag=True, help="Print all events, as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the job's record as JSON.")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def command_show(job: str, output: str | None, schema: bool, events: bool, as_json: bool, traceback: bool) -> None:
    """Show a job: options that differ from the defaults, inputs, outputs, what it took, what it said."""
    if schema:
        click.echo(json.dumps(type_schema(job), indent=1, ensure_ascii=False))
        return
    folder = named_job(job, output)
    record = folder.read().model_copy(update={"state": folder.state()})
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    elif events:
        for event in folder.events():
            click.echo(event.model_dump_json(exclude_none=True))
    else:
        _show(folder, record)


def type_schema(name: str) -> dict[str, Any]:
    """Ports and options of a job type, or of each step of a chain."""
    steps = [step.spec for step in steps_of(name) if not step.implicit]
    if len(steps) > 1:
        found = load(name)
        shared = list(found.shared) if isinstance(found, Chain) else []
        return {"name": name, "shared": shared, "steps": [_schema(spec) for spec in steps]}
    return _schema(steps[0])


def _schema(spec: JobSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "stage": spec.stage,
        "kind": "whole" if spec.whole else "each",
        "gpus": spec.gpus,
        "takes": [{"name": p.name, "type": p.type.__name__, "optional": p.optional} for p in spec.ports],
        "gives": spec.gives.__name__,
        "options": spec.options.model_json_schema(),
    }


def _show(folder: JobFolder, record: JobRecord) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{folder.path.name}[/bold]  {record.title}  [{COLOURS[record.state]}]{record.state}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in [
        ("folder", shown(folder.path)),
        ("inputs", "\n".join(record.inputs) or "none"),
        ("options", _differing(record)),
        ("seed", str(record.settings.seed)),
        ("thon", f"{record.software.version} {(record.software.commit or '')[:10]}"),
        ("ran", f"{record.host or '?'}, {record.cpu or '?'}, {record.device or '?'}, {record.threads or '?'} threads"),
        ("created", record.created),
        ("took", _took(record)),
    ]:
        table.add_row(f"[dim]{name}[/dim]", value.replace("[", r"\["))
    console.print(table)
    for item in record.items:
        _show_item(console, folder, record, item)
    for event in folder.events():
        if event.kind == "warning":
            console.print(f"  warning  {event.item}: {event.text}", markup=False)
        elif event.kind == "failed":
            console.print(f"  failed  {event.message}", markup=False)
    for change in changed_inputs(folder):
        console.print(f"  [yellow]{change}[/yellow] since")


def _show_item(console: Console, folder: JobFolder, record: JobRecord, item: str) -> None:
    result = record.results.get(item)
    state = result.state if result is not None else "done" if item in folder.items() else "not done"
    console.print(f"  {item}  {state}" + (f"  {duration(result.seconds)}" if result is not None else ""), markup=False)
    if result is not None and result.message:
        console.print(f"    {result.message}", markup=False)
    outputs = folder.outputs / item
    for file in sorted(outputs.rglob("*")) if outputs.is_dir() else ():
        if file.is_file():
            console.print(f"    {shown(file)}  {size_text(file.stat().st_size)}", markup=False)


def _differing(record: JobRecord) -> str:
    """Options that differ from the defaults of the job type as it is now."""
    spec = load_job(record.type)
    required = [name for name, field in spec.options.model_fields.items() if field.is_required()]
    defaults = {} if required else stored_options(spec.options(), Path("/"))
    differing = {name: value for name, value in record.options.items() if defaults.get(name, ...) != value}
    return "\n".join(f"{name} = {_plain(value)}" for name, value in differing.items()) or "all as by default"


def _plain(value: Any) -> str:
    if isinstance(value, dict) and "path" in value:
        return str(value["path"])  # pyright: ignore[reportUnknownArgumentType]
    return json.dumps(value, ensure_ascii=False)


def _took(record: JobRecord) -> str:
    usage = record.usage
    return (
        f"{duration(usage.seconds)}, {usage.cpu_seconds:.1f} CPU s, {size_text(usage.peak_memory)} memory, "
        f"{size_text(usage.bytes)} on disk"
    )
