"""RELION-5's tomograms.star and tilt-series star files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.geometry import LocalField, TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.ctf_values import tilt_ctf
from thon.formats.relion_tomo import RelionTomogram, read_tilt_series_star, read_tomograms, write_tomograms
from thon.formats.star import StarBlock, read_star, write_star

SHARED = Path(__file__).resolve().parents[3] / "shared/data/relion5_empiar10164_project"


def a_tomogram() -> RelionTomogram:
    rng = np.random.default_rng(3)
    tilt = np.array([-6.0, -3.0, 0.0, 3.0])
    order = np.array([3, 2, 0, 1])
    series = TiltSeries(
        name="TS_1",
        images=tuple(ImageRef(f"motion/ts_{k}.mrc") for k in range(4)),
        image_shape=(3838, 3710),
        pixel_size=1.35,
        geometry=TiltGeometry(tilt, rng.normal(0, 50, (4, 2)), np.full(4, 85.2), np.full(4, 1.5)),
        order=order,
        exposure=np.full(4, 3.0),
        prior_exposure=order * 3.0,
        movies=tuple(f"frames/ts_{k}.tif" for k in range(4)),
        optics=Optics(300, 2.7, 0.1),
        hand=-1,
    )
    return RelionTomogram(series, volume_shape=(2000, 4000, 3600), binning=7.4)


def test_round_trip(tmp_path: Path) -> None:
    there = a_tomogram()
    (note,) = write_tomograms(tmp_path / "tomograms.star", [replace(there, series=replace(there.series, hand=None))])
    assert "rlnTomoHand" in note
    assert "rlnTomoHand" not in read_star(tmp_path / "tomograms.star")["global"].columns
    assert write_tomograms(tmp_path / "tomograms.star", [there], relative_to=tmp_path) == []
    assert read_star(tmp_path / "tomograms.star")["global"].columns["rlnTomoTiltSeriesStarFile"] == [
        "tilt_series/TS_1.star"
    ]
    (back,) = read_tomograms(tmp_path / "tomograms.star", (3838, 3710))
    assert (back.volume_shape, back.binning) == (there.volume_shape, there.binning)
    one, two = there.series, back.series
    assert (two.name, two.images, two.movies, two.optics, two.hand) == (
        one.name,
        one.images,
        one.movies,
        one.optics,
        -1,
    )
    for name in ("order", "exposure", "prior_exposure"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name))
    for name in ("tilt", "shift", "rotation", "x_tilt"):
        np.testing.assert_allclose(getattr(two.geometry, name), getattr(one.geometry, name), atol=1e-6)


def test_row_order_and_unknown_columns_survive(tmp_path: Path) -> None:
    """RELION counts rows; a table in acquisition order keeps it, though the series is sorted by tilt."""
    columns = {
        "rlnMicrographName": ["a.mrc", "b.mrc", "c.mrc"],
        "rlnMicrographPreExposure": ["0.000", "3.000", "6.000"],
        "rlnTomoYTilt": ["0.0100", "3.0", "-3.0"],
        "rlnTomoZRot": ["85", "85", "85"],
        "rlnSomethingNew": ["x", "two words", "z"],
    }
    write_star(tmp_path / "t.star", {"TS": StarBlock({}, columns)})
    row = {"rlnTomoName": ["TS"], "rlnTomoTiltSeriesStarFile": ["t.star"], "rlnTomoTiltSeriesPixelSize": ["1.3500"]}
    write_star(tmp_path / "tomograms.star", {"global": StarBlock({}, row | {"rlnFromElsewhere": ["7.10"]})})
    (tomogram,) = read_tomograms(tmp_path / "tomograms.star", (100, 120))
    assert [image.path for image in tomogram.series.images] == ["c.mrc", "a.mrc", "b.mrc"]
    assert tomogram.series.order.tolist() == [2, 0, 1]
    assert tomogram.series.exposure.tolist() == [3, 3, 3]
    turned = replace(tomogram.series.geometry, rotation=tomogram.series.geometry.rotation + 0.25)
    changed = replace(tomogram, series=tomogram.series.with_geometry(turned))
    (tmp_path / "out").mkdir()
    write_tomograms(tmp_path / "out/tomograms.star", [changed], relative_to=tmp_path)
    table = read_star(tmp_path / "out/tilt_series/TS.star")["TS"].columns
    assert table["rlnSomethingNew"] == columns["rlnSomethingNew"]
    assert table["rlnTomoYTilt"] == columns["rlnTomoYTilt"]
    assert table["rlnTomoZRot"] == ["85.250000"] * 3
    top = read_star(tmp_path / "out/tomograms.star")["global"].columns
    assert top["rlnFromElsewhere"] == ["7.10"]
    assert top["rlnTomoTiltSeriesPixelSize"] == ["1.3500"]
    assert top["rlnTomoTiltSeriesStarFile"] == ["out/tilt_series/TS.star"]


def test_excluded_images_do_not_appear_and_losses_are_told(tmp_path: Path) -> None:
    there = a_tomogram()
    local = LocalField(np.ones((4, 4, 4, 2)), (100.0, 100.0))
    geometry = replace(there.series.geometry, local=local, magnification=np.full(4, 1.01))
    series = replace(there.series, excluded={1: "dark"}, geometry=geometry)
    notes = write_tomograms(tmp_path / "tomograms.star", [replace(there, series=series)])
    assert len(notes) == 2
    (back,) = read_tomograms(tmp_path / "tomograms.star", (3838, 3710))
    assert back.series.geometry.tilt.tolist() == [-6, 0, 3]
    assert back.series.prior_exposure.tolist() == [9, 0, 3]


def test_nominal_geometry_before_alignment(tmp_path: Path) -> None:
    columns = {
        "rlnMicrographMovieName": ["a.tif", "b.tif"],
        "rlnTomoNominalStageTiltAngle": ["3.0", "-3.0"],
        "rlnTomoNominalTiltAxisAngle": ["85.0", "85.0"],
    }
    write_star(tmp_path / "t.star", {"TS": StarBlock({}, columns)})
    row = {"rlnTomoName": ["TS"], "rlnTomoTiltSeriesStarFile": ["t.star"], "rlnMicrographOriginalPixelSize": ["0.675"]}
    write_star(tmp_path / "tilt_series.star", {"global": StarBlock({}, row)})
    (tomogram,) = read_tomograms(tmp_path / "tilt_series.star", (100, 120))
    assert tomogram.series.geometry.tilt.tolist() == [-3, 3]
    assert tomogram.series.geometry.rotation.tolist() == [85, 85]
    assert "rlnMicrographPreExposure" in tomogram.notes[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_project(tmp_path: Path) -> None:
    tomograms = read_tomograms(SHARED / "Tomograms/job006/tomograms.star", (3838, 3710))
    assert [tomogram.series.name for tomogram in tomograms] == ["TS_01", "TS_03", "TS_43", "TS_45", "TS_54"]
    first = tomograms[0]
    assert first.series.pixel_size == 1.35
    assert first.series.hand == -1
    assert first.volume_shape == (2000, 4000, 4000)
    assert first.series.geometry.shift[0].tolist() == [108.499417, 34.845611]
    assert first.series.geometry.rotation[0] == 85.032958
    write_tomograms(tmp_path / "tomograms.star", tomograms, relative_to=tmp_path)
    for one, two in zip(tomograms, read_tomograms(tmp_path / "tomograms.star", (3838, 3710)), strict=True):
        assert dict(one.tilt_columns.columns) == dict(two.tilt_columns.columns)
        name = "rlnTomoTiltSeriesStarFile"
        assert {k: v for k, v in one.columns.items() if k != name} == {
            k: v for k, v in two.columns.items() if k != name
        }


def test_bad_input(tmp_path: Path) -> None:
    write_star(tmp_path / "a.star", {"global": StarBlock({"x": "1"}, {})})
    with pytest.raises(FormatError, match="lists no tomograms"):
        read_tomograms(tmp_path / "a.star", (80, 96))
    with pytest.raises(FormatError, match="holds no tilts"):
        read_tilt_series_star(tmp_path / "a.star")
    row = {"rlnTomoName": ["TS"], "rlnTomoTiltSeriesStarFile": ["gone.star"]}
    write_star(tmp_path / "a.star", {"global": StarBlock({}, row)})
    with pytest.raises(InputError, match="not there"):
        read_tomograms(tmp_path / "a.star", (80, 96))
    with pytest.raises(InputError, match="same name"):
        write_tomograms(tmp_path / "b.star", [a_tomogram(), a_tomogram()])
    write_star(tmp_path / "gone.star", {"TS": StarBlock({}, {"rlnTomoYTilt": ["1"], "rlnMicrographName": ["a"]})})
    with pytest.raises(FormatError, match="pixel size"):
        read_tomograms(tmp_path / "a.star", (80, 96))


def test_ctf_halves_and_dose(tmp_path: Path) -> None:
    there = a_tomogram()
    rng = np.random.default_rng(4)
    ctf = tilt_ctf(
        rng.uniform(2e4, 4e4, (4, 2)),
        rng.uniform(0, 180, 4),
        phase_shift=rng.uniform(20, 90, 4),
        score=rng.uniform(0, 1, 4),
        resolution=rng.uniform(5, 20, 4),
    )
    halves = tuple((ImageRef(f"ts_{k}_EVN.mrc"), ImageRef("odd.mrcs", k)) for k in range(4))
    series = replace(there.series, ctf=ctf, halves=halves, excluded={3: "dark"})
    assert write_tomograms(tmp_path / "tomograms.star", [replace(there, series=series)]) == []
    table = read_star(tmp_path / "tilt_series/TS_1.star")["TS_1"].columns
    assert table["rlnMicrographNameEven"] == ["ts_0_EVN.mrc", "ts_1_EVN.mrc", "ts_2_EVN.mrc"]
    assert table["rlnMicrographNameOdd"][1] == "000002@odd.mrcs"
    np.testing.assert_allclose([float(v) for v in table["rlnCtfScalefactor"]], np.cos(np.deg2rad([6, 3, 0])), atol=1e-6)
    assert read_star(tmp_path / "tomograms.star")["global"].columns["rlnTomoImportFractionalDose"] == ["3.000000"]
    (back,) = read_tomograms(tmp_path / "tomograms.star", (3838, 3710))
    assert back.series.halves == halves[:3]
    assert back.series.ctf is not None
    for name in ("defocus_u", "defocus_v", "angle", "phase_shift", "score", "resolution"):
        np.testing.assert_allclose(getattr(back.series.ctf, name), getattr(ctf, name)[:3], atol=1e-6)


def test_a_ctf_that_is_not_known_is_told(tmp_path: Path) -> None:
    there = a_tomogram()
    defocus = np.full((4, 2), 2e4)
    defocus[2] = np.nan
    series = replace(there.series, ctf=tilt_ctf(defocus, np.zeros(4)), exposure=np.array([3.0, 3, 2, 3]))
    notes = write_tomograms(tmp_path / "tomograms.star", [replace(there, series=series)])
    assert "none for image 3" in notes[0]
    assert "differ in dose" in notes[1]
    assert "rlnDefocusU" not in read_star(tmp_path / "tilt_series/TS_1.star")["TS_1"].columns


def test_a_changed_ctf_among_others(tmp_path: Path) -> None:
    """Rows in another order than the series', V the larger, and an astigmatism that RELION left behind."""
    columns = {
        "rlnMicrographName": ["a.mrc", "b.mrc"],
        "rlnTomoYTilt": ["3.0", "-3.0"],
        "rlnDefocusU": ["39745.121542", "30000"],
        "rlnDefocusV": ["39951.772312", "29000"],
        "rlnCtfAstigmatism": ["109.371094", "1000"],
        "rlnDefocusAngle": ["134.726584", "20"],
    }
    write_star(tmp_path / "t.star", {"TS": StarBlock({}, columns)})
    row = {"rlnTomoName": ["TS"], "rlnTomoTiltSeriesStarFile": ["t.star"], "rlnTomoTiltSeriesPixelSize": ["1.3500"]}
    write_star(tmp_path / "tomograms.star", {"global": StarBlock({}, row)})
    (tomogram,) = read_tomograms(tmp_path / "tomograms.star", (100, 120))
    ctf = tomogram.series.ctf
    assert ctf is not None
    assert ctf.of(1).defocus_u == 39951.772312
    assert ctf.angle[1] == pytest.approx(134.726584 + 90 - 180)
    moved = replace(ctf, defocus_u=ctf.defocus_u + np.array([500.0, 0]))
    write_tomograms(tmp_path / "tomograms.star", [replace(tomogram, series=replace(tomogram.series, ctf=moved))])
    table = read_star(tmp_path / "tilt_series/TS.star")["TS"].columns
    assert table["rlnDefocusU"] == ["39745.121542", "30500.000000"]
    assert table["rlnCtfAstigmatism"] == ["109.371094", "1500.000000"]
    assert "rlnCtfScalefactor" not in table


