"""A job's folder: whole items or none, paths that survive a move, one worker at a time."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

import thon.job.folder as module
from thon.base.errors import StoreError
from thon.data.volume import Tomogram, Volume
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.places import found, stored


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    path = tmp_path / "home" / "project" / "J001-test"
    path.mkdir(parents=True)
    return JobFolder(path)


class TestItems:
    def test_an_item_appears_whole_and_its_record_names_its_final_place(self, folder: JobFolder) -> None:
        place = folder.begin_item("a")
        (place / "x.mrc").write_bytes(b"12345")
        assert folder.items() == []
        folder.commit_item("a", place, Tomogram("a", Volume(str(place / "x.mrc"), (1, 2, 3), 4.0)))
        assert folder.items() == ["a"]
        assert folder.output("a").volume.path == str(folder.outputs / "a" / "x.mrc")
        assert Path(folder.output("a").volume.path).read_bytes() == b"12345"

    def test_records_hold_no_absolute_path_of_the_project_and_survive_its_move(
        self, folder: JobFolder, tmp_path: Path
    ) -> None:
        place = folder.begin_item("a")
        beside, outside = folder.root.parent / "raw.st", tmp_path / "elsewhere" / "raw.st"
        record = Tomogram("a", *(Volume(str(p), (1, 1, 1), 1.0) for p in (place / "x.mrc", beside, outside)))
        folder.commit_item("a", place, record)
        text = (folder.outputs / "a" / "record.json").read_text()
        assert str(folder.root) not in text
        assert '"../raw.st"' in text
        assert f'"{outside}"' in text
        moved = tmp_path / "new" / "place"
        moved.parent.mkdir()
        folder.root.parent.rename(moved)
        again = JobFolder(moved / "project" / folder.path.name).output("a")
        assert again.volume.path == str(moved / "project" / "J001-test" / "outputs" / "a" / "x.mrc")
        assert again.even.path == str(moved / "raw.st")
        assert again.odd.path == str(outside)

    def test_large_arrays_lie_beside_the_record(self, folder: JobFolder) -> None:
        array = np.random.default_rng(0).normal(size=(100, 100))
        folder.commit_item("a", folder.begin_item("a"), array)
        assert (folder.outputs / "a" / "record.npz").exists()
        np.testing.assert_array_equal(folder.output("a"), array)

    def test_half_written_items_are_discarded_and_finished_ones_kept(self, folder: JobFolder) -> None:
        places = {item: folder.begin_item(item) for item in ("a", "b")}
        for item, place in places.items():
            (place / "x").write_text(item)
        folder.commit_item("a", places["a"], None)
        folder.discard_unfinished()
        assert [path.name for path in folder.outputs.iterdir()] == ["a"]

    def test_a_missing_or_damaged_record(self, folder: JobFolder) -> None:
        with pytest.raises(StoreError, match="no finished item 'a'"):
            folder.output("a")
        folder.commit_item("a", folder.begin_item("a"), None)
        (folder.outputs / "a" / "record.json").write_text('{"type": "Volu')
        with pytest.raises(StoreError, match="cannot be read"):
            folder.output("a")

    def test_of_two_attempts_at_once_the_first_counts_and_leftovers_go_by_item(self, folder: JobFolder) -> None:
        attempts = [folder.begin_item("a") for _ in range(3)]
        for k, place in enumerate(attempts):
            (place / "x").write_text(str(k))
        folder.commit_item("a", attempts[1], None)
        with pytest.raises(FileExistsError):
            folder.commit_item("a", attempts[0], None)
        assert (folder.outputs / "a" / "x").read_text() == "1"
        other = folder.begin_item("a[b]")
        folder.discard_attempts("a")
        assert sorted(path.name for path in folder.outputs.iterdir()) == sorted([other.name, "a"])
        # A live item that is made anew takes the place of what was there.
        place = folder.begin_item("a")
        (place / "x").write_text("new")
        folder.settle_item("a", place)
        assert (folder.outputs / "a" / "x").read_text() == "new"


class TestDisk:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
    def test_what_the_disk_refuses_is_said_with_a_mend(self, tmp_path: Path, number: int) -> None:
        with pytest.raises(StoreError, match="mend: "), storing(tmp_path):
            raise OSError(number, "refused")

    def test_the_old_file_stays_until_the_new_one_is_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "job.json"
        write_whole(path, b"old")

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(module.os, "fsync", full)
        with pytest.raises(OSError, match="full"):
            write_whole(path, b"new")
        assert path.read_bytes() == b"old"

    def test_no_job_here(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="no job here"):
            JobFolder(tmp_path).read()

    def test_a_damaged_record(self, folder: JobFolder) -> None:
        (folder.path / "job.json").write_text(json.dumps({"id": 3}))
        with pytest.raises(StoreError, match="cannot be read"):
            folder.read()


class TestLock:
    def test_one_worker_at_a_time(self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.0)
        assert not folder.is_running()
        with folder.lock():
            assert folder.is_running()
            with pytest.raises(StoreError, match="running"), folder.lock():
                pass
        assert not folder.is_running()


class TestPlaces:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("/home/p/J001-x/a", "J001-x/a"),
            ("/home/raw/a", "../raw/a"),
            ("/data/a", "/data/a"),
            ("/home/p2/a", "../p2/a"),
        ],
    )
    def test_relative_in_and_beside_the_project_absolute_elsewhere(self, path: str, text: str) -> None:
        assert stored(path, Path("/home/p")) == text
        assert found(text, Path("/home/p")) == path

    def test_a_project_at_the_top_has_nothing_beside_it(self) -> None:
        assert stored("/data/a", Path("/p")) == "/data/a"
