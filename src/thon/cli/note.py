"""`thon note`: what people write on a job."""

from __future__ import annotations

import click

from thon.cli.again import named_job
from thon.cli.around import in_project, with_traceback
from thon.cli.shell import JobName
from thon.project.notes import notes_of, write_on
from thon.project.project import Project, check_writable


@click.command("note", short_help="Write a note, tags or a title on a job")
@click.argument("job", type=JobName(), metavar="JOB")
@click.argument("text", required=False)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Add a tag; may be given again.")
@click.option("--no-tag", "untags", multiple=True, metavar="TAG", help="Take a tag away; may be given again.")
@click.option("--title", help="What to call the job; empty to call it by its type again.")
@in_project
@with_traceback
def command_note(
    job: str,
    text: str | None,
    *,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    title: str | None,
    output: str | None,
    traceback: bool,
) -> None:
    """Write on JOB, or show what is written on it: `thon note J003 "the better mask" --tag good`.

    A finished job can be written on too; its record does not change.
    """
    folder = named_job(job, output)
    if text is not None or title is not None or tags or untags:
        check_writable(Project(folder.root))
        write_on(folder.path, title=title, note=text, add=tags, remove=untags)
    notes = notes_of(folder.path)
    tagged = " ".join(f"#{tag}" for tag in notes.tags)
    click.echo(f"{folder.path.name}  {notes.title or folder.head().title}  {tagged}".rstrip())
    for note in notes.notes:
        click.echo(f"  {note.at[:16].replace('T', ' ')} {note.by}: {note.text}")
