"""RELION's stars of movies and micrographs."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.ctf import Ctf, CtfFit
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.motion import FrameMotion
from thon.data.movie import Movie
from thon.data.optics import Optics
from thon.formats.mrc_writer import write_mrc
from thon.formats.relion_micrographs import RelionMicrographs, read_ctf_star, read_micrographs, write_micrographs
from thon.formats.relion_movies import read_movies, write_movies
from thon.formats.star import StarBlock, read_star, write_star

SHARED = Path(__file__).resolve().parents[3] / "shared/data/metadata"

KRIOS, GLACIOS = Optics(300, 2.7, 0.1), Optics(200, 2.7, 0.07)


def micrographs(folder: Path) -> list[Micrograph]:
    """Two microscopes, the second without a spectrum; with absolute paths, as a job has them."""
    motion = FrameMotion(np.array([[0.0, 0], [3, 4], [3, 6]]), frame_exposure=2.0)
    made: list[Micrograph] = []
    for k, optics in enumerate((KRIOS, GLACIOS, KRIOS)):
        stem = str(folder / f"MotionCorr/m_{k}")
        movie = Movie(f"m_{k}", f"{folder}/Movies/m_{k}.tif", 3, (80, 97), 0.5, optics=optics)
        made.append(
            Micrograph(
                f"m_{k}",
                f"{stem}.mrc",
                (40, 48),
                1.0,
                optics,
                movie=movie,
                unweighted=f"{stem}_noDW.mrc",
                even=f"{stem}_EVN.mrc",
                odd=f"{stem}_ODD.mrc",
                spectrum=None if k == 1 else f"{stem}_PS.mrc",
                metadata=f"{stem}.star",
                motion=motion,
            )
        )
    return made


def fitted(micrograph: Micrograph, ctf: Ctf) -> CtfMicrograph:
    known = {entry.name: getattr(micrograph, entry.name) for entry in fields(micrograph)}
    fit = CtfFit(ctf, Ctf(1, 1, 1), 0.2, 4.5, (30, 4), ice_ring=0.75)
    return CtfMicrograph(**known, fit=fit, diagnostic=micrograph.path.replace(".mrc", ".ctf"))


def test_movies(tmp_path: Path) -> None:
    movies = [
        Movie(f"m_{k}", f"{tmp_path}/Movies/m {k}.tif", 3, (80, 97), size, optics=optics)
        for k, (optics, size) in enumerate(((KRIOS, 0.5), (GLACIOS, 0.5), (KRIOS, 0.5), (KRIOS, 0.7)))
    ]
    write_movies(tmp_path / "movies.star", movies, relative_to=tmp_path)
    table = read_star(tmp_path / "movies.star")
    assert list(table) == ["optics", "movies"]
    assert table["movies"].columns["rlnOpticsGroup"] == ["1", "2", "1", "3"]
    assert table["optics"].columns["rlnOpticsGroupName"] == ["opticsGroup1", "opticsGroup2", "opticsGroup3"]
    found = read_movies(tmp_path / "movies.star")
    assert [movie.path for movie in found] == [f"Movies/m {k}.tif" for k in range(4)]
    assert [movie.optics for movie in found] == [KRIOS, GLACIOS, KRIOS, KRIOS]
    assert [movie.pixel_size for movie in found] == [0.5, 0.5, 0.5, 0.7]
    with pytest.raises(InputError, match="no movies"):
        write_movies(tmp_path / "a.star", [])


def test_corrected_micrographs(tmp_path: Path) -> None:
    there = micrographs(tmp_path)
    assert write_micrographs(tmp_path / "c.star", there, relative_to=tmp_path) == []
    blocks = read_star(tmp_path / "c.star")
    table = blocks["micrographs"].columns
    assert table["rlnMicrographName"] == [f"MotionCorr/m_{k}.mrc" for k in range(3)]
    assert table["rlnCtfPowerSpectrum"] == ["MotionCorr/m_0_PS.mrc", "None", "MotionCorr/m_2_PS.mrc"]
    assert table["rlnMicrographMetadata"][2] == "MotionCorr/m_2.star"
    # 5 + 2 Å of path at 0.5 Å a pixel; the second frame ends at 4 e/Å².
    assert table["rlnAccumMotionTotal"] == ["14.000000"] * 3
    assert table["rlnAccumMotionEarly"] == ["10.000000"] * 3
    assert blocks["optics"].columns["rlnMicrographOriginalPixelSize"] == ["0.500000"] * 2
    assert blocks["optics"].columns["rlnMicrographPixelSize"] == ["1.000000"] * 2
    back = read_micrographs(tmp_path / "c.star", (40, 48))
    for one, two in zip(there, back.micrographs, strict=True):
        assert (two.name, two.image_shape, two.pixel_size, two.optics) == (one.name, (40, 48), 1.0, one.optics)
        for name in ("path", "unweighted", "even", "odd", "metadata"):
            assert f"{tmp_path}/{getattr(two, name)}" == getattr(one, name)
    assert back.micrographs[1].spectrum is None
    write_micrographs(tmp_path / "d.star", there, frame_pixel_size=0.25)
    blocks = read_star(tmp_path / "d.star")
    assert blocks["optics"].columns["rlnMicrographOriginalPixelSize"] == ["0.250000"] * 2
    assert blocks["micrographs"].columns["rlnAccumMotionTotal"] == ["28.000000"] * 3
    assert blocks["micrographs"].columns["rlnMicrographName"][0] == there[0].path


def test_micrographs_with_ctf(tmp_path: Path) -> None:
    ctfs = [Ctf(20000, 19000, 12.5), Ctf(8000, 7990, 0), Ctf(30000, 25000, 179.5, 45)]
    there = [fitted(m, ctf) for m, ctf in zip(micrographs(tmp_path), ctfs, strict=True)]
    assert write_micrographs(tmp_path / "c.star", there, relative_to=tmp_path) == []
    table = read_star(tmp_path / "c.star")["micrographs"].columns
    assert table["rlnCtfImage"][0] == "MotionCorr/m_0.ctf:mrc"
    assert table["rlnCtfAstigmatism"] == ["1000.000000", "10.000000", "5000.000000"]
    assert table["rlnPhaseShift"][2] == "45.000000"
    assert table["rlnCtfIceRingDensity"] == ["0.750000"] * 3
    back = read_micrographs(tmp_path / "c.star", (40, 48))
    for ctf, two in zip(ctfs, back.micrographs, strict=True):
        assert isinstance(two, CtfMicrograph)
        assert two.fit is not None
        assert (two.fit.ctf, two.fit.score, two.fit.resolution, two.fit.ice_ring) == (ctf, 0.2, 4.5, 0.75)
    assert getattr(back.micrographs[2], "diagnostic", None) == "MotionCorr/m_2.ctf"
    assert read_ctf_star(tmp_path / "c.star").optics == (KRIOS, GLACIOS, KRIOS)
    notes = write_micrographs(tmp_path / "d.star", [*there[:2], micrographs(tmp_path)[2]])
    assert "1 of 3" in notes[0]
    assert "rlnDefocusU" not in read_star(tmp_path / "d.star")["micrographs"].columns


def test_what_is_not_known_survives(tmp_path: Path) -> None:
    """Unknown columns, names of groups and the texts of numbers that did not change; V may be the larger."""
    optics = {
        "rlnOpticsGroupName": ["north", "south"],
        "rlnOpticsGroup": ["1", "2"],
        "rlnMtfFileName": ["k3 300.star", "f4.star"],
        "rlnMicrographOriginalPixelSize": ["0.50", "0.50"],
        "rlnVoltage": ["300", "200.0"],
        "rlnSphericalAberration": ["2.7", "2.7"],
        "rlnAmplitudeContrast": ["0.1", "0.07"],
        "rlnMicrographPixelSize": ["1.0", "1.0"],
    }
    table = {
        "rlnMicrographName": ["a.mrc", "b.mrc"],
        "rlnOpticsGroup": ["1", "2"],
        "rlnAccumMotionTotal": ["13.52", "1e1"],
        "rlnDefocusU": ["19000.5", "20000"],
        "rlnDefocusV": ["20000.25", "19000"],
        "rlnCtfAstigmatism": ["999.7", "1000"],
        "rlnDefocusAngle": ["-15.5", "20"],
        "rlnSomethingNew": ["two words", "z"],
    }
    write_star(tmp_path / "c.star", {"optics": StarBlock({}, optics), "micrographs": StarBlock({}, table)})
    found = read_micrographs(tmp_path / "c.star", (40, 48))
    first = found.micrographs[0]
    assert isinstance(first, CtfMicrograph)
    assert first.fit is not None
    assert first.fit.ctf == Ctf(20000.25, 19000.5, 74.5)
    write_micrographs(tmp_path / "d.star", found)
    blocks = read_star(tmp_path / "d.star")
    assert {k: list(v) for k, v in blocks["optics"].columns.items()} == optics
    assert {k: list(v) for k, v in blocks["micrographs"].columns.items()} == table
    changed = replace(first, fit=replace(first.fit, ctf=Ctf(20100, 19000.5, 74.5)))
    write_micrographs(tmp_path / "e.star", replace(found, micrographs=(changed, found.micrographs[1])))
    columns = read_star(tmp_path / "e.star")["micrographs"].columns
    assert columns["rlnDefocusU"] == ["20100.000000", "20000"]
    assert columns["rlnDefocusAngle"] == ["74.500000", "20"]
    with pytest.raises(InputError, match="differ in number"):
        RelionMicrographs(found.micrographs[:1], columns=found.columns)


def test_sizes_from_the_images(tmp_path: Path) -> None:
    there = micrographs(tmp_path)[:1]
    write_micrographs(tmp_path / "c.star", there, relative_to=tmp_path)
    with pytest.raises(InputError, match="not there"):
        read_micrographs(tmp_path / "c.star")
    (tmp_path / "MotionCorr").mkdir()
    write_mrc(tmp_path / "MotionCorr/m_0.mrc", np.zeros((1, 33, 47), np.float32), voxel_size=1.0)
    assert read_micrographs(tmp_path / "c.star").micrographs[0].image_shape == (33, 47)


def test_bad_files(tmp_path: Path) -> None:
    write_star(tmp_path / "a.star", {"x": StarBlock({"y": "1"}, {})})
    for reader, message in (
        (read_micrographs, "no micrographs"),
        (read_movies, "no movies"),
        (read_ctf_star, "no CTFs"),
    ):
        with pytest.raises(FormatError, match=message):
            reader(tmp_path / "a.star")
    table = {"rlnMicrographName": ["a.mrc"], "rlnOpticsGroup": ["2"]}
    optics = {"rlnOpticsGroup": ["1"], "rlnVoltage": ["300"], "rlnMicrographPixelSize": ["1.0"]}
    write_star(tmp_path / "a.star", {"optics": StarBlock({}, optics), "micrographs": StarBlock({}, table)})
    with pytest.raises(FormatError, match="optics group that is not there"):
        read_micrographs(tmp_path / "a.star", (40, 48))
    optics["rlnOpticsGroup"] = ["2"]
    optics["rlnMicrographPixelSize"] = ["0"]
    write_star(tmp_path / "a.star", {"optics": StarBlock({}, optics), "micrographs": StarBlock({}, table)})
    with pytest.raises(FormatError, match=r"pixel size of a\.mrc is missing"):
        read_micrographs(tmp_path / "a.star", (40, 48))
    with pytest.raises(InputError, match="no micrographs"):
        write_micrographs(tmp_path / "b.star", [])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_files(tmp_path: Path) -> None:
    for name in (
        "tomo_preprocessing/motion_correction/relion_motion_correction_output.star",
        "tomo_preprocessing/ctffind/relion_ctf_estimation_output.star",
    ):
        found = read_micrographs(SHARED / name, (3838, 3710))
        write_micrographs(tmp_path / "a.star", found)
        one, two = read_star(SHARED / name), read_star(tmp_path / "a.star")
        assert {k: dict(v.columns) for k, v in one.items()} == {k: dict(v.columns) for k, v in two.items()}
    first = found.micrographs[0]
    assert isinstance(first, CtfMicrograph)
    assert first.fit is not None
    assert first.fit.ctf == Ctf(39224.277344, 39029.84375, pytest.approx(180 - 15.47666), 0)
    gctf = read_ctf_star(SHARED / "cryocat/TS_018/018_gctf.star")
    assert len(gctf.names) == 60
    assert gctf.optics[5] == Optics(300, 2.7, 0.07)
    assert gctf.ctf.resolution[0] == 6.513837
    assert gctf.ctf.of(1) == Ctf(35647.824219, 34332.652344, pytest.approx(100.495987), 0)
