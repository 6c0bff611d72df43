"""Smooth warps: the fast runs and the careful edges give the same spline."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from thon.kernels.frame_warp import add_warped, add_warped_reference, spline_response


def nodes(shape: tuple[int, int], step: int, size: float, seed: int = 0) -> torch.Tensor:
    count = [-(-n // step) + 1 for n in shape]
    return size * torch.randn(3, *count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [0.02, 0.7, 6.0])
@pytest.mark.parametrize(("shape", "image"), [((37, 50), (37, 50)), ((64, 41), (70, 36))])
def test_compiled_warp_agrees_with_the_reference(
    size: float, shape: tuple[int, int], image: tuple[int, int], threads: int
):
    generator = torch.Generator().manual_seed(3)
    images = list(2 + torch.randn(3, *image, generator=generator))
    levels, weights = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([[1.0, 0.3], [0.0, -2.0], [0.4, 0.0]])
    totals = [torch.ones(2, *shape), torch.ones(2, *shape)]
    field = nodes(shape, 8, size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        add_warped(totals[0], images, levels, field, weights, 8)
    finally:
        torch.set_num_threads(before)
    add_warped_reference(totals[1], images, levels, field, weights, 8)
    torch.testing.assert_close(totals[0], totals[1], atol=3e-4, rtol=1e-4)
    assert (totals[0] - 1).abs().mean() > 0.1


def test_warp_reads_an_image_where_the_field_says():
    rows, columns = 60, 81
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    image = np.cos(2 * np.pi * 5 * y / rows) + np.sin(2 * np.pi * 7 * x / columns + 1)
    coefficients = scipy.ndimage.spline_filter(image, 3, mode="grid-wrap")

    def field(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.stack([0.01 * (y - 20) - 1.3 + 0 * x, 0.02 * (y - 30) + 0.03 * (x - 40) + 0.6], -1)

    total = torch.zeros(1, rows, columns)
    every = torch.from_numpy(field(np.arange(0, 65, 16)[:, None], np.arange(0, 97, 16)[None]))[None]
    level = torch.full((1,), 5.0)
    add_warped(total, [torch.from_numpy(coefficients.astype(np.float32)) + level], level, every, torch.ones(1, 1), 16)
    place = np.stack([y, x]) + field(y, x).transpose(2, 0, 1)
    truth = np.cos(2 * np.pi * 5 * place[0] / rows) + np.sin(2 * np.pi * 7 * place[1] / columns + 1)
    inside = (place[0] >= 0) & (place[0] < rows - 1) & (place[1] >= 0) & (place[1] < columns - 1)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(total[0].numpy()[inside], truth[inside], atol=0.02)
    beyond = (place[0] < -0.6) | (place[1] > columns - 0.4)
    assert beyond.any()
    assert not total[0].numpy()[beyond].any()


def test_response_is_what_is_left_of_noise():
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(40, 2, generator=generator, dtype=torch.float64) * torch.tensor([9.0, 0.3])
    noise, power = torch.randn(40, 64, 50, generator=generator), torch.zeros(64, 26)
    for image, place in zip(noise, places, strict=True):
        total = torch.zeros(1, 64, 50)
        wrapped = torch.nn.functional.pad(image[None], (16, 16, 16, 16), mode="circular")[0]
        field = (place + 16).expand(1, 3, 3, 2)
        add_warped(total, [wrapped], torch.zeros(1), field, torch.ones(1, 1), 40)
        power += torch.fft.rfft2(total[0]).abs() ** 2 / total.numel() / len(places)
    rows, columns = torch.fft.fftfreq(64), torch.fft.rfftfreq(50)
    expected = spline_response(places[:, 0], rows)[:, None] * spline_response(places[:, 1], columns)
    assert float(expected[0, 0]) == pytest.approx(1)
    assert float(expected.min()) < 0.05
    ratio = power / expected
    for part in (slice(2, 10), slice(10, 20), slice(20, 32)):
        assert float(ratio[part].mean()) == pytest.approx(1, abs=0.06)
    whole = spline_response(torch.tensor([3.0, -2.0]), torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(whole, torch.tensor([1, 1 / 9], dtype=torch.float64))
    between = spline_response(torch.tensor([0.5, -1.5]), torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(between, torch.tensor([1, 0.02], dtype=torch.float64))


def test_operator_is_registered_properly():
    given = (
        torch.zeros(2, 12, 15), [torch.randn(12, 15), torch.randn(12, 15)], torch.zeros(2),
        nodes((12, 15), 8, 1.0)[:2], torch.ones(2, 2), 8,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.thon.add_warped.default, given)


def test_what_does_not_fit_is_refused():
    level, weight = torch.zeros(1), torch.ones(1, 1)
    field = torch.zeros(1, 5, 5, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="do not span"):
        add_warped(torch.zeros(1, 40, 40), [torch.zeros(40, 40)], level, field, weight, 8)
    with pytest.raises(ValueError, match="float32"):
        add_warped(torch.zeros(1, 9, 9), [torch.zeros(9, 9).double()], level, field, weight, 8)
    with pytest.raises(ValueError, match="one size"):
        add_warped(torch.zeros(1, 9, 9), [torch.zeros(9, 9), torch.zeros(9, 8)], level, field, weight, 8)
    with pytest.raises(ValueError, match="do not fit"):
        add_warped(torch.zeros(2, 9, 9), [torch.zeros(9, 9)], level, field, weight, 8)
