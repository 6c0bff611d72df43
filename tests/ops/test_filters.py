"""Weights and filters across the tilt axis: known limits, known densities."""

from __future__ import annotations

import math

import pytest
import torch

from thon.ops import filters


def test_padded_length_is_twofold_even_and_smooth():
    for columns in (1, 7, 33, 511, 1031):
        length = filters.padded_length(columns)
        assert length >= 2 * columns
        assert length % 2 == 0
        for factor in (2, 3, 5):
            while length % factor == 0:
                length //= factor
        assert length == 1


def test_spacing_of_unsorted_uneven_and_repeated_tilts():
    spacing = filters.tilt_spacing(torch.tensor([10.0, -4.0, 2.0, 0.0, 2.0]))
    assert torch.rad2deg(spacing).tolist() == pytest.approx([8.0, 4.0, 2.5, 3.0, 2.5], abs=1e-4)


def test_a_single_tilt_stands_for_the_half_circle():
    assert filters.tilt_spacing(torch.tensor([3.0])).item() == pytest.approx(math.pi)


def test_ramp_is_the_frequency_except_at_zero():
    ramp = filters.ramp(512, dtype=torch.float64)
    frequency = torch.fft.rfftfreq(512, dtype=torch.float64)
    assert torch.allclose(ramp[1:], frequency[1:], atol=0.25 / 512)  # the kernel is cut off at the padded length
    assert 0 < ramp[0] < 0.5 / 512


def test_exact_weights_become_the_ramp_for_dense_uniform_tilts():
    tilt = torch.arange(-75.0, 75.1, 0.25, dtype=torch.float64)
    length, thickness = 256, 40
    exact, ramp = filters.exact_weights(tilt, length, thickness), filters.ramp_weights(tilt, length)
    frequency = torch.fft.rfftfreq(length)
    # Overlapping well (many views within one over the thickness), and far from the ends of the tilt range.
    inside, dense = tilt.abs() < 45, (frequency > 0.1) & (frequency < 0.5)
    ratio = exact[inside][:, dense] / ramp[inside][:, dense]
    assert ratio.min() > 0.99
    assert ratio.max() < 1.01


def test_exact_weights_are_a_mean_at_zero_and_one_view_where_views_part():
    tilt = torch.tensor([-50.0, -7.0, 11.0, 40.0], dtype=torch.float64)
    weights = filters.exact_weights(tilt, 128, 400.0)
    cosine = torch.deg2rad(tilt).cos()
    assert torch.allclose(weights[:, 0], cosine / (400 * 4))
    assert torch.allclose(weights[:, -1], cosine / 400)


def test_exact_weights_share_between_repeated_views():
    once = filters.exact_weights(torch.tensor([-20.0, 0.0, 20.0]), 64, 30.0)
    twice = filters.exact_weights(torch.tensor([-20.0, 0.0, 0.0, 20.0]), 64, 30.0)
    assert torch.allclose(twice[1, -1], once[1, -1] / 2)
    assert torch.allclose(twice[1], twice[2])


def test_sirt_like_runs_from_the_mean_to_the_full_weights():
    tilt = torch.arange(-60.0, 61, 3)
    full = filters.exact_weights(tilt, 256, 60.0)
    mean = filters.mean_weights(tilt, 60.0)
    assert torch.allclose(filters.sirt_like(full, mean, 1), mean.expand_as(full), rtol=1e-4)
    assert torch.allclose(filters.sirt_like(full, mean, 10000), full, rtol=1e-4)
    ten, thirty = filters.sirt_like(full, mean, 10), filters.sirt_like(full, mean, 30)
    assert (thirty >= ten * (1 - 1e-5)).all()
    assert thirty[20, -1] > 1.5 * ten[20, -1]


@pytest.mark.parametrize(
    ("window", "at_nyquist"), [("none", 1), ("shepp-logan", 2 / math.pi), ("cosine", 0), ("hamming", 0.08), ("hann", 0)]
)
def test_windows_fall_from_one(window, at_nyquist):
    response = filters.window_response(torch.linspace(0, 0.5, 65, dtype=torch.float64), window)
    assert response[0] == 1
    assert response[-1].item() == pytest.approx(at_nyquist, abs=1e-12)
    assert (response.diff() <= 0).all()


def test_radial_response_is_a_gaussian_beyond_the_cutoff():
    frequency = torch.tensor([0.0, 0.2, 0.35, 0.385, 0.42])
    expected = [1, 1, 1, math.exp(-0.5), math.exp(-2)]
    assert filters.radial_response(frequency, 0.35, 0.035).tolist() == pytest.approx(expected, abs=1e-5)
    assert filters.radial_response(frequency, 0.36, 0.0).tolist() == [1, 1, 1, 0, 0]


def test_filtering_is_the_linear_convolution_and_leaves_its_input():
    generator = torch.Generator().manual_seed(2)
    columns, rows = 37, 150
    images = torch.zeros(2, columns, rows, dtype=torch.float64)
    images[:, 10:-10] = torch.randn(2, columns - 20, rows, generator=generator, dtype=torch.float64)
    before = images.clone()
    length = filters.padded_length(columns)
    result = filters.filter_columns(images, torch.stack([filters.ramp(length, dtype=torch.float64)] * 2) * 3)
    offset = torch.arange(columns)[:, None] - torch.arange(columns)
    kernel = torch.where(offset % 2 == 0, 0.0, -1 / (math.pi * offset.double().where(offset != 0, 1.0)) ** 2)
    kernel = kernel.where(offset != 0, 0.25)
    assert torch.allclose(result, 3 * kernel @ images, atol=1e-12)
    assert torch.equal(images, before)


def test_a_bright_image_edge_leaves_no_spike():
    images = torch.full((1, 101, 3), 5.0)
    images[:, 50] += 1
    weights = filters.ramp(filters.padded_length(101))[None]
    result = filters.filter_columns(images, weights)
    assert result[0, [0, -1]].abs().max() < 0.05
    assert result[0, 50].min() > 0.2


def test_filtering_refuses_weights_of_another_length():
    with pytest.raises(ValueError, match="weights have shape"):
        filters.filter_columns(torch.zeros(2, 10, 4), torch.zeros(2, 4))
