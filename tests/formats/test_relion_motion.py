"""RELION's star about a motion-corrected movie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError
from thon.data.motion import FrameMotion, PatchTracks, PolynomialMotion, SplineMotion
from thon.formats.relion_motion import (
    MovieMotion,
    accumulated_motion,
    fit_polynomial,
    read_movie_motion,
    write_movie_motion,
)
from thon.formats.star import StarBlock, read_star, write_star

DATA = Path(__file__).resolve().parents[1] / "data/relion"
SHARED = Path(__file__).resolve().parents[3] / "shared/data/relion5_empiar10164_project"


def a_movie(*, local: bool = True) -> MovieMotion:
    rng = np.random.default_rng(7)
    displacement = rng.normal(0, 3, (6, 2))
    coefficients = rng.normal(0, 1, (2, 6, 3)) * [1e-1, 1e-3, 1e-5]
    place = np.array([[-0.25, -0.3], [-0.25, 0.3], [0.25, -0.3], [0.25, 0.3]])
    patches = PatchTracks(place, rng.normal(0, 2, (4, 6, 2)), {2: "drifts apart"})
    motion = FrameMotion(
        displacement,
        local=PolynomialMotion(coefficients) if local else None,
        patches=patches if local else None,
        first=2,
        group=32,
        frame_exposure=1.25,
    )
    return MovieMotion(
        movie="frames/a.eer",
        frame_shape=(3838, 3710),
        frames=9,
        pixel_size=0.7,
        motion=motion,
        binning=2.0,
        voltage=300.0,
        prior_exposure=6.0,
        gain="gain ref.mrc",
        defects="defects.txt",
        hot_pixels=np.array([[5, 1000], [7, 3]]),
        eer_upsampling=1,
        more={"rlnSomethingNew": "7"},
    )


def test_round_trip(tmp_path: Path) -> None:
    there = a_movie()
    assert write_movie_motion(tmp_path / "a.star", there) == []
    back = read_movie_motion(tmp_path / "a.star")
    for name in ("movie", "frame_shape", "frames", "pixel_size", "binning", "voltage", "prior_exposure"):
        assert getattr(back, name) == getattr(there, name)
    for name in ("gain", "defects", "eer_upsampling", "more"):
        assert getattr(back, name) == getattr(there, name)
    np.testing.assert_array_equal(back.hot_pixels, there.hot_pixels)
    one, two = there.motion, back.motion
    assert (two.first, two.group, two.frame_exposure) == (2, 32, 1.25)
    np.testing.assert_allclose(two.displacement, one.displacement, atol=1e-6)
    place = np.random.default_rng(1).uniform(-0.5, 0.5, (5, 2))
    np.testing.assert_allclose(two.at(place), one.at(place), atol=1e-6)
    assert one.patches is not None
    assert two.patches is not None
    used = [0, 1, 3]
    np.testing.assert_allclose(two.patches.place, one.patches.place[used], atol=1e-9)
    np.testing.assert_allclose(two.patches.displacement, one.patches.displacement[used], atol=1e-6)


def test_what_relion_reads(tmp_path: Path) -> None:
    """The correcting shift in px, x before y; the model's coefficients of x first, in RELION's order."""
    there = a_movie()
    write_movie_motion(tmp_path / "a.star", there)
    blocks = read_star(tmp_path / "a.star")
    assert list(blocks) == ["general", "global_shift", "local_motion_model", "hot_pixels", "local_shift"]
    general = blocks["general"].pairs
    assert (general["rlnImageSizeX"], general["rlnImageSizeY"], general["rlnImageSizeZ"]) == ("3710", "3838", "9")
    assert (general["rlnMicrographStartFrame"], general["rlnMotionModelVersion"]) == ("3", "1")
    shifts = blocks["global_shift"]
    assert shifts.integers("rlnMicrographFrameNumber").tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    for axis, label in enumerate(("rlnMicrographShiftY", "rlnMicrographShiftX")):
        # RELION says -9999 of a frame that it left out.
        expected = [-9999, -9999, *(-there.motion.displacement[:, axis] / 0.7), -9999]
        np.testing.assert_allclose(shifts.numbers(label), expected, atol=1e-6)
    # RELION's model, written out: at (x, y) and z frames after the first.
    coefficient = blocks["local_motion_model"].numbers("rlnMotionModelCoeff")
    x, y, z = 0.3, -0.2, 4.0
    basis = [term * power for term in (1, x, x * x, y, y * y, x * y) for power in (z, z**2, z**3)]
    assert there.motion.local is not None
    moved = there.motion.local(np.array([[y, x]]), np.array([z]))[0, 0]
    np.testing.assert_allclose(np.dot(coefficient[:18], basis), -moved[1] / 0.7, rtol=1e-7)
    np.testing.assert_allclose(np.dot(coefficient[18:], basis), -moved[0] / 0.7, rtol=1e-7)
    hot = blocks["hot_pixels"]
    assert (hot.integers("rlnCoordinateX").tolist(), hot.integers("rlnCoordinateY").tolist()) == ([1000, 3], [5, 7])


def test_relions_own_tracks_are_those_of_the_simulation() -> None:
    """What relion_run_motioncorr 3.1.3 measured, as it is read, against the motion that was put in."""
    found, truth = (read_movie_motion(DATA / name) for name in ("motioncorr_3.1.3.star", "motion_truth.star"))
    place = np.stack(np.meshgrid([-0.4, -0.1, 0.2, 0.4], [-0.4, -0.2, 0.1, 0.4], indexing="ij"), -1).reshape(-1, 2)

    def error(motion: FrameMotion) -> float:
        """px, an arbitrary constant of each place aside."""
        difference = (motion.at(place) - truth.motion.at(place)) / truth.pixel_size
        return float(np.sqrt(((difference - difference.mean(0)) ** 2).sum(-1).mean()))

    local = found.motion.local
    assert isinstance(local, PolynomialMotion)
    assert error(found.motion) < 0.6
    assert error(replace(found.motion, local=None)) > 1.0
    for wrong in (-local.coefficients, local.coefficients[::-1], local.coefficients[:, [0, 3, 4, 1, 2, 5]]):
        assert error(replace(found.motion, local=PolynomialMotion(wrong))) > 1.4
    assert found.hot_pixels.tolist() == truth.hot_pixels.tolist()


def test_frames_that_were_left_out(tmp_path: Path) -> None:
    write_movie_motion(tmp_path / "a.star", a_movie(local=False))
    blocks = read_star(tmp_path / "a.star")
    assert blocks["general"].pairs["rlnMotionModelVersion"] == "0"
    columns = {label: texts[2:8] for label, texts in blocks["global_shift"].columns.items()}
    write_star(tmp_path / "b.star", blocks | {"global_shift": StarBlock({}, columns)})
    for name in ("a", "b"):
        back = read_movie_motion(tmp_path / f"{name}.star")
        assert (len(back.motion), back.motion.first, back.motion.local) == (6, 2, None)


def test_accumulated_motion() -> None:
    motion = FrameMotion(np.array([[0.0, 0], [3, 4], [3, 5], [3, 7], [3, 7]]), frame_exposure=1.3)
    assert accumulated_motion(motion, 0.5) == (16.0, 12.0, 4.0)
    assert accumulated_motion(motion, 0.5, prior_exposure=30) == (16.0, 0.0, 16.0)
    assert accumulated_motion(replace(motion, frame_exposure=float("nan")), 0.5) == (16.0, 0.0, 16.0)


@pytest.mark.parametrize(
    ("dose", "prior", "first", "early"),
    [
        (1, 0, 0, 3),
        (1, 2, 0, 1),
        (0.5, 0, 0, 7),
        (2, 0, 0, 1),
        (1.3, 0, 0, 2),
        (3, 0, 0, 0),
        (0.8, 0.9, 0, 2),
        (1, 0, 2, 1),
    ],
)
def test_early_steps_are_those_of_relion(dose: float, prior: float, first: int, early: int) -> None:
    """Counted from what relion_run_motioncorr 3.1.3 wrote for one movie with these --dose_per_frame and so on."""
    motion = FrameMotion(np.stack([np.arange(10.0), np.zeros(10)], -1), first=first, frame_exposure=dose)
    assert accumulated_motion(motion, 1.0, prior) == (9.0, early, 9.0 - early)


def test_a_spline_becomes_a_polynomial(tmp_path: Path) -> None:
    """Exact where the spline is a polynomial: linear in time and place, zero in the first frame."""
    times, frames = 5, 11
    node_z = (np.arange(times) - 1) * (frames - 1) / (times - 3)
    node = (np.arange(4) - 1) - 0.5
    coefficients = np.zeros((times, 4, 4, 2))
    coefficients[..., 0] = 0.3 * node_z[:, None, None] * node[:, None]
    coefficients[..., 1] = -0.2 * node_z[:, None, None] * node
    spline = SplineMotion(coefficients, frames)
    model, difference, start = fit_polynomial(spline)
    assert difference < 1e-9
    assert start < 1e-9
    place = np.array([[0.4, -0.1], [-0.3, 0.2]])
    frame = np.arange(frames, dtype=np.float64)
    expected = frame[:, None, None] * (place * [0.3, -0.2])
    np.testing.assert_allclose(model(place, frame), expected, atol=1e-9)
    motion = FrameMotion(np.zeros((frames, 2)), local=replace(spline, coefficients=coefficients + 1.0))
    (note,) = write_movie_motion(tmp_path / "a.star", replace(a_movie(), motion=motion, frames=frames))
    assert "1.41 Å RMS, is left out" in note
    local = read_movie_motion(tmp_path / "a.star").motion.local
    assert local is not None
    np.testing.assert_allclose(local(place, frame), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("_rlnImageSizeX", "_rlnOther", "lacks rlnImageSizeX"),
        ("data_global_shift", "data_other", "no frame shifts"),
        ("data_local_motion_model", "data_other", "announces a local motion model"),
        ("_rlnMotionModelVersion", "_rlnMotionModelVersion 2\n_rlnOther", "motion model that is not known"),
        ("0.700000", "x", "is no number"),
        ("0.700000", "0.0", "not positive"),
        ("\n35 ", "\n34 ", "incomplete motion model"),
        ("\n8  ", "\n9  ", "not consecutive"),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_movie_motion(tmp_path / "a.star", replace(a_movie(), motion=replace(a_movie().motion, patches=None)))
    text = (tmp_path / "a.star").read_text()
    if not old.startswith("\n"):
        assert old in text
        text = text.replace(old, new)
    else:
        # A row of the table that `message` is about.
        before, after = old.split(maxsplit=1)[0], new.split(maxsplit=1)[0]
        part = "data_local_motion_model" if "model" in message else "data_global_shift"
        head, tail = text.split(part)
        lines = tail.split("\n")
        at = next(k for k, line in enumerate(lines) if line.split()[:1] == [before])
        lines[at] = lines[at].replace(before, after, 1)
        text = head + part + "\n".join(lines)
    (tmp_path / "a.star").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_movie_motion(tmp_path / "a.star")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_files(tmp_path: Path) -> None:
    """RELION's own accumulated motion, from its own shifts."""
    table = read_star(SHARED / "MotionCorr/job002/tilt_series/TS_01.star")["TS_01"]
    rows = {row["rlnMicrographMovieName"]: row for row in table.rows()}
    files = sorted((SHARED / "MotionCorr/job002/frames").glob("*.star"))
    assert len(files) == 3
    for path in files:
        found = read_movie_motion(path)
        motion = accumulated_motion(found.motion, found.pixel_size, found.prior_exposure)
        labels = ("rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate")
        np.testing.assert_allclose(motion, [float(rows[found.movie][label]) for label in labels], atol=2e-6)
        assert (found.frame_shape, found.frames, found.binning) == ((7676, 7420), 8, 2.0)
    found = read_movie_motion(files[0])
    write_movie_motion(tmp_path / "a.star", found)
    blocks, again = read_star(files[0]), read_star(tmp_path / "a.star")
    assert blocks["general"].pairs == again["general"].pairs
    for label in ("rlnMicrographShiftX", "rlnMicrographShiftY"):
        one, two = (star["global_shift"].numbers(label) for star in (blocks, again))
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert blocks["hot_pixels"] == again["hot_pixels"]
