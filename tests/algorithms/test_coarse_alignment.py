"""First shifts: masked correlation against a direct computation, and drifts that leave little in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import linear_maps, simulate_series, without_translation
from thon.algorithms.coarse_alignment import coarse_alignment, masked_correlation, peak_lag
from thon.data.geometry import TiltGeometry


def direct(f: np.ndarray, g: np.ndarray, m1: np.ndarray, m2: np.ndarray, lag: tuple[int, int]) -> float:
    """Pearson correlation of f(p) and g(p + lag) over the pixels where both are measured."""
    one, two = [], []
    for y, x in np.ndindex(f.shape):
        v, u = y + lag[0], x + lag[1]
        if 0 <= v < g.shape[0] and 0 <= u < g.shape[1] and m1[y, x] and m2[v, u]:
            one.append(f[y, x])
            two.append(g[v, u])
    return float(np.corrcoef(one, two)[0, 1])


def test_masked_correlation_is_pearson_s_over_the_common_part() -> None:
    random = np.random.default_rng(0)
    f, g = random.normal(3, 1, (2, 9, 11))
    m1, m2 = (random.random((2, 9, 11)) < 0.8).astype(float)
    surface = masked_correlation(*(torch.from_numpy(a) for a in (f, g, m1, m2)), min_overlap=0.2)
    assert surface.shape == (18, 22)
    for lag in [(0, 0), (2, -3), (-4, 1), (3, 4), (-1, -5)]:
        assert float(surface[lag]) == pytest.approx(direct(f, g, m1, m2, lag), abs=1e-6)


def test_shifts_with_too_little_in_common_are_not_considered() -> None:
    ones = torch.ones(8, 10, dtype=torch.float64)
    surface = masked_correlation(torch.rand(8, 10).double(), torch.rand(8, 10).double(), ones, ones, 0.5)
    assert float(surface[4, 3]) == -1  # (4 · 7) of 80 pixels
    assert float(surface[1, 2]) > -1


@pytest.mark.parametrize("lag", [(3, -7), (-12, 9), (0, 0)])
def test_the_lag_says_where_the_second_shows_what_the_first_shows(lag: tuple[int, int]) -> None:
    scene = torch.randn(80, 90, generator=torch.Generator().manual_seed(1))
    first = scene[20:60, 20:65]
    second = scene[20 - lag[0] : 60 - lag[0], 20 - lag[1] : 65 - lag[1]]
    found, height = peak_lag(masked_correlation(first, second, torch.ones(40, 45), torch.ones(40, 45)))
    np.testing.assert_allclose(found, lag, atol=0.05)
    assert height > 0.99


def test_the_peak_lies_between_pixels_and_wraps_around() -> None:
    y, x = np.meshgrid(np.fft.fftfreq(20, 1 / 20), np.fft.fftfreq(24, 1 / 24), indexing="ij")
    for place in ((-3.3, 7.4), (0.2, -0.4)):
        bump = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 18)
        found, _ = peak_lag(torch.from_numpy(bump))
        np.testing.assert_allclose(found, place, atol=0.02)


@pytest.mark.parametrize(("drift", "axis", "span"), [(0.0, -4.0, 24), (0.0, 85.0, 24), (22.0, -4.0, 12)])
def test_shifts_are_found_from_nothing(drift: float, axis: float, span: float) -> None:
    """Also when neighbours drift by a fifth of the image (22 px of 111 along both axes)."""
    phantom = simulate_series(
        (111, 118), step=6.0, span=span, axis=axis, max_shift=3, drift=drift, thickness=15, number=160, noise=1.0
    )
    start = TiltGeometry.nominal(phantom.tilt, axis)
    found, score = coarse_alignment(torch.from_numpy(phantom.images), start, phantom.pixel_size)
    kept = np.arange(len(start))
    moves = linear_maps(found, kept)
    left = without_translation(found.shift - phantom.truth.shift, moves) / phantom.pixel_size
    before = without_translation(phantom.truth.shift, moves) / phantom.pixel_size
    assert (left < 2.0).all(), left
    assert (before > 2 * left).all(), before
    assert score[np.argmin(np.abs(phantom.tilt))] == 1
    assert (score > 0.1).all()


def test_the_order_of_the_images_does_not_matter() -> None:
    phantom = simulate_series((96, 101), step=8.0, span=32, max_shift=4, number=100)
    images, start = torch.from_numpy(phantom.images), TiltGeometry.nominal(phantom.tilt, -4)
    shuffled = np.random.default_rng(0).permutation(len(start))
    straight, score = coarse_alignment(images, start, 10.0)
    mixed, mixed_score = coarse_alignment(images[shuffled], start.select(shuffled), 10.0)
    np.testing.assert_allclose(mixed.shift, straight.shift[shuffled], atol=1e-3)
    np.testing.assert_allclose(mixed_score, score[shuffled], atol=1e-4)


def test_without_an_axis_images_are_compared_as_they_are() -> None:
    """Pure shifts without tilt are exact to a fraction of a pixel."""
    random = torch.Generator().manual_seed(0)
    scene = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 164, 164, generator=random), 5, 1)[0, 0]
    places = np.array([[30, 30], [27, 36], [22, 33]])
    images = torch.stack([scene[y : y + 90, x : x + 97] for y, x in places])
    start = TiltGeometry.nominal(np.array([-3.0, 0, 3]))
    found, _ = coarse_alignment(images, start, 2.0, stretch=False)
    np.testing.assert_allclose(found.shift, (places[1] - places) * 2.0, atol=0.3)
