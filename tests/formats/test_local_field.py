"""Splines through scattered displacements."""

from __future__ import annotations

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.data.geometry import LocalField
from thon.formats.local_field import fit_local_field


def test_a_field_is_found_again() -> None:
    """Enough scattered points of a spline with the same nodes give the spline back."""
    rng = np.random.default_rng(4)
    truth = LocalField(rng.normal(0, 3, (2, 5, 6, 2)), (100.0, 80.0))
    extent = (100.0 * (5 - 3) / 2, 80.0 * (6 - 3) / 2)
    points = [rng.uniform(-1, 1, (900, 2)) * extent for _ in range(2)]
    moved = truth(np.stack(points))
    found = fit_local_field(points, list(moved), nodes=(5, 6), extent=extent)
    assert found.spacing == truth.spacing
    # The preference for level fields shows only in the corners, where coefficients hardly act on any point.
    error = found(np.stack(points)) - moved
    assert np.sqrt((error**2).mean()) < 5e-4
    assert np.abs(error).max() < 5e-3
    assert np.abs(moved).max() > 2


def test_tilts_without_points_are_level() -> None:
    points = [np.zeros((0, 2)), np.array([[10.0, -5.0]])]
    moved = [np.zeros((0, 2)), np.array([[1.5, -2.5]])]
    field = fit_local_field(points, moved, nodes=(4, 4), extent=(50.0, 50.0))
    assert not field.coefficients[0].any()
    # One point says the same for the whole image.
    everywhere = np.array([[[0, 0]] * 2, [[-50.0, 50.0], [49.0, 20.0]]], float)
    np.testing.assert_allclose(field(everywhere)[1], [[1.5, -2.5]] * 2, atol=0.01)


@pytest.mark.usefixtures("unchecked")
def test_points_and_displacements_must_match() -> None:
    with pytest.raises(InputError, match="tilt 0 differ"):
        fit_local_field([np.zeros((3, 2))], [np.zeros((2, 2))], nodes=(4, 4), extent=(1.0, 1.0))
