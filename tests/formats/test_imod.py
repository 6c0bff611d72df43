"""IMOD's command files, folders and what tiltalign leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.geometry import LocalField, TiltGeometry
from thon.formats.imod import read_imod, write_imod
from thon.formats.imod_com import (
    NewstackCom,
    TiltCom,
    parse_list,
    read_newstack_com,
    read_tilt_com,
    write_newstack_com,
    write_tilt_com,
)
from thon.formats.imod_tracks import read_fiducials, read_local_alignments, read_residuals, read_z_factors
from thon.formats.tlt import read_angles, write_angles
from thon.formats.xf import read_xf

SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata/imod"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="IMOD's example data are not at hand")
SETS = [("BB/BBa", (512, 512), 61), ("midzone2/midzone2a", (1024, 1950), 81), ("midzone2/midzone2b", (1950, 1024), 79)]

COM = """# comment
$setenv IMOD_OUTPUT_FORMAT MRC
$tilt -StandardInput
InputProjections s_ali.mrc
OutputFile\ts_rec.mrc
imagebinned 2
TILTFILE s.tlt
THICKNESS 900
RADIAL 0.35 0.035
XAXISTILT 1.94
FULLIMAGE 2032 2048
SUBSETSTART -2 0
XTILTFILE s.xtilt
OFFSET 2.5
SHIFT 0.0 -10.5
EXCLUDELIST 1,3-5
EXCLUDELIST2 9
PERPENDICULAR
$if (-e ./savework) ./savework
THICKNESS 1
"""


def test_tilt_com(tmp_path: Path) -> None:
    (tmp_path / "tilt.com").write_text(COM)
    com = read_tilt_com(tmp_path / "tilt.com")
    assert com == TiltCom(
        projections="s_ali.mrc",
        output="s_rec.mrc",
        tilt_file="s.tlt",
        x_tilt_file="s.xtilt",
        thickness=900,
        x_axis_tilt=1.94,
        angle_offset=2.5,
        shift=(0.0, -10.5),
        excluded=(1, 3, 4, 5, 9),
        binning=2,
        full_image=(2032, 2048),
        subset_start=(-2, 0),
        radial=(0.35, 0.035),
    )
    write_tilt_com(tmp_path / "again.com", com)
    assert read_tilt_com(tmp_path / "again.com") == com


def test_newstack_com(tmp_path: Path) -> None:
    com = NewstackCom("s.st", "s_ali.mrc", "s.xf", (1024, 960), (3.0, -2.0), 4)
    write_newstack_com(tmp_path / "newst.com", com)
    assert read_newstack_com(tmp_path / "newst.com") == com


def test_com_files_have_what_other_readers_look_for(tmp_path: Path) -> None:
    """cryoet-alignment 0.2 takes no com file without these lines, one offset alone."""
    write_imod(tmp_path, "s", TiltGeometry.nominal(np.zeros(3)), (80, 96), 2.0, thickness=50.0, excluded={1: "dark"})
    lines = (tmp_path / "tilt.com").read_text().splitlines()
    expected = ["THICKNESS 25", "XAXISTILT 0", "OFFSET 0", "SHIFT 0 0", "SCALE 0.0 250.0", "PERPENDICULAR", "MODE 2"]
    assert set(expected) < set(lines)
    assert {"EXCLUDELIST 2", "ActionIfGPUFails 1,2"} < set(lines)
    assert {"ImagesAreBinned 1.0", "BinByFactor 1"} < set((tmp_path / "newst.com").read_text().splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$newstack\nTHICKNESS 5\n", "does not run tilt"),
        ("$tilt -StandardInput\nTHICKNESS many\n", "line 2 has no number"),
        ("$tilt\nFULLIMAGE 512\n", "line 2: FULLIMAGE needs 2"),
        ("$tilt\n\nEXCLUDELIST 1-x\n", "line 3 holds no list"),
    ],
)
def test_bad_tilt_com(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tilt.com").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_tilt_com(tmp_path / "tilt.com")


def test_lists() -> None:
    assert parse_list("1,4-6, 9", "f", 1) == [1, 4, 5, 6, 9]


def test_folder_with_several_series(tmp_path: Path) -> None:
    geometry = TiltGeometry.nominal(np.array([-3.0, 0.0, 3.0]), 85.0)
    for name in ("one", "two"):
        write_imod(tmp_path, name, geometry, (80, 96), 2.0)
    (tmp_path / "tilt.com").unlink()
    (tmp_path / "newst.com").unlink()
    with pytest.raises(InputError, match="not clear"):
        read_imod(tmp_path, (80, 96), 2.0)
    assert len(read_imod(tmp_path, (80, 96), 2.0, name="two").geometry) == 3
    (tmp_path / "two.tlt").write_text("1\n2\n")
    with pytest.raises(InputError, match="do not match"):
        read_imod(tmp_path, (80, 96), 2.0, name="two")


def test_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.xf"):
        read_imod(tmp_path, (80, 96), 2.0)
    with pytest.raises(InputError, match="no such folder"):
        read_imod(tmp_path / "none", (80, 96), 2.0)


def test_exclude_list_beyond_the_series(tmp_path: Path) -> None:
    write_imod(tmp_path, "s", TiltGeometry.nominal(np.zeros(3)), (80, 96), 2.0)
    write_tilt_com(tmp_path / "tilt.com", TiltCom(tilt_file="s.tlt", excluded=(7,)))
    with pytest.raises(InputError, match="does not have"):
        read_imod(tmp_path, (80, 96), 2.0)


def test_what_imod_cannot_say_is_said(tmp_path: Path) -> None:
    local = LocalField(np.ones((1, 4, 4, 2)), (10.0, 10.0))
    geometry = TiltGeometry(np.zeros(1), np.zeros((1, 2)), np.zeros(1), local=local)
    assert "local displacement" in write_imod(tmp_path, "s", geometry, (80, 96), 2.0)[0]


def test_swapped_output_is_centred(tmp_path: Path) -> None:
    geometry = TiltGeometry.nominal(np.array([0.0]), 88.0)
    write_imod(tmp_path, "s", geometry, (630, 651), 2.0, thickness=200.0)
    com, newstack = read_tilt_com(tmp_path / "tilt.com"), read_newstack_com(tmp_path / "newst.com")
    assert newstack.size == (630, 651)
    assert com.thickness == 100
    np.testing.assert_allclose(read_imod(tmp_path, (630, 651), 2.0).geometry.shift, 0, atol=1e-6)


@real
@pytest.mark.parametrize(("base", "shape", "count"), SETS)
def test_tiltaligns_own_model(base: str, shape: tuple[int, int], count: int) -> None:
    """Sign of z, of the tilt and of residuals, and the half pixel, from tiltalign's own numbers."""
    residuals, points = read_residuals(SHARED / f"{base}.resid"), read_fiducials(SHARED / f"{base}fid.xyz")
    assert points.image_shape == shape
    assert residuals.point.max() + 1 == len(points.position)
    theta = np.deg2rad(read_angles(SHARED / f"{base}.tlt", count))[residuals.view]
    transforms = read_xf(SHARED / f"{base}.tltxf", count)
    middle = np.array(shape[::-1]) / 2
    aligned = np.einsum("kij,kj->ki", transforms.matrix[residuals.view], residuals.position - middle)
    aligned += transforms.shift[residuals.view]
    x, y, z = (points.position - [*middle, 0])[residuals.point].T
    factor = read_z_factors(SHARED / f"{base}.zfac")[residuals.view]
    errors = {}
    for sign in (1, -1):
        u = x * np.cos(theta) + sign * z * np.sin(theta)
        errors[sign] = aligned - np.stack([u + factor[:, 0] * z, y + factor[:, 1] * z], -1)
    rms = np.sqrt((errors[1] ** 2).mean(0))
    print(f"{base}: bias {errors[1].mean(0).round(3)}, RMS {rms.round(3)} px")
    assert np.abs(errors[1].mean(0)).max() < 0.05  # half a pixel would be seen
    # tiltalign's own mean residual, up to the stretch in the angles that its files round to 0.01°.
    np.testing.assert_allclose(rms, np.sqrt((residuals.residual**2).mean(0)), rtol=0.25)
    assert np.sqrt((errors[-1] ** 2).mean()) > 10


