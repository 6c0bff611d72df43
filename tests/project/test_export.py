"""A project on another machine: no absolute path in it, nothing lost, nothing damaged unnoticed."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.conftest import Do
from thon.base.errors import InputError, StoreError
from thon.engine.run import repeat
from thon.job.folder import JobFolder
from thon.project.clean import clean, final_jobs, mark_final, plan_cleaning
from thon.project.export import Exported, export, unpack
from thon.project.history import ancestors, find_origin
from thon.project.index import open_index
from thon.project.project import Project
from thon.project.relocate import Relocation, missing, note_moves, outside, relocate
from thon.project.request import changed_inputs
from thon.project.sizes import sizes_of


@pytest.fixture
def far() -> Iterator[Path]:
    """A folder that lies nowhere near the project."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="far-") as folder:
        yield Path(folder)


@pytest.fixture
def spread(project: Project, do: Do, far: Path) -> Project:
    """A project whose raw data lie beside it and far away."""
    source, weights = far / "session" / "far.txt", far / "gain" / "w.txt"
    for file, text in ((source, "1 2 3"), (weights, "1\n1\n2\n")):
        file.parent.mkdir()
        file.write_text(text)
    do("read-numbers", "a", str(source.with_suffix("")), command=f"thon numbers ../a.txt {source} -o . -q")
    do("read-numbers", str(source.with_suffix("")), weights=weights)
    do("smooth-numbers", "J002", noisy=False)
    do("sum-numbers", "J003")
    return project


def exported(project: Project, target: Path, *jobs: str, data: bool = False) -> Exported:
    with open_index(project) as index, index.reading() as connection:
        wanted = ancestors(connection, project.id, jobs or [one.path.name[:4] for one in project.jobs()])
        keys = dict.fromkeys(key for key, _ in outside(connection, project, wanted))
    folders = [folder for folder in project.jobs() if folder.path.name[:4] in wanted]
    return export(project, folders, target, keys if data else None)


def relocated(project: Project, folder: Path) -> Relocation:
    with open_index(project) as index, index.reading() as connection:
        return relocate(connection, project, folder)


