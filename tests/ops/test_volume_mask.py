"""Soft masks, the solvent's noise, and turning volumes about their centre voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise
from thon.ops.rotation import rotation_about
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_mask import centre_of_mass, cylinder_mask, soft_mask, solvent_noise, sphere_mask
from thon.ops.volume_rotation import flip_hand, move_volume, sample_volume, symmetrise_volume


def test_a_soft_mask_grows_and_falls_off_by_distance():
    inside = torch.zeros(21, 23, 25, dtype=torch.bool)
    inside[10, 11, 12] = True
    mask = soft_mask(inside, extend=3.0, edge=4.0)
    # Voxels nearer than 3 are inside; the edge counts from the last of them, at 2.
    line = mask[10, 11, 12:]
    expected = 0.5 + 0.5 * np.cos(np.pi * np.array([0, 0, 0, 1, 2, 3, 4]) / 4)
    np.testing.assert_allclose(line[:7], expected, atol=1e-6)
    assert float(line[7:].max()) == 0
    assert float(mask[12, 13, 12]) == 1  # √8 < 3
    assert torch.equal(soft_mask(inside).bool(), inside)


def test_spheres_and_cylinders_have_their_size():
    sphere = sphere_mask((40, 44, 48), 12, edge=4)
    # A raised cosine holds as much outside its middle as it lacks inside: to first order that of radius 14.
    shell = 4 / 3 * np.pi * 14**3
    assert float(sphere.sum()) == pytest.approx(shell, rel=0.02)
    assert float(sphere[20, 22, 24 + 12]) == 1
    assert float(sphere[20, 22, 24 + 14]) == pytest.approx(0.5)
    moved = sphere_mask((40, 44, 48), 12, edge=4, centre=(18.0, 23.0, 25.0))
    assert torch.equal(moved, sphere.roll((-2, 1, 1), (0, 1, 2)))
    cylinder = cylinder_mask((40, 44, 48), 10, 20)
    assert float(cylinder.sum()) == pytest.approx(np.pi * 10**2 * 21, rel=0.03)
    assert float(cylinder[20 + 10, 22, 24]) == 1
    assert float(cylinder[20 + 11, 22, 24]) == 0


def test_the_solvents_noise_does_not_see_the_particle():
    map_ = 5 * blobs() + 0.2 * noise((40, 40, 40), 2) + 0.7
    mean, deviation = solvent_noise(map_)
    assert mean == pytest.approx(0.7, abs=0.01)
    assert deviation == pytest.approx(0.2, rel=0.05)


def test_the_centre_of_mass_is_found_where_there_is_mass():
    volume = torch.zeros(16, 18, 20)
    volume[4, 9, 13], volume[6, 9, 13] = 1.0, 1.0
    np.testing.assert_allclose(centre_of_mass(volume), [5, 9, 13])
    assert np.isnan(centre_of_mass(torch.zeros(4, 4, 4))).all()


@pytest.mark.parametrize("shape", [(30, 30, 30), (31, 31, 31)])
def test_a_quarter_turn_moves_voxels_onto_voxels(shape):
    volume = blobs(shape, radius=8)
    turned = move_volume(volume, rotation_about((1, 0, 0), 90))
    # x goes to y and y to −x, about n // 2.
    c = shape[0] // 2
    for z, y, x in ((0, 2, 5), (3, -4, 1), (-2, 6, -3)):
        assert float(turned[c + z, c + x, c - y]) == pytest.approx(float(volume[c + z, c + y, c + x]), abs=1e-4)


def test_turning_and_moving_there_and_back_gives_the_map_again():
    volume = blobs(width=2.0)
    turn, shift = rotation_about((1, 2, -1), 37), np.array([1.0, -0.5, 2.0])
    there = move_volume(volume, turn, shift)
    back = move_volume(there, turn.T, -turn.T @ shift)
    assert float((back - volume).abs().max()) < 0.02 * float(volume.max())
    places = torch.tensor([[20.0, 18.0, 23.0], [17.0, 25.0, 20.0]])
    centre = torch.tensor([20.0, 20.0, 20.0])
    moved = (places - centre) @ torch.from_numpy(turn.T).float() + centre + torch.from_numpy(shift).float()
    np.testing.assert_allclose(sample_volume(there, moved), sample_volume(volume, places), atol=0.05)


def test_symmetrising_leaves_a_symmetric_map_and_makes_others_so():
    symmetric = blobs(symmetry="D3", count=8, width=2.0)
    group = symmetry_rotations("D3")
    change = (symmetrise_volume(symmetric, group) - symmetric).abs().max()
    assert float(change) < 0.02 * float(symmetric.max())
    made = symmetrise_volume(blobs(width=2.0), group)
    for turn in group[1:]:
        assert float((move_volume(made, turn) - made).abs().max()) < 0.02 * float(made.max())


@pytest.mark.parametrize("side", [12, 13])
def test_the_mirror_image_keeps_the_centre_and_comes_back(side):
    volume = noise((side, side, side), 4)
    flipped = flip_hand(volume)
    c = side // 2
    assert torch.equal(flipped[:, :, c], volume[:, :, c])
    assert torch.equal(flipped[:, :, c + 3], volume[:, :, c - 3])
    assert torch.equal(flip_hand(flipped), volume)
