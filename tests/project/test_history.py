"""Every file can say where it came from, a copy of it too."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.project.conftest import Do
from thon.base.errors import InputError
from thon.job.fingerprint import mark
from thon.job.made import made_files
from thon.job.record import Made
from thon.project.history import Origin, RawFolder, ancestors, find_origin, trace
from thon.project.index import open_index
from thon.project.project import Project


@pytest.fixture(params=["sqlite", "postgresql"])
def chain(request: pytest.FixtureRequest, project: Project, do: Do, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two branches from one import, one of them to a sum."""
    if request.param == "postgresql":
        monkeypatch.setenv("THON_DATABASE", request.getfixturevalue("server"))
    do("read-numbers", "a", "b")
    do("smooth-numbers", "J001", width=1)
    do("smooth-numbers", "J001", width=3)
    do("sum-numbers", "J003")
    return project


def test_the_chain_behind_an_item_and_behind_a_set(chain: Project) -> None:
    with open_index(chain) as index, index.reading() as connection:
        one = trace(connection, chain, Origin("J003", "a"))
        assert [(row["job"], row["used"]) for row in one.chain] == [("J003", 1), ("J001", 1)]
        assert one.raw == [RawFolder("..", 1, 7)]
        every = trace(connection, chain, Origin("J004", None))
        assert [(row["job"], row["used"]) for row in every.chain] == [("J004", 1), ("J003", 2), ("J001", 2)]
        assert every.raw == [RawFolder("..", 2, 12)]
        assert ancestors(connection, chain.id, ["J004"]) == {"J001", "J003", "J004"}
        assert ancestors(connection, chain.id, ["J002", "J001"]) == {"J001", "J002"}
        with pytest.raises(InputError, match="no job J099"):
            trace(connection, chain, Origin("J099", None))


def test_a_file_in_a_folder_and_a_copy_elsewhere(chain: Project, tmp_path: Path) -> None:
    made = chain.root / "J003-smooth-numbers" / "outputs" / "a" / "smooth.txt"
    (tmp_path / "elsewhere").mkdir()
    copy = Path(shutil.copy(made, tmp_path / "elsewhere" / "other name.txt"))
    with open_index(chain) as index, index.reading() as connection:

        def origin(file: Path) -> Origin:
            return find_origin(connection, chain, file)

        assert origin(made) == Origin("J003", "a")
        assert origin(chain.root / "J004-sum-numbers" / "job.json") == Origin("J004", None)
        inside = "J003-smooth-numbers/outputs/a/smooth.txt"
        assert origin(copy) == Origin("J003", "a", inside, "the same bytes")
        with pytest.raises(InputError, match="no job of this project made this file"):
            origin(tmp_path / "a.txt")
        with pytest.raises(InputError, match="no such file"):
            origin(tmp_path / "none.txt")
        made.unlink()
        assert origin(copy) == Origin("J003", "a", inside, "the output itself is no longer there")


def test_a_large_copy_that_differs_where_no_sample_was_taken(chain: Project, tmp_path: Path) -> None:
    """Known by its mark, and the comparison says that it is not the same."""
    folder = chain.job("J004")
    large = bytearray(os.urandom(3_000_000))
    output, copy = folder.outputs / "all" / "large.mrc", tmp_path / "copy.mrc"
    output.write_bytes(large)
    large[100_000] ^= 1
    copy.write_bytes(large)
    record = folder.read()
    record.results["all"].files["large.mrc"] = Made(bytes=len(large), mark=mark(output))
    folder.write(record)
    with open_index(chain) as index, index.reading() as connection:
        assert "not every byte" in find_origin(connection, chain, copy).remark
        large[10] ^= 1
        copy.write_bytes(large)
        with pytest.raises(InputError, match="no job"):
            find_origin(connection, chain, copy)


def test_a_folder_of_very_many_files_is_known_as_one(chain: Project, tmp_path: Path) -> None:
    item = tmp_path / "item"
    (item / "tomogram.zarr" / "0").mkdir(parents=True)
    for k in range(150):
        (item / "tomogram.zarr" / "0" / str(k)).write_text(str(k))
    (item / "few").mkdir()
    (item / "few" / "a.txt").write_text("a")
    (item / "record.json").write_text(json.dumps({}))
    made = made_files(item)
    assert list(made) == ["few/a.txt", "tomogram.zarr"]
    assert made["tomogram.zarr"].bytes == 10 + 180 + 150
    folder = chain.job("J004")
    record = folder.read()
    record.results["all"].files = made
    folder.write(record)
    with open_index(chain) as index, index.reading() as connection:
        assert find_origin(connection, chain, item / "tomogram.zarr").job == "J004"
