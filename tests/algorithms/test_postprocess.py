"""FSC of half maps and sharpening: against RELION's curves, a known B-factor, and halves of nothing but noise."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise, noisy_halves
from thon.algorithms.half_correlation import corrected_curve, correlate_halves, resolution_of
from thon.algorithms.postprocess import (
    PostprocessOptions,
    fit_guinier,
    fsc_weight,
    postprocess_map,
    shell_amplitudes,
)
from thon.formats.relion_postprocess import PostprocessStar, read_postprocess
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.volume_fourier import b_factor_transfer, fourier_filter, low_pass
from thon.ops.volume_mask import soft_mask, sphere_mask

RELION = Path(__file__).parent.parent / "data" / "relion" / "postprocess_3.1.3.star"


@cache
def relion() -> PostprocessStar:
    return read_postprocess(RELION)


@cache
def phantom() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Halves and mask from which RELION's curves come."""
    return (*noisy_halves(blobs(), 3.0), sphere_mask((40, 40, 40), 12, edge=5))


class TestAgainstRelion:
    def test_the_curves_are_relions(self):
        first, second, mask = phantom()
        found = correlate_halves(first, second, 4.0, mask=mask)
        expected = relion().curves
        # RELION counts samples on the plane x = 0 twice.
        np.testing.assert_allclose(found.curves.frequency[1:], expected.frequency[1:], atol=1e-6)
        np.testing.assert_allclose(found.curves.unmasked, expected.unmasked, atol=0.01)
        np.testing.assert_allclose(found.curves.masked[:14], expected.masked[:14], atol=0.01)
        assert found.randomised_from == pytest.approx(32)
        # Two draws of random phases differ by their own noise.
        assert np.abs(found.curves.randomised - expected.randomised).max() < 0.15
        assert np.median(np.abs(found.curves.corrected - expected.corrected)) < 0.02
        assert found.resolution == pytest.approx(relion().resolution, abs=160 / 10 - 160 / 11)

    def test_the_correction_is_relions(self):
        curves = relion().curves
        corrected = corrected_curve(curves.masked, curves.randomised, 7)
        np.testing.assert_allclose(corrected[:12], curves.corrected[:12], atol=3e-3)

    def test_the_guinier_plot_and_the_b_factor_are_relions(self):
        first, second, _ = phantom()
        plot = relion().guinier
        amplitude = shell_amplitudes((first + second) / 2)
        np.testing.assert_allclose(np.log(amplitude), plot.original, atol=2e-4)
        positive = plot.weighted > -50
        weight = fsc_weight(relion().curves.corrected)
        np.testing.assert_allclose(np.log((amplitude * weight)[positive]), plot.weighted[positive], atol=2e-4)
        slope, intercept, _ = fit_guinier(relion().curves.frequency, np.exp(plot.weighted), 25, 12)
        assert 4 * slope == pytest.approx(relion().b_factor, rel=2e-3)
        assert intercept == pytest.approx(plot.intercept, abs=0.01)


