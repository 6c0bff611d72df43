"""`thon jobs` and `thon show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from thon.base.errors import ThonError
from thon.cli.again import named_job
from thon.cli.around import as_lines, index_of, with_traceback
from thon.cli.ledger import COLOURS, escape, plain_table, print_table, state_now
from thon.cli.progress import shown
from thon.cli.shell import JobName
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.plan import size_text
from thon.job.record import JobRecord
from thon.job.registry import listings, load, load_job
from thon.job.spec import Chain, JobSpec
from thon.job.told import duration
from thon.project.ask import job_log
from thon.project.project import Project
from thon.project.request import changed_inputs, stored_options


@click.command("jobs", short_help="List the jobs of a project")
@click.argument("project", type=click.Path(), default=".", metavar="[PROJECT]")
@click.option("--changed", is_flag=True, help="Say of which jobs inputs have changed since.")
@as_lines
@with_traceback
def command_jobs(project: str, changed: bool, as_json: bool, traceback: bool) -> None:
    """List the jobs of a project: number, type, state, items done, time."""
    with index_of(project) as index, index.reading() as connection:
        rows = [job_row(index.project, row) for row in job_log(connection, index.project.id)]
    if changed:
        for row in rows:
            row["changed"] = changed_inputs(JobFolder(Path(row["folder"])), quick=True)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    table = plain_table("job", "type", "state", "items", "time", "size", "created", *(["changed"] if changed else []))
    for row in rows:
        state = f"[{COLOURS[row['state']]}]{row['state']}[/]"
        time, bytes_ = duration(row["seconds"]), size_text(row["bytes"])
        items, created = f"{row['done']}/{row['items']}", row["created"][:16].replace("T", " ")
        more = [escape(told(row["changed"]))] if changed else []
        table.add_row(row["id"], row["type"], state, items, time, bytes_, created, *more)
    print_table(table, "no jobs yet")


def job_row(project: Project, row: dict[str, Any]) -> dict[str, Any]:
    """A job in a line."""
    same = ("type", "done", "items", "seconds", "bytes", "created")
    state = {"id": row["job"], "state": state_now(project, row), "folder": str(project.root / row["folder"])}
    return state | {name: row[name] for name in same}


def told(changes: list[str]) -> str:
    """Changed inputs in a line."""
    more = f" and {len(changes) - 2} more" if len(changes) > 2 else ""
    return ", ".join(changes[:2]) + more


@click.command("show", short_help="Show a job, or the options of a job type")
@click.argument("job", type=JobName(), metavar="JOB")
@click.option("-o", "--output", type=click.Path(), metavar="FOLDER", help="The project's folder.")
@click.option("--schema", is_flag=True, help="JOB is a job type: print its ports and the JSON Schema of its options.")
@click.option("--events", is_flag=True, help="Print all events, as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the job's record as JSON.")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def command_show(job: str, output: str | None, schema: bool, events: bool, as_json: bool, traceback: bool) -> None:
    """Show a job: options that differ from the defaults, inputs, outputs, what it took, what it said.

    Of a job type, show all of its options.
    """
    if schema:
        click.echo(json.dumps(type_schema(job), indent=1, ensure_ascii=False))
        return
    if job in listings() and not Path(job).exists():
        _show_type(job)
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


def _show_type(name: str) -> None:
    from thon.cli.job_command import job_command  # noqa: PLC0415

    with click.Context(job_command(name), info_name=f"thon {name}", max_content_width=110) as context:
        context.meta["thon.help_all"] = True
        click.echo(context.get_help())


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
        ("options", differing(record)),
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


def differing(record: JobRecord) -> str:
    """Options that differ from the defaults of the job type as it is now; all where there is no such type any more."""
    try:
        spec = load_job(record.type)
    except ThonError:
        return "\n".join(f"{name} = {_plain(value)}" for name, value in record.options.items())
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
