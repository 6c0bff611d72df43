"""Defects from MotionCor's and SerialEM's text and from an image."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from thon.base.errors import FormatError, InputError
from thon.formats.defects import read_defects

SHAPE = (20, 30)

SERIALEM = """CameraSizeX 30
CameraSizeY 20
RotationAndFlip 0
WasScaled 0
K2Type 1
FalconType 0
NumToAvgSuperRes 0
UsableArea 0 0 19 29
PartialBadColumn 25 2 3 7
PartialBadRow 4 1 20 22
BadPixels 1 2  5 19
BadColumns 10 12
BadRows 15
"""


def expected() -> np.ndarray:
    """What `SERIALEM` lists, written out; rows from the top, then turned over."""
    bad = np.zeros(SHAPE, bool)
    bad[3:8, 25:27] = True
    bad[4, 20:23] = True
    bad[2, 1] = bad[19, 5] = True
    bad[:, [10, 12]] = True
    bad[15] = True
    return bad[::-1]


def text(folder: Path, content: str) -> Path:
    path = folder / "defects.txt"
    path.write_text(content)
    return path


def test_motioncor_rectangles_count_from_the_bottom(tmp_path: Path) -> None:
    bad = read_defects(text(tmp_path, "# x y w h\n0 0 1 20\n\n7 18 3 2\n29 4 1 1\n"), SHAPE)
    wanted = np.zeros(SHAPE, bool)
    wanted[:, 0] = wanted[18:20, 7:10] = wanted[4, 29] = True
    np.testing.assert_array_equal(bad, wanted)


@pytest.mark.parametrize("line", ["30 0 1 1", "29 0 2 1", "0 15 1 6", "-1 0 2 2", "0 -3 1 1"])
def test_a_rectangle_outside_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"line 2 .*outside the frame(.|\n)*within 30 columns and 20 rows"):
        read_defects(text(tmp_path, f"1 1 1 1\n{line}\n"), SHAPE)


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 4 5", "1 2 x 4", "1.5 2 3 4", "1 1 0 3", "nan 1 1 1"])
def test_a_line_that_is_no_rectangle(tmp_path: Path, line: str) -> None:
    with pytest.raises(FormatError, match="line 1"):
        read_defects(text(tmp_path, line), SHAPE)


def test_serialem_counts_from_the_top(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_defects(text(tmp_path, SERIALEM), SHAPE), expected())
    lower = "\n".join(line for line in SERIALEM.lower().split("\n") if "usable" not in line)
    np.testing.assert_array_equal(read_defects(text(tmp_path, lower), SHAPE), expected())


def test_serialem_at_super_resolution(tmp_path: Path) -> None:
    path = text(tmp_path, SERIALEM)
    twice = np.kron(expected(), np.ones((2, 2), bool)).astype(bool)
    np.testing.assert_array_equal(read_defects(path, (40, 60)), twice)
    half = expected().reshape(10, 2, 15, 2).any((1, 3))
    np.testing.assert_array_equal(read_defects(path, (10, 15)), half)
    scaled = text(tmp_path, "CameraSizeX 30\nCameraSizeY 20\nWasScaled 1\nBadColumns 58 59\n")
    bad = read_defects(scaled, SHAPE)
    assert bad[:, 29].all()
    assert bad.sum() == SHAPE[0]


def test_serialem_usable_area_and_a_list_without_size(tmp_path: Path) -> None:
    bad = read_defects(text(tmp_path, "UsableArea 2 0 18 26\n"), SHAPE)
    wanted = np.ones(SHAPE, bool)
    wanted[2:19, 0:27] = False
    np.testing.assert_array_equal(bad, wanted[::-1])
    assert read_defects(text(tmp_path, "BadColumns 3\n"), SHAPE).sum() == SHAPE[0]


def test_serialem_faults_are_named(tmp_path: Path) -> None:
    for content, message in (
        ("BadColumns 30\n", "line 1 has a defect outside the camera"),
        ("BadRows 3\nBadPixels 3 4 5\n", "line 2 has an odd number"),
        ("BadRows 3\nWorseRows 3\n", "line 2 has no key"),
        ("PartialBadColumn 3 1 4\n", "wrong number of values"),
        ("PartialBadColumn 3 1 9 4\n", "without pixels"),
        ("CameraSizeX 1 2\nBadRows 1\n", "wrong number of values"),
        ("CameraSizeX 0\nBadRows 1\n", "no camera size"),
        ("BadRows one\n", "line 1 has no number"),
        ("UsableArea 0 0 20 29\n", "outside the camera"),
    ):
        with pytest.raises(InputError, match=message):
            read_defects(text(tmp_path, content), SHAPE)
    with pytest.raises(InputError, match=r"another detector(.|\n)*turn it by 90"):
        read_defects(text(tmp_path, SERIALEM), SHAPE[::-1])


def test_a_map(tmp_path: Path) -> None:
    picture = (expected() * 7).astype(np.uint8)
    path = tmp_path / "map.tif"
    tifffile.imwrite(path, picture[::-1])
    np.testing.assert_array_equal(read_defects(path, SHAPE), expected())
    np.testing.assert_array_equal(read_defects(path, (60, 90)), np.kron(expected(), np.ones((3, 3))).astype(bool))
    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as file:
        file.set_data(picture.astype(np.float32) / 100)
    np.testing.assert_array_equal(read_defects(path, SHAPE), expected())
    with pytest.raises(InputError, match="another detector"):
        read_defects(path, (40, 61))
    with pytest.raises(InputError, match="cannot be read"):
        read_defects(tmp_path / "missing.txt", SHAPE)