class TestTruth:
    def test_a_known_b_factor_is_found_and_undone(self):
        sharp = noise((48, 48, 48), 5)
        blurred = fourier_filter(sharp, b_factor_transfer((48, 48, 48), 2.0, 90.0))
        halves = [blurred + 1e-3 * noise((48, 48, 48), seed) for seed in (6, 7)]
        made = postprocess_map(*halves, 2.0, PostprocessOptions(fit_from=20, low_pass=4.5))
        assert made.b_factor == pytest.approx(-90, rel=0.03)
        ratio = shell_amplitudes(made.volume)[4:20] / shell_amplitudes(sharp)[4:20]
        np.testing.assert_allclose(ratio, 1, atol=0.03)

    def test_what_is_asked_for_is_done(self):
        first, second, mask = phantom()
        options = PostprocessOptions(b_factor=-100, low_pass=20, fsc_weight=False, filter_edge=2)
        transfer = np.linspace(1, 0.5, 21)
        made = postprocess_map(first, second, 4.0, options, mask=mask, transfer=transfer)
        frequency = np.arange(21) / 160
        expected = shell_amplitudes((first + second) / 2) * np.exp(25 * frequency**2) / transfer
        np.testing.assert_allclose(shell_amplitudes(made.volume)[1:7] / expected[1:7], 1, atol=0.02)
        assert shell_amplitudes(made.volume)[10:].max() < 1e-6
        assert (made.b_factor, made.low_pass) == (-100, 20)

    def test_weighting_brings_the_map_nearer_to_the_truth(self):
        truth, (first, second, mask) = blobs(), phantom()
        made = postprocess_map(first, second, 4.0, PostprocessOptions(b_factor=0.0), mask=mask)
        error = [float((one - truth).square().sum()) for one in (made.volume, made.unsharpened)]
        assert error[0] < 0.5 * error[1]

    def test_the_fsc_of_known_noise_is_its_formula(self):
        first, second = noisy_halves(blobs((60, 60, 60), radius=16, count=120), 1.0)
        found = correlate_halves(first, second, 4.0)
        signal = shell_amplitudes(blobs((60, 60, 60), radius=16, count=120)) ** 2
        truth = fourier_shell_correlation(first, blobs((60, 60, 60), radius=16, count=120)).correlation.numpy()
        assert signal[3] > signal[20]
        # The correlation of one half with the truth is the root of that of the halves.
        np.testing.assert_allclose(found.curves.unmasked[2:16], truth[2:16] ** 2, atol=0.06)


class TestNoise:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("masked", [False, True])
    def test_noise_has_no_resolution(self, seed, masked):
        shape = (48, 48, 48)
        first, second = noise(shape, 100 + seed), noise(shape, 200 + seed)
        mask = sphere_mask(shape, 14, edge=6) if masked else None
        made = postprocess_map(first, second, 3.0, PostprocessOptions(), mask=mask, seed=seed)
        assert np.isnan(made.correlation.resolution)
        assert "no resolution" in made.correlation.warnings[0]
        # The innermost shells within a mask have too few independent samples to tell anything.
        start = 12 if masked else 5
        assert made.correlation.curves.best[start:].max() < 0.143
        assert bool(torch.isfinite(made.volume).all())

    def test_a_tight_mask_on_noise_is_seen_through(self):
        """A mask cut out of one half's own noise correlates by itself: that is what the correction is for."""
        shape = (48, 48, 48)
        common = fourier_filter(noise(shape, 1), b_factor_transfer(shape, 3.0, 3000.0))
        first, second = (50 * common + noise(shape, seed) for seed in (2, 3))
        mask = soft_mask(common > 1.2 * common.std(), extend=0, edge=0)
        found = correlate_halves(first + 1, second + 1, 3.0, mask=mask)
        tail = slice(16, None)
        assert found.curves.masked[tail].mean() > 0.3
        assert abs(found.curves.corrected[tail].mean()) < 0.1
        assert any("too tight" in sentence for sentence in found.warnings) or found.resolution > 12

    @pytest.mark.parametrize("seed", range(3))
    def test_a_mask_that_was_made_from_the_noise_gives_it_no_resolution(self, seed):
        shape = (48, 48, 48)
        first, second = (low_pass(noise(shape, 2 * seed + k), 4.0, 20.0, edge=6) for k in (300, 301))
        both = low_pass(first + second, 4.0, 15.0)
        mask = soft_mask(both > 0.8 * both.max(), extend=3, edge=6)
        found = correlate_halves(first, second, 4.0, mask=mask)
        assert found.curves.corrected[1:20].max() > 0.143
        assert np.isnan(found.resolution)

    def test_symmetry_leaves_fewer_samples_to_surprise(self):
        first = noise((32, 32, 32), 8)
        second = 1.5 * first + noise((32, 32, 32), 9)
        assert np.isfinite(correlate_halves(first, second, 3.0).resolution)
        assert np.isnan(correlate_halves(first, second, 3.0, symmetry_order=4000).resolution)


def test_the_resolution_lies_between_shells():
    frequency = np.arange(6) * 0.01
    assert resolution_of(frequency, np.array([1, 0.9, 0.8, 0.243, 0.043, 0])) == pytest.approx(1 / 0.035)
    assert resolution_of(frequency, np.ones(6)) == pytest.approx(20)
    assert np.isnan(resolution_of(frequency, np.array([1, 0.1, 0.8, 0.2, 0.1, 0])))
