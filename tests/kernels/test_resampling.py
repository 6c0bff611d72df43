"""Spline sampling: interpolates, follows its map and displacement, and has an exact transpose."""

from __future__ import annotations

import math

import pytest
import torch

from thon import kernels
from thon.kernels import resampling

maps = torch.tensor(
    [[[0.8, -0.5, 6.0], [0.6, 0.7, -2.0]], [[0.1, 1.02, -1.5], [-0.98, 0.2, 30.0]], [[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]],
    dtype=torch.float64,
)
knots = torch.tensor([[[0.11, 0.02, -0.7], [-0.05, 0.15, 0.6]]], dtype=torch.float64).expand(3, 2, 3)


def displacement() -> torch.Tensor:
    return torch.randn(3, 5, 6, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


warps = pytest.mark.parametrize("warped", [False, True])
dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.float64, 1e-12)])


@warps
@dtypes
@pytest.mark.parametrize("image_shape", [(23, 31), (90, 75), (3, 4)])
def test_cpu_kernels_agree_with_the_reference(
    warped: bool, dtype: torch.dtype, tolerance: float, image_shape: tuple[int, int]
):
    field, nodes = (displacement(), knots) if warped else (None, None)
    images = torch.randn(3, *image_shape).to(dtype) + 2
    sampled = kernels.sample_images(images, maps, (29, 37), displacement=field, knots=nodes)
    truth = resampling.sample_images_reference(images, maps, field, nodes, 29, 37)
    torch.testing.assert_close(sampled, truth, atol=tolerance, rtol=tolerance)
    covered = kernels.sample_coverage(maps, image_shape, (29, 37), displacement=field, knots=nodes)
    assert 0 < covered.mean() < 1
    means = images.mean((-2, -1))[:, None, None].expand_as(sampled)
    torch.testing.assert_close(sampled[covered == 0], means[covered == 0], atol=tolerance, rtol=tolerance)
    spread = torch.ops.thon.spread_samples(sampled, maps, field, nodes, *image_shape)
    truth = resampling.spread_samples_reference(sampled, maps, field, nodes, *image_shape)
    torch.testing.assert_close(spread, truth, atol=tolerance * float(truth.abs().max()), rtol=0)


@dtypes
def test_samples_on_the_grid_are_the_pixels(dtype: torch.dtype, tolerance: float):
    images = torch.randn(2, 19, 26).to(dtype)
    straight = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 1.0, 5.0]]], dtype=torch.float64).expand(2, 2, 3)
    sampled = kernels.sample_images(images, straight, (21, 16))
    torch.testing.assert_close(sampled, images[:, 3:, 5:].transpose(1, 2), atol=tolerance, rtol=tolerance)


def test_a_smooth_image_is_read_between_its_pixels():
    def wave(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return torch.cos(0.5 * row + 0.3) * torch.sin(0.35 * column)

    row, column = torch.meshgrid(torch.arange(61).double(), torch.arange(70).double(), indexing="ij")
    turn = torch.tensor([[[math.cos(0.4), -math.sin(0.4), 20.3], [math.sin(0.4), math.cos(0.4), 14.6]]]).double()
    sampled = kernels.sample_images(wave(row, column)[None], turn, (25, 30))[0]
    place = resampling.positions(turn, None, None, 0, (25, 30))
    torch.testing.assert_close(sampled, wave(*place), atol=5e-4, rtol=0)


def test_a_constant_displacement_is_a_shift():
    images = torch.randn(1, 40, 50, dtype=torch.float64)
    shifted = maps[2:].clone()
    shifted[0, :, 2] += torch.tensor([1.3, -0.4], dtype=torch.float64)
    constant = torch.tensor([1.3, -0.4], dtype=torch.float64).expand(1, 6, 5, 2)
    moved = kernels.sample_images(images, maps[2:], (44, 37), displacement=constant, knots=knots[2:])
    torch.testing.assert_close(moved, kernels.sample_images(images, shifted, (44, 37)))


def test_bits_do_not_depend_on_the_number_of_threads():
    images, threads = torch.randn(3, 33, 41), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = kernels.sample_images(images, maps, (29, 37))
        torch.set_num_threads(3)
        assert torch.equal(one, kernels.sample_images(images, maps, (29, 37)))
    finally:
        torch.set_num_threads(threads)


@warps
def test_gradients(warped: bool):
    field, nodes = (displacement(), knots) if warped else (None, None)
    images = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda i: kernels.sample_images(i, maps, (5, 8), displacement=field, knots=nodes), images
    )
    samples = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: torch.ops.thon.spread_samples(s, maps, field, nodes, 7, 6), samples)


def test_operators_are_registered_correctly():
    images = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.thon.sample_images.default, (images, maps, displacement(), knots, 5, 8))
    torch.library.opcheck(torch.ops.thon.sample_images.default, (images, maps, None, None, 5, 8))
    torch.library.opcheck(torch.ops.thon.spread_samples.default, (images, maps, None, None, 5, 8))


def test_wrong_input_is_refused():
    images = torch.ones(3, 7, 6)
    with pytest.raises(ValueError, match="3 × 3"):
        kernels.sample_images(torch.ones(3, 2, 6), maps, (4, 4))
    with pytest.raises(ValueError, match="maps"):
        kernels.sample_images(images[:2], maps, (4, 4))
    with pytest.raises(ValueError, match="together"):
        kernels.sample_images(images, maps, (4, 4), knots=knots)
    with pytest.raises(ValueError, match="displacement"):
        kernels.sample_images(images, maps, (4, 4), displacement=displacement()[:, :3], knots=knots)
    with pytest.raises(ValueError, match="detach"):
        kernels.sample_images(images, maps.clone().requires_grad_(), (4, 4))
