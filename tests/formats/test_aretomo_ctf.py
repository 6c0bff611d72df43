"""AreTomo 3's CTF files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.ctf import TiltCtf
from thon.formats.aretomo_ctf import ctf_to_table, read_ctf_imod, table_to_ctf, write_ctf_imod
from thon.formats.aretomo_tables import read_ctf_table, write_ctf_table
from thon.formats.ctf_values import select_ctf, tilt_ctf
from thon.formats.imod_defocus import defocus_to_ctf
from thon.formats.relion_table import ctf_columns

SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata/aln/cryoet_alignment"


def a_ctf(phase: float = 0.0) -> TiltCtf:
    rng = np.random.default_rng(5)
    defocus = rng.uniform(1e4, 4e4, (6, 2))
    defocus[2] = np.nan
    return tilt_ctf(
        defocus,
        rng.uniform(0, 180, 6),
        phase_shift=phase * rng.uniform(0.5, 1, 6),
        score=rng.uniform(0, 1, 6),
        resolution=rng.uniform(4, 20, 6),
    )


@pytest.mark.parametrize("hand", [1, -1, None])
def test_table_round_trip(tmp_path: Path, hand: int | None) -> None:
    ctf = a_ctf(40.0)
    write_ctf_table(tmp_path / "a_CTF.txt", ctf_to_table(ctf, hand))
    rows = [line.split() for line in (tmp_path / "a_CTF.txt").read_text().splitlines()[1:]]
    assert [len(row) for row in rows] == [7 if hand is None else 8] * 6
    assert all(float(row[1]) >= float(row[2]) for row in rows)
    back, found = table_to_ctf(read_ctf_table(tmp_path / "a_CTF.txt"))
    assert found == hand
    assert np.isnan(back.defocus_u[2])
    kept = [0, 1, 3, 4, 5]
    for name, tolerance in (
        ("defocus_u", 0.01),
        ("defocus_v", 0.01),
        ("angle", 0.01),
        ("phase_shift", 0.01),
        ("score", 1e-4),
        ("resolution", 1e-4),
    ):
        np.testing.assert_allclose(getattr(back, name)[kept], getattr(ctf, name)[kept], atol=tolerance)


def test_hand_is_minus_relions(tmp_path: Path) -> None:
    (tmp_path / "a_CTF.txt").write_text("1 3 2 10 1.5707963 0.1 9 1\n3 3 2 10 0 0.1 9 1\n")
    ctf, hand = table_to_ctf(read_ctf_table(tmp_path / "a_CTF.txt"), 4)
    assert hand == -1
    assert ctf.phase_shift[0] == pytest.approx(90)
    assert np.isnan(ctf.defocus).tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="beyond the stack"):
        table_to_ctf(read_ctf_table(tmp_path / "a_CTF.txt"), 2)


@pytest.mark.parametrize("phase", [0.0, 60.0])
def test_imod_file_is_what_imod_means(tmp_path: Path, phase: float) -> None:
    ctf, tilt = a_ctf(phase), np.linspace(-60, 60, 6)
    write_ctf_imod(tmp_path / "a_CTF_Imod.txt", ctf, tilt)
    lines = (tmp_path / "a_CTF_Imod.txt").read_text().splitlines()
    assert lines[0].split() == ["5" if phase else "1", "0", "0.0", "0.0", "0.0", "3"]
    assert len(lines[1].split()) == 7 + bool(phase)
    found = read_ctf_imod(tmp_path / "a_CTF_Imod.txt")
    np.testing.assert_allclose(found.tilt[:, 0], np.delete(tilt, 2))
    back = defocus_to_ctf(found, 6)
    np.testing.assert_allclose(back.angle[[0, 1, 3]], ctf.angle[[0, 1, 3]], atol=0.01)
    np.testing.assert_allclose(back.phase_shift[[0, 1, 3]], ctf.phase_shift[[0, 1, 3]], atol=0.01)


def test_what_rounding_leaves_of_a_phase_is_none(tmp_path: Path) -> None:
    ctf = replace(a_ctf(0.0), phase_shift=np.full(6, -1e-14))
    write_ctf_imod(tmp_path / "a_CTF_Imod.txt", ctf, np.linspace(-60, 60, 6))
    assert (tmp_path / "a_CTF_Imod.txt").read_text().split()[0] == "1"
    write_ctf_table(tmp_path / "a_CTF.txt", ctf_to_table(ctf, 1))
    assert "-0.0000" not in (tmp_path / "a_CTF.txt").read_text()
    whole = select_ctf(ctf, [0, 1, 3, 4, 5])
    assert "rlnPhaseShift" not in ctf_columns(whole, {})
    assert ctf_columns(whole, {"rlnPhaseShift": ["1"] * 5})["rlnPhaseShift"] == ["0.000000"] * 5


def test_aretomos_own_slips(tmp_path: Path) -> None:
    """The smaller defocus first with the larger one's angle; the defocus where the tilt belongs."""
    text = "5 0 0.0 0.0 0.0 3\n1 1 21000.00 21000.00 2000.0 2100.0 30.0 45.0\n2 2 22000.0 22000.0 2100 2200 35 50\n"
    (tmp_path / "a_CTF_Imod.txt").write_text(text)
    found = read_ctf_imod(tmp_path / "a_CTF_Imod.txt")
    assert np.isnan(found.tilt).all()
    ctf = defocus_to_ctf(found, 2)
    np.testing.assert_allclose([ctf.defocus_u, ctf.defocus_v], [[21000, 22000], [20000, 21000]])
    np.testing.assert_allclose(ctf.angle, [30, 35])
    np.testing.assert_allclose(ctf.phase_shift, [45, 50])


def test_bad_files(tmp_path: Path) -> None:
    for row in ("1 3 2 1 0 0.1 9\n1 3 2 1 0 0.1 9\n", "0 3 2 1 0 0.1 9\n", "1.5 3 2 1 0 0.1 9\n"):
        (tmp_path / "a_CTF.txt").write_text(row)
        with pytest.raises(FormatError, match="image numbers"):
            read_ctf_table(tmp_path / "a_CTF.txt")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_file() -> None:
    ctf, hand = table_to_ctf(read_ctf_table(SHARED / "test_CTF.txt"))
    assert hand is None
    assert ctf.of(0).defocus_u == 25951.41
    assert ctf.angle[0] == 88.08
