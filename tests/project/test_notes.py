"""What people write on a job stays beside its record, from the command line as from the web."""

from __future__ import annotations

import threading

import pytest
from click.testing import CliRunner

from tests.project.conftest import Do
from thon.base.errors import InputError
from thon.cli.note import command_note
from thon.project.notes import NOTES, notes_of, write_on
from thon.project.project import Project


def test_what_is_written_stays_and_the_record_as_it_is(do: Do) -> None:
    folder = do("read-numbers", "a").path
    record = (folder / "job.json").read_bytes()
    write_on(folder, title="The better one", note=" well done ", add=["good", "best"])
    notes = write_on(folder, remove=["good"], add=["final"])
    assert (notes.title, notes.tags, notes.text) == ("The better one", ("best", "final"), "well done")
    assert notes == notes_of(folder)
    assert notes.notes[0].by == notes.by != ""
    assert write_on(folder, title="").title == ""
    assert (folder / "job.json").read_bytes() == record


def test_what_is_no_note_is_refused_and_what_cannot_be_read_is_none(do: Do) -> None:
    folder = do("read-numbers", "a").path
    for wrong in (
        {"add": ["two words"]},
        {"note": "  "},
        {"title": "x" * 201},
        {"add": [f"tag{k}" for k in range(51)]},
    ):
        with pytest.raises(InputError):
            write_on(folder, **wrong)
    assert not (folder / NOTES).exists()
    (folder / NOTES).write_text("{ no notes")
    assert notes_of(folder).tags == ()


def test_notes_that_are_written_at_once_are_all_kept(do: Do) -> None:
    folder = do("read-numbers", "a").path
    writers = [threading.Thread(target=write_on, args=(folder,), kwargs={"note": f"note {k}"}) for k in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(note.text for note in notes_of(folder).notes) == [f"note {k}" for k in range(8)]


def test_the_command_writes_and_shows(do: Do, project: Project) -> None:
    do("read-numbers", "a")
    told = CliRunner().invoke(command_note, ["J001", "the better mask", "--tag", "good", "-o", str(project.root)])
    assert told.exit_code == 0, told.output
    assert "#good" in told.output
    assert "the better mask" in CliRunner().invoke(command_note, ["J001", "-o", str(project.root)]).output