def test_images_in_a_stack_and_names_from_the_project(tmp_path: Path) -> None:
    """RELION takes an .mrc for a single image unless it is told that it is a stack."""
    there = a_tomogram()
    stack = tuple(ImageRef(f"{tmp_path}/stacks/TS_1.mrc", k) for k in range(4))
    halves = tuple((ImageRef(f"{tmp_path}/e.st", k), ImageRef("/elsewhere/o.mrc", k)) for k in range(4))
    movies = tuple(f"{tmp_path}/frames/{k}.eer" for k in range(4))
    series = replace(there.series, images=stack, halves=halves, movies=movies)
    write_tomograms(tmp_path / "tomograms.star", [replace(there, series=series)], relative_to=tmp_path)
    table = read_star(tmp_path / "tilt_series/TS_1.star")["TS_1"].columns
    assert table["rlnMicrographName"][1] == "000002@stacks/TS_1.mrc:mrcs"
    assert table["rlnMicrographNameEven"][1] == "000002@e.st"
    assert table["rlnMicrographNameOdd"][0] == "000001@/elsewhere/o.mrc:mrcs"
    assert table["rlnMicrographMovieName"][3] == "frames/3.eer"
    (back,) = read_tomograms(tmp_path / "tomograms.star", (3838, 3710))
    assert back.series.images == tuple(ImageRef("stacks/TS_1.mrc", k) for k in range(4))
    assert back.series.halves[2] == (ImageRef("e.st", 2), ImageRef("/elsewhere/o.mrc", 2))
