"""Geometry for every image, the sample's place, and what is said about an alignment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from thon.algorithms.alignment_outcome import (
    for_all_tilts,
    place_sample,
    rigid_difference,
    spread,
    spread_sigma,
    tilt_correlation,
    warnings_for,
)
from thon.algorithms.patch_pairs import PairMeasurement
from thon.data.alignment import ThicknessProfile, TiltSigma
from thon.data.geometry import LocalField, TiltGeometry

EXTENT = (2000.0, 2600.0)
POINTS = np.random.default_rng(0).uniform(-1, 1, (20, 3)) * [300, 900, 1200]


def general(tilts: int = 9, local: bool = True) -> TiltGeometry:
    random = np.random.default_rng(1)
    field = LocalField(random.normal(0, 10, (tilts, 5, 5, 2)), (600.0, 700.0)) if local else None
    return TiltGeometry(
        np.linspace(-48, 52, tilts), random.normal(0, 100, (tilts, 2)), 85 + random.normal(0, 0.3, tilts),
        np.full(tilts, 2.0), 1 + random.normal(0, 0.003, tilts), field,
    )  # fmt: skip


def profile(lower: float, upper: float, inclination: tuple[float, float] = (0.0, 0.0)) -> ThicknessProfile:
    return ThicknessProfile(np.linspace(-500, 500, 11), np.ones(11), lower, upper, inclination)


def test_centring_puts_the_middle_of_the_sample_at_zero_and_moves_no_image_against_another() -> None:
    geometry = general(local=False)
    centred, told = place_sample(geometry, profile(-100, 400), level=False, center=True)
    lifted = POINTS + np.array([150.0, 0, 0])
    np.testing.assert_allclose(centred.project(POINTS), geometry.project(lifted), atol=1e-9)
    assert (told.lower, told.upper, told.thickness) == (-250, 250, 500)
    np.testing.assert_allclose(told.z, profile(0, 0).z - 150)
    np.testing.assert_array_equal(told.signal, profile(0, 0).signal)


@pytest.mark.parametrize("inclination", [(6.0, 0.0), (0.0, -7.0), (4.0, 5.0)])
def test_levelling_turns_the_specimen_and_moves_no_image_against_another(inclination: tuple[float, float]) -> None:
    """One rotation of the whole specimen explains it: exact for either angle, to 4 Å of 1200 for both."""
    geometry = replace(general(local=False), x_tilt=np.zeros(9))
    level, told = place_sample(geometry, profile(-100, 100, inclination), level=True, center=False)
    assert told.inclination == (0.0, 0.0)
    moves = replace(geometry, shift=np.zeros((9, 2))).project(np.eye(3)).transpose(0, 2, 1)
    target = (level.project(POINTS) - level.shift[:, None]).transpose(0, 2, 1).reshape(-1, 20)
    places = np.linalg.lstsq(moves.reshape(-1, 3), target)[0].T
    turned, _ = Rotation.align_vectors(places, POINTS)
    np.testing.assert_allclose(turned.apply(POINTS), places, atol=0.01 if 0 in inclination else 12)
    seen = replace(geometry, shift=level.shift).project(places)
    np.testing.assert_allclose(seen, level.project(POINTS), atol=0.01 if 0 in inclination else 12)
    assert np.rad2deg(turned.magnitude()) == pytest.approx(np.hypot(*inclination), abs=0.1)


def test_levelling_lays_the_inclined_plane_flat() -> None:
    """Points z = y tan α + x tan β of the old specimen have, seen by the new geometry, equal heights."""
    along, across = 5.0, -3.0
    geometry = replace(general(local=False), x_tilt=np.zeros(9))
    y, x = POINTS[:, 1], POINTS[:, 2]
    plane = np.stack([y * np.tan(np.deg2rad(along)) + x * np.tan(np.deg2rad(across)), y, x], -1)
    level, _ = place_sample(geometry, profile(-100, 100, (along, across)), level=True, center=False)
    moves = replace(level, shift=np.zeros((9, 2))).project(np.eye(3)).transpose(0, 2, 1)
    target = (geometry.project(plane) - geometry.shift[:, None]).transpose(0, 2, 1).reshape(-1, 20)
    places = np.linalg.lstsq(moves.reshape(-1, 3), target)[0].T
    assert np.ptp(plane[:, 0]) > 100
    assert np.ptp(places[:, 0]) < 0.05 * np.ptp(plane[:, 0])


def test_nothing_asked_nothing_done() -> None:
    geometry, given = general(), profile(-100, 400, (5.0, 5.0))
    same, told = place_sample(geometry, given, level=False, center=False)
    assert same is geometry
    assert told is given


def test_images_left_out_lie_between_their_neighbours() -> None:
    full = np.array([-30.0, -20, -10, 0, 10, 20, 30])
    kept = np.array([0, 1, 3, 4, 6])
    slow = TiltGeometry(
        full + 0.5, np.stack([3 * full, -full], -1), 85 + full / 100, full / 20, 1 + full / 1e4,
        LocalField(full[:, None, None, None] * np.ones((7, 4, 4, 2)), (500.0, 500.0)),
    )  # fmt: skip
    found = for_all_tilts(slow.select(kept), full[kept], full)
    np.testing.assert_allclose(found.project(POINTS), slow.project(POINTS), atol=1e-9)
    np.testing.assert_allclose(found.tilt, slow.tilt)


def test_images_beyond_the_last_take_what_it_has_but_their_own_tilt() -> None:
    geometry = TiltGeometry(np.array([0.2, 10.2, 20.2]), np.array([[1.0, 2], [3, 4], [5, 6]]))
    found = for_all_tilts(geometry, np.array([0.0, 10, 20]), np.array([30.0, 20, 10, 0, -10]))
    np.testing.assert_allclose(found.tilt, [30.2, 20.2, 10.2, 0.2, -9.8])
    np.testing.assert_allclose(found.shift[[0, 4]], [[5, 6], [1, 2]])


def test_unsorted_images_keep_their_own_geometry() -> None:
    geometry = general()
    order = np.random.default_rng(0).permutation(9)
    found = for_all_tilts(geometry.select(order), geometry.tilt[order], geometry.tilt[order])
    np.testing.assert_allclose(found.project(POINTS), geometry.project(POINTS)[order], atol=1e-9)


def test_where_the_whole_specimen_lies_makes_no_difference() -> None:
    geometry = general()
    moved = replace(geometry, local=None).project(np.array([[200.0, -340, 150]])) - geometry.shift[:, None]
    other = replace(geometry, shift=geometry.shift + moved[:, 0])
    assert rigid_difference(geometry, other, EXTENT) == pytest.approx(0, abs=1e-6)


def test_the_difference_is_that_of_the_images() -> None:
    """Random shifts of 3 Å along each axis are 4.2 Å apart, less what a translation takes up; an axis of 0.5° more."""
    geometry = general(41)
    jitter = 3 * np.random.default_rng(0).standard_normal((41, 2))
    other = replace(geometry, shift=geometry.shift + jitter)
    assert rigid_difference(geometry, other, EXTENT) == pytest.approx(3 * np.sqrt(2), rel=0.15)
    turned = replace(geometry, rotation=geometry.rotation + 0.5)
    assert 3 < rigid_difference(geometry, turned, EXTENT) < 10
    assert rigid_difference(geometry, geometry, EXTENT) == 0


def test_values_are_spread_among_all_images() -> None:
    kept = np.array([0, 3])
    np.testing.assert_array_equal(spread(np.array([1.0, 2]), kept, 5), [1, np.nan, np.nan, 2, np.nan])
    assert spread(np.zeros((2, 3, 4)), kept, 5).shape == (5, 3, 4)
    sigma = TiltSigma(np.ones((2, 2)), *(np.full(2, v) for v in (2.0, 3.0, 4.0, 5.0)))
    wide = spread_sigma(sigma, kept, 5, 10.0)
    np.testing.assert_array_equal(wide.shift[3], [10, 10])
    names = ("rotation", "tilt", "x_tilt", "magnification")
    assert [getattr(wide, name)[0] for name in names] == [20, 30, 40, 50]
    assert np.isnan(wide.shift[1]).all()


def test_correlation_of_a_tilt_is_that_of_its_pairs_and_unknown_without_any() -> None:
    information = np.ones((10, 3, 2))
    information[:5, 1] = 0  # half of the patches of the second pair
    information[:, 2] = 0
    pairs = PairMeasurement(
        np.array([0, 1, 2]), np.array([1, 2, 3]), np.zeros((10, 3, 2)), information, np.array([0.8, 0.5, 0.9])
    )
    found = tilt_correlation(pairs, 5)
    np.testing.assert_allclose(found[:3], [0.8, (0.8 + 0.25) / 1.5, 0.5])
    assert np.isnan(found[3:]).all()


def test_warnings_say_what_is_wrong_and_nothing_else() -> None:
    fine = profile(-100, 100, (3.0, -2.0))
    assert warnings_for(0.9, 0.3, {0: "dark"}, 41, fine) == ()
    said = warnings_for(0.3, 1.7, dict.fromkeys(range(12), "dark"), 41, profile(-100, 100, (3.0, -12.0)))
    assert [words in sentence for words, sentence in zip(("0.30", "1.7 px", "12 of 41", "-12.0"), said, strict=True)]
    assert len(said) == 4
