"""Tilt series from the micrographs of their tilts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.movies import write_tilt_movies
from thon.base.errors import InputError
from thon.data.ctf import Ctf, CtfFit
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.movie import Movie, TiltPlace
from thon.data.optics import Optics
from thon.data.tilt_series import TiltSeries
from thon.formats.images import open_images, write_images
from thon.formats.tlt import read_angles
from thon.job.context import Context
from thon.job.events import Event
from thon.jobs.tilt_series import TiltSeriesOptions, tilt_series

TILTS = (0.0, 3.0, -3.0, 6.0)


def micrographs(folder: Path, tilts: tuple[float, ...] = TILTS) -> list[Micrograph]:
    """Images of 6 × 8 px, each of one value, its acquisition number."""
    made: list[Micrograph] = []
    for order, tilt in enumerate(tilts):
        path = folder / f"image_{order}.mrc"
        write_images(path, np.full((6, 8), order, np.float32), 2.5)
        place = TiltPlace("TS_07", tilt, order, axis=85.0)
        made.append(
            Micrograph(f"image_{order}", str(path), (6, 8), 2.5, exposure=3.0, prior_exposure=3.0 * order, tilt=place)
        )
    return made


def run(images: list[Micrograph], folder: Path, **options: object) -> tuple[TiltSeries, list[Event]]:
    events: list[Event] = []
    context = Context.local(folder / "job", item="TS_07", emit=events.append)
    return tilt_series(tuple(images), TiltSeriesOptions.model_validate(options), context), events


def warnings(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if event.kind == "warning")


def test_images_come_in_the_order_of_their_tilts_with_all_that_is_known(tmp_path: Path) -> None:
    series, events = run(micrographs(tmp_path)[::-1], tmp_path)
    np.testing.assert_array_equal(series.geometry.tilt, [-3, 0, 3, 6])
    np.testing.assert_array_equal(series.order, [2, 0, 1, 3])
    np.testing.assert_array_equal(series.prior_exposure, [6, 0, 3, 9])
    assert [Path(image.path).name for image in series.images] == [f"image_{k}.mrc" for k in (2, 0, 1, 3)]
    assert (series.name, series.tilt_axis, series.pixel_size, series.image_shape) == ("TS_07", 85.0, 2.5, (6, 8))
    assert not warnings(events)


def test_of_a_tilt_recorded_twice_the_later_image_counts_and_it_is_said(tmp_path: Path) -> None:
    series, events = run(micrographs(tmp_path, (0.0, 3.0, -3.0, 3.05)), tmp_path)
    assert [Path(image.path).name for image in series.images] == ["image_2.mrc", "image_0.mrc", "image_3.mrc"]
    assert "recorded again: image_3 counts, image_1 does not" in warnings(events)
    np.testing.assert_array_equal(series.order, [1, 0, 2])
    assert series.prior_exposure[2] == 9.0, "the specimen was exposed by the image that does not count, too"


def test_images_that_the_mdoc_names_and_that_are_missing_are_said(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    images = micrographs(tmp_path)
    for k, one in enumerate(images):
        tilt = replace(one.tilt, source=str(mdoc)) if one.tilt else None
        images[k] = replace(one, name=f"TS_01_{k:03d}_{(0.0, 3.0, -3.0, 6.0)[k]}", tilt=tilt)
    _, events = run(images, tmp_path)
    assert "1 of 5 images that the mdoc names are not here: TS_01_004_-6.0.mrc" in warnings(events)


def test_movies_that_an_mdoc_without_its_last_tilts_lacks_are_said(tmp_path: Path) -> None:
    mdoc = write_tilt_movies(tmp_path)
    whole = mdoc.read_text()
    mdoc.write_text(whole[: whole.index("[ZValue = 3]")])
    write_tilt_movies(tmp_path, "TS_010")
    images = micrographs(tmp_path)[:3]
    for k, one in enumerate(images):
        path = tmp_path / f"TS_01_{k:03d}_{TILTS[k]}.mrc"
        movie = Movie(path.stem, str(path), 2, (6, 8), 2.5, 3.0, 0.0, Optics(300.0), None)
        images[k] = replace(one, movie=movie, tilt=replace(one.tilt, source=str(mdoc)) if one.tilt else None)
    _, events = run(images, tmp_path)
    assert "2 movies of the series are left out" in warnings(events)
    assert "lacks them: TS_01_003_6.0.mrc, TS_01_004_-6.0.mrc." in warnings(events)


def test_unknown_exposures_stay_unknown(tmp_path: Path) -> None:
    images = [replace(one, exposure=math.nan, prior_exposure=math.nan) for one in micrographs(tmp_path)]
    series, _ = run(images, tmp_path)
    assert np.isnan(series.exposure).all()
    assert np.isnan(series.prior_exposure[[0, 2, 3]]).all()


def test_fits_of_the_images_become_those_of_the_series(tmp_path: Path) -> None:
    fitted: list[Micrograph] = []
    for k, one in enumerate(micrographs(tmp_path)):
        ctf = Ctf(20000.0 + k, 19000.0 + k, 10.0 * k, 0.0)
        fit = CtfFit(ctf, Ctf(5.0, 6.0, 1.0, 0.0), 0.9, 6.0 + k, (30.0, 4.0))
        fields = {name: getattr(one, name) for name in Micrograph.__dataclass_fields__}
        fitted.append(CtfMicrograph(**fields, fit=fit))
    series, _ = run(fitted, tmp_path)
    assert series.ctf is not None
    np.testing.assert_array_equal(series.ctf.defocus_u, [20002, 20000, 20001, 20003])
    np.testing.assert_array_equal(series.ctf.sigma[:, 1], 6.0)
    mixed, _ = run([*fitted[:3], micrographs(tmp_path)[3]], tmp_path)
    assert mixed.ctf is None


def test_the_stack_holds_the_images_in_order(tmp_path: Path) -> None:
    run(micrographs(tmp_path), tmp_path, stack=True)
    with open_images(tmp_path / "job" / "outputs" / "TS_07.st") as stack:
        np.testing.assert_array_equal(stack.asarray()[:, 0, 0], [2, 0, 1, 3])
        assert stack.pixel_size == pytest.approx(2.5)
    np.testing.assert_array_equal(read_angles(tmp_path / "job" / "outputs" / "TS_07.tlt"), [-3, 0, 3, 6])


def test_images_by_hand_are_excluded_by_their_acquisition_number(tmp_path: Path) -> None:
    series, _ = run(micrographs(tmp_path), tmp_path, exclude=(2,))
    assert series.excluded == {0: "by hand"}
    with pytest.raises(InputError, match="do not exist"):
        run(micrographs(tmp_path), tmp_path, exclude=(4,))


def test_images_that_differ_in_size_and_too_few_are_refused(tmp_path: Path) -> None:
    images = micrographs(tmp_path)
    with pytest.raises(InputError, match="differ in size"):
        run([*images[:3], replace(images[3], pixel_size=2.6)], tmp_path)
    with pytest.raises(InputError, match="too few"):
        run(images[:2], tmp_path)
