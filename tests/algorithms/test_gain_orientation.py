"""Which way a gain reference lies on the frames, from sparse counts."""

from __future__ import annotations

import numpy as np
import pytest

from thon.algorithms.detector import Flip, turn_gain
from thon.algorithms.gain_orientation import ORIENTATIONS, find_gain_orientation
from thon.base.errors import InputError


def random_gain(shape: tuple[int, int], spread: float = 0.04, columns: float = 0.02, seed: int = 0) -> np.ndarray:
    """A few percent from pixel to pixel and from column to column, and a few dead pixels."""
    random = np.random.default_rng(seed)
    seen = 1 + spread * random.normal(size=shape) + columns * random.normal(size=shape[1])
    gain = (1 / np.clip(seen, 0.3, 3)).astype(np.float32)
    gain[random.integers(0, shape[0], 9), random.integers(0, shape[1], 9)] = 0
    return gain


def raw_frame(gain: np.ndarray, electrons: float, seed: int = 1) -> np.ndarray:
    """Mean of 40 raw frames of a specimen with an edge and beads, `electrons` per pixel in all."""
    random = np.random.default_rng(seed)
    y, x = np.indices(gain.shape)
    mean = electrons * (1 + 0.2 * np.sin(x / 40) * np.cos(y / 30)) * np.where(y > 0.8 * x + 100, 0.6, 1)
    for radius in random.uniform(2, 10, 15):
        place = random.uniform(0, 1, 2) * gain.shape
        mean *= 1 - 0.65 * (np.hypot(y - place[0], x - place[1]) < radius)
    sensitivity = np.divide(1, gain, out=np.zeros_like(gain), where=gain > 0)
    return random.poisson(mean * sensitivity) / 40


@pytest.mark.parametrize(("rotate", "flip"), ORIENTATIONS)
@pytest.mark.parametrize(("shape", "electrons"), [((300, 300), 40), ((280, 333), 3)])
def test_each_orientation_is_found(rotate: int, flip: Flip, shape: tuple[int, int], electrons: float) -> None:
    gain = random_gain(shape)
    placed = turn_gain(gain, rotate, flip)
    wrong: tuple[int, Flip] = (rotate % 2, "none") if shape[0] != shape[1] else (0, "none")
    found = find_gain_orientation(raw_frame(placed, electrons), gain, rotate=wrong[0], flip=wrong[1])
    assert (found.best.rotate, found.best.flip) == (rotate, flip)
    assert len(found.fits) == (8 if shape[0] == shape[1] else 4)
    assert found.best.z > 15
    assert found.best.slope == pytest.approx(1, abs=0.12)
    assert found.inverted is False
    if (rotate, flip) == wrong:
        assert found.warning is None
        assert found.lead == 0
    else:
        assert found.lead > 8
        assert f"rotate_gain {rotate}, flip_gain {flip}" in (found.warning or "")


def test_an_inverted_gain_is_noticed_both_ways() -> None:
    gain = random_gain((300, 300))
    frame, inverse = raw_frame(gain, 40), np.divide(1, gain, out=np.zeros_like(gain), where=gain > 0)
    for given, inverted, wrong in (
        (gain, False, False),
        (gain, True, True),
        (inverse, False, True),
        (inverse, True, False),
    ):
        found = find_gain_orientation(frame, given, inverted=inverted)
        assert found.inverted is wrong
        assert found.best.slope == pytest.approx(-1 if wrong else 1, abs=0.1)
        assert ("invert_gain" in (found.warning or "")) is wrong


def test_nothing_is_said_of_frames_without_the_pattern() -> None:
    """Corrected frames, or another detector's: over 20 cases z has a deviation of 1, and there is no verdict."""
    scores: list[float] = []
    for seed in range(20):
        frame = raw_frame(np.ones((256, 256)), 40, seed=seed)
        found = find_gain_orientation(frame, random_gain((256, 256), seed=seed))
        assert not found.known
        assert found.warning is None
        assert found.inverted is None
        scores += [fit.z for fit in found.fits]
    assert 0.8 < np.std(scores) < 1.25


def test_only_columns_cannot_tell_upside_down() -> None:
    """A pattern that is the same both ways must not raise a false alarm."""
    gain = random_gain((300, 300), spread=0, columns=0.05)
    gain[gain == 0] = 1
    found = find_gain_orientation(raw_frame(gain, 40), gain, flip="up-down")
    assert found.known
    assert found.lead < 6
    assert found.warning is None


@pytest.mark.parametrize("fine", ["gain", "frame"])
def test_grids_that_differ(fine: str) -> None:
    big = random_gain((480, 400), spread=0.08)
    if fine == "gain":
        frame = raw_frame(big[::-1], 10).reshape(240, 2, 200, 2).sum((1, 3))
        gain = big
    else:
        gain = random_gain((240, 200), spread=0.08)
        frame = raw_frame(np.kron(gain[::-1], np.ones((2, 2), np.float32)), 10)
    found = find_gain_orientation(frame, gain)
    assert (found.best.rotate, found.best.flip) == (0, "up-down")
    assert found.lead > 8


def test_bad_pixels_are_left_out_and_other_names_are_understood() -> None:
    gain = random_gain((300, 300))
    frame = raw_frame(np.rot90(gain), 40)
    frame[:, 40:44] = 900
    bad = np.zeros(frame.shape, bool)
    bad[:, 40:44] = True
    found = find_gain_orientation(frame, gain, rotate=3, bad=bad)
    assert found.used is found.best
    same = find_gain_orientation(frame, gain, rotate=1, flip="none", bad=bad)
    assert (same.best.rotate, same.best.flip) == (3, "none")
    twice = find_gain_orientation(frame, gain, rotate=2, flip="left-right", bad=bad)
    assert (twice.used.rotate, twice.used.flip) == (0, "up-down")


def test_a_gain_that_cannot_fit_is_refused() -> None:
    gain = random_gain((120, 150))
    with pytest.raises(InputError, match="does not fit the frames"):
        find_gain_orientation(np.ones((120, 151)), gain)
    with pytest.raises(InputError, match="as it is turned"):
        find_gain_orientation(np.ones((120, 150)), gain, rotate=1)
