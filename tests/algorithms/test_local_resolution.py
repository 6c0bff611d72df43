"""Local resolution of a map whose noise differs from place to place, and a filter that follows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import noise
from thon.algorithms.local_resolution import LocalResolutionOptions, filter_locally, local_resolution
from thon.base.errors import InputError
from thon.ops.volume_fourier import low_pass

SHAPE = (64, 48, 48)
OPTIONS = LocalResolutionOptions(step=16, radius=20, edge=16, randomise_from=30)


@pytest.fixture(scope="module")
def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """The lower half along z is known to 8 Å, the upper to 16 Å; voxels of 2.5 Å."""
    texture = noise(SHAPE, 1)
    fine, coarse = low_pass(texture, 2.5, 8.0), low_pass(texture, 2.5, 16.0)
    z = torch.arange(64)[:, None, None]
    truth = torch.where(z < 32, fine, coarse)
    return truth + 0.7 * noise(SHAPE, 2), truth + 0.7 * noise(SHAPE, 3)


def test_each_half_has_its_resolution(halves):
    found = local_resolution(*halves, 2.5, OPTIONS)
    below, above = found.resolution[12:16, 20:28, 20:28], found.resolution[48:52, 20:28, 20:28]
    assert float(below.median()) == pytest.approx(8, abs=1.0)
    assert float(above.median()) == pytest.approx(16, abs=2.5)
    assert torch.equal(found.values, local_resolution(*halves, 2.5, OPTIONS).values)


def test_noise_is_given_the_floor():
    found = local_resolution(noise(SHAPE, 4), noise(SHAPE, 5), 2.5, OPTIONS)
    assert float(found.values.median()) > 30
    assert float(found.resolution.max()) <= OPTIONS.floor + 1e-3


def test_only_places_within_the_mask_are_measured(halves):
    mask = torch.zeros(SHAPE)
    mask[8:16, 20:28, 20:28] = 1
    found = local_resolution(*halves, 2.5, OPTIONS, mask=mask)
    assert 0 < len(found.places) < 40
    assert float(found.resolution[12, 24, 24]) == pytest.approx(8, abs=1.0)
    assert float(found.resolution[40, 40, 40]) == OPTIONS.floor


def test_the_local_filter_is_the_global_one_where_the_resolution_is_even():
    volume = noise(SHAPE, 6)
    filtered = filter_locally(volume, torch.full(SHAPE, 10.0), 2.5)
    np.testing.assert_allclose(filtered, low_pass(volume, 2.5, 10.0), atol=1e-3)
    mixed = torch.full(SHAPE, 10.0)
    mixed[32:] = 20.0
    both = filter_locally(volume, mixed, 2.5)
    np.testing.assert_allclose(both[32:], low_pass(volume, 2.5, 20.0)[32:], atol=1e-3)
    np.testing.assert_allclose(both[:32], low_pass(volume, 2.5, 10.0)[:32], atol=1e-3)


def test_a_sphere_larger_than_the_box_is_refused(halves):
    with pytest.raises(InputError, match="does not fit"):
        local_resolution(*halves, 2.5, LocalResolutionOptions(step=100))
    with pytest.raises(InputError, match="no place"):
        local_resolution(*halves, 2.5, OPTIONS, mask=torch.zeros(SHAPE))
