"""Random motion, and the way back from a frame to the micrograph."""

from __future__ import annotations

import numpy as np
import pytest

from thon.algorithms.simulation.motion import (
    NODES,
    MotionOptions,
    frame_to_micrograph,
    largest_displacement,
    random_motion,
)
from thon.data.geometry import spline_basis


def test_drift_is_as_long_as_said_and_calms_down() -> None:
    motion = random_motion(40, 1.0, MotionOptions(drift=20.0, decay=5.0, local=8.0), np.random.default_rng(3))
    np.testing.assert_array_equal(motion.displacement[0], 0)
    assert np.linalg.norm(motion.displacement[-1]) == pytest.approx(20, rel=1e-6)
    steps = np.linalg.norm(np.diff(motion.displacement, axis=0), axis=1)
    assert steps[:3].mean() > 10 * steps[-3:].mean()
    edge = np.linspace(-0.5, 0.5, 9)
    places = np.stack(np.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
    local = motion.at(places) - motion.displacement[:, None]
    assert np.linalg.norm(local, axis=-1).max() == pytest.approx(8, rel=1e-6)
    assert np.abs(local[0]).max() < 1e-9
    assert largest_displacement(motion) * np.sqrt(2) >= 20


@pytest.mark.parametrize("frames", [2, 3, 400])
def test_short_and_long_movies_move_locally_too(frames: int) -> None:
    motion = random_motion(frames, 40 / frames, MotionOptions(), np.random.default_rng(4))
    corner = motion.at(np.array([[-0.5, -0.5], [0.5, 0.5]]))
    assert np.isfinite(corner).all()
    assert np.ptp(corner[-1], axis=0).max() > 0.5


def test_the_way_back_ends_where_the_way_began() -> None:
    shape, pixel_size = (300, 420), 1.3
    motion = random_motion(12, 2.0, MotionOptions(drift=20.0, local=10.0), np.random.default_rng(5))
    coefficients = frame_to_micrograph(motion, 11, shape, pixel_size)
    random = np.random.default_rng(6)
    pixel = random.uniform(0, 1, (50, 2)) * shape
    frame = pixel + motion.at(pixel / shape - 0.5)[11] / pixel_size
    inside = ((frame > 0) & (frame < shape)).all(1)
    knots = 1 + frame[inside] * (NODES - 3) / shape
    rows, columns = (spline_basis(knots[:, axis], NODES) for axis in (0, 1))
    back = frame[inside] + np.einsum("pi,pj,ijd->pd", rows, columns, coefficients)
    assert inside.sum() > 20
    np.testing.assert_allclose(back, pixel[inside], atol=0.02)
