"""Motion correction of movies in files: references, bad pixels, groups of EER frames, and what is written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.movies import DRIFT, PIXEL_SIZE, frames
from thon.base.errors import InputError
from thon.data.micrograph import Micrograph
from thon.data.movie import Movie
from thon.formats.eer_write import events_of_counts, write_eer
from thon.formats.images import open_images, write_images
from thon.formats.relion_motion import read_movie_motion
from thon.job.context import Context
from thon.job.events import Event
from thon.job.plan import Resources
from thon.jobs.motion import MotionJobOptions, motion, plan_motion

SHAPE = (176, 160)


def movie(path: Path, count: int = 6, exposure: float = 12.0) -> Movie:
    return Movie("movie", str(path), count, SHAPE, PIXEL_SIZE, exposure)


def run(record: Movie, folder: Path, **options: object) -> tuple[Micrograph, list[Event]]:
    events: list[Event] = []
    context = Context.local(folder / "job", item="movie", emit=events.append)
    return motion(record, MotionJobOptions.model_validate(options), context), events


def image(path: str | None) -> np.ndarray:
    assert path is not None
    with open_images(path) as file:
        return file.image(0)


def said(events: list[Event], kind: str) -> str:
    return "\n".join(event.text for event in events if event.kind == kind)


@pytest.fixture(scope="module")
def drifting() -> np.ndarray:
    return frames(0)


def test_the_drift_is_found_and_every_file_written(tmp_path: Path, drifting: np.ndarray) -> None:
    path = tmp_path / "movie.mrc"
    write_images(path, drifting, PIXEL_SIZE)
    found, _ = run(movie(path), tmp_path, sums={"unweighted": True, "halves": True}, local={"patches": (1, 1)})
    assert found.motion is not None
    moved = (found.motion.displacement[-1] - found.motion.displacement[0]) / PIXEL_SIZE
    np.testing.assert_allclose(moved, DRIFT, atol=0.35)
    assert found.dose_weighted
    even, odd, plain = image(found.even), image(found.odd), image(found.unweighted)
    assert image(found.path).shape == SHAPE == even.shape
    np.testing.assert_allclose(plain.mean(), drifting.mean() * 6, rtol=0.02)
    inside = (slice(20, -20), slice(20, -20))
    assert np.corrcoef(even[inside].ravel(), odd[inside].ravel())[0, 1] > 0.2
    star = read_movie_motion(found.metadata or "")
    np.testing.assert_allclose(star.motion.displacement, found.motion.displacement, atol=0.01)


def test_gain_and_defects_are_undone(tmp_path: Path, drifting: np.ndarray) -> None:
    random = np.random.default_rng(5)
    gain = random.uniform(0.7, 1.4, SHAPE).astype(np.float32)
    raw = drifting / gain
    raw[:, 40, 50] = 900
    write_images(tmp_path / "movie.mrc", raw, PIXEL_SIZE)
    write_images(tmp_path / "gain.mrc", gain, PIXEL_SIZE)
    (tmp_path / "defects.txt").write_text("50 40 1 1\n")
    still = {"local": {"patches": (1, 1)}, "sums": {"dose_weight": False}}
    found, events = run(
        movie(tmp_path / "movie.mrc"), tmp_path, gain=tmp_path / "gain.mrc", defects=tmp_path / "defects.txt", **still
    )
    write_images(tmp_path / "clean.mrc", drifting, PIXEL_SIZE)
    clean, _ = run(movie(tmp_path / "clean.mrc"), tmp_path / "clean", **still)
    inside = (slice(20, -20), slice(20, -20))
    np.testing.assert_allclose(image(found.path)[inside].mean(), image(clean.path)[inside].mean(), rtol=0.01)
    assert image(found.path)[30:50, 40:60].max() < 2 * image(clean.path)[30:50, 40:60].max()
    assert "fits the frames better" not in said(events, "warning")
    assert read_movie_motion(found.metadata or "").gain == str(tmp_path / "gain.mrc")


def test_a_gain_that_was_turned_is_not_named_to_others(tmp_path: Path, drifting: np.ndarray) -> None:
    gain = np.random.default_rng(5).uniform(0.7, 1.4, SHAPE).astype(np.float32)
    write_images(tmp_path / "movie.mrc", drifting / gain, PIXEL_SIZE)
    write_images(tmp_path / "gain.mrc", gain[::-1, ::-1], PIXEL_SIZE)
    still = {"local": {"patches": (1, 1)}, "sums": {"dose_weight": False}, "detector": {"rotate_gain": 2}}
    found, events = run(movie(tmp_path / "movie.mrc"), tmp_path, gain=tmp_path / "gain.mrc", **still)
    assert "fits the frames better" not in said(events, "warning")
    assert read_movie_motion(found.metadata or "").gain is None
    assert "needs it turned" in said(events, "log")


def test_a_gain_of_another_size_or_none_at_all_stops_the_job(tmp_path: Path, drifting: np.ndarray) -> None:
    write_images(tmp_path / "movie.mrc", drifting, PIXEL_SIZE)
    write_images(tmp_path / "gain.mrc", np.random.default_rng(1).uniform(0.9, 1.1, (100, 100)), PIXEL_SIZE)
    with pytest.raises(InputError, match="does not fit the frames"):
        run(movie(tmp_path / "movie.mrc"), tmp_path, gain=tmp_path / "gain.mrc")
    with pytest.raises(InputError, match="cannot be read"):
        run(movie(tmp_path / "movie.mrc"), tmp_path, gain=tmp_path / "missing.mrc")


def test_an_unknown_exposure_leaves_the_weights_out_and_says_so(tmp_path: Path, drifting: np.ndarray) -> None:
    write_images(tmp_path / "movie.mrc", drifting, PIXEL_SIZE)
    found, events = run(movie(tmp_path / "movie.mrc", exposure=math.nan), tmp_path, local={"patches": (1, 1)})
    assert not found.dose_weighted
    assert "without dose weights" in said(events, "warning")


def test_eer_frames_are_grouped_by_dose_and_keep_their_electrons(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    counts = random.poisson(frames(3, count=24) / 120).astype(np.uint8)
    path = tmp_path / "movie.eer"
    write_eer(path, (events_of_counts(np.minimum(frame, 1)) for frame in counts), SHAPE)
    record = movie(path, count=24)
    plan = plan_motion(record, MotionJobOptions(eer_dose=2.0), Resources(1, 2 * 10**9))
    assert "6 frames" in plan.understood[0]
    options = {"eer_dose": 2.0, "sums": {"dose_weight": False}, "local": {"patches": (1, 1)}}
    found, _ = run(record, tmp_path, **options)
    assert found.motion is not None
    assert (len(found.motion), found.motion.group) == (6, 4)
    assert found.motion.frame_exposure == pytest.approx(2.0)
    expected = float(np.minimum(counts, 1).sum(0).mean())
    assert float(image(found.path).mean()) == pytest.approx(expected, rel=0.03)


def test_references_of_eer_as_epu_gives_them_for_frames_at_twice_the_sampling(tmp_path: Path) -> None:
    """`.gain` multiplies and begins with the bottom row; defects are in pixels of the sensor."""
    random = np.random.default_rng(4)
    seen = random.uniform(0.5, 1.5, SHAPE)
    seen[40:48, 30:36] = 0
    counts = (random.poisson(frames(3, count=24) * seen / 120) > 0).astype(np.uint8)
    write_eer(tmp_path / "movie.eer", (events_of_counts(frame) for frame in counts), SHAPE)
    gain = np.divide(1, seen, out=np.ones(SHAPE), where=seen > 0)
    write_images(tmp_path / "gain.tiff", gain[::-1], PIXEL_SIZE)
    references = {
        "gain": (tmp_path / "gain.tiff").rename(tmp_path / "camera.gain"),
        "defects": tmp_path / "defects.txt",
    }
    references["defects"].write_text("30 40 6 8\n")
    options = {"eer_group": 4, "eer_sampling": 2, "sums": {"dose_weight": False}, "local": {"patches": (1, 1)}}
    found, events = run(movie(tmp_path / "movie.eer", count=24), tmp_path, **references, **options)
    assert "gain reference" not in said(events, "warning")
    assert f"{6 * 8 * 4} filled in all" in said(events, "log")
    block = image(found.path)[84:92, 64:68]
    assert float(block.mean()) == pytest.approx(float(image(found.path).mean()), rel=0.25)
