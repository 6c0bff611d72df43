"""Importing movies: what a folder stands for, and what is said about each."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.movies import PIXEL_SIZE, write_movie, write_tilt_movies
from thon.base.errors import FormatError, InputError
from thon.data.movie import Movie
from thon.formats.images import write_images
from thon.job.context import Context
from thon.job.events import Event
from thon.jobs.import_movies import ImportMoviesOptions, expand_movies, import_movies
from thon.jobs.movie_sources import find_session


def run(
    movie: Path, folder: Path, metadata: Path | None = None, item: str = "", **options: object
) -> tuple[Movie, list[Event]]:
    events: list[Event] = []
    context = Context.local(folder / "job", item=item or movie.stem, emit=events.append)
    found = import_movies(movie, ImportMoviesOptions.model_validate(options), context, metadata)
    return found, events


def test_a_folder_stands_for_its_movies_each_with_the_mdoc_that_names_it(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    write_movie(tmp_path / "single.mrc")
    found = find_session(tmp_path)
    assert len(found) == 6
    assert found["single"] == {"movie": (tmp_path / "single.mrc",)}
    assert found["TS_01_003_6.0"] == {"movie": (tmp_path / "TS_01_003_6.0.mrc",), "metadata": (mdoc,)}


def test_a_tilt_waits_for_an_mdoc_that_names_it_and_a_gain_is_no_movie(tmp_path: Path) -> None:
    write_tilt_movies(tmp_path)
    write_movie(tmp_path / "TS_02_001_-12.00_20240102_101112.mrc")
    write_images(tmp_path / "CountRef_gain.mrc", np.ones((4, 4), np.float32), 1.0)
    assert sorted(find_session(tmp_path)) == sorted(
        f"TS_01_{k:03d}_{t}" for k, t in enumerate((0.0, 3.0, -3.0, 6.0, -6.0))
    )


def test_two_sessions_in_one_folder_keep_their_movies_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tilt_movies(tmp_path / name, tilts=(0.0, 3.0))
    found = find_session(tmp_path)
    assert sorted(found) == ["a_TS_01_000_0.0", "a_TS_01_001_3.0", "b_TS_01_000_0.0", "b_TS_01_001_3.0"]
    assert found["b_TS_01_001_3.0"]["metadata"] == (tmp_path / "b" / "TS_01.mrc.mdoc",)
    series = {run(*ports["movie"], tmp_path, *ports["metadata"], item)[0].series for item, ports in found.items()}
    assert series == {"a_TS_01", "b_TS_01"}


def test_an_mdoc_without_its_last_movies_is_refused_alone_and_waited_for_in_a_folder(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    (tmp_path / "TS_01_004_-6.0.mrc").unlink()
    with pytest.raises(InputError, match="1 of 5 movies are missing"):
        find_session(mdoc)
    assert len(find_session(tmp_path)) == 4


def test_a_broken_mdoc_stands_for_itself_so_that_its_fault_is_told(tmp_path: Path) -> None:
    write_movie(tmp_path / "single.mrc")
    broken = tmp_path / "TS_09.mdoc"
    broken.write_text("[ZValue = 0]\nTiltAngle = twelve\nSubFramePath = a.mrc\n")
    (tmp_path / "gone.mdoc").symlink_to(tmp_path / "nowhere")
    found = find_session(tmp_path)
    assert sorted(found) == ["TS_09.mdoc", "gone.mdoc", "single"]
    with pytest.raises(FormatError):
        run(broken, tmp_path)


def test_place_dose_and_optics_come_from_the_mdoc(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    movie, events = run(tmp_path / "TS_01_003_6.0.mrc", tmp_path, mdoc)
    assert movie.tilt is not None
    assert (movie.series, movie.tilt.tilt, movie.tilt.order, movie.tilt.axis) == ("TS_01", 6.0, 3, 85.0)
    assert (movie.frames, movie.image_shape, movie.pixel_size) == (6, (176, 160), PIXEL_SIZE)
    assert (movie.exposure, movie.prior_exposure, movie.optics.voltage) == (3.0, 9.0, 300.0)
    assert not [event for event in events if event.kind == "warning"]


def test_the_users_dose_replaces_the_mdocs(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    movie, _ = run(tmp_path / "TS_01_003_6.0.mrc", tmp_path, mdoc, frame_dose=0.25, prior_dose=2.0)
    assert (movie.exposure, movie.prior_exposure) == (1.5, 6.5)


def test_an_unknown_dose_is_said_and_never_guessed(tmp_path: Path) -> None:
    movie, events = run(write_movie(tmp_path / "single.mrc"), tmp_path)
    assert math.isnan(movie.exposure)
    assert any("exposure" in event.text for event in events if event.kind == "warning")


def test_a_dose_that_nobody_says_is_asked_for_before_anything_is_done(tmp_path: Path) -> None:
    write_movie(tmp_path / "single.mrc")
    with pytest.raises(InputError, match="nobody says the exposure"):
        expand_movies(tmp_path, ImportMoviesOptions())
    for given in ({"dose": 20.0}, {"frame_dose": 1.0}, {"unknown_dose": True}):
        assert list(expand_movies(tmp_path, ImportMoviesOptions.model_validate(given))) == ["single"]
    write_tilt_movies(tmp_path)
    assert len(expand_movies(tmp_path, ImportMoviesOptions())) == 6


def test_pixel_sizes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    path = tmp_path / "TS_01_000_0.0.mrc"
    write_images(path, np.ones((2, 8, 8), np.float32), 20.0)
    with pytest.raises(InputError, match="contradict"):
        run(path, tmp_path, mdoc)
    assert run(path, tmp_path, mdoc, pixel_size=2.5)[0].pixel_size == 2.5


def test_an_empty_movie_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nothing.eer"
    path.touch()
    with pytest.raises(FormatError, match="is empty"):
        run(path, tmp_path)


def test_an_mdoc_without_doses_is_asked_about_too(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    expand_movies(tmp_path, ImportMoviesOptions())
    mdoc.write_text(mdoc.read_text().replace("ExposureDose = 3.0", "ExposureDose = 0"))
    with pytest.raises(InputError, match="nobody says the exposure"):
        expand_movies(tmp_path, ImportMoviesOptions())
    assert len(expand_movies(tmp_path, ImportMoviesOptions(dose=3.0))) == 5


def test_a_dose_that_the_mdoc_lets_only_estimate_is_told(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    mdoc.write_text(mdoc.read_text().replace("ExposureDose = 3.0", "DoseRate = 10\nExposureTime = 1"))
    movie, events = run(tmp_path / "TS_01_000_0.0.mrc", tmp_path, mdoc)
    assert movie.exposure == pytest.approx(10 / PIXEL_SIZE**2)
    assert any("estimated from DoseRate" in event.text for event in events if event.kind == "log")


def test_tilts_that_no_mdoc_names_belong_to_the_series_of_their_folder(tmp_path: Path) -> None:
    for k, tilt in enumerate((0.0, 3.0, -3.0)):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_movie(tmp_path / folder / f"TS_01_{k:03d}_{tilt:.1f}.mrc")
    found = find_session(tmp_path)
    series = {run(ports["movie"][0], tmp_path, item=item, dose=3.0)[0].series for item, ports in found.items()}
    assert series == {"a_TS_01", "b_TS_01"}


def test_the_stack_that_a_series_mdoc_describes_is_no_movie(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    write_movie(tmp_path / "TS_01.mrc")
    assert "TS_01" not in find_session(tmp_path)
    own = tmp_path / "single.mrc.mdoc"
    own.write_text("[ZValue = 0]\nTiltAngle = 0\nExposureDose = 7\n")
    write_movie(tmp_path / "single.mrc")
    found = find_session(tmp_path)
    assert (len(found), found["single"]["metadata"]) == (6, (own,))
    assert found["TS_01_001_3.0"]["metadata"] == (mdoc,)


def test_movies_of_one_name_in_folders_of_one_name_are_all_found(tmp_path: Path) -> None:
    paths = [tmp_path / f"square{k}" / "Data" / "m.mrc" for k in range(4)]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "square0" / "Data" / "m.mdoc").write_text("[ZValue = 0]\nTiltAngle = twelve\n")
    found = find_session(tmp_path)
    assert sorted(found) == ["Data_m", "Data_m_2", "Data_m_3", "m", "m.mdoc"]
    assert {ports["movie"][0] for name, ports in found.items() if name != "m.mdoc"} == set(paths)
