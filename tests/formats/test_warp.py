"""Warp's XML against Warp's own answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from thon.base.errors import FormatError, InputError
from thon.formats.star import StarBlock, read_star
from thon.formats.tlt import read_angles
from thon.formats.warp import natural_spline, read_warp
from thon.formats.xf import edge_centre, read_xf, transforms_to_geometry

DATA = Path(__file__).resolve().parents[1] / "data"


def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray, StarBlock]:
    """Points (z, y, x) with z turned to the house's sense, and by projection its point, its tilt and the table."""
    blocks = read_star(DATA / "warp/empiar10491_five_tilts.star")
    z, y, x = (blocks["points"].numbers(f"centeredCoordinate{axis}Angst") for axis in "ZYX")
    table = blocks["mappings"]
    return np.stack([-z, y, x], -1), table.integers("pointID") - 1, table.integers("tiltID") - 1, table


def test_warps_own_projections() -> None:
    """Signs of tilt, axis, offset, both level angles, and the local movement, from what Warp itself computed."""
    points, point, tilt, table = answers()
    warp = read_warp(DATA / "warp/empiar10491_five_tilts.xml")
    expected = np.stack([table.numbers(f"centeredCoordinate{axis}Angst") for axis in "YX"], -1)
    error = np.abs(warp.geometry.project(points)[tilt, point] - expected).max()
    rigid = np.abs(replace(warp.geometry, local=None).project(points)[tilt, point] - expected).max()
    print(f"against Warp's projections: {error:.4f} Å with the local movement, {rigid:.2f} Å without")
    assert error < 0.05
    assert rigid > 5
    for name in ("tilt", "x_tilt", "rotation"):
        wrong = replace(warp.geometry, **{name: -getattr(warp.geometry, name)})
        assert np.abs(wrong.project(points)[tilt, point] - expected).max() > 10


def test_hand_from_warps_defocus() -> None:
    """AreAnglesInverted False: the defocus falls with height along the beam, as RELION's hand −1 has it."""
    points, point, tilt, table = answers()
    warp = read_warp(DATA / "warp/empiar10491_five_tilts.xml")
    assert warp.defocus is not None
    theta, beta = np.deg2rad(warp.geometry.tilt[tilt]), np.deg2rad(warp.geometry.x_tilt[tilt])
    z, y, x = points[point].T
    height = -x * np.sin(theta) + (y * np.sin(beta) + z * np.cos(beta)) * np.cos(theta)
    measured = (table.numbers("defocusU") + table.numbers("defocusV")) / 2
    np.testing.assert_allclose(warp.defocus[tilt] + warp.hand * height, measured, atol=0.05)
    assert warp.hand == -1


def test_inverted_angles_turn_the_hand_only(tmp_path: Path) -> None:
    text = (DATA / "warp/empiar10491_five_tilts.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace('AreAnglesInverted="False"', 'AreAnglesInverted="True"'))
    first, second = read_warp(DATA / "warp/empiar10491_five_tilts.xml"), read_warp(tmp_path / "a.xml")
    assert second.hand == 1
    np.testing.assert_array_equal(first.geometry.tilt, second.geometry.tilt)


def test_its_import_of_an_xf() -> None:
    """Warp read the same `.xf`: rotation agrees, and the offsets but for the half pixel that Warp leaves out."""
    warp = read_warp(DATA / "warp/empiar10499_00254_from_xf.xml", (630, 652), 10.0)
    tilt = read_angles(DATA / "imod/empiar10499_00254.tlt")
    transforms = read_xf(DATA / "imod/empiar10499_00254.xf")
    imod, _ = transforms_to_geometry(transforms, tilt, (630, 652), 10.0)
    np.testing.assert_allclose(warp.geometry.tilt, imod.tilt, atol=1e-4)
    np.testing.assert_allclose(warp.geometry.rotation, imod.rotation, atol=1e-3)
    half = 10.0 * edge_centre((630, 652))[::-1]
    np.testing.assert_allclose(warp.geometry.shift, imod.shift - half, atol=0.02)


def test_dose_and_switched_off_tilts(tmp_path: Path) -> None:
    path = DATA / "warp/empiar10499_00254_from_xf.xml"
    warp = read_warp(path)
    assert warp.prior_exposure[:3].tolist() == [117, 114, 105]
    assert warp.excluded == {}
    assert warp.movies[0].endswith("TS_01_041_-60.0.tif")
    text = path.read_text(encoding="utf-8-sig").replace("<UseTilt>True", "<UseTilt>False")
    (tmp_path / "a.xml").write_text(text)
    assert read_warp(tmp_path / "a.xml").excluded == {0: "switched off in Warp"}


def test_movement_needs_the_image_size(tmp_path: Path) -> None:
    text = (DATA / "warp/empiar10491_five_tilts.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace("ImageDimensionsAngstrom", "Other"))
    with pytest.raises(InputError, match="size of the images"):
        read_warp(tmp_path / "a.xml")
    assert read_warp(tmp_path / "a.xml", (4092, 5760), 0.834).geometry.local is not None


@pytest.mark.parametrize("nodes", [1, 2, 3, 6])
def test_natural_spline(nodes: int) -> None:
    values = np.random.default_rng(nodes).normal(size=nodes)
    at = np.linspace(0, 1, 23)
    found = natural_spline(at, nodes) @ values
    if nodes > 2:
        expected = CubicSpline(np.linspace(0, 1, nodes), values, bc_type="natural")(at)
    else:
        expected = np.interp(at, np.linspace(0, 1, nodes), values)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<TiltSeries>", "line 1 is no XML"),
        ("<Movie/>", "no tilt series of Warp"),
        ("<TiltSeries/>", "no tilt angles"),
        ("<TiltSeries><Angles>1\nx</Angles></TiltSeries>", "no number"),
        ("<TiltSeries><Angles>1\n2</Angles><AxisAngle>1</AxisAngle></TiltSeries>", "AxisAngle and Angles differ"),
        ("<TiltSeries><Angles>1</Angles><UseTilt>True\nTrue</UseTilt></TiltSeries>", "UseTilt and Angles differ"),
        ('<TiltSeries><Angles>1</Angles><GridCTF Width="2" Height="1" Depth="1"/></TiltSeries>', "lacks nodes"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><TiltSeries/>', "entities"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_warp(tmp_path / "a.xml")
