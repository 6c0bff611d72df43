"""Coordinate files of several programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph
from thon.formats.relion_coordinates import find_coordinates, read_coordinates, write_coordinates
from thon.formats.star import read_star

MICROGRAPH = CtfMicrograph("m", "/m.mrc", (500, 600), 2.0)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    place = np.array([[10.25, 20.5], [300, 400]])
    picks = Picks(MICROGRAPH, place, np.array([3.5, 2]), np.array([180.0, 180]), np.array([1, 0]), np.array([35.0, 0]))
    write_coordinates(tmp_path / "m_pick.star", picks)
    found = read_coordinates(tmp_path / "m_pick.star", MICROGRAPH, 180)
    for name in ("coordinates", "score", "class_number", "psi", "diameter"):
        np.testing.assert_allclose(getattr(found, name), getattr(picks, name))
    (block,) = read_star(tmp_path / "m_pick.star").values()
    assert block.columns["rlnCoordinateX"][0] == "20.500"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("m.box", "100 200 50 50\n300 400 50 50\n", [[225, 125], [425, 325]]),
        ("m.csv", "X-Coordinate,Y-Coordinate,Diameter\n375,69,108\n30,283,108\n", [[69, 375], [283, 30]]),
        ("m.csv", "y;x\n1;2\n", [[1, 2]]),
        ("m.txt", "# a comment\n7 8\n", [[8, 7]]),
        (
            "m.star",
            "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n5 6 -999\n",
            [[6, 5]],
        ),
        ("m.star", "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n", np.zeros((0, 2))),
    ],
)
def test_other_programs(tmp_path: Path, name: str, text: str, expected: list[list[float]]) -> None:
    (tmp_path / name).write_text(text)
    found = read_coordinates(tmp_path / name, MICROGRAPH, 150)
    np.testing.assert_array_equal(found.coordinates, expected)
    assert (found.score == 0).all()
    assert (found.diameter == 150).all()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.box", "1 2\n", "too few columns"),
        ("m.csv", "1,2\n3,four\n", "not a table of numbers"),
        ("m.star", "data_\n\nloop_\n_rlnOther #1\n5\n", "no coordinates"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_coordinates(tmp_path / name, MICROGRAPH, 150)


def test_the_file_of_a_micrograph_in_a_folder(tmp_path: Path) -> None:
    for name in ("a1_pick.star", "a10_pick.star", "b.box", "b.mrc"):
        (tmp_path / name).write_text("")
    assert find_coordinates(tmp_path, "a1").name == "a1_pick.star"
    assert find_coordinates(tmp_path, "b").name == "b.box"
    (tmp_path / "b_manual.star").write_text("")
    for name in ("b", "c"):
        with pytest.raises(InputError, match="no one coordinate file"):
            find_coordinates(tmp_path, name)
