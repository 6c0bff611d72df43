"""Total variation, whole and in blocks along its last axis."""

from __future__ import annotations

import pytest
import torch

from thon.ops import total_variation as tv


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def test_adjoint():
    volume, field = noise(4, 5, 7), noise(3, 4, 5, 7)
    left, right = (tv.gradient(volume) * field).sum(), (volume * tv.gradient_adjoint(field)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)
    assert abs(left) > 0.1


def test_gradient_of_a_slope():
    z, x, y = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), torch.arange(6.0), indexing="ij")
    field = tv.gradient(2 * z - 3 * x + 5 * y)
    assert (field[0, :-1] == 2).all()
    assert (field[1, :, :-1] == -3).all()
    assert (field[2, :, :, :-1] == 5).all()
    assert (field[0, -1] == 0).all()


def test_blocks_that_know_their_neighbours_equal_the_whole():
    volume, field = noise(3, 4, 9), noise(3, 3, 4, 9)
    cuts = [(0, 4), (4, 5), (5, 9)]
    gradients = [tv.gradient(volume[..., a:b], volume[..., b : b + 1] if b < 9 else None) for a, b in cuts]
    assert torch.equal(torch.cat(gradients, -1), tv.gradient(volume))
    adjoints = [tv.gradient_adjoint(field[..., max(a - 1, 0) : b], last=b == 9)[..., min(a, 1) :] for a, b in cuts]
    assert torch.allclose(torch.cat(adjoints, -1), tv.gradient_adjoint(field))


def test_shrink_shortens_vectors_and_keeps_their_direction():
    field = torch.zeros(3, 1, 1, 3)
    field[:, 0, 0, 0] = torch.tensor([3.0, 0, 4.0])
    field[:, 0, 0, 1] = torch.tensor([0.1, 0.1, 0])
    result = tv.shrink(field, 1.0)
    assert torch.allclose(result[:, 0, 0, 0], torch.tensor([2.4, 0, 3.2]))
    assert (result[..., 1:] == 0).all()


def test_total_variation_of_a_step_is_its_area():
    volume = torch.zeros(4, 6, 5)
    volume[:, 3:] = 2
    assert tv.total_variation(volume).item() == pytest.approx(2 * 4 * 5)
