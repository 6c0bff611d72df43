"""RELION's list of coordinate files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph
from thon.formats.relion_coordinate_list import coordinate_files, locate_coordinates, write_coordinate_list
from thon.formats.relion_coordinates import read_coordinates
from thon.formats.star import StarBlock, read_star, write_star


def picks(folder: Path, name: str, x: float) -> Picks:
    one = np.ones(2)
    place = np.array([[5.0, x], [7.0, x + 1]])
    return Picks(CtfMicrograph(name, str(folder / f"{name}.mrc"), (90, 80), 2.0), place, one, one, one.astype(int), one)


def test_each_micrograph_finds_its_picks(tmp_path: Path) -> None:
    (tmp_path / "AutoPick").mkdir()
    listed = [picks(tmp_path, "m1", 3.0), picks(tmp_path, "m2", 9.0)]
    write_coordinate_list(tmp_path / "AutoPick/autopick.star", listed, relative_to=tmp_path)
    columns = read_star(tmp_path / "AutoPick/autopick.star")["coordinate_files"].columns
    assert columns["rlnMicrographName"] == ["m1.mrc", "m2.mrc"]
    assert columns["rlnMicrographCoordinates"][1] == "AutoPick/Picks/m2_autopick.star"
    path = locate_coordinates(tmp_path / "AutoPick/autopick.star", listed[1].micrograph)
    assert coordinate_files(tmp_path / "AutoPick/autopick.star")["m2"] == path
    np.testing.assert_array_equal(read_coordinates(path, listed[1].micrograph, 1).coordinates, listed[1].coordinates)
    # A file of one micrograph stands for itself, a folder for those in it.
    assert locate_coordinates(path, listed[0].micrograph) == path
    assert locate_coordinates(path.parent, listed[1].micrograph) == path
    # A micrograph that is called otherwise than its file.
    renamed = replace(listed[1].micrograph, name="second")
    assert locate_coordinates(tmp_path / "AutoPick/autopick.star", renamed) == path


def test_a_micrograph_that_is_not_listed(tmp_path: Path) -> None:
    write_coordinate_list(tmp_path / "autopick.star", [picks(tmp_path, "m1", 3.0)], relative_to=tmp_path)
    with pytest.raises(InputError, match="lists no coordinates of m7"):
        locate_coordinates(tmp_path / "autopick.star", CtfMicrograph("m7", "/m7.mrc", (90, 80), 2.0))


def test_two_micrographs_of_one_name(tmp_path: Path) -> None:
    twice = [picks(tmp_path / place, "m", 1.0) for place in ("a", "b")]
    with pytest.raises(InputError, match="two micrographs have one name"):
        write_coordinate_list(tmp_path / "autopick.star", twice, relative_to=tmp_path)


def test_nothing_and_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picks"):
        write_coordinate_list(tmp_path / "autopick.star", [], relative_to=tmp_path)
    write_star(tmp_path / "m.star", {"": StarBlock({}, {"rlnCoordinateX": ["1"]})})
    with pytest.raises(FormatError, match="lists no coordinate files"):
        coordinate_files(tmp_path / "m.star")
