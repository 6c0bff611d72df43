"""Surfaces are added to spectra as slices are, but for their height."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon import kernels
from thon.kernels.pose_products import insert_slices_reference
from thon.ops.rotation import rotation_from_quaternion

SHAPE = (17, 21, 10)


def case() -> tuple[torch.Tensor, ...]:
    quaternion = np.random.default_rng(3).normal(size=(4, 4))
    turns = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    generator = torch.Generator().manual_seed(1)
    places = 7 * torch.rand(3, 400, generator=generator) - 3.5
    which = torch.tensor([0, 1, 1, 0])
    sums, weights = torch.randn(4, 2, 400, generator=generator), torch.rand(4, 400, generator=generator)
    return which, torch.from_numpy(turns).float(), sums, weights, places


def empty() -> torch.Tensor:
    return torch.zeros(2, *SHAPE, 3, dtype=torch.int64)


def test_compiled_agrees_with_the_reference():
    found, expected = empty(), empty()
    kernels.insert_surfaces(found, *case())
    insert_slices_reference(expected, *case())
    assert (found - expected).abs().max() < 200  # of 2^24
    assert abs(found[..., 2].sum() / kernels.QUANTUM - case()[3].sum()) < 0.01


def test_without_height_they_are_slices():
    which, turns, sums, weights, places = case()
    found, expected = empty(), empty()
    kernels.insert_surfaces(found, which, turns, sums, weights, torch.cat([torch.zeros(1, 400), places[1:]]))
    kernels.insert_slices(expected, which, turns[:, :, 1:].contiguous(), sums, weights, places[1:])
    assert (found - expected).abs().max() < 200


def test_height_goes_along_the_beam():
    found = empty()
    turn = torch.tensor([[[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]])  # z to −x
    places = torch.tensor([[-2.0], [0], [0]])
    kernels.insert_surfaces(found, torch.tensor([1]), turn, torch.ones(1, 2, 1), torch.ones(1, 1), places)
    assert found[1, 8, 10, 2].tolist() == [2**24] * 3
    assert found.count_nonzero() == 3


def test_what_lies_outside_is_left_out():
    found = empty()
    which, turns, sums, weights, places = case()
    kernels.insert_surfaces(found, which, turns, sums, weights, places * 100)
    assert found.count_nonzero() < 40


def test_the_operator_is_complete():
    torch.library.opcheck(torch.ops.thon.insert_surfaces, (empty(), *case()), test_utils="test_schema")


def test_sums_must_be_whole_numbers():
    with pytest.raises(ValueError, match="int64"):
        kernels.insert_surfaces(empty().float(), *case())  # pyright: ignore[reportArgumentType]
