"""Heights of a flat specimen under tilt, against rotations of points written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.algorithms.tilt_ctf_phantom import CtfPhantom
from thon.algorithms.tilt_ctf_geometry import defocus_at, height_slope, height_slope_gradient, level
from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry


@pytest.fixture
def geometry() -> TiltGeometry:
    return TiltGeometry(
        tilt=np.array([-50.0, 3.0, 37.0]),
        shift=np.array([[100.0, -220.0], [15.0, 40.0], [-60.0, 310.0]]),
        rotation=np.array([-84.0, 12.0, 170.0]),
        x_tilt=np.array([2.0, 0.0, -5.0]),
    )


def test_slopes_are_those_of_rotated_planes(geometry):
    truth = CtfPhantom((30, 44), 5.0, geometry, np.zeros(3), inclination=(6.0, -4.0))
    slope = height_slope(level(geometry, (6.0, -4.0)))
    y, x = (np.arange(30)[:, None] - 15) * 5.0, (np.arange(44)[None] - 22) * 5.0
    for k in range(3):
        assert y * slope[k, 0] + x * slope[k, 1] == pytest.approx(truth.height(k), abs=1e-9)
    assert np.abs(slope).max() > 0.5


def test_an_image_that_is_magnified_rises_less(geometry):
    larger = replace(geometry, magnification=np.full(3, 1.25))
    assert height_slope(larger) * 1.25 == pytest.approx(height_slope(geometry))


def test_gradient_is_the_change_with_the_inclination(geometry):
    found, step = height_slope_gradient(level(geometry, (6.0, -4.0))), 1e-4
    for axis, move in enumerate(((step, 0.0), (0.0, step))):
        ends = [height_slope(level(geometry, (6.0 + s * move[0], -4.0 + s * move[1]))) for s in (1, -1)]
        assert found[axis] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("hand", [1, -1])
def test_defocus_of_points_is_that_where_they_are_seen(geometry, hand):
    """Points of the specimen's plane have the defocus of the places where the geometry projects them."""
    columns = [np.array([30e3, 31e3, 29e3]), np.array([29e3, 30e3, 28e3]), *[np.zeros(3)] * 2]
    ctf = TiltCtf(*columns, sigma=np.zeros((3, 4)), score=np.zeros(3), resolution=np.zeros(3))
    random = np.random.default_rng(2)
    points = np.concatenate([np.zeros((7, 1)), random.uniform(-900, 900, (7, 2))], 1)
    found = defocus_at(ctf, geometry, points, hand=hand)
    expected = ctf.defocus[:, None] + hand * np.einsum("kpi,ki->kp", geometry.project(points), height_slope(geometry))
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.ptp(found[0]) > 500
    raised = defocus_at(ctf, geometry, points + np.array([100.0, 0, 0]), hand=hand) - found
    tilt, pitch = np.deg2rad(geometry.tilt), np.deg2rad(geometry.x_tilt)
    assert raised == pytest.approx(np.broadcast_to(hand * 100 * np.cos(tilt) * np.cos(pitch), (7, 3)).T)
