"""A session's folder as AreTomo 3 leaves it."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError, StoreError
from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics, ThicknessProfile, TiltSigma, Tracks
from thon.data.geometry import LocalField, TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef
from thon.formats.aretomo import aln_to_geometry, read_aln
from thon.formats.aretomo_ctf import read_ctf_imod, table_to_ctf
from thon.formats.aretomo_folder import AreTomoNames, write_aretomo_tables, write_imod_folder
from thon.formats.aretomo_session import (
    METRICS_FILE,
    AreTomoSession,
    SeriesMetrics,
    TimeStamp,
    append_done,
    append_metrics,
    append_time,
    measure_series,
    read_done,
    read_metrics,
    read_session,
    read_times,
    write_session,
)
from thon.formats.aretomo_tables import read_ctf_table, read_tilt_table
from thon.formats.ctf_values import tilt_ctf
from thon.formats.imod import read_imod
from thon.formats.imod_com import read_newstack_com, read_tilt_com
from thon.formats.imod_defocus import defocus_to_ctf, read_imod_defocus
from thon.formats.tlt import read_angles

SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata/aln/cryoet_alignment"


def a_series(*, local: bool = False) -> AlignedTiltSeries:
    rng = np.random.default_rng(11)
    tilt, order = np.array([-40.0, -20.0, 0.5, 20.0, 40.0]), np.array([4, 2, 0, 1, 3])
    field = LocalField(rng.normal(0, 5, (5, 4, 4, 2)), (30.0, 30.0)) if local else None
    geometry = TiltGeometry(tilt, rng.normal(0, 20, (5, 2)), np.full(5, 85.0), np.full(5, 2.0), local=field)
    position = rng.normal(0, 30, (4, 5, 2))
    residual = rng.normal(0, 1, (4, 5, 2))
    residual[0, 1] = residual[1, 1] = residual[2, 0] = np.nan
    zero = np.zeros(5)
    diagnostics = AlignmentDiagnostics(
        "test",
        TiltSigma(np.zeros((5, 2)), zero, zero, zero, zero),
        np.ones(5),
        0.9,
        tracks=Tracks(position, np.ones((4, 5))),
        residual=residual,
        profile=ThicknessProfile(np.arange(3.0), np.ones(3), -300.0, 600.0, (1.5, -4.0)),
    )
    return AlignedTiltSeries(
        name="TS_1",
        images=tuple(ImageRef("TS_1.mrc", k) for k in range(5)),
        image_shape=(40, 49),
        pixel_size=1.5,
        geometry=geometry,
        order=order,
        exposure=np.full(5, 3.0),
        prior_exposure=order * 3.0,
        optics=Optics(300, 2.7, 0.1),
        excluded={4: "dark"},
        hand=-1,
        ctf=tilt_ctf(
            rng.uniform(2e4, 3e4, (5, 2)),
            rng.uniform(0, 180, 5),
            score=np.linspace(0.1, 0.5, 5),
            resolution=np.linspace(5, 9, 5),
        ),
        diagnostics=diagnostics,
    )


def test_names() -> None:
    names = AreTomoNames(Path("out"), "TS_1")
    found = {name: str(getattr(names, name)) for name, kind in vars(AreTomoNames).items() if isinstance(kind, property)}
    assert found == {
        "stack": "out/TS_1.mrc",
        "even": "out/TS_1_EVN.mrc",
        "odd": "out/TS_1_ODD.mrc",
        "volume": "out/TS_1_Vol.mrc",
        "even_volume": "out/TS_1_EVN_Vol.mrc",
        "odd_volume": "out/TS_1_ODD_Vol.mrc",
        "second_volume": "out/TS_1_2ND_Vol.mrc",
        "third_volume": "out/TS_1_3RD_Vol.mrc",
        "alignment": "out/TS_1.aln",
        "tilts": "out/TS_1_TLT.txt",
        "ctf": "out/TS_1_CTF.txt",
        "spectra": "out/TS_1_CTF.mrc",
        "imod_ctf": "out/TS_1_CTF_Imod.txt",
        "imod": "out/TS_1_Imod",
        "logs": "out/TS_1_Log",
    }


def test_tables_of_a_series(tmp_path: Path) -> None:
    """Dark images are in every table but among the rows of the `.aln`."""
    series = a_series()
    (note,) = write_aretomo_tables(tmp_path, series, thickness=900)
    assert "tilt about x" in note
    names = AreTomoNames(tmp_path, "TS_1")
    aln = read_aln(names.alignment)
    assert (len(aln.section), aln.sections, aln.thickness) == (4, 5, 600)
    geometry, excluded = aln_to_geometry(aln, (40, 49), 1.5)
    assert list(excluded) == [4]
    np.testing.assert_allclose(geometry.shift[:4], series.geometry.shift[:4], atol=1e-4)
    tilts = read_tilt_table(names.tilts)
    assert tilts.tilt.tolist() == series.geometry.tilt.tolist()
    assert tilts.order.tolist() == series.order.tolist()
    ctf, hand = table_to_ctf(read_ctf_table(names.ctf))
    assert (len(ctf), hand) == (5, -1)
    assert series.ctf is not None
    np.testing.assert_allclose(ctf.defocus_u, series.ctf.defocus_u, atol=0.01)
    assert len(read_ctf_imod(names.imod_ctf)) == 5
    write_aretomo_tables(tmp_path, replace(series, name="TS_2", ctf=None))
    assert not AreTomoNames(tmp_path, "TS_2").ctf.exists()


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_imod_folders(tmp_path: Path, variant: int) -> None:
    series = a_series()
    stack, at, notes = write_imod_folder(tmp_path, series, variant, thickness=900)
    folder = tmp_path / "TS_1_Imod"
    assert notes == []
    kept = [0, 1, 2, 3, 4] if variant == 1 else [0, 1, 2, 3]
    assert at.tolist() == kept
    assert (folder / read_newstack_com(folder / "newst.com").source).resolve() == stack
    tilt_com = read_tilt_com(folder / "tilt.com")
    assert (tilt_com.thickness, tilt_com.local_file) == (600, "")
    assert tilt_com.excluded == ((5,) if variant == 1 else ())
    np.testing.assert_allclose(read_angles(folder / "TS_1_st.tlt"), series.geometry.tilt[kept])
    found = read_imod(folder, (49, 40) if variant == 3 else (40, 49), 1.5, name="TS_1_st")
    np.testing.assert_allclose(found.geometry.x_tilt, 2.0)
    expected = TiltGeometry.nominal(series.geometry.tilt[kept]) if variant == 3 else series.geometry.select(kept)
    np.testing.assert_allclose(found.geometry.rotation, expected.rotation, atol=1e-6)
    np.testing.assert_allclose(found.geometry.shift, expected.shift, atol=1e-5)
    order = folder / ("TS_1_order_list.csv" if variant == 1 else "TS_1_st_order_list.csv")
    lines = order.read_text().split("\n")
    assert lines[0] == "ImageNumber, TiltAngle"
    assert lines[-1] == ""
    numbers = [[float(word) for word in line.split(",")] for line in lines[1:-1]]
    assert [row[0] for row in numbers] == ([1, 2, 3, 4, 5] if variant == 1 else [1, 2, 3, 5])
    assert numbers[0] == [1, 0.5]


def test_ctf_turns_with_the_images(tmp_path: Path) -> None:
    """In the aligned stack the astigmatism lies at its angle less the axis; the raw stack has it as it was."""
    series = a_series()
    assert series.ctf is not None
    for variant, turn in ((2, 0.0), (3, 85.0)):
        write_imod_folder(tmp_path, series, variant, thickness=900)
        found = read_imod_defocus(tmp_path / "TS_1_Imod/TS_1_ctf.txt")
        assert found.views.tolist() == [[k, k] for k in range(4)]
        ctf = defocus_to_ctf(found, 4)
        np.testing.assert_allclose(ctf.angle, (series.ctf.angle[:4] - turn) % 180, atol=0.01)
        np.testing.assert_allclose(ctf.defocus, series.ctf.defocus[:4], atol=1)


def test_what_an_imod_folder_cannot_say(tmp_path: Path) -> None:
    _, _, notes = write_imod_folder(tmp_path, a_series(local=True), 2, thickness=900)
    assert "local displacement" in notes[0]
    none = tilt_ctf(np.full((5, 2), np.nan), np.zeros(5))
    _, _, notes = write_imod_folder(tmp_path, replace(a_series(), ctf=none), 2, thickness=900)
    assert "no" in notes[0].lower()
    with pytest.raises(InputError, match="no such variant"):
        write_imod_folder(tmp_path, a_series(), 4, thickness=900)


def test_metrics_of_a_series() -> None:
    series = a_series()
    assert series.ctf is not None
    found = measure_series(series)
    shift = np.linalg.norm(series.geometry.shift[:4], axis=1).max() / 1.5
    expected = (
        *("TS_1", 600.0, 85.0, pytest.approx(shift), 2 / 12, 3 / 20, pytest.approx(series.ctf.defocus[2])),
        *(0.0, 7.0, pytest.approx(0.3), 1, 1.5, 2.7, 300, 4.0, 1.5),
    )
    assert astuple(found) == expected
    bare = measure_series(replace(series, ctf=None, diagnostics=None, hand=None))
    assert (bare.thickness, bare.defocus, bare.hand, bare.tilt_axis) == (0, 0, 0, 85)


def test_metrics_file(tmp_path: Path) -> None:
    first = SeriesMetrics("TS_1", 600, 85, 12.25, 0.1, 0.2, 24000.5, 30, 7.5, 0.25, -1, 1.35, 2.7, 300, -1.5, 2.5)
    append_metrics(tmp_path, first)
    append_metrics(tmp_path, replace(first, series="TS_2", score=float("nan")))
    lines = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert lines[0] == (
        "Tilt_Series,Thickness(Pix),Tilt_Axis,Global_Shift(Pix),Bad_Patch_Low,Bad_Patch_All,Defocus(A),ExtPhase(Deg),"
        "CTF_Res(A),CTF_Score,DF_Hand,Pix_Size(A),Cs(nm),Kv,Alpha0,Beta0"
    )
    assert len(lines) == 3
    assert [len(line.split(",")) for line in lines] == [16] * 3
    assert lines[1].startswith("TS_1.mrc,    600,  85.00,")
    assert read_metrics(tmp_path / METRICS_FILE) == (first, replace(first, series="TS_2", score=0))
    with pytest.raises(InputError, match="comma"):
        append_metrics(tmp_path, replace(first, series="a,b"))
    with pytest.raises(StoreError, match="no such folder"):
        append_metrics(tmp_path / "gone", first)


def append_many(folder: str, worker: int) -> None:
    for k in range(40):
        append_time(folder, TimeStamp(f"TS_{worker}_{k}", worker, "CTFestInit:Start", k + 0.25))


def test_many_workers_and_a_crash(tmp_path: Path) -> None:
    """One header, all rows whole, and what a killed writer left is gone."""
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        for future in [pool.submit(append_many, str(tmp_path), worker) for worker in range(3)]:
            future.result()
    path = tmp_path / "TiltSeries_TimeStamp.csv"
    found = read_times(path)
    assert sorted(stamp.series for stamp in found) == sorted(f"TS_{w}_{k}" for w in range(3) for k in range(40))
    path.write_text(path.read_text() + "TS_9,1,Process")
    append_time(tmp_path, TimeStamp("TS_10", 0, "ProcessStart", 1.5))
    assert read_times(path) == (*found, TimeStamp("TS_10", 0, "ProcessStart", 1.5))


def test_done(tmp_path: Path) -> None:
    assert read_done(tmp_path / "MdocDone.txt") == ()
    for name in ("raw/TS_1.mdoc", "TS_2.mdoc", "other/TS_1.mdoc"):
        append_done(tmp_path, name)
    assert read_done(tmp_path / "MdocDone.txt") == ("TS_1.mdoc", "TS_2.mdoc")
    # Edited by hand, without the end of the last line.
    (tmp_path / "MdocDone.txt").write_text("TS_1.mdoc\nTS_5.mdoc")
    append_done(tmp_path, "TS_6.mdoc")
    append_done(tmp_path, "TS_5.mdoc")
    assert read_done(tmp_path / "MdocDone.txt") == ("TS_1.mdoc", "TS_5.mdoc", "TS_6.mdoc")


def test_session(tmp_path: Path) -> None:
    parameters = {
        "kV": 300,
        "Cs": 2.7,
        "AmpContrast": 0.1,
        "PixSize": 1.35,
        "McBin": 1.0,
        "VolZ": 1200,
        "AtBin": [6, 0],
    }
    there = AreTomoSession(parameters, {"InPrefix": "raw/"}, {"OutDir": "out/"}, "0.2", time="Mon Jan  1 00:00:00 2026")
    write_session(tmp_path, there)
    content = json.loads((tmp_path / "AreTomo3_Session.json").read_text())
    assert list(content) == ["software", "input", "output", "parameters", "Time"]
    assert content["software"] == {"name": "thon", "version": "0.2"}
    assert content["parameters"]["AtBin"] == [6, 0]
    assert content["input"] == {"InPrefix": "raw/", "Gain": "", "Dark": "", "DefectFile": ""}
    assert content["output"] == {"TmpDir": "", "OutDir": "out/"}
    found = read_session(tmp_path / "AreTomo3_Session.json")
    assert replace(found, input=there.input, output=there.output) == there
    with pytest.raises(InputError, match="cannot be written to JSON"):
        write_session(tmp_path, replace(there, parameters={"kV": float("nan")}))


def test_session_of_an_older_version(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"Name": "AreTomo3", "Version": "1.0", "InPrefix": "a", "Kv": 300, "Time": "x"}')
    found = read_session(tmp_path / "s.json")
    assert (found.name, found.version, found.time) == ("AreTomo3", "1.0", "x")
    assert (found.input, found.parameters) == ({"InPrefix": "a"}, {"Kv": 300})
    for text, message in (("{\n]", "line 2 is no JSON"), ("[1]", "no session"), ('{"parameters": {}}', "no session")):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(FormatError, match=message):
            read_session(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "another header"),
        ("Tilt_Series,Tilt_Axis\nTS_1.mrc,1,2\n", "line 2 does not fit"),
        ("Tilt_Series,Tilt_Axis\n\nTS_1.mrc, x\n", "line 3 has no number"),
    ],
)
def test_bad_metrics(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_metrics(tmp_path / "a.csv")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_metrics() -> None:
    """Nine columns, of an early version."""
    first, second = read_metrics(SHARED / "TiltSeries_Metrics.csv")
    assert (first.series, first.thickness, first.tilt_axis, first.resolution) == ("pda2021-01-12-1", 2240, 90.59, 11.52)
    assert (second.bad_low, second.score, second.pixel_size, second.voltage) == (0.99, 0.1032, 1.62, 0)
