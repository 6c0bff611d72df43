"""IMOD's transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.formats.tlt import read_angles
from thon.formats.xf import (
    Transforms,
    edge_centre,
    geometry_to_transforms,
    read_xf,
    transforms_to_geometry,
    write_xf,
)

DATA = Path(__file__).resolve().parents[1] / "data"


def test_real_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = DATA / "imod/empiar10499_00254.xf"
    transforms = read_xf(path, 41)
    write_xf(tmp_path / "a.xf", transforms)
    assert (tmp_path / "a.xf").read_text().split() == path.read_text().split()


def test_real_file_as_geometry() -> None:
    transforms = read_xf(DATA / "imod/empiar10499_00254.xf")
    tilt = read_angles(DATA / "imod/empiar10499_00254.tlt")
    geometry, left_out = transforms_to_geometry(transforms, tilt, (630, 652), 10.0)
    np.testing.assert_allclose(geometry.rotation, -4.3, atol=1e-3)
    np.testing.assert_allclose(geometry.magnification, 1, atol=1e-6)
    assert left_out.max() < 1e-3
    back = geometry_to_transforms(geometry, (630, 652), 10.0)
    np.testing.assert_allclose(back.matrix, transforms.matrix, atol=1e-6)
    np.testing.assert_allclose(back.shift, transforms.shift, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"), [((80, 96), (-0.5, -0.5)), ((81, 96), (-0.5, 0)), ((80, 95), (0, -0.5))]
)
def test_half_pixel(shape: tuple[int, int], expected: tuple[float, float]) -> None:
    assert tuple(edge_centre(shape)) == expected
    # An identity leaves the middle of the image where it is; that is half a pixel before the house's centre.
    geometry, _ = transforms_to_geometry(Transforms(np.eye(2)[None], np.zeros((1, 2))), np.zeros(1), shape, 2.0)
    np.testing.assert_allclose(geometry.shift[0], 2.0 * np.array(expected[::-1]))


def test_stretch_is_not_lost_in_silence() -> None:
    stretch = np.array([[[1.004, 0.0], [0.0, 1.0]]])
    geometry, left_out = transforms_to_geometry(Transforms(stretch, np.zeros((1, 2))), np.zeros(1), (1000, 2000), 1.0)
    assert geometry.magnification[0] == pytest.approx(1 / 1.002, abs=1e-5)
    # The corner is 1000 px along x and 500 along y from the centre; each is off by 0.2 %.
    assert left_out[0] == pytest.approx(0.002 * np.hypot(1000, 500), rel=0.01)


def test_transform_and_inverse() -> None:
    rng = np.random.default_rng(0)
    transforms = Transforms(np.eye(2) + rng.normal(0, 0.2, (3, 2, 2)), rng.normal(0, 5, (3, 2)))
    points = rng.normal(0, 100, (4, 2))
    there = transforms(points)
    for k in range(3):
        np.testing.assert_allclose(transforms.inverse()(there[k])[k], points, atol=1e-9)


def test_mismatches() -> None:
    transforms = read_xf(DATA / "imod/empiar10499_00254.xf")
    with pytest.raises(InputError, match="do not match"):
        read_xf(DATA / "imod/empiar10499_00254.xf", 40)
    with pytest.raises(InputError, match="do not match"):
        transforms_to_geometry(transforms, np.zeros(3), (630, 652), 10.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 1 0\n", "line 1 has the wrong number"),
        ("1 0 0 1 0 0\n\n1 0 0 x 0 0\n", "line 3 has no number"),
        ("1 0 0 1 0 0\n0 0 0 0 0 0\n", "line 2 is no transform"),
        ("1 0 0 -1 0 0\n", "line 1 is no transform"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xf").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_xf(tmp_path / "a.xf")


def test_geometry_is_not_changed() -> None:
    geometry = TiltGeometry.nominal(np.array([0.0, 3.0]), 85.0)
    geometry_to_transforms(geometry, (80, 96), 1.0)
    assert (geometry.rotation == 85).all()
