"""Names of movies as SerialEM, PACEtomo, EPU and Tomography write them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thon.formats.movie_names import MovieName, parse_movie_name

TAKEN = datetime(2024, 1, 2, 10, 11, 12)
TOMOGRAPHY = {
    "Position_1_001_-12.00_20240102_101112_EER.eer": ("Position_1", -12.0, 1, TAKEN),
    "Position_1_2_003_6.0_20240102_101112_EER.eer": ("Position_1_2", 6.0, 3, TAKEN),
    "Position_1_1_001_0.00_20240102_101112_fractions.tiff": ("Position_1_1", 0.0, 1, TAKEN),
    "name1_004_9_20240102_101112_Fractions.mrc": ("name1", 9.0, 4, TAKEN),
    "Position_21_041[-60.00]_EER.eer": ("Position_21", -60.0, 41, None),
    "Position_1_001[10.00]_fractions.tiff": ("Position_1", 10.0, 1, None),
    "Position_1_001[0.00]-117.mrc": ("Position_1", 0.0, 1, None),
    "Position_1_[30.0].tiff": ("Position_1", 30.0, None, None),
}
SERIALEM = {
    "TS_01_003_-15.0_Nov20_12.34.56.tif": ("TS_01", -15.0, 3, (11, 20, 12, 34, 56)),
    "TS_01_003_-15.0.mrc": ("TS_01", -15.0, 3, None),
    "TS_01_000_0.0.mrc": ("TS_01", 0.0, 0, None),
    "TS_01_039_+57.0_Jul2_01.02.03.tif.mdoc": ("TS_01", 57.0, 39, (7, 2, 1, 2, 3)),
    "lam1_ts_001_013_-51.00_Dec31_23.59.59.eer": ("lam1_ts_001", -51.0, 13, (12, 31, 23, 59, 59)),
    "grid 2 lam3_001_7.01.tif": ("grid 2 lam3", 7.01, 1, None),
    "20240102_PACE_ts_002_1.5.mrc.bz2": ("20240102_PACE_ts", 1.5, 2, None),
    "tomo4_-33.0_Feb28_12.34.56.tif": ("tomo4", -33.0, None, (2, 28, 12, 34, 56)),
    "grid2_00042_Nov20_12.34.56.tif": ("grid2", None, 42, (11, 20, 12, 34, 56)),
    "Nov20_12.34.56.tif": None,
}


@pytest.mark.parametrize("name", TOMOGRAPHY)
@pytest.mark.parametrize("folder", ["", "/data/a_001_3.0/", "X:\\session [1]\\"])
def test_tomography(name: str, folder: str) -> None:
    series, tilt, order, time = TOMOGRAPHY[name]
    assert parse_movie_name(folder + name) == MovieName("Tomography", series, tilt, order, time)


@pytest.mark.parametrize("name", SERIALEM)
def test_serialem(name: str) -> None:
    expected = SERIALEM[name]
    if expected is None:
        assert parse_movie_name(name) == MovieName()
        return
    series, tilt, order, date = expected
    assert parse_movie_name(Path(name)) == MovieName("SerialEM", series, tilt, order)
    time = None if date is None else datetime(2025, *date)
    assert parse_movie_name(name, year=2025) == MovieName("SerialEM", series, tilt, order, time)


@pytest.mark.parametrize("ending", ["EER.eer", "fractions.tiff", "Fractions.mrc"])
def test_epu(ending: str) -> None:
    name = f"Images-Disc1/GridSquare_25590846/Data/FoilHole_123_Data_456_789_20240102_101112_{ending}"
    found = parse_movie_name(name)
    assert (found.program, found.foil_hole, found.area, found.grid_square) == ("EPU", "123", "456", "25590846")
    assert found.time == TAKEN
    assert found.tilt is None
    beside = parse_movie_name("FoilHole_123_Data_456_789_20240102_101112.xml")
    assert (beside.foil_hole, beside.time, beside.grid_square) == ("123", TAKEN, None)
    # Versions before 2019 gave hours and minutes only.
    old = parse_movie_name("FoilHole_123_Data_456_789_20240102_1011_Fractions.mrc")
    assert (old.foil_hole, old.time) == ("123", TAKEN.replace(second=0))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.tif",
        "May08_03.05.02.bin",
        "14sep05c_00024sq_00003hl_00002es.frames.mrc",
        "gain_ref.mrc",
        "particle_0001.tif",
        "TS_01_003_15.tif",
        "TS_01_003_123.4.tif",
        "CountRef_TS_01.mrc",
    ],
)
def test_other_names_say_nothing(name: str) -> None:
    assert parse_movie_name(name) == MovieName()


def test_impossible_times_are_no_times() -> None:
    assert parse_movie_name("Position_1_001_3.0_20241302_101112_EER.eer").time is None
    assert parse_movie_name("Position_1_001_3.0_20241302_101112_EER.eer").tilt == 3.0
    assert parse_movie_name("TS_01_003_-15.0_Feb30_12.34.56.tif", year=2024).time is None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="TS_01.-+[]/\\ aNov20FoilHole_Data_EERtif", max_size=80))
def test_any_name_is_taken(name: str) -> None:
    found = parse_movie_name(name, year=2024)
    assert found.tilt is None or abs(found.tilt) <= 90
    assert (found.program is None) == (found == MovieName())
