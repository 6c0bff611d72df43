"""Maps aligned to others from which they were turned, moved and mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from tests.algorithms.map_phantom import blobs, noise
from thon.algorithms.align_volumes import AlignVolumesOptions, align_volumes
from thon.base.errors import InputError
from thon.ops.rotation import random_rotations
from thon.ops.symmetry import angular_distance
from thon.ops.volume_rotation import flip_hand, move_volume

OPTIONS = AlignVolumesOptions(search_resolution=40, resolution=16, step=20, either_hand=True)


def test_a_mirrored_map_is_brought_back():
    truth = blobs((44, 44, 44), count=30, radius=13)
    turn, shift = random_rotations(1, 8)[0], np.array([2.0, -3.0, 1.5])
    moved = move_volume(flip_hand(truth), turn, shift)
    moved = moved + 0.5 * moved.std() * noise((44, 44, 44), 2)
    found = align_volumes(moved, truth, 4.0, OPTIONS)
    assert found.flipped
    mirror = np.diag([1.0, 1.0, -1.0])
    assert float(angular_distance(found.rotation @ mirror @ turn @ mirror, np.eye(3))) < 0.7
    np.testing.assert_allclose(found.shift / 4 + found.rotation @ mirror @ shift, 0, atol=0.15)
    back = move_volume(flip_hand(moved), found.rotation, found.shift / 4)
    assert np.corrcoef(back.numpy().ravel(), truth.numpy().ravel())[0, 1] > 0.85


@pytest.mark.usefixtures("unchecked")
def test_other_boxes_are_refused():
    with pytest.raises(InputError, match="different boxes"):
        align_volumes(blobs(), blobs((32, 32, 32), radius=8), 4.0, OPTIONS)
