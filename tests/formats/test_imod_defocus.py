"""IMOD's defocus files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.ctf_values import tilt_ctf
from thon.formats.imod_defocus import (
    ImodDefocus,
    ctf_to_defocus,
    defocus_to_ctf,
    read_imod_defocus,
    write_imod_defocus,
)

SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata"


def a_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_versions(tmp_path: Path) -> None:
    """The same content in every version; version 1 may count views from 0."""
    texts = {
        1: "0 0 -3.0 -3.0 1483.9\n1 1 0 0 1500\n",
        2: "1 1 -3.0 -3.0 1483.9 2\n2 2 0 0 1500\n",
        3: "0 0 0.0 0.0 0.0 3\n1\t1\t-3.0\t-3.0\t1483.9\n2 2 0 0 1500\n",
    }
    for version, text in texts.items():
        found = read_imod_defocus(a_file(tmp_path / "a.defocus", text))
        assert found.version == version
        assert found.views.tolist() == [[0, 0], [1, 1]]
        np.testing.assert_allclose(found.defocus, [[14839, 14839], [15000, 15000]])
        assert (found.phase_shift, found.cut_on, found.inverted) == (None, None, False)
    found = read_imod_defocus(a_file(tmp_path / "a.defocus", texts[1].replace("1 1", "2 2").replace("0 0 -", "1 1 -")))
    assert found.views.tolist() == [[0, 0], [1, 1]]


def test_every_flag(tmp_path: Path) -> None:
    text = "63\t0\t0.0\t0.0\t0.0\t3\n1 3 -3 3 1483.9 1068.7 0.5 1.5 0.25\n"
    found = read_imod_defocus(a_file(tmp_path / "a.defocus", text))
    assert found.views.tolist() == [[0, 2]]
    assert found.tilt.tolist() == [[-3, 3]]
    assert found.inverted
    np.testing.assert_allclose(found.defocus, [[14839, 10687]])
    np.testing.assert_allclose(found.angle, np.rad2deg(0.5))
    assert found.phase_shift is not None
    np.testing.assert_allclose(found.phase_shift, np.rad2deg(1.5))
    # 0.25 per nm is a spacing of 40 Å.
    assert found.cut_on is not None
    np.testing.assert_allclose(found.cut_on, 1 / 40)
    write_imod_defocus(tmp_path / "b.defocus", found)
    assert (tmp_path / "b.defocus").read_text().startswith("53\t0\t0.0\t0.0\t0.0\t3\n1\t3\t-3.00\t3.00\t")
    back = read_imod_defocus(tmp_path / "b.defocus")
    np.testing.assert_allclose(back.angle, found.angle, atol=0.005)
    np.testing.assert_allclose(back.cut_on, found.cut_on)


def test_round_trip_of_a_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    defocus = rng.uniform(1e4, 4e4, (7, 2))
    defocus[3] = np.nan
    ctf = tilt_ctf(defocus, rng.uniform(0, 180, 7), phase_shift=rng.uniform(0, 90, 7))
    tilt = np.linspace(-54, 54, 7)
    write_imod_defocus(tmp_path / "a.defocus", ctf_to_defocus(ctf, tilt))
    found = read_imod_defocus(tmp_path / "a.defocus")
    assert found.views[:, 0].tolist() == [0, 1, 2, 4, 5, 6]
    np.testing.assert_allclose(found.tilt[:, 0], tilt[[0, 1, 2, 4, 5, 6]])
    back = defocus_to_ctf(found, 7)
    kept = [0, 1, 2, 4, 5, 6]
    for name, tolerance in (("defocus_u", 0.5), ("defocus_v", 0.5), ("angle", 0.01), ("phase_shift", 0.01)):
        np.testing.assert_allclose(getattr(back, name)[kept], getattr(ctf, name)[kept], atol=tolerance)
    # The stack without image 3 counts its views anew.
    shorter = ctf_to_defocus(ctf, tilt, kept)
    assert shorter.views[:, 0].tolist() == list(range(6))
    np.testing.assert_array_equal(shorter.defocus, ctf_to_defocus(ctf, tilt).defocus)


def test_ranges_of_views() -> None:
    """Images in a range have its value, others what lies between; astigmatism as a vector."""
    defocus = ImodDefocus(
        views=np.array([[0, 2], [2, 4], [7, 7]]),
        tilt=np.zeros((3, 2)),
        defocus=np.array([[11.0, 9.0], [21.0, 19.0], [34.0, 26.0]]),
        angle=np.array([10.0, 190.0, 100.0]),
    )
    ctf = defocus_to_ctf(defocus, 9)
    # Images 5 and 6 lie 2 and 3 of 4 steps from the middle of the second range to the third.
    np.testing.assert_allclose(ctf.defocus, [10, 10, 15, 20, 20, 25, 27.5, 30, 30])
    np.testing.assert_allclose(ctf.angle, [10, 10, 10, 10, 10, 100, 100, 100, 100])
    np.testing.assert_allclose(ctf.defocus_u - ctf.defocus_v, [2, 2, 2, 2, 2, 3, 5.5, 8, 8])
    with pytest.raises(InputError, match="beyond the series"):
        defocus_to_ctf(defocus, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello world\n", "line 1 has no number"),
        ("1 1 2\n", "line 1 does not begin"),
        ("64 0 0 0 0 3\n1 1 0 0 1\n", "flags that are not known"),
        ("1 0 0 0 0 3\n1 1 0 0 1500\n", "line 2 has the wrong number"),
        ("0 0 0 0 0 3\n", "holds no defocus"),
        ("0 0 0 0 0 3\n3 1 0 0 1500\n", "line 2 is for no range"),
        ("0 0 0 0 0 3\n1.5 2 0 0 1500\n", "line 2 is for no range"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_imod_defocus(a_file(tmp_path / "a.defocus", text))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_files(tmp_path: Path) -> None:
    files = sorted(SHARED.rglob("*.defocus"))
    assert len(files) >= 7
    for path in files:
        found = read_imod_defocus(path)
        write_imod_defocus(tmp_path / "a.defocus", found)
        back = read_imod_defocus(tmp_path / "a.defocus")
        for name in ("views", "tilt", "defocus", "angle", "phase_shift", "cut_on"):
            one, two = getattr(back, name), getattr(found, name)
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)
    folder = SHARED / "imod/cets_imod_TS_03/imod_defocus_files"
    found = read_imod_defocus(folder / "TS_03_astigmatism_and_phase_shift.defocus")
    assert defocus_to_ctf(found, 40).of(0).defocus_u == pytest.approx(14839)
    assert replace(found, version=1).astigmatic
