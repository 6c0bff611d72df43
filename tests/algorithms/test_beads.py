"""Finding, tracking and aligning by gold beads, on images whose beads are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from thon.algorithms.bead_tracking import BeadTrackingOptions, align_beads, match_beads, track_beads, vote_shift
from thon.algorithms.beads import BeadOptions, find_beads, measure_bead_diameter
from thon.algorithms.bundle import BundleOptions, initial_points
from thon.base.errors import InputError
from thon.data.alignment import Tracks
from thon.data.geometry import TiltGeometry

PIXEL = 10.0


def draw_beads(
    shape: tuple[int, int], centres: np.ndarray, radius: float, noise: float, seed: int, contrast: float = -10.0
) -> np.ndarray:
    """An image with a sloping background, noise and discs at (y, x) px from the corner."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 50 + 0.03 * y - 0.02 * x + np.random.default_rng(seed).normal(0, noise, shape)
    for row, column in centres:
        distance = np.hypot(y - row, x - column)
        image += contrast * 0.5 * special.erfc((distance - radius) / (np.sqrt(2) * 0.9))
    return image


def scattered(seed: int, count: int, shape: tuple[int, int], apart: float) -> np.ndarray:
    """Random places no closer than a distance, well inside the image."""
    random = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < count:
        here = random.uniform(12, np.array(shape) - 12)
        if all(np.linalg.norm(here - other) > apart for other in places):
            places.append(here)
    return np.array(places)


@pytest.mark.parametrize("polarity", ["dark", "bright"])
def test_finds_every_bead_to_a_fraction_of_a_pixel(polarity: str) -> None:
    shape, radius = (151, 200), 4.7
    truth = scattered(0, 18, shape, 11.0)
    contrast = -10.0 if polarity == "dark" else 10.0
    image = draw_beads(shape, truth, radius, 3.0, 1, contrast)
    options = BeadOptions(diameter=2 * radius * PIXEL, polarity=polarity)  # pyright: ignore[reportArgumentType]
    found = find_beads(image, PIXEL, options)
    assert len(found.position) == len(truth)
    distance = np.linalg.norm(found.position[:, None] - truth, axis=-1)
    assert sorted(distance.argmin(1)) == list(range(len(truth)))
    error = found.position - truth[distance.argmin(1)]
    assert np.abs(error).max() < 0.5
    assert 0.5 < np.mean(np.square(error / found.sigma[:, None])) < 1.8
    assert (np.diff(found.signal) <= 0).all()


def test_neighbours_do_not_pull() -> None:
    """Two beads that touch: the error stays well under what their blurred sum would show."""
    truth = np.array([[40.2, 50.7], [40.9, 62.3]])
    found = find_beads(draw_beads((81, 100), truth, 5.0, 0.5, 2), PIXEL, BeadOptions(diameter=100.0))
    order = np.argsort(found.position[:, 1])
    np.testing.assert_allclose(found.position[order], truth, atol=0.12)


def test_nothing_is_found_in_noise_or_beyond_the_margin() -> None:
    empty = draw_beads((120, 131), np.zeros((0, 2)), 4.0, 3.0, 3)
    assert len(find_beads(empty, PIXEL, BeadOptions(diameter=80.0)).signal) == 0
    edge = draw_beads((120, 131), np.array([[1.0, 60.0], [60.0, 60.0]]), 4.0, 1.0, 3)
    found = find_beads(edge, PIXEL, BeadOptions(diameter=80.0))
    np.testing.assert_allclose(found.position, [[60, 60]], atol=0.2)


def test_blank_images_hold_no_beads() -> None:
    for value in (np.nan, 0.0, 37.3):
        assert len(find_beads(np.full((100, 120), value), PIXEL, BeadOptions(diameter=80.0)).signal) == 0


@pytest.mark.parametrize("radius", [2.5, 5.0, 8.0])
def test_measures_the_diameter(radius: float) -> None:
    images = np.stack([draw_beads((220, 240), scattered(s, 15, (220, 240), 25.0), radius, 3.0, s) for s in (4, 5)])
    assert measure_bead_diameter(images, PIXEL) == pytest.approx(2 * radius * PIXEL, rel=0.12)


def test_bad_diameters_are_refused() -> None:
    image = np.zeros((60, 60))
    with pytest.raises(InputError, match="diameter"):
        find_beads(image, PIXEL, BeadOptions(diameter=10.0))
    with pytest.raises(InputError, match="diameter"):
        find_beads(image, PIXEL, BeadOptions(diameter=400.0))
    with pytest.raises(InputError, match="pixel size"):
        find_beads(image, 0.0, BeadOptions(diameter=100.0))


