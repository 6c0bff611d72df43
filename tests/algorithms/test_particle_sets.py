"""Choosing among particles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thon.algorithms.particle_sets import (
    choose_random,
    find_duplicates,
    half_sets,
    in_range,
    of_micrographs,
    particle_values,
    positions,
    repeated_images,
    split,
)
from thon.base.errors import InputError
from thon.data.optics import Optics
from thon.data.particles import ImageCut, ParticleCtf, ParticleOptics, Particles

PLACES = np.array([[10.0, 20.0], [30.0, 40.0], [30.0, 43.0], [90.0, 5.0]])


def particles(**changes: object) -> Particles:
    count = len(PLACES)
    fields = {
        "optics": (ParticleOptics("g", Optics(300, 2.7, 0.1), 3.0, 8, micrograph_pixel_size=2.0),),
        "group": np.zeros(count, np.int64),
        "files": ("a.mrcs", "b.mrcs"),
        "file": np.array([0, 0, 1, 1]),
        "section": np.array([0, 1, 0, 1]),
        "micrographs": ("Movies/mic_1.mrc", "Movies/mic_2.mrc"),
        "micrograph": np.array([0, 1, 1, -1]),
        "coordinates": PLACES,
        "ctf": ParticleCtf.of(np.array([2.0, 3, 4, 5]) * 1e4, np.array([1.0, 3, 3, 5]) * 1e4, np.zeros(count)),
        "shift": np.array([[3.0, 4.0], [0, 0], [0, 0], [0, 0]]),
        "class_number": np.array([1, 2, 2, 3]),
        "columns": {"rlnCtfMaxResolution": ("3.5", "4", "5e0", "nan"), "text": ("a", "b", "c", "d")},
    }
    return Particles(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("defocus", [15000, 30000, 35000, 50000]),
        ("astigmatism", [10000, 0, 10000, 0]),
        ("shift", [5, 0, 0, 0]),
        ("class_number", [1, 2, 2, 3]),
        ("rlnCtfMaxResolution", [3.5, 4, 5, np.nan]),
        ("_rlnCtfMaxResolution", [3.5, 4, 5, np.nan]),
        ("x", PLACES[:, 1]),
    ],
)
def test_values(name: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(particle_values(particles(), name), expected)


def test_values_that_are_not_known() -> None:
    with pytest.raises(InputError, match="'probability'"):
        particle_values(particles(), "probability")
    with pytest.raises(InputError, match="holds no numbers"):
        particle_values(particles(), "text")


def test_limits_are_included_and_the_unknown_is_out() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    np.testing.assert_array_equal(in_range(values, 2.0), [False, True, True, False])
    np.testing.assert_array_equal(in_range(values, None, 2.0), [True, True, False, False])
    np.testing.assert_array_equal(in_range(values), [True, True, True, False])


@pytest.mark.parametrize("pattern", ["mic_2", "mic_2.mrc", "Movies/mic_2.mrc", "*_2"])
def test_micrographs(pattern: str) -> None:
    np.testing.assert_array_equal(of_micrographs(particles(), [pattern]), [False, True, True, False])


def test_a_micrograph_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no micrograph is called so"):
        of_micrographs(particles(), ["mic_1", "mic_3"])


def test_random_ones_are_as_many_in_order_and_the_same_for_a_seed() -> None:
    chosen = choose_random(1000, 300, seed=3)
    assert len(set(chosen.tolist())) == 300
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, choose_random(1000, 300, seed=3))
    assert (chosen != choose_random(1000, 300, seed=4)).any()
    # A mean far from the middle would tell of a biased choice: its standard deviation is about 14.
    assert abs(chosen.mean() - 499.5) < 60
    with pytest.raises(InputError, match="fewer particles"):
        choose_random(3, 4, seed=0)


@pytest.mark.parametrize("seed", [None, 5])
def test_parts_hold_each_once(seed: int | None) -> None:
    parts = split(11, 3, seed)
    assert [len(part) for part in parts] == [4, 4, 3]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(11))
    assert (seed is None) == (parts[0].tolist() == [0, 1, 2, 3])
    with pytest.raises(InputError, match="fewer particles than parts"):
        split(2, 3)


def test_positions_are_in_the_micrographs_scale_and_shifted() -> None:
    known = particles(micrograph=np.array([0, 1, 1, 0]))
    np.testing.assert_array_equal(positions(known)[:2], [[23, 44], [60, 80]])
    np.testing.assert_array_equal(positions(replace(known, shift=None)), PLACES * 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinates": None}, "places of the particles"),
        ({}, "of no micrograph"),
        ({"optics": (ParticleOptics("g", Optics(), 3.0, 8),), "micrograph": np.zeros(4, np.int64)}, "pixel size"),
    ],
)
def test_positions_that_are_not_known(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        positions(particles(**changes))


class TestDuplicates:
    def test_the_better_one_stays_and_others_only_yield_to_one_that_stays(self) -> None:
        """Three in a row: the middle one is close to both, and goes when an end is best, or stays when it is."""
        places = np.array([[0.0, 0.0], [0.0, 8.0], [0.0, 16.0]])
        one = np.zeros(3, np.int64)
        np.testing.assert_array_equal(find_duplicates(places, one, 10, np.array([3.0, 2, 1])), [False, True, False])
        np.testing.assert_array_equal(find_duplicates(places, one, 10, np.array([1.0, 3, 2])), [True, False, True])
        np.testing.assert_array_equal(find_duplicates(places, one, 10), [False, True, False])
        np.testing.assert_array_equal(find_duplicates(places, one, 8.0), [False, False, False])

    def test_an_unknown_score_is_worst(self) -> None:
        places = np.array([[0.0, 0.0], [0.0, 1.0]])
        assert find_duplicates(places, np.zeros(2, np.int64), 5, np.array([np.nan, -7.0])).tolist() == [True, False]

    def test_micrographs_are_apart(self) -> None:
        places = np.zeros((4, 2))
        found = find_duplicates(places, np.array([2, 0, 2, 1]), 5, np.array([1.0, 1, 2, 1]))
        assert found.tolist() == [True, False, False, False]

    def test_against_every_pair(self) -> None:
        random = np.random.default_rng(0)
        places, micrograph = random.uniform(0, 300, (400, 2)), random.integers(0, 3, 400)
        score = random.normal(size=400)
        kept: list[int] = []
        for k in np.argsort(-score):
            near = [j for j in kept if micrograph[j] == micrograph[k] and np.hypot(*(places[j] - places[k])) < 25]
            kept += [] if near else [int(k)]
        assert np.flatnonzero(~find_duplicates(places, micrograph, 25, score)).tolist() == sorted(kept)
        assert 50 < len(kept) < 350


def test_repeated_images() -> None:
    repeated = particles(file=np.array([1, 0, 1, 1]), section=np.array([0, 0, 0, 1]))
    assert repeated_images(repeated).tolist() == [False, False, True, False]


def copied(**changes: object) -> Particles:
    """Each particle three times, with other poses, as symmetry expansion leaves them."""
    return particles(**changes).select(np.repeat(np.arange(4), 3))


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_an_image_are_in_one_half(seed: int) -> None:
    half = half_sets(copied(), np.random.default_rng(seed))
    np.testing.assert_array_equal(half, np.repeat(half[::3], 3))
    assert sorted(half[::3]) == [1, 1, 2, 2]


def test_halves_without_copies_are_a_permutation() -> None:
    expected = np.random.default_rng(7).permutation(np.arange(4) % 2) + 1
    backwards = particles(section=np.array([1, 0, 1, 0]))
    np.testing.assert_array_equal(half_sets(backwards, np.random.default_rng(7)), expected)


def test_known_halves_decide_for_all_copies() -> None:
    known = np.array([0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    half = half_sets(replace(copied(), half=known), np.random.default_rng(0))
    assert half[:6].tolist() == [2, 2, 2, 1, 1, 1]


def test_images_cut_when_they_are_read_are_told_by_their_places() -> None:
    optics = replace(particles().optics[0], cut=ImageCut(8))
    fields = {"optics": (optics,), "section": np.zeros(4, np.int64)}
    assert len(np.unique(particles(**fields).image_numbers())) == 4
    half = half_sets(copied(**fields), np.random.default_rng(1))
    np.testing.assert_array_equal(half, np.repeat(half[::3], 3))
    assert replace(copied(**fields), half=half).in_both_halves().tolist() == []
    assert replace(particles(**fields), half=np.array([1, 2, 1, 2])).in_both_halves().tolist() == []
