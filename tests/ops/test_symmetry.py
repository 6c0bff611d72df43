"""Point groups: they are groups, and RELION's; rotations to quaternions and back."""

from __future__ import annotations

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.ops.rotation import (
    axis_angle,
    even_rotations,
    quaternion_from_rotation,
    random_rotations,
    rotation_about,
    rotation_from_quaternion,
    rotation_from_vector,
)
from thon.ops.symmetry import angular_distance, symmetry_name, symmetry_rotations

ORDERS = {"C1": 1, "C2": 2, "C7": 7, "D1": 2, "D2": 4, "D7": 14, "T": 12, "O": 24} | dict.fromkeys(
    ("I1", "I2", "I3", "I4"), 60
)

# Two matrices (x, y, z) that generate the group, as RELION 3.1.3 prints them:
# relion_refine --o x --i x --sym NAME --print_symmetry_ops
RELION = {
    "C7": [[[0.62349, -0.78183, 0], [0.78183, 0.62349, 0], [0, 0, 1]]],
    "D2": [[[-1, 0, 0], [0, -1, 0], [0, 0, 1]], [[1, 0, 0], [0, -1, 0], [0, 0, -1]]],
    "D3": [[[-0.5, 0.866025, 0], [-0.866025, -0.5, 0], [0, 0, 1]], [[1, 0, 0], [0, -1, 0], [0, 0, -1]]],
    "T": [
        [[-0.5, 0.866025, 0], [-0.866025, -0.5, 0], [0, 0, 1]],
        [[-1, 0, 0], [0, 0.33333, 0.94281], [0, 0.94281, -0.33333]],
    ],
    "O": [[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]],
    "I1": [
        [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        [[0.80902, -0.5, -0.30902], [0.5, 0.30902, 0.80902], [-0.30902, -0.80902, 0.5]],
    ],
    "I2": [
        [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        [[0.5, 0.80902, 0.30902], [-0.80902, 0.30902, 0.5], [0.30902, -0.5, 0.80902]],
    ],
    "I3": [
        [[-0.44721, 0, -0.89443], [0, -1, 0], [-0.89443, 0, 0.44721]],
        [[0.309017, 0.951057, 0], [-0.951057, 0.309017, 0], [0, 0, 1]],
    ],
    "I4": [
        [[-0.44721, 0, 0.89443], [0, -1, 0], [0.89443, 0, 0.44721]],
        [[0.8618, 0.42533, 0.27639], [-0.42533, 0.30902, 0.85065], [0.27639, -0.85065, 0.44721]],
    ],
}


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_point_group_is_a_group_of_rotations(name, order):
    group = symmetry_rotations(name)
    assert group.shape == (order, 3, 3)
    assert group.dtype == np.float64
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(group), 1, atol=1e-12)
    products = (group[:, None] @ group[None]).reshape(-1, 3, 3)
    distance = np.abs(products[:, None] - group[None]).max((2, 3))
    assert distance.min(1).max() < 1e-12
    apart = np.abs(group[:, None] - group[None]).max((2, 3)) + 2 * np.eye(order)
    assert apart.min() > 0.05


@pytest.mark.parametrize("name", RELION)
def test_the_axes_are_relions(name):
    group = symmetry_rotations(name)
    for matrix in RELION[name]:
        house = np.array(matrix, np.float64)[::-1, ::-1]
        assert np.abs(group - house).max((1, 2)).min() < 1e-5


def test_names_are_understood_in_either_case():
    assert [symmetry_name(name) for name in ("d2", " C10 ", "i", "I4")] == ["D2", "C10", "I2", "I4"]


@pytest.mark.parametrize("name", ["", "C0", "D", "I5", "C-2", "C2v", "Q3"])
def test_a_wrong_name_is_answered_with_the_right_ones(name):
    with pytest.raises(InputError, match="D1, D2"):
        symmetry_rotations(name)


def test_what_is_returned_can_be_changed_without_harm():
    symmetry_rotations("C3")[:] = 0
    np.testing.assert_array_equal(symmetry_rotations("C3")[0], np.eye(3))


def test_a_rotation_about_an_axis_is_right_handed():
    z, y, x = np.eye(3)
    np.testing.assert_allclose(rotation_about((1, 0, 0), 90) @ x, y, atol=1e-15)
    np.testing.assert_allclose(rotation_about((0, 0, 2), 90) @ y, z, atol=1e-15)
    axis, angle = axis_angle(rotation_about((1, -2, 3), 40.0))
    np.testing.assert_allclose(axis, np.array([1, -2, 3]) / np.sqrt(14), atol=1e-12)
    assert angle == pytest.approx(40)


def test_quaternions_and_vectors_come_back_also_at_half_a_turn():
    rotation = np.concatenate([random_rotations(50, 1), rotation_about((3, 1, -2), 180)[None], np.eye(3)[None]])
    quaternion = quaternion_from_rotation(rotation)
    np.testing.assert_allclose(rotation_from_quaternion(quaternion), rotation, atol=1e-12)
    axis, angle = axis_angle(rotation)
    np.testing.assert_allclose(rotation_from_vector(axis * angle[:, None]), rotation, atol=1e-12)


def test_distance_does_not_see_what_symmetry_makes_alike():
    pose = random_rotations(5, 2)
    away = pose @ symmetry_rotations("O")[17] @ rotation_about((1, 1, -1), 6.0)
    np.testing.assert_allclose(angular_distance(pose, away, "O"), 6, atol=1e-9)
    assert angular_distance(pose, away).min() > 30


def test_even_rotations_leave_no_gap():
    grid, probe = even_rotations(20), random_rotations(200, 3)
    nearest = angular_distance(probe[:, None], grid[None]).min(1)
    assert nearest.max() < 20
    assert nearest.mean() == pytest.approx(10, abs=1)
