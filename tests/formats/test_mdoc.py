"""SerialEM's mdoc and its dialects."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.mdoc import base_name, parse_date, read_mdoc, write_mdoc
from thon.formats.mdoc_series import (
    describe_mdoc,
    find_movies,
    read_mdoc_series,
    tilt_series_from_mdoc,
)

DATA = Path(__file__).resolve().parents[1] / "data/mdoc"
SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata"

SECTION = """[ZValue = {z}]
TiltAngle = {tilt}
ExposureDose = {dose}
SubFramePath = D:\\DATA\\frames\\ts_{z:03d}_{tilt}.tif
DateTime = {date}

"""


def mdoc(path: Path, tilts: list[float], *, dates: list[str] | None = None, head: str = "", dose: object = 3.1) -> Path:
    text = head or "PixelSpacing = 2.5\nVoltage = 300\nImageFile = ts.mrc\nImageSize = 96 80\n\n"
    text += "[T = SerialEM: somewhere]\n\n[T =   Tilt axis angle = 84.7, binning = 1  spot = 8]\n\n"
    dates = dates or [f"30-Nov-15  15:{k:02d}:00" for k in range(len(tilts))]
    for z, (tilt, date) in enumerate(zip(tilts, dates, strict=True)):
        text += SECTION.format(z=z, tilt=tilt, date=date, dose=dose)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.mdoc")))
def test_real_files_come_back(tmp_path: Path, name: str) -> None:
    first = read_mdoc(DATA / name)
    assert not first.notes
    write_mdoc(tmp_path / "a.mdoc", first)
    again = read_mdoc(tmp_path / "a.mdoc")
    assert (again.header, again.titles) == (first.header, first.titles)
    assert [(s.kind, s.value, s.entries) for s in again.sections] == [
        (s.kind, s.value, s.entries) for s in first.sections
    ]


def test_serialem_tilt_series() -> None:
    found = read_mdoc_series(DATA / "tilt_series.mdoc")
    assert len(found) == 41
    assert found.rotation == 85.3
    assert found.pixel_size == 5.4
    assert found.image_shape == (958, 924)
    assert found.movies[0] == "TS_01_000_0.0.mrc"
    assert found.stack == "TS_01.mrc"
    assert found.order.tolist() == list(range(41))
    assert np.isnan(found.exposure).all()
    assert any("do not say their dose" in note for note in found.notes)
    assert describe_mdoc(found)[0] == "41 images from -59.9986° to 60.0006°, the first taken at 0.000999877°."


def test_dose_from_the_camera() -> None:
    found = read_mdoc_series(DATA / "murfey.mdoc")
    assert found.voltage == 300
    assert found.rotation == 83.8
    assert found.exposure[0] == pytest.approx(5.45454 * 1.49179 / 1.94**2)
    assert any("DoseRate" in note for note in found.notes)
    # Windows share with doubled backslashes.
    assert found.movies[0] == "chrom_07_ts_010_167_000_-0.0.mrc"


def test_frame_sets() -> None:
    single = read_mdoc_series(DATA / "frame_set_single.mdoc")
    assert single.exposure.tolist() == [7.65892]
    assert single.rotation == pytest.approx(88.414)
    assert any("RotationAngle" in note for note in single.notes)
    several = read_mdoc_series(DATA / "frame_set_multiple.mdoc")
    assert len(several) == 20
    assert several.prior_exposure[1] == pytest.approx(7.66184)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_other_real_files() -> None:
    """Sorted by tilt, with DateTime giving the order; and montages, which are no tilt series."""
    found = read_mdoc_series(SHARED / "cryocat/TS_017/017.mdoc")
    assert found.tilt[0] == -52.0064
    assert found.order[0] == 59
    assert found.prior_exposure[0] == pytest.approx(59 * 2.23843, rel=0.001)
    for file in sorted((SHARED / "mdoc/teamtomo_mdocfile").glob("montage*")):
        with pytest.raises(InputError, match="montage"):
            read_mdoc_series(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30-Nov-15  15:21:38", datetime(2015, 11, 30, 15, 21, 38)),
        ("01-Aug-2022  18:58:35", datetime(2022, 8, 1, 18, 58, 35)),
        ("1-Dez-2022 8:05:09", datetime(2022, 12, 1, 8, 5, 9)),
        ("02-Jan-99  00:00:00", datetime(1999, 1, 2)),
        ("2022-08-01T18:58:35.25", datetime(2022, 8, 1, 18, 58, 35, 250000)),
        ("2022/08/01 18:58", datetime(2022, 8, 1, 18, 58)),
        ("8/31/2022 6:58:35 PM", datetime(2022, 8, 31, 18, 58, 35)),
        ("31/8/2022 12:58:35 AM", datetime(2022, 8, 31, 0, 58, 35)),
        ("05.08.2022 18:58:35", datetime(2022, 8, 5, 18, 58, 35)),
        ("Aug 01, 2022 18:58:35", datetime(2022, 8, 1, 18, 58, 35)),
    ],
)
def test_dates(text: str, expected: datetime) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "30-Foo-15 15:21:38", "30-Nov-15", "31-Feb-2020 10:00:00", "12:00:00"]
)
def test_no_dates(text: str) -> None:
    assert parse_date(text) is None


def test_spaces_line_ends_and_marks(tmp_path: Path) -> None:
    text = mdoc(tmp_path / "a.mdoc", [0.0, 3.0]).read_text()
    awkward = text.replace(" = ", "=").replace("[ZValue=1]", "[ZValue  =  1 ]").replace("\n", "\r\n")
    (tmp_path / "b.mdoc").write_bytes(b"\xef\xbb\xbf" + awkward.encode())
    first, second = read_mdoc_series(tmp_path / "a.mdoc"), read_mdoc_series(tmp_path / "b.mdoc")
    np.testing.assert_array_equal(first.tilt, second.tilt)
    assert (first.rotation, first.movies, first.notes) == (second.rotation, second.movies, second.notes)
    assert second.rotation == 84.7


def test_order_and_dose(tmp_path: Path) -> None:
    """Sorted by tilt in the file; the times tell a dose-symmetric scheme across midnight."""
    dates = [
        "02-Aug-22 00:00:10",
        "01-Aug-22 23:59:20",
        "01-Aug-22 23:58:00",
        "01-Aug-22 23:59:00",
        "02-Aug-22 00:00:00",
    ]
    series, lines = tilt_series_from_mdoc(mdoc(tmp_path / "ts.mrc.mdoc", [-6, -3, 0, 3, 6], dates=dates))
    assert series.order.tolist() == [4, 2, 0, 1, 3]
    np.testing.assert_allclose(series.prior_exposure, np.array([4, 2, 0, 1, 3]) * 3.1)
    np.testing.assert_allclose(series.exposure, 3.1)
    assert series.name == "ts"
    assert series.image_shape == (80, 96)
    assert (series.geometry.rotation == 84.7).all()
    assert series.optics.voltage == 300
    assert series.images[0].path == str(tmp_path / "ts.mrc")
    assert series.movies[0] == "ts_000_-6.tif"
    assert "the first taken at 0°" in lines[0]
    over, _ = tilt_series_from_mdoc(tmp_path / "ts.mrc.mdoc", exposure=2.0, pixel_size=1.0, image_shape=(10, 12))
    assert over.prior_exposure.tolist() == [8, 4, 0, 2, 6]
    assert (over.pixel_size, over.image_shape) == (1.0, (10, 12))


def test_order_without_dates(tmp_path: Path) -> None:
    found = read_mdoc_series(mdoc(tmp_path / "a.mdoc", [3, 0, -3], dates=["", "", ""]))
    assert found.order.tolist() == [0, 1, 2]
    assert any("ZValue is taken" in note for note in found.notes)


def test_frame_doses(tmp_path: Path) -> None:
    path = mdoc(tmp_path / "a.mdoc", [0.0, 3.0], dose=0)
    path.write_text(path.read_text().replace("SubFramePath", "FrameDosesAndNumber = 0.5 4 0.25 2\nSubFramePath"))
    assert read_mdoc_series(path).exposure.tolist() == [2.5, 2.5]


def test_repeated_sections(tmp_path: Path) -> None:
    """A tilt taken again under the same ZValue replaces the first; the same ZValue at another tilt does not."""
    path = mdoc(tmp_path / "a.mdoc", [0.0, 3.0])
    again = SECTION.format(z=1, tilt=3.02, dose=5, date="30-Nov-15  16:00:00")
    path.write_text(path.read_text() + again)
    found = read_mdoc_series(path)
    assert found.tilt.tolist() == [0, 3.02]
    assert any("occurs again" in note for note in found.notes)
    path.write_text(path.read_text() + SECTION.format(z=1, tilt=-3, dose=5, date="30-Nov-15  16:10:00"))
    found = read_mdoc_series(path)
    assert found.tilt.tolist() == [0, 3.02, -3]
    assert found.section.tolist() == [0, 1, 2]


def test_movies_are_found_below_the_folder(tmp_path: Path) -> None:
    path = mdoc(tmp_path / "ts.mdoc", [0.0, 3.0, -3.0])
    names = read_mdoc_series(path).movies
    deep = tmp_path / "raw" / "day 1" / "frames"
    deep.mkdir(parents=True)
    (deep / names[0]).write_text("x")
    (deep / names[1]).with_suffix(".mrc.gz").write_text("x")
    with pytest.raises(InputError, match="1 of 3 movies are missing") as caught:
        find_movies(names, tmp_path)
    assert names[2] in str(caught.value)
    (tmp_path / "raw" / names[2]).write_text("x")
    (deep / names[2]).write_text("x")
    paths = find_movies(names, tmp_path)
    assert paths[names[0]] == str(deep / names[0])
    assert paths[names[1]].endswith(".mrc.gz")
    assert paths[names[2]] == str(tmp_path / "raw" / names[2])
    series, _ = tilt_series_from_mdoc(path, movies=tmp_path)
    assert series.images[0].path == str(tmp_path / "raw" / names[2])
    with pytest.raises(InputError, match="no such folder"):
        find_movies(names, tmp_path / "none")


def test_missing_entries(tmp_path: Path) -> None:
    path = mdoc(tmp_path / "a.mdoc", [0.0, 3.0])
    text = path.read_text()
    path.write_text(text.replace("TiltAngle = 0.0\n", ""))
    with pytest.raises(FormatError, match="line 10: ZValue 0 has no TiltAngle"):
        read_mdoc_series(path)
    path.write_text(text.replace("PixelSpacing = 2.5", ""))
    with pytest.raises(InputError, match="pixel size"):
        tilt_series_from_mdoc(path)
    path.write_text(text.replace("TiltAngle = 3.0", "TiltAngle = steep"))
    with pytest.raises(FormatError, match="line 16"):
        read_mdoc_series(path)


def test_an_mdoc_that_ends_in_its_last_image(tmp_path: Path) -> None:
    """Cut anywhere after that image's first line, even within the number of its tilt, the others are what they were."""
    path = mdoc(tmp_path / "a.mdoc", [0.0, 3.0, -33.0])
    text = path.read_text()
    start, end = text.index("[ZValue = 2]"), text.index("DateTime", text.index("[ZValue = 2]"))
    whole = read_mdoc_series(path)
    assert whole.tilt.tolist() == [0, 3, -33]
    for size in range(start + len("[ZValue = 2]"), end):
        path.write_text(text[:size])
        found = read_mdoc_series(path)
        assert found.tilt.tolist() == [0, 3]
        assert found.movies == whole.movies[:2]
        assert any("the mdoc ends in it" in note for note in found.notes)


