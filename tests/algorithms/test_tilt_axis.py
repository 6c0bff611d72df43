"""The tilt axis from common lines."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import TiltPhantom, simulate_series
from thon.algorithms.tilt_axis import AxisSearch, find_tilt_axis, search_tilt_axis


@lru_cache
def series(axis: float) -> TiltPhantom:
    return simulate_series(
        (120, 131), step=8.0, span=56, axis=axis, max_shift=2.0, thickness=25, number=150, noise=0.7, seed=3
    )


def apart(one: float, other: float) -> float:
    """Degrees between two directions without a sense."""
    return abs((one - other + 90) % 180 - 90)


@pytest.mark.parametrize("axis", [0.0, -4.0, 85.0, 40.0])
def test_the_axis_is_found_without_any_hint(axis: float) -> None:
    """Within 3 degrees (measured: 1.4 at most), up to half a turn."""
    phantom = series(axis)
    found = find_tilt_axis(torch.from_numpy(phantom.images), phantom.truth, phantom.pixel_size)
    assert apart(found.best, axis) < 3
    assert (np.diff(found.angle) > 0).all()
    assert np.isfinite(found.score).all()
    assert found.score.max() > np.median(found.score) + 0.05


def test_a_hint_is_kept_to() -> None:
    phantom = series(85.0)
    found = find_tilt_axis(torch.from_numpy(phantom.images), phantom.truth, phantom.pixel_size, centre=82, reach=8)
    assert apart(found.best, 85) < 3
    assert found.angle.min() >= 72
    assert found.angle.max() <= 92
    wrong = find_tilt_axis(torch.from_numpy(phantom.images), phantom.truth, phantom.pixel_size, centre=20, reach=5)
    assert np.abs(wrong.angle - 20).max() < 7


def test_half_a_turn_cannot_be_told() -> None:
    phantom = series(-4.0)
    images = torch.from_numpy(phantom.images)
    found = search_tilt_axis(images, phantom.truth, phantom.pixel_size, np.array([-4.0, 176.0, 60.0]))
    assert found.score[0] == pytest.approx(found.score[1], abs=0.02)
    assert found.score[2] < found.score[0] - 0.1


def test_shifts_along_the_axis_are_taken_up() -> None:
    phantom = series(0.0)
    images, angles = torch.from_numpy(phantom.images), np.array([0.0])
    jitter = np.random.default_rng(0).uniform(-20, 20, len(phantom.tilt))
    moved = replace(phantom.truth, shift=phantom.truth.shift + np.stack([jitter, 0 * jitter], 1))
    still = search_tilt_axis(images, phantom.truth, phantom.pixel_size, angles).score[0]
    assert search_tilt_axis(images, moved, phantom.pixel_size, angles).score[0] > 0.93 * still
    assert search_tilt_axis(images, moved, phantom.pixel_size, angles, max_lag=0).score[0] < 0.9 * still


def test_the_best_angle_lies_on_the_parabola_or_at_the_end() -> None:
    angle = np.array([0.0, 2.0, 4.0, 6.0])
    assert AxisSearch(angle, 1 - (angle - 3.3) ** 2 / 50).best == pytest.approx(3.3)
    assert AxisSearch(angle, angle).best == 6.0
    assert AxisSearch(np.array([7.0]), np.ones(1)).best == 7.0