@real
@pytest.mark.parametrize(("base", "pitch"), [("BB/BBa", 1.94), ("midzone2/midzone2a", 2.03)])
def test_sign_of_xaxistilt(base: str, pitch: float) -> None:
    """The section's slope along y, from the beads on its two faces, against XAXISTILT: they have opposite signs."""
    x, y, z = read_fiducials(SHARED / f"{base}fid.xyz").position.T
    upper = z > 0
    for _ in range(10):
        design = np.stack([x, y, upper, ~upper], -1).astype(float)
        fit = np.linalg.lstsq(design, z, rcond=None)[0]
        flat = z - design[:, :2] @ fit[:2]
        upper = np.abs(flat - fit[2]) < np.abs(flat - fit[3])
    assert np.rad2deg(np.arctan(fit[1])) == pytest.approx(-pitch, abs=0.5)


@real
@pytest.mark.parametrize(("base", "shape", "count"), SETS)
def test_local_alignments(base: str, shape: tuple[int, int], count: int) -> None:
    local = read_local_alignments(SHARED / f"{base}local.xf", count)
    rows, columns = local.centre.shape[:2]
    assert len(local.transforms) == rows * columns
    assert local.tilt.shape == (rows, columns, count)
    assert local.z_factor is not None
    assert (local.centre > 0).all()
    assert (local.centre < shape[::-1]).all()
    assert max(np.abs(t.matrix - np.eye(2)).max() for t in local.transforms) < 0.2
    with pytest.raises(FormatError, match="does not hold local solutions"):
        read_local_alignments(SHARED / f"{base}local.xf", count - 1)


