"""AreTomo's alignment files and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.formats.aretomo import aln_to_geometry, geometry_to_aln, read_aln, write_aln
from thon.formats.aretomo_tables import (
    AreTomoTilts,
    read_ctf_table,
    read_tilt_table,
    write_tilt_table,
)
from thon.formats.xf import Transforms, transforms_to_geometry

DATA = Path(__file__).resolve().parents[1] / "data/aretomo"

HEAD = "# AreTomo Alignment / Priims bprmMn\n# RawSize = 96 80 {count}\n# NumPatches = 0\n{dark}{more}# SEC ROT\n"
ROW = "{section} -93.5 1.0 {section}.5 -2.25 1 1 1 0 {tilt}\n"


def aln(path: Path, sections: list[int], count: int, dark: str = "", more: str = "") -> Path:
    rows = "".join(ROW.format(section=s, tilt=3 * k - 6) for k, s in enumerate(sections))
    path.write_text(HEAD.format(count=count, dark=dark, more=more) + rows)
    return path


def test_version_1_2_has_no_size() -> None:
    found = read_aln(DATA / "version_1_2.aln")
    assert found.image_shape is None
    assert found.sections == 41
    assert found.section.tolist() == list(range(41))
    np.testing.assert_array_equal(found.shift[0], [155.235, 708.75])


def test_version_1_3() -> None:
    found = read_aln(DATA / "version_1_3.aln")
    assert found.image_shape == (4092, 5760)
    assert found.tilt[[0, -1]].tolist() == [-51.98, 68.0]
    geometry, excluded = aln_to_geometry(found, (4092, 5760), 1.35)
    assert excluded == {}
    with pytest.raises(InputError, match="another size"):
        aln_to_geometry(found, (5760, 4092), 1.35)
    # Half a pixel between AreTomo's centre and the house's, for even sizes.
    np.testing.assert_allclose(geometry.shift[0], 1.35 * np.array([720.866 - 0.5, 157.142 - 0.5]))


def test_sections_from_one_and_what_aretomo_exports_to_imod() -> None:
    """AreTomo writes for IMOD A = R(−ROT), d = −A (TX, TY) (CSaveXF.cpp of AreTomo 3, BSD-3)."""
    found = read_aln(DATA / "global_no_local.aln")
    assert found.section[0] == 0
    assert found.thickness == 2050
    assert found.alpha_offset == -7
    assert "-7°" in found.notes[0]
    geometry, _ = aln_to_geometry(found, (4096, 4096), 1.0)
    axis = -np.deg2rad(found.rotation)
    a11, a12, a21, a22 = np.cos(axis), -np.sin(axis), np.sin(axis), np.cos(axis)
    tx, ty = found.shift.T
    shift = np.stack([-a11 * tx - a12 * ty, -a21 * tx - a22 * ty], -1)
    exported = Transforms(np.stack([a11, a12, a21, a22], -1).reshape(-1, 2, 2), shift)
    imod, _ = transforms_to_geometry(exported, found.tilt, (4096, 4096), 1.0)
    np.testing.assert_allclose(imod.rotation, geometry.rotation, atol=1e-9)
    np.testing.assert_allclose(imod.shift, geometry.shift, atol=1e-9)
    assert geometry.rotation[0] == pytest.approx(-95.404)


def test_local_alignment_and_dark_images() -> None:
    """A version that counts SEC among the images that are left."""
    found = read_aln(DATA / "global_and_local.aln")
    assert [index for index, _ in found.dark] == list(range(14))
    assert found.section.tolist() == list(range(14, 51))
    assert found.patches is not None
    assert found.patches.good.shape == (37, 16)
    pixel = 1.7
    geometry, excluded = aln_to_geometry(found, (4096, 4096), pixel)
    assert sorted(excluded) == list(range(14))
    assert geometry.tilt[[0, 13, 14]].tolist() == [-68, -42, -27.71]
    # A patch at q from the aligned centre is seen at q + d along the raw image's axes.
    assert geometry.local is not None
    rigid = replace(geometry, local=None)
    errors, sizes = [], []
    for k, section in enumerate(found.section):
        good = found.patches.good[k]
        here = found.patches.position[k, good][:, ::-1]
        one = geometry.select([int(section)])
        phi = np.deg2rad(one.rotation[0])
        plane = np.stack([here[:, 0] * np.cos(phi) - here[:, 1] * np.sin(phi), here @ [np.sin(phi), np.cos(phi)]], -1)
        seen = (one.to_image(plane[None] * pixel) - one.shift)[0] / pixel
        expected = here + found.patches.shift[k, good][:, ::-1]
        errors.append(seen - expected)
        sizes.append(found.patches.shift[k, good])
        np.testing.assert_allclose(
            rigid.select([int(section)]).to_image(plane[None] * pixel)[0] / pixel - seen,
            here - seen + one.shift / pixel,
            atol=1e-6,
        )
    rms = np.sqrt((np.concatenate(errors) ** 2).mean())
    size = np.sqrt((np.concatenate(sizes) ** 2).mean())
    print(f"spline against AreTomo's patches: {rms:.3f} px RMS of {size:.2f} px")
    assert rms < 0.02 * size


@pytest.mark.parametrize("base", [0, 1])
def test_both_bases_with_dark_images(tmp_path: Path, base: int) -> None:
    sections = [base + k for k in (0, 1, 3, 4)]
    dark = f"# DarkFrame = 2 {base + 2} 0.00\n"
    found = read_aln(aln(tmp_path / "a.aln", sections, 5, dark))
    assert found.section.tolist() == [0, 1, 3, 4]
    assert found.dark == ((2, 0.0),)
    assert aln_to_geometry(found, (80, 96), 1.0)[1] == {2: "dark, says AreTomo"}


def test_base_where_first_and_last_are_dark(tmp_path: Path) -> None:
    """Neither 0 nor the size of the stack among the rows: the dark images' own sections tell."""
    dark = "# DarkFrame = 0 1 -9.0\n# DarkFrame = 4 5 9.0\n"
    assert read_aln(aln(tmp_path / "a.aln", [2, 3, 4], 5, dark)).section.tolist() == [1, 2, 3]
    dark = "# DarkFrame = 0 0 -9.0\n# DarkFrame = 4 4 9.0\n"
    assert read_aln(aln(tmp_path / "a.aln", [1, 2, 3], 5, dark, "# Thickness = 9\n")).section.tolist() == [1, 2, 3]


