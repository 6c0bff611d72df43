"""CTFFIND's text output."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.ctf import Ctf, CtfCurves, CtfFit, SpecimenTilt
from thon.data.optics import Optics
from thon.formats.ctf_values import UNKNOWN, collect_fits, make_ctf, select_ctf
from thon.formats.ctffind import (
    CtffindTable,
    curves_to_ctffind,
    read_ctffind,
    read_ctffind_curves,
    write_ctffind,
    write_ctffind_curves,
)

SHARED = Path(__file__).resolve().parents[3] / "shared/data"

VERSION_5 = """# Output from CTFFind version 5.0.2, run on 2025-02-13 21:14:21
# Input file: a b/micrograph_1.mrc ; Number of micrographs: 1
# Pixel size: 0.930 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; \
amplitude contrast: 0.07
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 3.5 Angstroms ; min. def.: 0.0 um; max. def. 50000.0 um
# Columns: #1 - micrograph number; …
1.000000 8709.236328 8984.742188 45.948771 0.100000 0.446317 3.720000 221.912292 12.251187 1619.773438
2.000000 8709.236328 8600.742188 -45.0 0.000000 0.446317 inf 10.0 0.0 0.0
"""


def test_version_5(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(VERSION_5)
    table = read_ctffind(tmp_path / "a.txt")
    assert (table.version, table.source, table.pixel_size, table.box) == ("5.0.2", "a b/micrograph_1.mrc", 0.93, 512)
    assert table.optics == Optics(300, 2.7, 0.07)
    first, second = table.fits
    assert (first.ctf.defocus_u, first.ctf.defocus_v) == (8984.742188, 8709.236328)
    assert first.ctf.angle == pytest.approx(135.948771)
    assert first.ctf.phase_shift == pytest.approx(math.degrees(0.1))
    assert (first.resolution, first.fit_range, first.thickness) == (3.72, (30, 3.5), 1619.773438)
    # From +x to +y as the beginning, and from below 180°.
    assert first.tilt is not None
    assert (first.tilt.tilt, first.tilt.axis) == (12.251187, pytest.approx(221.912292 + 90 - 360))
    assert second.ctf.angle == 135
    assert (second.tilt, second.thickness, second.resolution) == (None, None, math.inf)


def test_round_trip(tmp_path: Path) -> None:
    ctf = Ctf(21234.5, 20123.25, 170.5, 90.0)
    fit = CtfFit(ctf, UNKNOWN, 0.23, 4.1, (30, 4), thickness=800.0, tilt=SpecimenTilt(20, -85))
    flat = replace(fit, ctf=Ctf(9000, 8000, 0.25), tilt=None, thickness=None)
    table = CtffindTable((fit, flat), "stack.mrc", 1.35, 512, Optics(200, 1.4, 0.1), "4.1.14")
    write_ctffind(tmp_path / "a.txt", table)
    back = read_ctffind(tmp_path / "a.txt")
    assert (back.source, back.pixel_size, back.box, back.optics) == ("stack.mrc", 1.35, 512, table.optics)
    for one, two in zip(back.fits, table.fits, strict=True):
        assert one.ctf.phase_shift == pytest.approx(two.ctf.phase_shift, abs=1e-4)
        assert replace(one.ctf, phase_shift=0) == replace(two.ctf, phase_shift=0)
        assert (one.thickness, one.score, one.resolution, one.fit_range) == (two.thickness, 0.23, 4.1, (30, 4))
    assert back.fits[0].tilt == fit.tilt
    assert back.fits[1].tilt is None
    write_ctffind(tmp_path / "b.txt", replace(table, fits=(flat,)))
    assert len((tmp_path / "b.txt").read_text().splitlines()[-1].split()) == 7
    with pytest.raises(InputError, match="no fits"):
        write_ctffind(tmp_path / "c.txt", replace(table, fits=()))


@pytest.mark.parametrize(("first", "second", "angle"), [(3.0, 2.0, -10.0), (2.0, 3.0, 80.0), (3.0, 2.0, 350.0)])
def test_order_of_the_defoci(first: float, second: float, angle: float) -> None:
    """The defocus in any direction does not depend on which of the two comes first."""
    ctf = make_ctf(first, second, angle)
    assert ctf.defocus_u == 3
    assert 0 <= ctf.angle < 180
    azimuth = np.deg2rad(np.arange(0, 360, 17.0))
    before = (first + second + (first - second) * np.cos(2 * (azimuth - np.deg2rad(angle)))) / 2
    after = (ctf.defocus_u + ctf.defocus_v + ctf.astigmatism * np.cos(2 * (azimuth - np.deg2rad(ctf.angle)))) / 2
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert make_ctf(3, 2, -1e-15).angle == 0


def test_collect_and_select() -> None:
    fits = [CtfFit(Ctf(3000, 2000, 10, 5), Ctf(3, 2, 1, 4), 0.5, 6, (30, 4)) for _ in range(2)]
    ctf = collect_fits(fits, [3, 1], 5)
    assert np.isfinite(ctf.defocus).tolist() == [False, True, False, True, False]
    assert ctf.of(3) == fits[0].ctf
    assert ctf.sigma[1].tolist() == [3, 2, 1, 4]
    assert (ctf.score[3], ctf.resolution[3]) == (0.5, 6)
    chosen = select_ctf(replace(ctf, borrowed={3: "dark", 0: "gone"}), [3, 4])
    assert chosen.borrowed == {0: "dark"}
    assert np.isfinite(chosen.defocus).tolist() == [True, False]


def test_curves(tmp_path: Path) -> None:
    frequency = np.linspace(0, 0.25, 7)
    curves = CtfCurves(frequency, frequency * 2, np.cos(frequency) ** 2, frequency, 1 - frequency)
    one = curves_to_ctffind(curves)
    np.testing.assert_allclose(one.model, np.cos(frequency), atol=1e-12)
    two = replace(one, noise=np.full(7, 0.2))
    write_ctffind_curves(tmp_path / "a_avrot.txt", [one, two], CtffindTable((), "a.mrc"))
    back = read_ctffind_curves(tmp_path / "a_avrot.txt")
    assert len(back) == 2
    np.testing.assert_allclose(back[0].frequency, frequency, atol=1e-6)
    np.testing.assert_allclose(back[0].model, np.cos(frequency), atol=1e-6)
    np.testing.assert_allclose(back[1].noise, 0.2)
    (tmp_path / "a_avrot.txt").write_text("# \n0 1 2\n0 1 2\n")
    with pytest.raises(FormatError, match="ends at line 3"):
        read_ctffind_curves(tmp_path / "a_avrot.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# only a header\n", "no CTF fits"),
        ("1 2 3 4 5 6\n", "line 1 is no CTFFIND fit"),
        ("1 2 3 4 5 6 7\n\n2 2 3 4 5 6\n", "line 3 has the wrong number"),
        ("1 2 3 x 5 6 7\n", "line 1 has no number"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_ctffind(tmp_path / "a.txt")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_files() -> None:
    table = read_ctffind(SHARED / "metadata/cryocat/TS_018/018_ctffind4.txt")
    assert (table.version, len(table.fits), table.pixel_size) == ("4.1.8", 60, 1.327)
    assert table.fits[1].ctf == Ctf(18332.730469, 17896.296875, pytest.approx(180 - 84.116628), 0)
    one = read_ctffind(SHARED / "ctffind/aspire_ctffind4_diagnostic_output.txt").fits[0]
    assert one.ctf.phase_shift == pytest.approx(math.degrees(0.035256))
    folder = SHARED / "ctffind/ctffind5_manuscript/mmm/mmm/Assets/CTF"
    (curves,) = read_ctffind_curves(folder / "mmm_CTF_0_avrot.txt")
    assert curves.model[0] == 0.07
    assert (np.diff(curves.frequency) > 0).all()
