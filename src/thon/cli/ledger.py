"""What a project's index says: `thon log`, `cost`, `sql`, `records` and `reindex`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from thon.base.errors import InputError, StoreError
from thon.cli.around import as_lines, in_project, index_of, project_of, with_traceback
from thon.job.folder import storing
from thon.job.told import duration, price
from thon.project.ask import ask, costs, job_log, numbers_of
from thon.project.project import Project

COLOURS = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "unreadable": "red",
    "interrupted": "yellow",
    "held": "yellow",
    "waiting": "dim",
}
WAYS = ("job", "type", "user", "month", "host", "instance", "lane")


@click.command("log", short_help="Tell what ran, when, by whom, how long, at what cost")
@in_project
@click.option("--where", multiple=True, metavar="NAME=VALUE", help="Only results with such a number: resolution<4.")
@click.option("--type", "types", multiple=True, metavar="JOB", help="Only this job type; may be given again.")
@click.option("--state", "states", multiple=True, type=click.Choice(list(COLOURS)), help="Only this state.")
@click.option("--by", "people", multiple=True, metavar="USER", help="Only what this person asked for.")
@click.option("--since", default="", metavar="DATE", help="Only from this day on: 2026-11-30.")
@as_lines
@with_traceback
def command_log(
    output: str | None,
    where: tuple[str, ...],
    types: tuple[str, ...],
    states: tuple[str, ...],
    people: tuple[str, ...],
    since: str,
    as_json: bool,
    traceback: bool,
) -> None:
    """Tell what ran: a line for each job, with what it cost and the command that made it.

    `thon log --where resolution=3.99` is the run that came to 3.99 Å.
    """
    asked = [condition.split("=")[0].split("<")[0].split(">")[0].strip() for condition in where]
    with index_of(output) as index, index.reading() as connection:
        project = index.project
        rows = job_log(connection, project.id, types=types, states=states, people=people, since=since, where=where)
        numbers = numbers_of(connection, project.id, asked) if asked else {}
    for row in rows:
        row["state"] = state_now(project, row)
        row["numbers"] = numbers.get(row["job"], {})
    if as_json:
        _print_json(rows)
        return
    table = plain_table("job", "type", "state", "when", "by", "on", "took", "cost", *asked, "command")
    for row in rows:
        state = f"[{COLOURS[row['state']]}]{row['state']}[/]"
        wanted = [f"{row['numbers'][name]:.6g}" if name in row["numbers"] else "" for name in asked]
        table.add_row(row["job"], row["type"], state, when(row), row["person"], machine(row), duration(row["seconds"]),
                      price(row["cost"], row["currency"]), *wanted, escape(row["command"]))  # fmt: skip
    print_table(table, "nothing ran")


@click.command("cost", short_help="Add up time, energy and money by job, user, month or type")
@in_project
@click.option("--by", default="job", type=click.Choice(WAYS), help="What to add up by.  [default: job]")
@as_lines
@with_traceback
def command_cost(output: str | None, by: Any, as_json: bool, traceback: bool) -> None:
    """Add up what all runs took and cost: hours, hours of CPUs and GPUs, energy, money."""
    with index_of(output) as index, index.reading() as connection:
        rows = costs(connection, index.project.id, by)
    if as_json:
        _print_json(rows)
        return
    names = ["job", "type"] if by == "job" else [by]
    table = plain_table(*names, "jobs", "hours", "CPU hours", "GPU hours", "kWh", "cost", right=names)
    for row in [*rows, _total(rows, names)] if len({row["currency"] for row in rows}) == 1 else rows:
        hours = [f"{row[name] / 3600:.2f}" for name in ("seconds", "cpu_seconds", "gpu_seconds")]
        energy = "" if row["energy"] is None else f"{row['energy'] / 3.6e6:.3g}"
        table.add_row(*(escape(row[name] or "-") for name in names), str(row["jobs"]), *hours, energy, _priced(row))
    print_table(table, "nothing ran")


@click.command("sql", short_help="Ask the index in SQL, read only")
@click.argument("statement", metavar="SELECT")
@in_project
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@as_lines
@with_traceback
def command_sql(statement: str, output: str | None, as_csv: bool, as_json: bool, traceback: bool) -> None:
    """Ask the index in SQL: "SELECT job, cost, command FROM jobs WHERE type = 'refine3d'".

    The tables are jobs, runs, items, inputs, prints (hashes of inputs), files, results and numbers.
    """
    with index_of(output) as index, index.reading() as connection:
        columns, rows = ask(connection, statement)
        if as_json:
            _print_json(dict(zip(columns, row, strict=True)) for row in rows)
        elif as_csv:
            csv.writer(sys.stdout).writerows([columns, *rows])
        else:
            table = plain_table(*columns)
            for row in rows:
                table.add_row(*(escape("" if value is None else str(value)) for value in row))
            print_table(table, "no rows")


@click.command("records", short_help="Write a table of the index as Parquet or CSV")
@in_project
@click.option(
    "--parquet", type=click.Path(), metavar="FILE", help="Write Parquet, which pandas, Polars, DuckDB and R read."
)
@click.option("--csv", "csv_file", type=click.Path(), metavar="FILE", help="Write comma-separated values.")
@click.option("--table", default="jobs", metavar="TABLE", help="Which: jobs, runs, items, inputs, …  [default: jobs]")
@with_traceback
def command_records(output: str | None, parquet: str | None, csv_file: str | None, table: str, traceback: bool) -> None:
    """Write a whole table of the index into a file."""
    from thon.project.tables_out import write_csv, write_parquet  # noqa: PLC0415

    if (parquet is None) == (csv_file is None):
        raise InputError("a file is to be named", expected="--parquet FILE or --csv FILE")
    with index_of(output) as index, index.reading() as connection:
        write = write_csv if parquet is None else write_parquet
        target = Path(parquet or csv_file or "")
        part = target.with_name(f".{target.name}.part")
        try:
            with storing(target):
                count = write(connection, index.project.id, table, part)
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    click.echo(f"{target}: {count} rows of {table}")


@click.command("reindex", short_help="Make the index anew from the job folders")
@in_project
@click.option("--database", metavar="URL", help="Keep the index in PostgreSQL (postgresql://HOST/NAME) from now on.")
@with_traceback
def command_reindex(output: str | None, database: str | None, traceback: bool) -> None:
    """Make the index anew from the job folders, which are the truth. Nothing is lost by it."""
    from thon.project.index import reindex  # noqa: PLC0415

    project = project_of(output)
    if database is not None:
        project.keep_index_in(database)
    click.echo(f"{reindex(project)} jobs")


def state_now(project: Project, row: dict[str, Any]) -> str:
    """A job's state; one that is marked running although nobody runs it was interrupted."""
    if row["state"] != "running":
        return row["state"]
    try:
        return project.job(row["job"]).state()
    except StoreError:
        return "unreadable"


