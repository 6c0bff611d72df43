"""Housekeeping: `thon clean`, `keep`, `export`, `unpack` and `relocate`."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from thon.base.errors import InputError
from thon.cli.around import in_project, index_of, jobs_of, number_of, project_of, with_traceback
from thon.cli.ledger import plain_table, print_table
from thon.cli.shell import JobName
from thon.job.plan import size_text
from thon.project.clean import Removal, clean, final_jobs, mark_final, plan_cleaning
from thon.project.export import export, unpack
from thon.project.history import ancestors
from thon.project.index import Index, reindex
from thon.project.project import check_writable
from thon.project.relocate import missing, note_moves, outside, relocate
from thon.project.sizes import sizes_of

_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")


@click.command("clean", short_help="Free disk space, but of what final results go back to")
@click.option("--jobs", "whole", is_flag=True, help="Outputs too, of all jobs that no final result goes back to.")
@click.option("--keep", multiple=True, type=JobName(), metavar="JOB", help="Count this job's results as final too.")
@_dry_run
@in_project
@with_traceback
def command_clean(whole: bool, keep: tuple[str, ...], dry_run: bool, output: str | None, traceback: bool) -> None:
    """Remove checkpoints, kept iterations and interim results of finished jobs.

    With --jobs also the outputs of jobs that no final result goes back to; `thon keep JOB` marks a result as final.
    Records stay, so that the history of every result, and of copies of what is removed, can still be told.
    """
    with index_of(output) as index:
        project, protected = index.project, _protected(index, keep) if whole else None
    if not dry_run:
        check_writable(project)
    removals = {one.folder.path: one for one in plan_cleaning(project, protected)}
    table = plain_table("job", "type", "size", "frees", "what", right=("job", "type", "what"))
    for folder in project.jobs():
        removal = removals.get(folder.path)
        frees = size_text(removal.bytes) if removal is not None else ""
        number, kind = folder.path.name.split("-", 1)
        table.add_row(number, kind, size_text(sizes_of(folder).total), frees, _what(number, removal, protected))
    print_table(table, "no jobs yet")
    total = size_text(sum(one.bytes for one in removals.values()))
    if dry_run:
        click.echo(f"{total} would be freed")
        return
    for removal in removals.values():
        clean(removal)
    click.echo(f"{total} freed")


@click.command("keep", short_help="Mark results as final, which `thon clean` protects")
@click.argument("jobs", nargs=-1, type=JobName(), metavar="[JOB]...")
@click.option("--no-longer", is_flag=True, help="Take the mark away.")
@in_project
@with_traceback
def command_keep(jobs: tuple[str, ...], no_longer: bool, output: str | None, traceback: bool) -> None:
    """Mark the results of jobs as final; `thon clean --jobs` protects them and all that they go back to."""
    project = project_of(output)
    numbers = [number_of(folder) for folder in jobs_of(project, jobs)]
    final = mark_final(project, numbers, final=not no_longer) if jobs else final_jobs(project)
    click.echo(f"final: {' '.join(final)}" if final else "no result is marked as final")


@click.command("export", short_help="Write the project, or some results, for another machine")
@click.argument("target", type=click.Path(), metavar="FOLDER|FILE.tar")
@click.argument("jobs", nargs=-1, type=JobName(), metavar="[JOB]...")
@click.option("--data", is_flag=True, help="Take the files from outside along, such as movies and gain references.")
@in_project
@with_traceback
def command_export(target: str, jobs: tuple[str, ...], data: bool, output: str | None, traceback: bool) -> None:
    """Write the project, or JOBS with all that they came from, into a new folder or a tar file (.tar, .tar.gz).

    No absolute path and no owner's number is in it, and every file's hash is. `thon unpack` makes a project of it.
    """
    with index_of(output) as index, index.reading() as connection:
        project = index.project
        chosen = jobs_of(project, jobs) or project.jobs()
        wanted = ancestors(connection, project.id, [number_of(folder) for folder in chosen])
        folders = [folder for folder in project.jobs() if number_of(folder) in wanted]
        keys = dict.fromkeys(key for key, _ in outside(connection, project, wanted))
    made = export(project, folders, Path(target), keys if data else None)
    click.echo(f"{target}: {made.jobs} jobs, {made.files} files, {size_text(made.bytes)}")
    if keys and not data:
        click.echo(f"{len(keys)} files from outside are not in it; --data takes them along")
    for name in made.absolute:
        click.echo(f"{click.style('note', fg='yellow')}: {name} names folders of this machine itself", err=True)


@click.command("unpack", short_help="Make a project of what `thon export` wrote")
@click.argument("source", type=click.Path(), metavar="FOLDER|FILE.tar")
@click.argument("target", type=click.Path(), metavar="FOLDER")
@with_traceback
def command_unpack(source: str, target: str, traceback: bool) -> None:
    """Make a project of an export; every file is compared with the hash that was written with it."""
    project = unpack(Path(source), Path(target))
    click.echo(f"{os.path.relpath(project.root)}: {reindex(project)} jobs")
    with index_of(target) as index, index.reading() as connection:
        gone = missing(connection, index.project)
    if gone:
        click.echo(f"{len(gone)} files from outside are not here; `thon relocate FOLDER` finds them by their hashes")


@click.command("relocate", short_help="Find raw data that have moved, by their hashes")
@click.argument("folder", type=click.Path(), metavar="FOLDER")
@_dry_run
@in_project
@with_traceback
def command_relocate(folder: str, dry_run: bool, output: str | None, traceback: bool) -> int:
    """Look below FOLDER for files that jobs have read and that are no longer where they were.

    They are known by their hashes, whatever they are called now. Records do not change: `places.json` in the project
    tells where things are.
    """
    with index_of(output) as index, index.reading() as connection:
        project = index.project
        done = relocate(connection, project, Path(folder))
    for then, now in done.moves.items():
        click.echo(f"{then} -> {now}")
    if done.moves and not dry_run:
        check_writable(project)
        note_moves(project, done.moves)
    click.echo(f"{done.files} files found, {len(done.missing)} still missing")
    for key in done.missing[:5]:
        click.echo(f"  {key}")
    return 1 if done.missing else 0


def _protected(index: Index, keep: Sequence[str]) -> set[str]:
    """Final results and all jobs that they go back to.

    Raises:
        InputError: No result is final.
    """
    project = index.project
    final = [*final_jobs(project), *(number_of(folder) for folder in jobs_of(project, keep))]
    if not final:
        raise InputError("no result is marked as final", path=project.root, mend="`thon keep JOB`, or --keep JOB")
    with index.reading() as connection:
        return ancestors(connection, project.id, final)


def _what(job: str, removal: Removal | None, protected: Collection[str] | None) -> str:
    if removal is not None:
        return ", ".join(dict.fromkeys(path.name.lstrip(".").split("-")[0] for path in removal.paths))
    return "protected" if protected is not None and job in protected else ""
