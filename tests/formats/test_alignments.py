"""The one door to alignment formats, and that garbage never gets through it as another kind of error."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.formats.alignments import read_alignment, write_alignment
from thon.formats.aretomo import read_aln
from thon.formats.aretomo_tables import read_ctf_table, read_tilt_table
from thon.formats.imod_com import read_newstack_com, read_tilt_com
from thon.formats.imod_tracks import read_fiducials, read_local_alignments, read_residuals
from thon.formats.mdoc_series import read_mdoc_series
from thon.formats.relion_tomo import read_tomograms
from thon.formats.star import read_star
from thon.formats.tlt import read_angles
from thon.formats.warp import read_warp
from thon.formats.xf import read_xf

DATA = Path(__file__).resolve().parents[1] / "data"


def geometry() -> TiltGeometry:
    return TiltGeometry(np.array([-30.0, 0.0, 30.0]), np.array([[3.0, 5], [0, 1], [-2, 4]]), np.full(3, 85.0))


@pytest.mark.parametrize("name", ["a.aln", "a.xf", "a.star", "a.tlt"])
def test_suffix_chooses(tmp_path: Path, name: str) -> None:
    write_alignment(tmp_path / name, geometry(), (80, 96), 2.0)
    found = read_alignment(tmp_path / name, (80, 96), 2.0, count=3)
    np.testing.assert_allclose(found.geometry.tilt, geometry().tilt)
    if name != "a.tlt":
        np.testing.assert_allclose(found.geometry.shift, geometry().shift, atol=1e-4)
    with pytest.raises(InputError, match="do not match in number"):
        read_alignment(tmp_path / name, (80, 96), 2.0, count=4)


def test_folder_means_imod(tmp_path: Path) -> None:
    write_alignment(tmp_path, geometry(), (80, 96), 2.0, excluded={1: "dark"})
    assert (tmp_path / "tilt.com").is_file()
    found = read_alignment(tmp_path, (80, 96), 2.0)
    assert list(found.excluded) == [1]
    np.testing.assert_allclose(found.geometry.shift, geometry().shift, atol=1e-6)


def test_warp_and_real_files() -> None:
    warp = read_alignment(DATA / "warp/empiar10499_00254_from_xf.xml", (630, 652), 10.0, count=41)
    imod = read_alignment(DATA / "imod/empiar10499_00254.xf", (630, 652), 10.0, count=41)
    np.testing.assert_allclose(warp.geometry.rotation, imod.geometry.rotation, atol=1e-3)
    aretomo = read_alignment(DATA / "aretomo/version_1_3.aln", (4092, 5760), 1.35, count=41)
    assert aretomo.geometry.local is None


def test_excluded_images(tmp_path: Path) -> None:
    write_alignment(tmp_path / "a.aln", geometry(), (80, 96), 2.0, excluded={0: "dark"})
    found = read_alignment(tmp_path / "a.aln", (80, 96), 2.0)
    assert found.excluded == {0: "dark, says AreTomo"}
    assert "cannot tell" in write_alignment(tmp_path / "a.xf", geometry(), (80, 96), 2.0, excluded={0: "dark"})[0]
    write_alignment(tmp_path / "a.star", geometry(), (80, 96), 2.0, excluded={0: "dark"})
    assert len(read_alignment(tmp_path / "a.star", (80, 96), 2.0).geometry) == 2


@pytest.mark.usefixtures("unchecked")
def test_xf_without_angles(tmp_path: Path) -> None:
    write_alignment(tmp_path / "a.xf", geometry(), (80, 96), 2.0)
    (tmp_path / "a.tlt").rename(tmp_path / "elsewhere.txt")
    with pytest.raises(InputError, match="no tilt angles beside it"):
        read_alignment(tmp_path / "a.xf", (80, 96), 2.0)
    assert len(read_alignment(tmp_path / "a.xf", (80, 96), 2.0, tilt=tmp_path / "elsewhere.txt").geometry) == 3
    assert len(read_alignment(tmp_path / "a.xf", (80, 96), 2.0, tilt=geometry().tilt).geometry) == 3
    with pytest.raises(InputError, match="do not match"):
        read_alignment(tmp_path / "a.xf", (80, 96), 2.0, tilt=np.zeros(5))


def test_what_is_no_alignment(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("1 2 3")
    with pytest.raises(FormatError, match="no alignment that is known"):
        read_alignment(tmp_path / "a.dat", (80, 96), 2.0)
    with pytest.raises(InputError, match="no such"):
        read_alignment(tmp_path / "none.dat", (80, 96), 2.0)
    with pytest.raises(InputError, match="suffix"):
        write_alignment(tmp_path / "a.dat", geometry(), (80, 96), 2.0)
    for size in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="pixel size"):
            read_alignment(tmp_path / "a.dat", (80, 96), size)


READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("imod/empiar10499_00254.tlt", read_angles),
    ("imod/empiar10499_00254.xf", read_xf),
    ("aretomo/version_1_2.aln", read_aln),
    ("aretomo/global_no_local.aln", lambda path: read_alignment(path, (4096, 4096), 1.0)),
    ("mdoc/frame_set_single.mdoc", read_mdoc_series),
    ("mdoc/frame_set_multiple.mdoc", read_mdoc_series),
    ("warp/empiar10499_00254_from_xf.xml", read_warp),
    ("warp/empiar10491_five_tilts.star", read_star),
    ("warp/empiar10491_five_tilts.star", lambda path: read_tomograms(path, (80, 96))),
    ("", read_tilt_com),
    ("", read_newstack_com),
    ("", read_residuals),
    ("", read_fiducials),
    ("", lambda path: read_local_alignments(path, 3)),
    ("", read_tilt_table),
    ("", read_ctf_table),
]
EXAMPLES = 40
STARTS = [
    "",
    "$tilt -StandardInput\nTHICKNESS 5\nEXCLUDELIST 1\n",
    "$newstack\n",
    "2 residuals\n",
    "# AreTomo Alignment\n# RawSize = 9 9 3\n",
    "1 1 9 9 5 5\n",
    "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesPixelSize\n",
    "[ZValue = 0]\nTiltAngle = 3\n",
]


@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(STARTS), garbage=st.text("0123456789.-+eE \n\t=[]#_,:aZ$ü\"'", max_size=60))
@pytest.mark.parametrize("reader", [reader for _, reader in READERS])
def test_garbage_is_an_input_error(tmp_path: Path, reader: Callable[[Path], object], start: str, garbage: str) -> None:
    (tmp_path / "garbage").write_text(start + garbage)
    with contextlib.suppress(InputError):
        reader(tmp_path / "garbage")


@pytest.mark.parametrize(("name", "reader"), [(name, reader) for name, reader in READERS if name])
@pytest.mark.parametrize("seed", range(12))
def test_damaged_real_files(tmp_path: Path, name: str, reader: Callable[[Path], object], seed: int) -> None:
    """Cut, stitched and overwritten at random: understood, or refused with an error that says why."""
    chance = random.Random(seed)
    text = (DATA / name).read_text(encoding="utf-8-sig")
    at, to = sorted(chance.sample(range(len(text)), 2))
    damaged = [text[:at], text[:at] + text[to:], text[:at] + "x#1e9 \n" + text[at:], re.sub(r"\d", "-", text, count=at)]
    path = tmp_path / ("a" + Path(name).suffix)
    path.write_text(damaged[seed % 4])
    with contextlib.suppress(InputError):
        reader(path)


IMPOSSIBLE = [
    "# AreTomo Alignment\n# RawSize = 9 9 3\n{0} 1 1 0 0 1 1 1 0 5\n# Local Alignment\n0 {0} 1 1 1 1 1\n",
    "# AreTomo Alignment\n# RawSize = {0} {0} {0}\n0 1 1 0 0 1 1 1 0 5\n",
    "# AreTomo Alignment\n# {0} 0\n# DarkFrame = {0} {0} 1\n0 {0} {0} {0} {0} 1 1 1 0 {0}\n",
    "1 residuals\n1 2 {0} 1 1\n",
    "{0} {0} 1 1 1 1 1 1 1\n1 1\n",
    "0 {0} 3\n1 1 {0}\n",
    "$tilt\nEXCLUDELIST 1-{0}\nTHICKNESS {0}\n",
    "1 1 1 1 1 1 Pix: {0} Dim: {0} {0}\n",
    "[ZValue = {0}]\nTiltAngle = {0}\nImageSize = {0} {0}\nDateTime = {0}-{0}-{0} 1:1:1\n",
    '<TiltSeries MagnificationCorrection="{0}"><Angles>1</Angles></TiltSeries>',
    '<TiltSeries LevelAngleX="{0}"><Angles>1</Angles><GridCTF Width="{0}" Height="1" Depth="1"/></TiltSeries>',
    '<TiltSeries><Angles>1</Angles><GridCTF MarginZ="{0}"><Node X="0" Y="0" Z="0" Value="1"/></GridCTF></TiltSeries>',
    "data_g\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesPixelSize\n_rlnTomoHand\nTS {0} nan\n",
    "data_g\nloop_\n_rlnTomoName\n_rlnMicrographOriginalPixelSize\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n"
    "TS 1 {0} 1 1\n"
    "\ndata_TS\nloop_\n_rlnTomoYTilt\n_rlnMicrographName\n{0} a\n",
]


@pytest.mark.parametrize("number", ["1e14", "1e300", "99999999999999999999", "-1", "0", "nan", "inf", "0.5"])
@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_impossible_numbers(tmp_path: Path, text: str, number: str) -> None:
    """Nothing overflows, is allocated or warns."""
    (tmp_path / "a").write_text(text.format(number))
    for _, reader in READERS:
        with contextlib.suppress(InputError):
            reader(tmp_path / "a")
