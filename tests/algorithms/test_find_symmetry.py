"""Point groups and axes of maps that were turned and moved by known amounts; poses that follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise
from tests.algorithms.particle_set import particles_with
from thon.algorithms.find_symmetry import FindSymmetryOptions, align_to_symmetry, find_symmetry
from thon.algorithms.symmetry_poses import expand_poses, move_poses
from thon.base.errors import InputError
from thon.ops.rotation import random_rotations
from thon.ops.symmetry import angular_distance, symmetry_rotations
from thon.ops.volume_rotation import move_volume, symmetrise_volume

SHIFT = np.array([1.0, -1.5, 0.5])


def turned(symmetry: str, seed: int, level: float = 0.0) -> tuple[torch.Tensor, np.ndarray]:
    """A symmetric map turned at random and moved, with noise; and by which rotation."""
    count = 60 // len(symmetry_rotations(symmetry)) + 3
    volume = blobs((44, 44, 44), symmetry=symmetry, count=count, radius=14)
    turn = random_rotations(1, seed)[0]
    moved = move_volume(volume, turn, SHIFT)
    return moved + level * moved.std() * noise((44, 44, 44), seed), turn


@pytest.mark.parametrize("symmetry", ["D2", "O"])
def test_a_turned_map_is_brought_back_to_the_standard_axes(symmetry):
    volume, turn = turned(symmetry, 4)
    found = align_to_symmetry(volume, symmetry, voxel_size=4.0, resolution=16)
    np.testing.assert_allclose(found.centre, SHIFT * 4, atol=0.4)
    assert found.lowest > 0.9
    # The group's axes, turned with the map and then as was found, are the group's axes again.
    group, total = symmetry_rotations(symmetry), found.rotation @ turn
    conjugated = total @ group @ total.T
    assert angular_distance(conjugated[:, None], group[None]).min(1).max() < 1.0
    moved = move_volume(volume, found.rotation, -found.rotation @ found.centre / 4)
    change = symmetrise_volume(moved, group) - moved
    assert float(change.std()) < 0.1 * float(moved.std())


def test_the_group_of_a_noisy_map_is_found():
    volume, turn = turned("D3", 5, level=1.0)
    best, tried = find_symmetry(volume, 4.0, FindSymmetryOptions(resolution=20, max_fold=4))
    assert best.symmetry == "D3"
    total = best.rotation @ turn
    group = symmetry_rotations("D3")
    assert angular_distance((total @ group @ total.T)[:, None], group[None]).min(1).max() < 1.5
    lowest = {one.symmetry: one.lowest for one in tried}
    assert lowest["C4"] < 0.3 < lowest["C3"]


def test_a_map_without_symmetry_has_none():
    volume = blobs((44, 44, 44), count=40, radius=14)
    best, _ = find_symmetry(volume, 4.0, FindSymmetryOptions(resolution=20, max_fold=4))
    assert best.symmetry == "C1"
    np.testing.assert_array_equal(best.rotation, np.eye(3))


def test_wrong_names_and_empty_maps_are_refused():
    with pytest.raises(InputError, match="point group"):
        align_to_symmetry(blobs(), "D0")
    with pytest.raises(InputError, match="empty"):
        align_to_symmetry(torch.zeros(20, 20, 20), "D2")
    with pytest.raises(InputError, match="cube"):
        align_to_symmetry(blobs((40, 42, 40)), "D2")


class TestPoses:
    def test_points_fall_on_the_same_places_of_the_images(self):
        random = np.random.default_rng(1)
        particles = particles_with(random_rotations(6, 2), random.normal(size=(6, 2)))
        turn, centre = random_rotations(1, 3)[0], np.array([3.0, -4.0, 5.0])
        moved = move_poses(particles, turn, centre)
        point = random.normal(size=3)
        before = (particles.rotation @ point)[:, 1:] + particles.shift
        after = (moved.rotation @ (turn @ (point - centre)))[:, 1:] + moved.shift
        np.testing.assert_allclose(after, before, atol=1e-12)

    def test_copies_see_a_symmetric_reference_alike(self):
        particles = particles_with(random_rotations(3, 2), np.ones((3, 2)))
        expanded = expand_poses(particles, "D3")
        assert len(expanded) == 18
        np.testing.assert_array_equal(expanded.section, np.repeat([0, 1, 2], 6))
        np.testing.assert_array_equal(expanded.rotation[::6], particles.rotation)
        own = np.repeat(particles.rotation, 6, axis=0)
        np.testing.assert_allclose(angular_distance(expanded.rotation, own, "D3"), 0, atol=1e-5)
        first = expanded.rotation[:6]
        apart = angular_distance(first[:, None], first[None]) + 360 * np.eye(6)
        assert apart.min() > 100

    def test_particles_without_poses_are_refused(self):
        with pytest.raises(InputError, match="no poses"):
            expand_poses(particles_with(None, None), "C2")
