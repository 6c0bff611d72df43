"""The project that a command is about, and its index."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thon.base.errors import InputError
from thon.job.folder import JobFolder
from thon.project.project import Project, find_job

if TYPE_CHECKING:
    from thon.project.index import Index

in_project = click.option(
    "-o", "--output", type=click.Path(), metavar="FOLDER", help="The project.  [default: the one around this folder]"
)
as_lines = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
with_traceback = click.option("--traceback", is_flag=True, help="Show where an error came from.")


def project_of(output: str | None) -> Project:
    """The project named, or the one around this folder."""
    return Project.open(Path(output) if output is not None else Path.cwd())


def jobs_of(project: Project, names: Sequence[str]) -> list[JobFolder]:
    """The jobs of a project that were named, by number or folder.

    Raises:
        InputError: One is not there, or is another project's.
    """
    folders = [find_job(name, project) for name in names]
    for folder in folders:
        if folder.root.resolve() != project.root.resolve():
            raise InputError("this job is in another project", path=folder.path, expected=str(project.root))
    return folders


def number_of(folder: JobFolder) -> str:
    """The number of a job, such as J008."""
    return folder.path.name.split("-")[0]


@contextlib.contextmanager
def index_of(output: str | None) -> Generator[Index]:
    """The index of the project, up to date; what was not as it should be is said on stderr."""
    from thon.project.index import open_index  # noqa: PLC0415

    with open_index(project_of(output), remark) as index:
        yield index


def remark(text: str) -> None:
    """Say a sentence on stderr."""
    click.echo(f"{click.style('note', fg='yellow')}: {text}", err=True)