@real
def test_real_folder(tmp_path: Path) -> None:
    for suffix in (".xf", ".tlt", ".xtilt", ".zfac", "local.xf"):
        shutil.copyfile(SHARED / f"BB/BBa{suffix}", tmp_path / f"BBa{suffix}")
    shutil.copyfile(SHARED / "BB/tilt.com", tmp_path / "tilt.com")
    found = read_imod(tmp_path, (512, 512), 20.2)
    assert found.excluded == {0: "excluded in tilt.com"}
    np.testing.assert_allclose(found.geometry.x_tilt, -1.94)
    np.testing.assert_allclose(found.geometry.rotation, -11.3, atol=0.6)
    assert found.thickness == pytest.approx(84 * 20.2)
    assert any("stretch" in note for note in found.notes)
    assert any("z factors" in note for note in found.notes)
    assert any("local alignments" in note for note in found.notes)


def test_residual_file(tmp_path: Path) -> None:
    (tmp_path / "a.resid").write_text("  3 residuals\n 1 2 0 0.1 0.2\n 3 4 1 0.1 0.2\n 5 6 0 0.1 0.3\n")
    residuals = read_residuals(tmp_path / "a.resid")
    assert residuals.point.tolist() == [0, 0, 1]
    assert residuals.view.tolist() == [0, 1, 0]
    (tmp_path / "a.resid").write_text("  4 residuals\n 1 2 0 0.1 0.2\n")
    with pytest.raises(FormatError, match="another number"):
        read_residuals(tmp_path / "a.resid")


def test_fiducial_file(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("  1  24.5 24.6 -4.2 1 1 Pix: 20.2 Dim: 512 400\n  2 1 2 3 1 2\n")
    points = read_fiducials(tmp_path / "a.xyz")
    assert points.image_shape == (400, 512)
    assert points.pixel_size == 20.2
    assert points.contour.tolist() == [[1, 1], [1, 2]]
    write_angles(tmp_path / "b.xyz", np.zeros(3))
    with pytest.raises(FormatError, match="line 1 has too few"):
        read_fiducials(tmp_path / "b.xyz")
