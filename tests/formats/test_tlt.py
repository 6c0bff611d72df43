"""Lists of angles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.tlt import describe_angles, read_angles, write_angles

DATA = Path(__file__).resolve().parents[1] / "data"


def test_real_file() -> None:
    angles = read_angles(DATA / "imod/empiar10499_00254.tlt", 41)
    assert len(angles) == 41
    assert angles[0] == -60.01
    assert angles[-1] == 59.98


def test_round_trip(tmp_path: Path) -> None:
    angles = np.array([-60.0123, -0.0, 59.98765])
    write_angles(tmp_path / "a.tlt", angles)
    assert (tmp_path / "a.tlt").read_text() == "  -60.01\n    0.00\n   59.99\n"
    write_angles(tmp_path / "a.tlt", angles, decimals=5)
    np.testing.assert_allclose(read_angles(tmp_path / "a.tlt"), angles, atol=1e-5)


def test_count_must_match_the_images(tmp_path: Path) -> None:
    write_angles(tmp_path / "a.tlt", np.arange(5.0))
    with pytest.raises(InputError, match="do not match") as caught:
        read_angles(tmp_path / "a.tlt", 7)
    assert "5 angles" in str(caught.value)
    assert "7 images" in str(caught.value)


@pytest.mark.parametrize(("text", "line"), [("1\nx\n", "line 2"), ("1\n\n2 3\n", "line 3")])
def test_bad_lines_are_named(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "a.tlt").write_text(text)
    with pytest.raises(FormatError, match=line):
        read_angles(tmp_path / "a.tlt")


def test_no_angle(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("1\n4096\n")
    with pytest.raises(FormatError, match="no angle"):
        read_angles(tmp_path / "a.tlt")


def test_oddities_are_reported() -> None:
    assert describe_angles(np.arange(-60, 61, 3.0)) == []
    assert "more than once: 3°" in describe_angles(np.array([0, 3.0, 3.0, 6]))[0]
    assert "not sorted" in describe_angles(np.array([0, 3.0, -3.0, 6]))[0]
    assert "high to low" in describe_angles(np.array([3, 0.0, -3.0]))[0]
    assert "All 3" in describe_angles(np.zeros(3))[0]
    assert "steep" in describe_angles(np.array([-85.0, 0]))[0]
