"""Cropped transforms of large frames agree with whole ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.ops import frame_fourier
from thon.ops.fourier import fourier_crop
from thon.ops.frame_fourier import Preparation, centre_drift, cropped_spectrum, image_of_spectrum


def noise(shape: tuple[int, int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)) + 3


@pytest.mark.parametrize(
    ("shape", "new"), [((45, 62), (45, 62)), ((45, 62), (20, 31)), ((64, 33), (33, 16)), ((30, 40), (50, 44))]
)
def test_cropped_spectrum_is_the_low_part_of_the_whole(
    shape: tuple[int, int], new: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frame_fourier, "_BLOCK", 300)
    image = noise(shape)
    whole = np.fft.fft2(image.double().numpy() - 3)
    found = cropped_spectrum(image, new, Preparation(3.0))
    scale = new[0] * new[1] / (shape[0] * shape[1])
    for row in range(new[0]):
        for column in range(new[1] // 2 + 1):
            y = row if 2 * row < new[0] else row - new[0]
            held = 2 * abs(y) < min(shape[0], new[0]) and 2 * column < min(shape[1], new[1])
            truth = whole[y, column] * scale if held else 0
            assert abs(complex(found[row, column]) - truth) < 1e-4 * abs(whole).max()


def test_window_and_bound_come_before_the_transform():
    image = noise((24, 30))
    image[3, 4] = 1e6
    rows, columns = torch.linspace(0, 1, 24), torch.linspace(1, 2, 30)
    prepare = Preparation(3.0, 2.0, (rows, columns))
    found = cropped_spectrum(image, (24, 30), prepare)
    other = frame_fourier._prepared(image, prepare)  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(other, (image - 3).clamp(-2, 2) * rows[:, None] * columns)
    truth = torch.fft.rfft2((image - 3).clamp(-2, 2) * rows[:, None] * columns)
    truth[12], truth[:, 15] = 0, 0
    torch.testing.assert_close(found, truth, atol=2e-4, rtol=1e-4)


def test_image_comes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frame_fourier, "_BLOCK", 300)
    image = noise((45, 33))
    torch.testing.assert_close(image_of_spectrum(cropped_spectrum(image, (45, 33)), 33), image, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("shape", "new"), [((45, 62), (20, 31)), ((33, 40), (22, 20))])
def test_way_of_other_devices_is_the_same(shape: tuple[int, int], new: tuple[int, int]):
    image = noise(shape)
    other = frame_fourier._first_pixel_kept(torch.fft.rfft2(image), shape, new)  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(cropped_spectrum(image, new), other, atol=1e-3, rtol=1e-4)


def test_drift_brings_the_centre_to_where_a_centred_crop_has_it():
    image = noise((45, 62))
    drift = centre_drift((45, 62), (20, 31))
    spectrum = cropped_spectrum(image, (20, 31))
    rows, columns = torch.fft.fftfreq(20)[:, None], torch.fft.rfftfreq(31)
    moved = spectrum * torch.exp(-2j * torch.pi * (rows * drift[0] + columns * drift[1]))
    torch.testing.assert_close(image_of_spectrum(moved, 31), fourier_crop(image, (20, 31)), atol=1e-4, rtol=1e-4)
