"""The folders that the simulation jobs write, read by the readers that others use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.jobs.movies import write_model
from thon.algorithms.simulation.motion import MotionOptions
from thon.algorithms.simulation.optics import MicroscopeOptions
from thon.algorithms.simulation.options import SimulateSpaOptions, SimulateTomoOptions
from thon.base.errors import InputError
from thon.formats.defects import read_defects
from thon.formats.gain import read_gain
from thon.formats.images import open_images, write_images
from thon.formats.mdoc_series import find_movies, read_mdoc_series
from thon.formats.movie_file import open_movie
from thon.formats.relion_euler import rotation_from_euler
from thon.formats.relion_motion import read_movie_motion
from thon.formats.relion_tomo import read_tomograms
from thon.formats.star import read_star
from thon.job.context import Context
from thon.jobs.simulate_spa import simulate_spa
from thon.jobs.simulate_tomo import simulate_tomo

SHAPE = (96, 130)


def spa(folder: Path, **options: object) -> Path:
    given = {"size": SHAPE[0], "columns": SHAPE[1], "pixel_size": 2.0, "movies": 2, "frames": 5, "density": 8000.0}
    model = write_model(folder)
    return simulate_spa(model, SimulateSpaOptions(**given | options), Context.local(folder / "context", seed=4))


@pytest.mark.parametrize(("kind", "suffix"), [("tiff", "tiff"), ("mrc", "mrc"), ("eer", "eer")])
def test_movies_of_each_format_hold_the_dose(tmp_path: Path, kind: str, suffix: str) -> None:
    made = spa(tmp_path, format=kind, dose=10.0)
    expected = 2.0 * 2.0**2 * 0.9 * np.exp(-350 / 4000)
    for name in ("movie_0001", "movie_0002"):
        with open_movie(made / "movies" / f"{name}.{suffix}") as movie:
            frames = np.stack([movie.read_frame(k) for k in range(5)])
        assert frames.shape == (5, *SHAPE)
        # EER holds one electron in a pixel and frame at most, of 5.9 here: coincidences are lost, as in a camera.
        expected_here = 1 - np.exp(-expected) if kind == "eer" else expected
        assert np.median(frames.mean((1, 2))) == pytest.approx(expected_here, rel=0.05)
    gain = read_gain(made / ("camera.gain" if kind == "eer" else "gain.mrc"))
    assert gain.shape == SHAPE
    dead = read_defects(made / "defects.txt", SHAPE)
    np.testing.assert_array_equal(dead, gain == 0)
    assert frames[:, dead].max() == 0


def test_formats_hold_the_same_picture_and_the_same_truth(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tiff, mrc = spa(tmp_path / "a", format="tiff"), spa(tmp_path / "b", format="mrc")
    with open_movie(tiff / "movies/movie_0001.tiff") as one, open_movie(mrc / "movies/movie_0001.mrc") as two:
        for k in range(5):
            np.testing.assert_array_equal(one.read_frame(k), two.read_frame(k))
    assert (tiff / "truth/particles.star").read_text().count("movie_0001.tiff") >= 1
    np.testing.assert_array_equal(read_gain(tiff / "gain.mrc"), read_gain(mrc / "gain.mrc"))
    (tmp_path / "c").mkdir()
    eer = spa(tmp_path / "c", format="eer")
    np.testing.assert_array_equal(read_gain(eer / "camera.gain"), read_gain(mrc / "gain.mrc"))


def test_the_truth_of_single_particles_can_be_read(tmp_path: Path) -> None:
    made = spa(tmp_path, truth_images=True, microscope=MicroscopeOptions(beam_tilt=(0.5, -0.8)))
    star = read_star(made / "truth/particles.star")
    for optics in (star["optics"], read_star(made / "truth/movies.star")["optics"]):
        assert optics.numbers("rlnBeamTiltX").tolist() == [-0.8]
        assert optics.numbers("rlnBeamTiltY").tolist() == [0.5]
    particles, movies = star["particles"], read_star(made / "truth/movies.star")["movies"]
    assert len(movies) == 2
    assert len(particles) >= 2
    assert (particles.numbers("rlnCoordinateX") < SHAPE[1]).all()
    assert (particles.numbers("rlnCoordinateY") < SHAPE[0]).all()
    spread = particles.numbers("rlnDefocusU") - particles.numbers("rlnDefocusV")
    known = movies.numbers("rlnDefocusU") - movies.numbers("rlnDefocusV")
    assert set(np.round(spread, 2)) <= set(np.round(known, 2))
    angles = np.stack([particles.numbers(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")], -1)
    assert np.linalg.det(rotation_from_euler(angles)) == pytest.approx(1)
    motion = read_movie_motion(made / movies.columns["rlnMicrographMetadata"][0])
    assert motion.motion.displacement.shape == (5, 2)
    assert np.linalg.norm(motion.motion.displacement[-1]) == pytest.approx(20, abs=1e-3)
    assert motion.motion.frame_exposure == pytest.approx(8)
    assert (made / motion.movie).is_file()
    with open_images(made / "truth/movie_0001.mrc") as image:
        assert image.shape == (1, *SHAPE)
        assert image.image(0).std() > 0.01


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (spa(tmp_path / name, format="eer") for name in "ab")
    for file in ("movies/movie_0001.eer", "truth/particles.star", "camera.gain", "truth/motion/movie_0002.star"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_a_tilt_series_comes_with_its_mdoc_and_truth(tmp_path: Path) -> None:
    options = SimulateTomoOptions(
        size=96, columns=120, pixel_size=6.0, frames=2, max_tilt=40.0, step=20.0, thickness=400.0, density=60000.0,
        beads=400.0, motion=MotionOptions(drift=3.0, local=0.0), tilt_axis=-95.0, hand="-",
    )  # fmt: skip
    made = simulate_tomo(write_model(tmp_path), options, Context.local(tmp_path / "context", seed=1))
    series = read_mdoc_series(made / "TS_01.mdoc")
    assert series.rotation == -95.0
    assert series.pixel_size == 6.0
    assert series.image_shape == (96, 120)
    np.testing.assert_allclose(series.tilt[np.argsort(series.order)], [0, 20, -20, 40, -40])
    np.testing.assert_allclose(series.exposure, 3.0)
    np.testing.assert_allclose(np.sort(series.prior_exposure), [0, 3, 6, 9, 12])
    files = find_movies(series.movies, made)
    counts = {}
    for name, tilt in zip(series.movies, series.tilt, strict=True):
        with open_movie(files[name]) as movie:
            counts[tilt] = np.stack([movie.read_frame(k) for k in range(2)]).mean()
    # Longer ways through the ice lose more electrons.
    assert counts[40] < counts[20] < counts[0]
    assert counts[0] == pytest.approx(1.5 * 36 * 0.9 * np.exp(-400 / 4000), rel=0.05)
    tomogram = read_tomograms(made / "truth/tomograms.star", (96, 120))[0]
    np.testing.assert_allclose(tomogram.series.geometry.tilt, [-40, -20, 0, 20, 40])
    assert np.abs(tomogram.series.geometry.rotation + 95).max() < 1.3
    assert tomogram.series.hand == -1
    assert tomogram.series.ctf is not None
    assert 19000 < tomogram.series.ctf.defocus.mean() < 41000
    beads = read_star(made / "truth/beads.star")["particles"]
    particles = read_star(made / "truth/particles.star")["particles"]
    assert len(beads) >= 3
    assert len(particles) >= 3
    assert np.abs(particles.numbers("rlnCenteredCoordinateZAngst")).max() <= 200


def test_a_map_can_be_simulated_and_what_is_neither_is_refused(tmp_path: Path) -> None:
    z, y, x = np.mgrid[-12:12, -12:12, -12:12] * 3.0
    density = np.exp(-(z**2 + (y - 6) ** 2 / 3 + x**2) / 120).astype(np.float32)
    write_images(tmp_path / "ball.mrc", density, 3.0)
    options = SimulateSpaOptions(
        size=96, pixel_size=3.0, movies=1, frames=1, density=4000.0, ice=False, truth_images=True, contour=0.05
    )
    made = simulate_spa(tmp_path / "ball.mrc", options, Context.local(tmp_path / "context"))
    with open_images(made / "truth/movie_0001.mrc") as image:
        assert image.image(0).min() < -0.02
    (tmp_path / "text.txt").write_text("nothing")
    with pytest.raises(InputError):
        simulate_spa(tmp_path / "text.txt", options, Context.local(tmp_path / "other"))
    write_images(tmp_path / "flat.mrc", density[0], 3.0)
    with pytest.raises(InputError, match="no map"):
        simulate_spa(tmp_path / "flat.mrc", options, Context.local(tmp_path / "third"))