def test_a_clock_that_is_set_back_during_the_series(tmp_path: Path) -> None:
    dates = [f"26-Oct-25  {time}" for time in ("02:58:00", "02:59:00", "02:00:00", "02:01:00")]
    path = mdoc(tmp_path / "a.mdoc", [0.0, 3.0, -3.0, 6.0], dates=dates)
    assert read_mdoc_series(path).order.tolist() == [2, 3, 0, 1]
    text = path.read_text()
    for k in range(4):
        text = text.replace(f"[ZValue = {k}]\n", f"[ZValue = {k}]\nPriorRecordDose = {3 * k}\n")
    path.write_text(text)
    found = read_mdoc_series(path)
    assert found.order.tolist() == [0, 1, 2, 3]
    assert any("as if the clock had been set" in note for note in found.notes)


def test_lines_that_are_not_understood_are_told(tmp_path: Path) -> None:
    path = mdoc(tmp_path / "a.mdoc", [0.0])
    path.write_text(path.read_text() + "stray words\nTiltAngle = 1\n")
    notes = read_mdoc(path).notes
    assert "not understood: stray words" in notes[0]
    assert "TiltAngle occurs twice" in notes[1]


@pytest.mark.parametrize("text", ["hello world\n", "PixelSpacing = 3\n"])
def test_no_mdoc(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.mdoc").write_text(text)
    with pytest.raises(FormatError, match="no section"):
        read_mdoc(tmp_path / "a.mdoc")


def test_base_name() -> None:
    assert base_name("X:\\a b\\c.tif") == base_name("/a b/c.tif") == base_name("c.tif ") == "c.tif"


def test_order_without_dates_from_the_dose_received(tmp_path: Path) -> None:
    text = "PixelSpacing = 2\n\n"
    for k, (tilt, received) in enumerate([(-3, 3.0), (0, 0.0), (3, 6.0)]):
        text += f"[ZValue = {k}]\nTiltAngle = {tilt}\nExposureDose = 3\nPriorRecordDose = {received}\n\n"
    (tmp_path / "a.mdoc").write_text(text)
    found = read_mdoc_series(tmp_path / "a.mdoc")
    assert found.order.tolist() == [1, 0, 2]
    assert found.prior_exposure.tolist() == [3, 0, 6]
    assert not any("had received" in note for note in found.notes)
