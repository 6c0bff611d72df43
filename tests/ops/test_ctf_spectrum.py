"""Bins of azimuth and squared frequency."""

import math

import numpy as np
import pytest
import torch

from thon.ops.ctf_spectrum import PolarGrid, polar_spectra, polar_spectrum

GRID = PolarGrid(1 / 30, 1 / 5, 40, 12)


def spectrum_of(rows: int, columns: int, function: str) -> torch.Tensor:
    ky = torch.fft.fftfreq(rows, 2.0, dtype=torch.float64)[:, None]
    kx = torch.fft.rfftfreq(columns, 2.0, dtype=torch.float64)[None]
    square = ky**2 + kx**2
    return square if function == "square" else torch.atan2(ky, kx.expand_as(square)) + 2


def test_bins_hold_the_mean_of_their_frequencies() -> None:
    bins = polar_spectrum(spectrum_of(150, 211, "square"), 211, 2.0, GRID)
    filled = bins.count > 0
    np.testing.assert_allclose(bins.power[filled], bins.square[filled], rtol=1e-10)
    turned = polar_spectrum(spectrum_of(150, 211, "azimuth"), 211, 2.0, GRID)
    np.testing.assert_allclose(turned.power[filled] - 2, turned.azimuth[filled], atol=1e-10)
    assert filled.mean() > 0.95
    nominal = GRID.coarsest**2 + GRID.step * (np.arange(40) + 0.5)
    assert np.abs(bins.centers - nominal).max() < GRID.step / 2


def test_every_independent_frequency_counts_once() -> None:
    bins = polar_spectrum(spectrum_of(150, 211, "square"), 211, 2.0, GRID, worth=0.5)
    area = math.pi / 2 * (GRID.finest**2 - GRID.coarsest**2) * (150 * 2.0) * (211 * 2.0)
    assert bins.count.sum() == pytest.approx(0.5 * area, rel=0.03)
    assert bins.worth == 0.5


def test_merging_keeps_sums() -> None:
    bins = polar_spectrum(spectrum_of(150, 211, "square"), 211, 2.0, GRID)
    coarse = bins.merged(3)
    assert coarse.rings == 13
    assert coarse.step == pytest.approx(3 * bins.step)
    np.testing.assert_allclose((coarse.count * coarse.power).sum(), (bins.count * bins.power)[:, :39].sum())
    cut = bins.cut(float(bins.centers[9]))
    assert cut.rings == 10
    np.testing.assert_array_equal(cut.power, bins.power[:, :10])


def test_many_spectra_at_once() -> None:
    power = torch.stack([spectrum_of(60, 60, "square"), 3 * spectrum_of(60, 60, "square")])
    both = polar_spectra(power, 60, 2.0, GRID)
    np.testing.assert_allclose(both[1], 3 * both[0])
    assert both[0].max() == pytest.approx(GRID.finest**2, rel=0.1)