def test_images_that_are_neither_aligned_nor_dark(tmp_path: Path) -> None:
    found = read_aln(aln(tmp_path / "a.aln", [0, 1, 2], 5))
    assert "2 images" in found.notes[0]
    assert aln_to_geometry(found, (80, 96), 1.0)[1] == dict.fromkeys((3, 4), "not aligned by AreTomo")


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    geometry = TiltGeometry(
        np.linspace(-50, 50, 6), rng.normal(0, 30, (6, 2)), np.full(6, 84.4), 0.0, np.full(6, 1.002)
    )
    there = geometry_to_aln(geometry, (81, 96), 2.5, excluded={0: "dark", 4: "blocked"}, thickness=500)
    write_aln(tmp_path / "a.aln", there)
    back = read_aln(tmp_path / "a.aln")
    assert back.thickness == 200
    assert back.dark == ((0, -50.0), (4, 30.0))
    found, excluded = aln_to_geometry(back, (81, 96), 2.5)
    assert sorted(excluded) == [0, 4]
    np.testing.assert_allclose(found.tilt, geometry.tilt, atol=1e-4)
    np.testing.assert_allclose(found.shift[[1, 2, 3, 5]], geometry.shift[[1, 2, 3, 5]], atol=1e-4)
    np.testing.assert_allclose(found.magnification[1], 1.002, atol=1e-7)


def test_its_own_decimals(tmp_path: Path) -> None:
    found = read_aln(DATA / "version_1_3.aln")
    write_aln(tmp_path / "a.aln", found, precise=False)
    rows = [line.split()[1:] for line in (tmp_path / "a.aln").read_text().splitlines() if line[0] != "#"]
    assert rows == [line.split()[1:] for line in (DATA / "version_1_3.aln").read_text().splitlines() if line[0] != "#"]


def test_tilt_about_x_is_not_lost_in_silence() -> None:
    geometry = TiltGeometry(np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.full(2, 3.0))
    assert "tilt about x" in geometry_to_aln(geometry, (80, 96), 1.0).notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# IMOD\n1 2 3\n", "no AreTomo"),
        ("# AreTomo Alignment\n", "no aligned image"),
        ("# AreTomo Alignment\n# RawSize = 96 80\n0 1 1 0 0 1 1 1 0 5\n", "line 2 has no size"),
        ("# AreTomo Alignment\n0 1 1 0 0 1 1 1 0\n", "line 2 has the wrong number"),
        (
            "# AreTomo Alignment\n# RawSize = 96 80 2\n0 1 1 0 0 1 1 1 0 5\n7 1 1 0 0 1 1 1 0 5\n",
            "outside the raw stack",
        ),
        ("# AreTomo Alignment\n0 1 1 0 0 1 1 1 0 5\n0 1 1 0 0 1 1 1 0 5\n", "twice"),
        ("# AreTomo Alignment\n# DarkFrame = 1\n0 1 1 0 0 1 1 1 0 5\n", "line 2 is no DarkFrame"),
        ("# AreTomo Alignment\n0 1 1 0 0 1 1 1 0 5\n# Local Alignment\n9 0 1 1 1 1 1\n", "not there"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.aln").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_aln(tmp_path / "a.aln")


def test_tilt_table(tmp_path: Path) -> None:
    tilts = AreTomoTilts(np.array([-3.0, 0.0, 3.0]), np.array([2, 0, 1]), np.array([3.1, 3.0, 3.2]))
    write_tilt_table(tmp_path / "s_TLT.txt", tilts)
    back = read_tilt_table(tmp_path / "s_TLT.txt")
    for name in ("tilt", "order", "exposure"):
        np.testing.assert_array_equal(getattr(back, name), getattr(tilts, name))
    (tmp_path / "s_TLT.txt").write_text("-3\n0\n3\n")
    assert np.isnan(read_tilt_table(tmp_path / "s_TLT.txt").exposure).all()
    (tmp_path / "s_TLT.txt").write_text("-3 1\n0 1\n")
    with pytest.raises(FormatError, match="occur twice"):
        read_tilt_table(tmp_path / "s_TLT.txt")


def test_ctf_table(tmp_path: Path) -> None:
    (tmp_path / "s_CTF.txt").write_text("# Columns\n 1 25951.41 24469.37 88.08 0.5 -0.01 24.67\n 2 2 3 1 0 0.1 9\n")
    found = read_ctf_table(tmp_path / "s_CTF.txt")
    assert found.image.tolist() == [0, 1]
    assert found.defocus.tolist() == [[25951.41, 24469.37], [3, 2]]
    assert found.hand.tolist() == [0, 0]
    (tmp_path / "s_CTF.txt").write_text("1 25951.41 24469.37 88.08\n")
    with pytest.raises(FormatError, match="line 1 has the wrong number"):
        read_ctf_table(tmp_path / "s_CTF.txt")
