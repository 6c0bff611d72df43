"""What is done to maps between steps, and how evenly they were seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise
from thon.algorithms.volume_tools import (
    VolumeOptions,
    crop_or_pad,
    describe_volume,
    rescale_volume,
    scaled_difference,
    transform_volume,
)
from thon.base.errors import InputError
from thon.ops.rotation import random_rotations
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_mask import centre_of_mass
from thon.ops.volume_rotation import move_volume


@pytest.mark.parametrize("new", [(30, 30, 30), (31, 46, 35), (50, 51, 44)])
def test_boxes_are_cut_and_padded_about_the_centre_voxel(new):
    volume = blobs((40, 41, 44), radius=8) + 3
    made = crop_or_pad(volume, new)
    for step in ((0, 0, 0), (5, -6, 7)):
        inside = tuple(n // 2 + s for n, s in zip(new, step, strict=True))
        before = tuple(n // 2 + s for n, s in zip((40, 41, 44), step, strict=True))
        assert float(made[inside]) == float(volume[before])
    assert float(made[0, 0, 0]) == pytest.approx(3, abs=1e-3)


def test_resampling_says_the_voxel_size_it_came_to():
    made, size = rescale_volume(blobs(width=2.0), 4.0, 5.2)
    assert made.shape == (30, 30, 30)
    assert size == pytest.approx(160 / 30)
    assert float(made[15, 15, 15]) == pytest.approx(float(blobs(width=2.0)[20, 20, 20]), abs=0.02)
    with pytest.raises(InputError, match="cubes"):
        rescale_volume(blobs((30, 32, 30), radius=8), 4.0, 8.0)


def test_operations_follow_each_other():
    volume = move_volume(blobs(width=2.0, radius=8), np.eye(3), (2, -1, 3))
    options = VolumeOptions(centre=True, symmetrise="C2", low_pass=30, invert=True, box=36)
    made, size, notes = transform_volume(volume, 4.0, options)
    assert (tuple(made.shape), size, notes) == ((36, 36, 36), 4.0, [])
    np.testing.assert_allclose(centre_of_mass(-made), 18, atol=0.3)
    turned = move_volume(made, symmetry_rotations("C2")[1])
    assert float((turned - made).abs().max()) < 0.03 * float(made.abs().max())
    assert torch.equal(transform_volume(volume, 4.0, VolumeOptions())[0], volume)


def test_low_and_high_pass_share_the_map():
    volume = blobs()
    low, _, _ = transform_volume(volume, 4.0, VolumeOptions(low_pass=20))
    high, _, _ = transform_volume(volume, 4.0, VolumeOptions(high_pass=20))
    np.testing.assert_allclose(low + high, volume, atol=1e-4)


def test_axes_are_found_on_the_way():
    volume = move_volume(blobs(symmetry="C4", count=12), random_rotations(1, 1)[0])
    made, _, notes = transform_volume(volume, 4.0, VolumeOptions(align_symmetry="C4"))
    assert notes[0].startswith("C4")
    turned = move_volume(made, symmetry_rotations("C4")[1])
    assert float((turned - made).std()) < 0.1 * float(made.std())


def test_a_difference_does_not_see_scale_and_offset():
    volume, extra = blobs(), blobs(seed=9, count=1)
    left, correlation = scaled_difference(volume + 0.0, 3 * volume + 2)
    assert float(left.abs().max()) < 1e-4
    assert correlation == pytest.approx(1, abs=1e-6)
    left, correlation = scaled_difference(volume + extra, 3 * volume + 2)
    assert int(left.argmax()) == int(extra.argmax())
    assert 0.8 < correlation < 1
    with pytest.raises(ValueError, match="constant"):
        scaled_difference(volume, torch.ones_like(volume))


def test_a_map_is_described_in_numbers():
    text = describe_volume(2 * noise((20, 22, 24), 1) + 5, 3.0)
    assert text.startswith("24 × 22 × 20 voxels of 3 Å")
    assert "deviation 2.0" in text or "deviation 1.99" in text