def test_votes_find_the_shift_among_strangers() -> None:
    random = np.random.default_rng(6)
    places = random.uniform(-2000, 2000, (20, 2))
    found = np.concatenate([places[:12] + np.array([310, -220]), random.uniform(-2000, 2000, (15, 2))])
    np.testing.assert_allclose(vote_shift(places, found, 800.0, 50.0), [310, -220], atol=30)
    np.testing.assert_array_equal(vote_shift(places, np.zeros((0, 2)), 800.0, 50.0), 0)


def test_matches_are_one_to_one_within_the_window() -> None:
    predicted = np.array([[0.0, 0.0], [10.0, 0.0], [500.0, 0.0], [np.nan, np.nan]])
    found = np.array([[9.0, 0.0], [900.0, 0.0], [-2.0, 0.0]])
    point, bead = match_beads(predicted, found, 50.0)
    assert dict(zip(point.tolist(), bead.tolist(), strict=True)) == {0: 2, 1: 0}


def beaded_series(seed: int, axis: float) -> tuple[np.ndarray, TiltGeometry, np.ndarray]:
    """Images, true geometry and beads: shifts of a tenth of the image, beads that leave it, and impostors."""
    random = np.random.default_rng(seed)
    tilt = np.arange(-60, 61, 6.0)
    shape = (170, 191)
    true = TiltGeometry(
        tilt, random.normal(0, 60, (len(tilt), 2)).cumsum(0) * 0.4, axis + 0.3 * np.sin(np.deg2rad(tilt) * 2)
    )
    beads = np.column_stack(
        [random.uniform(-300, 300, 22), random.uniform(-850, 850, 22), random.uniform(-1100, 1100, 22)]
    )
    images = []
    for k, centres in enumerate(true.project(beads)):
        inside = centres / PIXEL + np.array(shape) // 2
        impostors = random.uniform(10, 150, (3, 2))
        images.append(draw_beads(shape, np.concatenate([inside, impostors]), 3.5, 2.0, 100 * seed + k))
    images[4][:] = 0  # a blocked image
    return np.array(images, np.float32), true, beads


@pytest.mark.parametrize("axis", [4.0, 85.0])
def test_tracks_are_the_beads(axis: float) -> None:
    images, true, beads = beaded_series(7, axis)
    start = TiltGeometry.nominal(true.tilt, axis + 6)
    before = images.copy()
    options = BeadTrackingOptions(beads=BeadOptions(diameter=70.0))
    found = track_beads(images, PIXEL, start, options)
    np.testing.assert_array_equal(images, before)
    truth = true.project(beads).transpose(1, 0, 2)
    distance = np.linalg.norm(found.tracks.position[:, None] - truth, axis=-1)
    owner = np.nanmedian(distance, axis=2).argmin(1)
    assert len(set(owner.tolist())) == len(owner) >= 18
    own = distance[np.arange(len(owner)), owner]
    seen = found.tracks.seen
    assert np.median(own[seen]) < 3.0
    assert (own[seen] < 15).mean() > 0.97
    assert not seen[:, 4].any()
    visible = (np.abs(truth[owner]) < np.array([85, 95]) * PIXEL - 60).all(-1)
    visible[:, 4] = False
    assert seen[visible].mean() > 0.9


def test_beads_align_the_series() -> None:
    images, true, beads = beaded_series(8, 85.0)
    start = TiltGeometry.nominal(true.tilt, 80.0)
    options = BeadTrackingOptions(beads=BeadOptions(diameter=70.0))
    solution, found = align_beads(
        images, PIXEL, start, options, bundle=BundleOptions(rotation="smooth", magnification="fixed")
    )
    assert solution.rms < 4.0
    np.testing.assert_allclose(solution.geometry.rotation, true.rotation, atol=0.15)
    np.testing.assert_array_equal(solution.geometry.tilt, true.tilt)
    lit = np.arange(len(true)) != 4
    true, geometry = true.select(lit), solution.geometry.select(lit)
    exact = Tracks(true.project(beads).transpose(1, 0, 2), np.ones((len(beads), len(true))))
    error = exact.position - geometry.project(initial_points(exact, geometry)).transpose(1, 0, 2)
    assert np.sqrt(np.mean(error**2)) < 2.0
    assert found.diameter == 70.0


def test_a_series_without_beads_says_so() -> None:
    images = np.random.default_rng(9).normal(0, 1, (7, 90, 100))
    with pytest.raises(InputError, match="too few beads"):
        track_beads(
            images,
            PIXEL,
            TiltGeometry.nominal(np.linspace(-30, 30, 7)),
            BeadTrackingOptions(beads=BeadOptions(diameter=80.0)),
        )
    with pytest.raises(InputError, match="differ in number"):
        track_beads(images, PIXEL, TiltGeometry.nominal(np.linspace(-30, 30, 6)))