def files(root: Path) -> dict[str, bytes]:
    kept = (path for path in root.rglob("*") if path.is_file() and ".thon" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


@pytest.mark.parametrize("name", ["copy", "copy.tar", "copy.tar.gz"])
def test_no_absolute_path_and_no_owner_is_in_it(spread: Project, tmp_path: Path, name: str) -> None:
    before = files(spread.root)
    made = exported(spread, tmp_path / name)
    assert files(spread.root) == before
    assert (made.jobs, made.absolute) == (4, [])
    new = unpack(tmp_path / name, tmp_path / "new" / "project") if (tmp_path / "new").mkdir() is None else spread
    for path, data in files(new.root).items():
        if not path.endswith(".png"):
            assert re.search(rb'["\' ]/[a-z]+/', data) is None, (path, data)
    if name != "copy":
        with tarfile.open(tmp_path / name) as tar:
            assert {(entry.uid, entry.gid, entry.uname) for entry in tar} == {(0, 0, "")}
    assert new.id != spread.id
    assert new.job("J001").read().command == "thon numbers ../a.txt outside/2/far.txt -o . -q"


def test_raw_data_are_found_again_by_their_hashes(spread: Project, tmp_path: Path, far: Path) -> None:
    exported(spread, tmp_path / "copy.tar")
    new = unpack(tmp_path / "copy.tar", tmp_path / "project2")
    shutil.rmtree(far / "session")
    there = tmp_path / "archive" / "deep"
    there.mkdir(parents=True)
    (there / "renamed.txt").write_text("1 2 3")
    (there / "w.txt").write_text("1\n1\n9\n")
    with open_index(new) as index, index.reading() as connection:
        assert sorted(missing(connection, new)) == ["outside/1/w.txt", "outside/2/far.txt"]
    found = relocated(new, tmp_path / "archive")
    assert found.moves == {"outside/2/far.txt": "../archive/deep/renamed.txt"}
    assert (found.files, found.missing) == (1, ["outside/1/w.txt"])
    note_moves(new, found.moves)
    shutil.copy(far / "gain" / "w.txt", there / "w.txt")
    note_moves(new, relocated(new, tmp_path / "archive").moves)
    for folder in new.jobs():
        assert changed_inputs(folder) == []
    again, code = repeat(new.job("J002"), announce=lambda *_: None, watch=lambda *_: None)
    assert code == 0
    assert again.output("far").values.tolist() == new.job("J002").output("far").values.tolist()
    assert again.output("far").path == str(there / "renamed.txt")


def test_one_result_with_its_ancestors_and_data(spread: Project, tmp_path: Path, far: Path) -> None:
    made = exported(spread, tmp_path / "copy", "J004", data=True)
    assert made.jobs == 3
    shutil.rmtree(far / "session")
    new = unpack(tmp_path / "copy", tmp_path / "project2")
    assert [folder.path.name[:4] for folder in new.jobs()] == ["J002", "J003", "J004"]
    for folder in new.jobs():
        assert changed_inputs(folder) == []
    again, code = repeat(new.job("J004"), announce=lambda *_: None, watch=lambda *_: None)
    assert code == 0
    assert (again.outputs / "all" / "sum.txt").read_text() == (new.job("J004").outputs / "all" / "sum.txt").read_text()
    assert Path(new.job("J002").output("far").path).read_text() == "1 2 3"


def test_an_input_that_had_changed_before_stays_changed(spread: Project, tmp_path: Path) -> None:
    record = spread.root / "J002-read-numbers" / "outputs" / "far" / "record.json"
    record.chmod(0o644)
    record.write_text(record.read_text() + " ")
    exported(spread, tmp_path / "copy")
    new = unpack(tmp_path / "copy", tmp_path / "project2")
    assert changed_inputs(new.job("J003")) == ["J002/far has changed"]
    assert changed_inputs(new.job("J004")) == []


def test_outputs_that_name_places_are_told(spread: Project, do: Do, tmp_path: Path) -> None:
    folder = do("sum-numbers", "J003")
    (folder.outputs / "all" / "list.star").write_text(f"_rlnImageName\n{spread.root}/J003\n")
    assert exported(spread, tmp_path / "copy").absolute == ["J005-sum-numbers/outputs/all/list.star"]


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "cut short", "no list", "no tar"])
def test_a_damaged_export_is_refused(spread: Project, tmp_path: Path, damage: str) -> None:
    copy, tar = tmp_path / "copy", tmp_path / "copy.tar"
    exported(spread, copy)
    exported(spread, tar)
    file = copy / "J003-smooth-numbers" / "outputs" / "far" / "smooth.txt"
    source = copy
    if damage == "changed":
        file.chmod(0o644)
        file.write_text(file.read_text().replace("1", "2", 1))
    elif damage == "missing":
        file.unlink()
    elif damage == "added":
        (copy / "J003-smooth-numbers" / "extra.txt").write_text("x")
    elif damage == "no list":
        (copy / "manifest.json").unlink()
    else:
        source = tar
        tar.write_bytes(tar.read_bytes()[:3000] if damage == "cut short" else b"x" * 3000)
    with pytest.raises((StoreError, InputError)):
        unpack(source, tmp_path / "project2")
    assert not (tmp_path / "project2").exists()
    assert not list(tmp_path.glob(".thon-*"))


def test_a_tar_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.add(tmp_path / "evil", "../../evil2")
    with pytest.raises(InputError, match="no tar file"):
        unpack(tmp_path / "bad.tar", tmp_path / "project2")
    assert not (tmp_path.parent / "evil2").exists()