def plain_table(*columns: str, right: Sequence[str] | None = None) -> Table:
    """A table without lines; numbers are on the right, all columns but `right` where that is given."""
    numbers = {"took", "cost", "items", "time", "size", "hours", "jobs", "CPU hours", "GPU hours", "kWh"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        on_right = column in numbers if right is None else column not in right
        table.add_column(column, justify="right" if on_right else "left", overflow="fold")
    return table


def print_table(table: Table, nothing: str) -> None:
    """Print a table: as wide as it is where nobody looks, so that no line of a file is broken."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
        table.expand = False
    console.print(table if table.row_count else nothing)


def when(row: dict[str, Any]) -> str:
    """When a job began, or was made."""
    return str(row["started"] or row["created"])[:16].replace("T", " ")


def machine(row: dict[str, Any]) -> str:
    """What a job ran on, in a word."""
    return str(row["instance"] or row["host"] or "")


def escape(text: str) -> str:
    """Text as a table shows it."""
    return text.replace("[", r"\[")


def _priced(row: dict[str, Any]) -> str:
    if row["cost"] is None:
        return "no price"
    more = f" + {duration(row['unpriced'])} at no price" if row["unpriced"] else ""
    return price(row["cost"], row["currency"]) + more


def _total(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    sums = ("jobs", "seconds", "cpu_seconds", "gpu_seconds", "unpriced")
    some = {name: [row[name] for row in rows if row[name] is not None] for name in ("energy", "cost")}
    added = {name: sum(values) if values else None for name, values in some.items()}
    label = dict.fromkeys(names, "") | {names[0]: "all"}
    return {name: sum(row[name] for row in rows) for name in sums} | added | label | {"currency": rows[0]["currency"]}


def _print_json(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False, default=str))
