"""Smooth warps: the fast runs and the careful edges give the same spline."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from thon.kernels.frame_warp import add_warped, add_warped_reference


def nodes(shape: tuple[int, int], step: int, size: float, seed: int = 0) -> torch.Tensor:
    count = [-(-n // step) + 1 for n in shape]
    return size * torch.randn(*count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [0.02, 0.7, 6.0])
@pytest.mark.parametrize(("shape", "image"), [((37, 50), (37, 50)), ((64, 41), (70, 36))])
def test_compiled_warp_agrees_with_the_reference(size: float, shape: tuple[int, int], image: tuple[int, int]):
    generator = torch.Generator().manual_seed(3)
    coefficients = torch.randn(image, generator=generator)
    totals = [torch.ones(shape), torch.ones(shape)]
    field = nodes(shape, 8, size)
    add_warped(totals[0], coefficients, field, 8)
    add_warped_reference(totals[1], coefficients, field, 8)
    torch.testing.assert_close(totals[0], totals[1], atol=1e-4, rtol=1e-4)
    assert (totals[0] - 1).abs().mean() > 0.1


def test_warp_reads_an_image_where_the_field_says():
    rows, columns = 60, 81
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    image = np.cos(2 * np.pi * 5 * y / rows) + np.sin(2 * np.pi * 7 * x / columns + 1)
    coefficients = scipy.ndimage.spline_filter(image, 3, mode="grid-wrap")
    field = np.stack([0.01 * (y - 20) - 1.3, 0.02 * (y - 30) + 0.03 * (x - 40) + 0.6], -1)
    total = torch.zeros(rows, columns)
    every = torch.from_numpy(np.stack([0.01 * (np.arange(0, 65, 16)[:, None] - 20) - 1.3 + np.zeros(7),
                                       0.02 * (np.arange(0, 65, 16)[:, None] - 30) + 0.03 * (np.arange(0, 97, 16) - 40) + 0.6], -1))  # fmt: skip  # noqa: E501
    add_warped(total, torch.from_numpy(coefficients.astype(np.float32)), every, 16)
    place = np.stack([y, x]) + field.transpose(2, 0, 1)
    truth = np.cos(2 * np.pi * 5 * place[0] / rows) + np.sin(2 * np.pi * 7 * place[1] / columns + 1)
    inside = (place[0] >= 0) & (place[0] < rows - 1) & (place[1] >= 0) & (place[1] < columns - 1)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(total.numpy()[inside], truth[inside], atol=0.02)
    beyond = (place[0] < -0.6) | (place[1] > columns - 0.4)
    assert beyond.any()
    assert not total.numpy()[beyond].any()


def test_operator_is_registered_properly():
    total, image = torch.zeros(12, 15), torch.randn(12, 15)
    torch.library.opcheck(torch.ops.thon.add_warped.default, (total, image, nodes((12, 15), 8, 1.0), 8))


def test_fields_that_do_not_span_the_sum_are_refused():
    with pytest.raises(ValueError, match="do not span"):
        add_warped(torch.zeros(40, 40), torch.zeros(40, 40), torch.zeros(5, 5, 2, dtype=torch.float64), 8)
    with pytest.raises(ValueError, match="float32"):
        add_warped(torch.zeros(9, 9), torch.zeros(9, 9).double(), torch.zeros(3, 3, 2, dtype=torch.float64), 8)