def test_a_target_that_is_there_is_left_alone(spread: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        exported(spread, tmp_path / "a.txt")
    exported(spread, tmp_path / "copy")
    with pytest.raises(InputError, match="holds other things"):
        unpack(tmp_path / "copy", spread.root)


class TestClean:
    """What is freed, and what is not."""

    def test_leftovers_of_finished_jobs(self, project: Project, do: Do) -> None:
        done, failed = do("read-numbers", "a"), do("read-numbers", "bad")
        for folder in (done, failed):
            for name in ("checkpoints/a", "iterations/a/0005", "interim/a"):
                (folder.path / name).mkdir(parents=True)
                (folder.path / name / "state").write_bytes(bytes(1000))
        os.link(done.path / "checkpoints/a/state", done.path / "iterations/a/0005/linked")
        assert sizes_of(done).leftovers == 3000
        (removal,) = plan_cleaning(project, None)
        assert (removal.folder.path, removal.bytes, removal.outputs) == (done.path, 3000, False)
        clean(removal)
        assert sizes_of(done).leftovers == 0
        assert sizes_of(done).outputs == sum(path.stat().st_size for path in done.outputs.rglob("*") if path.is_file())
        assert (failed.path / "checkpoints/a/state").exists()

    def test_final_results_and_their_ancestors_are_protected(self, project: Project, do: Do) -> None:
        do("read-numbers", "a")
        do("smooth-numbers", "J001")
        do("smooth-numbers", "J001", width=1)
        do("sum-numbers", "J002")
        assert mark_final(project, ["J004"]) == ["J004"]
        with open_index(project) as index, index.reading() as connection:
            protected = ancestors(connection, project.id, final_jobs(project))
            made = project.job("J003").outputs / "a" / "smooth.txt"
            copy = shutil.copy(made, project.root.parent / "copy.txt")
        (removal,) = plan_cleaning(project, protected)
        assert removal.outputs
        clean(removal)
        assert [len(folder.items()) for folder in project.jobs()] == [1, 1, 0, 1]
        record = project.job("J003").read()
        assert (record.state, record.cleaned is not None) == ("finished", True)
        with open_index(project) as index, index.reading() as connection:
            assert find_origin(connection, project, Path(copy)).remark == "the output itself is no longer there"
        with pytest.raises(InputError, match=r"removed to save space(.|\n)*thon repeat"):
            do("sum-numbers", "J003")
        assert mark_final(project, ["J004"], final=False) == []

    def test_what_runs_or_waits_is_left_alone(self, project: Project, do: Do) -> None:
        folder = do("read-numbers", "a")
        waiting = do("read-numbers", "b")
        waiting.write(waiting.read().model_copy(update={"state": "waiting"}))
        with folder.lock():
            assert plan_cleaning(project, set()) == []


def test_a_job_folder_is_as_it_was_after_a_move_in_place(spread: Project, far: Path) -> None:
    """Raw data that move under a project that stays: its records are not touched."""
    before = files(spread.root)
    (far / "session").rename(far / "archived")
    assert changed_inputs(spread.job("J001")) == [f"{far}/session/far.txt is gone"]
    found = relocated(spread, far)
    assert found.moves == {f"{far}/session": f"{far}/archived"}
    note_moves(spread, found.moves)
    assert changed_inputs(spread.job("J001")) == []
    assert files(spread.root) == before | {"places.json": (spread.root / "places.json").read_bytes()}
    (spread.root / "places.json").write_text("{")
    with pytest.raises(StoreError, match="have moved cannot be read"):
        JobFolder(spread.root / "J001-read-numbers").output("far")


def test_marks_survive(spread: Project, tmp_path: Path) -> None:
    mark_final(spread, ["J004"])
    spread.mark(database="postgresql://host/name")
    export(spread, spread.jobs(), tmp_path / "copy", None)
    marks = json.loads((tmp_path / "copy" / "project.json").read_text())
    assert marks["final"] == ["J004"]
    assert "database" not in marks
